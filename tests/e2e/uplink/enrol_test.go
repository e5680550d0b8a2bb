// SPDX-License-Identifier: Apache-2.0

package uplink_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/uplink"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestRefusedEnrolment checks that a node that was never enrolled gives up, with an error that says why, and that the
// collector tells of it too.
func TestRefusedEnrolment(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	other := startCollector(t, t.TempDir(), "", 0)
	spent := c.token(t, authority.Grant{})
	startAgent(t, t.TempDir(), "first", c.address, spent).connected(t)
	revoked := c.token(t, authority.Grant{})
	if err := c.store.RevokeToken(t.Context(), tokenID(t, revoked), time.Now()); err != nil {
		t.Fatal(err)
	}
	expired := c.token(t, authority.Grant{TTL: time.Nanosecond})
	guessed := c.token(t, authority.Grant{})
	replaceInFile(t, guessed, tokenID(t, guessed)+"_", tokenID(t, guessed)+"_x")

	for _, test := range []struct {
		name, token string
		want        error
		says, heard string
	}{
		{"token of another collector", other.token(t, authority.Grant{}), uplink.ErrAuthority, "fingerprint", "bad certificate"},
		{"spent token", spent, uplink.ErrToken, "no uses left", "no uses left"},
		{"revoked token", revoked, uplink.ErrToken, "was revoked", "was revoked"},
		{"expired token", expired, uplink.ErrToken, "expired at", "expired at"},
		{"guessed secret", guessed, uplink.ErrToken, "no such token", "no such token"},
		{"token of another node", c.token(t, authority.Grant{Node: "somebody"}), uplink.ErrDenied, "another node", "another node"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			a := startAgent(t, dir, node, c.address, test.token)
			var err error
			select {
			case err = <-a.ended:
			case <-time.After(patience):
				t.Fatalf("the agent goes on: %+v", a.Stats())
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Run returned %q, expected %q that says %q", err, test.want, test.says)
			}
			wait.Until(t, patience, func() error {
				if !strings.Contains(c.log.String(), test.heard) {
					return fmt.Errorf("the collector's log does not say %q:\n%s", test.heard, c.log)
				}
				return nil
			})
			if _, err := os.Stat(filepath.Join(dir, "identity")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a refused node keeps an identity: %v", err)
			}
			text, readErr := os.ReadFile(test.token)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if secret := strings.Split(string(text), "_")[2]; strings.Contains(fmt.Sprint(err, a.log, c.log), secret) {
				t.Error("the token's secret was logged")
			}
		})
	}
}

func tokenID(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "_")[1]
}

func replaceInFile(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The new text is as long as the old one.
	changed := strings.Replace(string(text), old, new, 1)
	changed = changed[:len(text)-70] + changed[len(changed)-70:]
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestForgedNode takes the identity of one node for another.
func TestForgedNode(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	dir := t.TempDir()
	a := startAgent(t, dir, node, c.address, c.token(t, authority.Grant{}))
	a.connected(t)
	a.stop()
	_, err := newAgent(t, dir, "node-2", c.address, "")
	if !errors.Is(err, uplink.ErrToken) || !strings.Contains(err.Error(), `is of node "node-1"`) {
		t.Errorf("the identity of another node: %v", err)
	}
}

// TestIdentityIsKept restarts an agent that has no token any more, and checks the file.
func TestIdentityIsKept(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	dir := t.TempDir()
	a := startAgent(t, dir, node, c.address, c.token(t, authority.Grant{}))
	a.connected(t)
	a.stop()
	startAgent(t, dir, node, c.address, "").connected(t)
	for path, want := range map[string]os.FileMode{"identity": 0o700, "identity/node.pem": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("mode of %s is %#o, expected %#o", path, info.Mode().Perm(), want)
		}
	}
	if n := strings.Count(c.log.String(), "node enrolled"); n != 1 {
		t.Errorf("the node enrolled %d times", n)
	}
}

// TestRevoked revokes a node that is connected, and takes it in again with a token of its own.
func TestRevoked(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	token := c.token(t, authority.Grant{Uses: 10})
	a := startAgent(t, t.TempDir(), node, c.address, token)
	a.connected(t)
	if err := c.fleet.Revoke(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	wait.Until(t, 15*time.Second, func() error {
		if s := a.Stats(); s.Connected || !errors.Is(s.LastError, uplink.ErrDenied) || !strings.Contains(s.LastError.Error(), "revoked") {
			return fmt.Errorf("stats: %+v", s)
		}
		return nil
	})
	select {
	case err := <-a.ended:
		t.Fatalf("a node that was enrolled gave up: %v", err)
	default:
	}
	a.alert(t, 0)
	// Certificates are told apart from the revocation by the second.
	wait.True(t, patience, "the second of the revocation is over", func() bool { return time.Now().Unix() > revoked.Unix() })
	text, err := os.ReadFile(c.token(t, authority.Grant{Node: node}))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(token, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// The agent asks again about once a minute; one that is started anew asks at once.
	dir := a.dir
	a.stop()
	a = startAgent(t, dir, node, c.address, token)
	a.connected(t)
	a.delivered(t)
	exactlyOnce(t, c.store, 1)
}

// TestExpired lets the certificate end while the agent is away. The certificate's time is cut to the second, and must
// outlast a stall of a busy machine between enrolment and connection.
func TestExpired(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 8*time.Second)
	dir := t.TempDir()
	a := startAgent(t, dir, node, c.address, c.token(t, authority.Grant{}))
	a.connected(t)
	a.stop()
	expires := a.Stats().Expires
	wait.Until(t, 20*time.Second, func() error {
		if time.Now().Before(expires) {
			return fmt.Errorf("the certificate is good until %s", expires)
		}
		return nil
	})

	without := startAgent(t, dir, node, c.address, "")
	wait.Until(t, 10*time.Second, func() error {
		err := without.Stats().LastError
		if !errors.Is(err, uplink.ErrCertificate) || !strings.Contains(err.Error(), "expired at") || !strings.Contains(err.Error(), "--join-token-file") {
			return fmt.Errorf("without a token: %v", err)
		}
		return nil
	})
	without.stop()
	if err := <-without.ended; err != nil {
		t.Errorf("a node that was enrolled gave up: %v", err)
	}

	with := startAgent(t, dir, node, c.address, c.token(t, authority.Grant{}))
	with.connected(t)
}

// TestNewAuthority puts another collector at the address. The node knows it by a token alone.
func TestNewAuthority(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	dir := t.TempDir()
	a := startAgent(t, dir, node, c.address, c.token(t, authority.Grant{}))
	a.connected(t)
	c.stop()
	a.alert(t, 0)
	next := startCollector(t, t.TempDir(), c.address, 0)
	wait.Until(t, 15*time.Second, func() error {
		if err := a.Stats().LastError; !errors.Is(err, uplink.ErrAuthority) {
			return fmt.Errorf("last error: %v", err)
		}
		return nil
	})
	a.stop()
	a = startAgent(t, dir, node, c.address, next.token(t, authority.Grant{}))
	a.connected(t)
	a.delivered(t)
	exactlyOnce(t, next.store, 1)
}

// TestRenewal renews a certificate several times while alerts flow. Nothing is sent twice or lost, and nothing fails.
func TestRenewal(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 6*time.Second)
	dir := t.TempDir()
	a := startAgent(t, dir, node, c.address, c.token(t, authority.Grant{}))
	a.connected(t)
	sent := 0
	wait.Until(t, 30*time.Second, func() error {
		a.alert(t, sent)
		sent++
		if s := a.Stats(); s.Renewals < 2 || s.Streams < 3 {
			return fmt.Errorf("%d renewals, %d streams: %v", s.Renewals, s.Streams, s.LastError)
		}
		return nil
	})
	a.delivered(t)
	exactlyOnce(t, c.store, sent)
	s := a.Stats()
	if s.Failures != 0 || s.Alerts.Sent != uint64(sent) {
		t.Errorf("%d failures; %d alerts were sent for %d: %+v", s.Failures, s.Alerts.Sent, sent, s.LastError)
	}
	if until := time.Until(s.Expires); until <= 0 {
		t.Errorf("the certificate ended %s ago", -until)
	}
	t.Logf("%d alerts over %d renewals, each sent once", sent, s.Renewals)
}
