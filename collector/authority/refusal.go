// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"errors"
	"fmt"
)

// Cause says in a word why a node was refused, to count by and to look for. docs/enrolment.md lists them.
type Cause string

// The causes. Those of ServiceAccount tokens alone come last.
const (
	// CauseMalformed: what was given is no token of its kind. CauseRequest: the rest of the request is malformed.
	CauseMalformed Cause = "malformed_token"
	CauseRequest   Cause = "malformed_request"
	// CauseUnknown: there is no such token, or its secret is another one.
	CauseUnknown Cause = "unknown_token"
	// CauseExpired, CauseSpent and CauseEnded: the token was good once.
	CauseExpired Cause = "expired_token"
	CauseSpent   Cause = "spent_token"
	CauseEnded   Cause = "revoked_token"
	// CauseOtherNode: the token is good, but of another node. CauseNodeRevoked: the node was revoked.
	CauseOtherNode   Cause = "other_node"
	CauseNodeRevoked Cause = "revoked_node"
	// CauseCertificate: the certificate is of no node.
	CauseCertificate Cause = "certificate"

	// CauseDisabled: this collector takes no ServiceAccount tokens.
	CauseDisabled Cause = "service_accounts_off"
	// CauseAudience: the token is for somebody else. CauseAccount: it is of another ServiceAccount.
	CauseAudience Cause = "other_audience"
	CauseAccount  Cause = "other_account"
	// CauseNotVouched: the API server does not vouch for the token: it is forged, has expired, or its pod is gone.
	CauseNotVouched Cause = "not_vouched_for"
	// CauseNoPod and CauseNoNode: the API server does not say which pod, or which node, the token was given to.
	CauseNoPod  Cause = "no_pod"
	CauseNoNode Cause = "no_node"
)

// refusal is an error with its cause.
type refusal struct {
	error
	cause Cause
}

// Unwrap is for errors.Is.
func (r *refusal) Unwrap() error { return r.error }

// Refuse makes an error that says that somebody is refused, for a cause. Format and args are those of fmt.Errorf; they
// should wrap ErrToken, ErrDenied or ErrRequest. The text may be told to the client.
func Refuse(cause Cause, format string, args ...any) error {
	return &refusal{error: fmt.Errorf(format, args...), cause: cause}
}

// CauseOf is the cause for which an error refuses somebody; empty if it refuses nobody, but says what went wrong.
func CauseOf(err error) Cause {
	var r *refusal
	if errors.As(err, &r) {
		return r.cause
	}
	if errors.Is(err, ErrRequest) {
		return CauseRequest
	}
	return ""
}
