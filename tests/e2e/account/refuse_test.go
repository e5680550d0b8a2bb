// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package account_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/tests/rig/kube"
)

// claims is what a token of the agent's pod says, as the API server writes it, but for what a test changes.
func (c *cluster) claims(t *testing.T, pod *corev1.Pod, change func(map[string]any)) map[string]any {
	t.Helper()
	account, err := c.admin.CoreV1().ServiceAccounts(namespace).Get(t.Context(), agentAccount, metav1.GetOptions{})
	check(t, err)
	now := time.Now()
	all := map[string]any{
		"iss": kube.Issuer, "aud": []string{audience}, "sub": "system:serviceaccount:" + namespace + ":" + agentAccount,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "d9a6ef5c-0000-4000-8000-000000000001",
		"kubernetes.io": map[string]any{
			"namespace": namespace, "node": map[string]string{"name": pod.Spec.NodeName},
			"pod": map[string]string{"name": pod.Name, "uid": string(pod.UID)}, "serviceaccount": map[string]string{"name": agentAccount, "uid": string(account.UID)},
		},
	}
	change(all)
	return all
}

// refusal is a token that must get nobody a certificate.
type refusal struct {
	name, token, node string
	code              codes.Code
	cause             authority.Cause
	says              string
}

// refusals makes every kind of token that is refused. All but what the name says is right with each.
func refusals(t *testing.T, c *cluster) []refusal {
	t.Helper()
	pod := c.pod("agent-1", agentAccount, "worker-1")
	other := c.pod("other-1", otherAccount, "worker-2")
	gone := c.pod("agent-3", agentAccount, "worker-3")
	ofGone := c.token(agentAccount, audience, gone)
	none := int64(0)
	check(t, c.admin.CoreV1().Pods(namespace).Delete(t.Context(), gone.Name, metav1.DeleteOptions{GracePeriodSeconds: &none}))
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	sign := func(change func(map[string]any)) string {
		token, err := c.SignToken(c.claims(t, pod, change))
		check(t, err)
		return token
	}
	forged, err := kube.SignToken(stranger, c.claims(t, pod, func(map[string]any) {}))
	check(t, err)
	ended := func(ago time.Duration) func(map[string]any) {
		return func(c map[string]any) {
			c["iat"], c["nbf"], c["exp"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-ago).Unix()
		}
	}
	good := c.token(agentAccount, audience, pod)
	const unauthenticated, denied = codes.Unauthenticated, codes.PermissionDenied
	return []refusal{
		{"forged", forged, "worker-1", unauthenticated, authority.CauseNotVouched, "does not vouch"},
		{"changed by a byte", good[:len(good)-8] + flip(good[len(good)-8]) + good[len(good)-7:], "worker-1", unauthenticated, authority.CauseNotVouched, "does not vouch"},
		{"of another issuer", sign(func(c map[string]any) { c["iss"] = "https://elsewhere" }), "worker-1", unauthenticated, authority.CauseNotVouched, "does not vouch"},
		{"expired an hour ago", sign(ended(time.Hour)), "worker-1", unauthenticated, authority.CauseExpired, "expired at"},
		{"expired by the API server's clock alone", sign(ended(2 * time.Minute)), "worker-1", unauthenticated, authority.CauseNotVouched, "expired"},
		{"of the API server's own audience", c.token(agentAccount, "", pod), "worker-1", unauthenticated, authority.CauseAudience, audience},
		{"of another audience", c.token(agentAccount, "vault", pod), "worker-1", unauthenticated, authority.CauseAudience, audience},
		{"of another ServiceAccount", c.token(otherAccount, audience, other), "worker-2", denied, authority.CauseAccount, otherAccount},
		{"for another node", good, "worker-2", denied, authority.CauseOtherNode, `"worker-1"`},
		{"for a node that is none", good, "worker-9", denied, authority.CauseOtherNode, `"worker-1"`},
		{"of a pod that was deleted", ofGone, "worker-3", unauthenticated, authority.CauseNotVouched, "does not vouch"},
		{"of no pod", c.token(agentAccount, audience, nil), "worker-1", denied, authority.CauseNoPod, "bound to no pod"},
		{"of an API server that names no node", sign(func(c map[string]any) {
			delete(c["kubernetes.io"].(map[string]any), "node")
		}), "worker-1", denied, authority.CauseNoNode, "ServiceAccountTokenPodNodeInfo"},
		{"no token", "hello", "worker-1", unauthenticated, authority.CauseMalformed, "no ServiceAccount token"},
	}
}

// flip is another character of base64.
func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// TestRefused presents every kind of token that gets nobody a certificate: refused, logged, counted and reported. The right
// token is taken before and after.
func TestRefused(t *testing.T) {
	cluster := startCluster(t)
	c := startCollector(cluster, collectorUser)
	counts := map[authority.Cause]int{}
	for _, test := range refusals(t, cluster) {
		t.Run(test.name, func(t *testing.T) {
			issued, host, err := c.enrol(t, test.token, test.node)
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("issued %v, %v; expected %s that says %q", issued, err, test.code, test.says)
			}
			counts[test.cause]++
			series := fmt.Sprintf(`holdfast_collector_refused_total{cause=%q,credential="service_account"}`, test.cause)
			if got := c.metric(t, series); got != float64(counts[test.cause]) {
				t.Errorf("%s is %g, expected %d", series, got, counts[test.cause])
			}
			r := c.reported(t, test.node, host, string(test.cause))
			if r.Credential != "service_account" || r.Count != 1 || !strings.Contains(r.Reason, test.says) {
				t.Errorf("reported as %+v", r)
			}
			if log := c.Log.String(); !strings.Contains(log, host) || !strings.Contains(log, string(test.cause)) {
				t.Error("the log does not tell of it")
			}
			if parts := strings.Split(test.token, "."); len(parts) == 3 && strings.Contains(c.Log.String(), parts[2]) {
				t.Error("the log has the token")
			}
		})
	}
	// What was signed here is as good as the API server's own tokens, but for what was wrong with it.
	pod, err := cluster.admin.CoreV1().Pods(namespace).Get(t.Context(), "agent-1", metav1.GetOptions{})
	check(t, err)
	signed, err := cluster.SignToken(cluster.claims(t, pod, func(map[string]any) {}))
	check(t, err)
	for _, token := range []string{signed, cluster.token(agentAccount, audience, pod)} {
		issued, _, err := c.enrol(t, token, "worker-1")
		check(t, err)
		if node := nodeOf(t, issued); node != "spiffe://holdfast/node/worker-1" {
			t.Errorf("the certificate is of %s", node)
		}
	}
}

// TestNotAllowedToAsk runs a collector whose own account may not review tokens: that is no refusal of the node, and the log
// says what is missing.
func TestNotAllowedToAsk(t *testing.T) {
	cluster := startCluster(t)
	c := startCollector(cluster, "system:serviceaccount:"+namespace+":nobody")
	token := cluster.token(agentAccount, audience, cluster.pod("agent-1", agentAccount, "worker-1"))
	_, host, err := c.enrol(t, token, "worker-1")
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "see its log") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(c.Log.String(), "create tokenreviews.authentication.k8s.io") {
		t.Error("the log does not say what is missing")
	}
	c.reported(t, "worker-1", host, "unavailable")
}

// TestRevoked revokes a node: its token does not help before an administrator allows the node, nor does a token from before.
func TestRevoked(t *testing.T) {
	cluster := startCluster(t)
	c := startCollector(cluster, collectorUser)
	pod := cluster.pod("agent-1", agentAccount, "worker-1")
	refused := func(token, says string) {
		t.Helper()
		_, host, err := c.enrol(t, token, "worker-1")
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), says) {
			t.Fatalf("%v, expected one that says %q", err, says)
		}
		c.reported(t, "worker-1", host, string(authority.CauseNodeRevoked))
	}
	before := cluster.token(agentAccount, audience, pod)
	check(t, c.Authority().Revoke(t.Context(), "worker-1"))
	refused(before, "node allow worker-1")
	// Tokens name the second in which they were made.
	time.Sleep(time.Second)
	after := cluster.token(agentAccount, audience, pod)
	refused(after, "node allow worker-1")
	check(t, c.Authority().Allow(t.Context(), "worker-1"))
	refused(before, "made before that")
	_, _, err := c.enrol(t, after, "worker-1")
	check(t, err)
	time.Sleep(time.Second)
	check(t, c.Authority().Revoke(t.Context(), "worker-1"))
	refused(after, "node allow worker-1")
}
