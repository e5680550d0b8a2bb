// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/tests/cluster/lab"
	"github.com/holdfast-project/holdfast/tests/rig/kube"
)

// What the chart calls the agent's account, and the audience of its tokens.
const (
	agentAccount = "holdfast-agent"
	audience     = "holdfast-collector"
)

// refusal is a token that must get nobody a certificate.
type refusal struct {
	name, token, node string
	code              codes.Code
	cause             authority.Cause
}

// testEnrolment presents tokens that are not good to the collector of the
// chart, which asks the API server of the cluster about them: each is refused,
// logged and reported. Then the node is revoked, and its agent is out until it
// is allowed.
func testEnrolment(t *testing.T, h *holdfast) {
	pod, err := h.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := h.makeToken(t, agentAccount, audience, pod)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := kube.SignToken(stranger, claimsOf(t, good))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []refusal{
		{"forged", forged, lab.NodeName, codes.Unauthenticated, authority.CauseNotVouched},
		{"of another audience", h.makeToken(t, agentAccount, "vault", pod), lab.NodeName, codes.Unauthenticated, authority.CauseAudience},
		{"of the API server's audience", h.makeToken(t, agentAccount, "", pod), lab.NodeName, codes.Unauthenticated, authority.CauseAudience},
		{"for another node", good, "node-2", codes.PermissionDenied, authority.CauseOtherNode},
		{"of another account", h.makeToken(t, "holdfast-collector", audience, h.collector(t)), lab.NodeName, codes.PermissionDenied, authority.CauseAccount},
		{"of no pod", h.makeToken(t, agentAccount, audience, nil), lab.NodeName, codes.PermissionDenied, authority.CauseNoPod},
	} {
		h.checkRefused(t, r)
	}
	if _, err := h.enrol(t, good, lab.NodeName); err != nil {
		t.Errorf("the token that is good: %v", err)
	}
	h.checkRevoked(t, good)
}

// checkRevoked revokes the node of the cluster: its stream ends, and neither its
// certificate nor a token lets it in before it is allowed and has a new token.
func (h *holdfast) checkRevoked(t *testing.T, good string) {
	t.Helper()
	h.node(t, "revoke")
	h.await(t, "the revoked node is out", func(ctx context.Context) error {
		n, err := h.ask.Node(ctx)
		if err == nil && (n.Connected || n.Revoked.IsZero()) {
			err = errors.New("it is connected")
		}
		return err
	})
	h.checkRefused(t, refusal{"of a revoked node", good, lab.NodeName, codes.PermissionDenied, authority.CauseNodeRevoked})
	// Its own agent goes on trying, and is told the same.
	h.await(t, "the agent of the revoked node says so", func(ctx context.Context) error {
		pod, err := h.agentPod(ctx)
		if err != nil {
			return err
		}
		log, err := h.PodLog(ctx, namespace, pod.Name, "agent")
		if err == nil && !strings.Contains(log, "revoked") {
			err = errors.New("its log does not")
		}
		return err
	})
	h.node(t, "allow")
	h.checkRefused(t, refusal{"from before the revocation", good, lab.NodeName, codes.PermissionDenied, authority.CauseNodeRevoked})
	pod, err := h.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	h.kubectl(t, "delete", "pod", "-n", namespace, pod.Name)
	h.nodeNow(t, begin)
	t.Logf("a new pod of the agent was in %s after the old one was deleted", time.Since(begin).Round(10*time.Millisecond))
}

// node has the collector revoke or allow the node, as docs/operations.md says.
func (h *holdfast) node(t *testing.T, verb string) {
	t.Helper()
	if out, err := h.Exec(t.Context(), namespace, collectorPod, "collector",
		"/holdfast-collector", "node", verb, "--data-dir", dataDir, lab.NodeName); err != nil {
		t.Fatalf("node %s: %v: %s", verb, err, out)
	}
}

// checkRefused presents a token, and looks for the refusal in the collector's
// log and in its list.
func (h *holdfast) checkRefused(t *testing.T, r refusal) {
	t.Helper()
	begin := time.Now().Add(-time.Second)
	var refused error
	// The agent of a revoked node shares the address, and how often one may fail.
	h.await(t, r.name+" is judged", func(context.Context) error {
		if _, refused = h.enrol(t, r.token, r.node); status.Code(refused) == codes.ResourceExhausted {
			return refused
		}
		return nil
	})
	if status.Code(refused) != r.code {
		t.Errorf("%s: %v; want %s", r.name, refused, r.code)
		return
	}
	h.await(t, r.name+" is reported", func(ctx context.Context) error {
		all, err := h.ask.Refusals(ctx)
		if err != nil {
			return err
		}
		for _, got := range all {
			if got.Node == r.node && got.Cause == string(r.cause) && got.Credential == "service_account" && got.Last.After(begin) {
				t.Logf("%s: %v; reported of %s: %s", r.name, refused, got.Host, got.Cause)
				return nil
			}
		}
		return fmt.Errorf("reported are %+v", all)
	})
	log, err := h.PodLog(t.Context(), namespace, collectorPod, "collector")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log, string(r.cause)) {
		t.Errorf("%s: the collector's log has nothing of %s", r.name, r.cause)
	}
	if at := strings.LastIndexByte(r.token, '.'); strings.Contains(log, r.token[at+1:]) {
		t.Errorf("%s: the collector's log has the token", r.name)
	}
}

// enrol asks the collector for a node's certificate, as an agent does.
func (h *holdfast) enrol(t *testing.T, token, node string) (*apiv1.Certificate, error) {
	t.Helper()
	text, err := os.ReadFile(h.ca)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatalf("the collector's authority: %v", err)
	}
	conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(h.collector(t).Status.PodIP, "8443"),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, ServerName: authority.ServerName, RootCAs: roots})),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return h.Node.DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return apiv1.NewEnrolmentClient(conn).Enrol(ctx, &apiv1.EnrolRequest{ServiceAccountToken: token, Node: node, Csr: csr})
}

// collector is the collector's pod.
func (h *holdfast) collector(t *testing.T) *corev1.Pod {
	t.Helper()
	pod, err := h.Client.CoreV1().Pods(namespace).Get(t.Context(), collectorPod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// makeToken has the API server make a token of an account, for an audience or
// its own, bound to a pod or to none.
func (h *holdfast) makeToken(t *testing.T, account, audience string, pod *corev1.Pod) string {
	t.Helper()
	seconds := int64(600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	answer, err := h.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

// claimsOf is what a token says.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
