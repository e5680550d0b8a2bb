// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"errors"
	"time"
)

// ErrAway says that the Kubernetes API server could not be asked about a token: nothing is known of it, and asking again
// may help. It comes wrapped with the reason, which is for the collector's log alone.
var ErrAway = errors.New("the Kubernetes API server cannot be asked")

// Attestation is what a Kubernetes API server vouches for of the holder of a ServiceAccount token.
type Attestation struct {
	// Node is the node that the pod was bound to when the token was made, Pod the pod's namespace and name.
	Node, Pod string
	// Issued is when the token was made, to the second, by the API server's clock.
	Issued time.Time
}

// Attester asks a Kubernetes API server about ServiceAccount tokens. collector/kube/review has one. Methods may be called
// concurrently.
type Attester interface {
	// Attest says who holds a token. Errors are those of Refuse, or ErrAway.
	Attest(ctx context.Context, token string) (Attestation, error)
}

// EnrolAccount checks a projected ServiceAccount token and signs a PKCS #10 request for the node that the API server says
// the token's pod runs on, if that is the node it asks for. A node that was revoked is refused until Allow, and from then on
// needs a token that was made after it was revoked. Errors are ErrToken, ErrDenied, ErrRequest, ErrAway or the store's.
func (a *Authority) EnrolAccount(ctx context.Context, token, node string, csr []byte) (Issued, error) {
	if a.attester == nil {
		return Issued{}, Refuse(CauseDisabled, "this collector takes no ServiceAccount tokens; --kubernetes-enrol names whose it takes: %w", ErrToken)
	}
	key, err := parseRequest(node, csr)
	if err != nil {
		return Issued{}, err
	}
	holder, err := a.attester.Attest(ctx, token)
	if err != nil {
		return Issued{}, err
	}
	if holder.Node != node {
		return Issued{}, Refuse(CauseOtherNode, "the ServiceAccount token is of pod %q on node %q, and no good for node %q: %w",
			holder.Pod, holder.Node, node, ErrDenied)
	}
	if err := a.admit(ctx, node, holder); err != nil {
		return Issued{}, err
	}
	return a.signNode(node, key)
}

// admit says whether a node may enrol with a ServiceAccount token: it was never revoked, or it was allowed since and the token
// is younger than the revocation, since older ones may have been stolen with the node.
func (a *Authority) admit(ctx context.Context, node string, holder Attestation) error {
	revoked, err := a.store.Revocations(ctx)
	if err != nil {
		return err
	}
	at, ok := revoked[node]
	if !ok {
		return nil
	}
	allowed, err := a.store.Allowances(ctx)
	if err != nil {
		return err
	}
	if _, ok := allowed[node]; !ok {
		return Refuse(CauseNodeRevoked, "node %q was revoked at %s and has not been allowed since (holdfast-collector node allow %s): %w",
			node, at.Format(time.RFC3339), node, ErrDenied)
	}
	if Void(holder.Issued, at) {
		return Refuse(CauseNodeRevoked, "node %q was revoked at %s, and this token was made before that, at %s: one that the kubelet has renewed is needed, or that of a new pod: %w",
			node, at.Format(time.RFC3339), holder.Issued.Format(time.RFC3339), ErrDenied)
	}
	return nil
}

// Allow lets a node that was revoked enrol again with a ServiceAccount token, until it is revoked again. Certificates that
// were void stay so. The error is store.ErrNotFound for a node that is not revoked.
func (a *Authority) Allow(ctx context.Context, node string) error {
	if err := CheckNodeName(node); err != nil {
		return err
	}
	return a.store.AllowNode(ctx, node, a.now())
}
