// SPDX-License-Identifier: Apache-2.0

package authority_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
)

// vouching vouches for what a test says, whatever the token.
type vouching struct {
	authority.Attestation
	err error
}

func (v *vouching) Attest(context.Context, string) (authority.Attestation, error) {
	return v.Attestation, v.err
}

func TestEnrolAccount(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.OpenState(t.Context(), dir)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	c := &clock{now: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)}
	kubelet := &vouching{Attestation: authority.Attestation{Node: "worker-1", Pod: "holdfast-system/agent-x", Issued: c.now}}
	a, err := authority.Open(authority.Config{Dir: dir, Store: s, Attester: kubelet, Now: c.time})
	check(t, err)
	enrol := func(node string) (authority.Issued, error) {
		_, csr, err := collectortest.Request(node)
		check(t, err)
		return a.EnrolAccount(t.Context(), "token", node, csr)
	}
	refused := func(node string, cause authority.Cause, kind error, text string) {
		t.Helper()
		_, err := enrol(node)
		if authority.CauseOf(err) != cause || !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, cause %q, want %q and %q", err, authority.CauseOf(err), cause, text)
		}
	}

	issued, err := enrol("worker-1")
	check(t, err)
	cert, err := x509.ParseCertificate(issued.Chain[0])
	check(t, err)
	if node, err := a.Node(t.Context(), cert); err != nil || node != "worker-1" {
		t.Errorf("the certificate is of %q: %v", node, err)
	}
	refused("worker-2", authority.CauseOtherNode, authority.ErrDenied, `"worker-1"`)
	refused("../x", authority.CauseRequest, authority.ErrRequest, "node name")
	if _, err := a.EnrolAccount(t.Context(), "token", "worker-1", []byte("x")); authority.CauseOf(err) != authority.CauseRequest {
		t.Errorf("a request that is none: %v", err)
	}
	kubelet.err = authority.ErrAway
	refused("worker-1", "", authority.ErrAway, "")
	kubelet.err = nil

	if err := a.Allow(t.Context(), "worker-1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a node that was never revoked is allowed: %v", err)
	}
	c.advance(time.Minute)
	check(t, a.Revoke(t.Context(), "worker-1"))
	kubelet.Issued = c.now.Add(time.Second)
	refused("worker-1", authority.CauseNodeRevoked, authority.ErrDenied, "node allow worker-1")
	check(t, a.Allow(t.Context(), "worker-1"))
	kubelet.Issued = c.now.Add(-time.Second)
	refused("worker-1", authority.CauseNodeRevoked, authority.ErrDenied, "made before that")
	kubelet.Issued = c.now.Add(time.Second)
	c.advance(time.Minute)
	fresh, err := enrol("worker-1")
	check(t, err)
	if _, err := a.Node(t.Context(), cert); authority.CauseOf(err) != authority.CauseNodeRevoked {
		t.Errorf("the certificate from before the revocation is good again: %v", err)
	}
	cert, err = x509.ParseCertificate(fresh.Chain[0])
	check(t, err)
	if _, err := a.Node(t.Context(), cert); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
	c.advance(time.Minute)
	check(t, a.Revoke(t.Context(), "worker-1"))
	kubelet.Issued = c.now.Add(time.Hour)
	refused("worker-1", authority.CauseNodeRevoked, authority.ErrDenied, "has not been allowed")
}

func TestNoAttester(t *testing.T) {
	a := open(t, t.TempDir(), nil)
	_, csr, err := collectortest.Request("n")
	check(t, err)
	if _, err := a.EnrolAccount(t.Context(), "token", "n", csr); authority.CauseOf(err) != authority.CauseDisabled || !errors.Is(err, authority.ErrToken) {
		t.Error(err)
	}
}
