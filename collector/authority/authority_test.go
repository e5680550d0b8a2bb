// SPDX-License-Identifier: Apache-2.0

package authority_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, dir string, c *clock) *authority.Authority {
	t.Helper()
	s, err := sqlite.OpenState(t.Context(), dir)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	cfg := authority.Config{Dir: dir, Store: s, Names: []string{"collector.example", "192.0.2.7"}}
	if c != nil {
		cfg.Now = c.time
	}
	a, err := authority.Open(cfg)
	check(t, err)
	return a
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	all := make(chan []byte)
	for range 4 {
		go func() { all <- open(t, dir, nil).PEM() }()
	}
	first := <-all
	for range 3 {
		if again := <-all; !bytes.Equal(first, again) {
			t.Fatal("processes that begin at once have different authorities")
		}
	}
	key, cert := filepath.Join(dir, "ca.key"), filepath.Join(dir, "ca.pem")
	info, err := os.Stat(key)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v", info.Mode())
	}
	// The certificate can be made again, of the same key.
	pin := pinOf(t, open(t, dir, nil))
	check(t, os.Remove(cert))
	if got := pinOf(t, open(t, dir, nil)); got != pin {
		t.Error("the pin changes with the certificate")
	}
	for _, test := range []struct {
		name, text string
		spoil      func() error
	}{
		{"readable key", "chmod 600", func() error { return os.Chmod(key, 0o640) }},
		{"torn key", "holds no PEM", func() error { return errors.Join(os.Chmod(key, 0o600), os.WriteFile(key, []byte("x"), 0o600)) }},
		{"missing key", "its key", func() error { return os.Remove(key) }},
	} {
		check(t, test.spoil())
		_, err := authority.Open(authority.Config{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q and the path", test.name, err, test.text)
		}
	}
}

func pinOf(t *testing.T, a *authority.Authority) string {
	t.Helper()
	text, _, err := a.CreateToken(t.Context(), authority.Grant{Role: store.RoleJoin, Uses: 1})
	check(t, err)
	parts := strings.Split(text, "_")
	if len(parts) != 4 || parts[0] != "hfj" || len(parts[1]) != 16 || len(parts[2]) != 52 || len(parts[3]) != 64 {
		t.Fatalf("token %q has not the documented form", text)
	}
	return parts[3]
}

func TestNodeCertificate(t *testing.T) {
	c := &clock{now: time.Now()}
	a := open(t, t.TempDir(), c)
	text, _, err := a.CreateToken(t.Context(), authority.Grant{Role: store.RoleJoin, Uses: 1})
	check(t, err)
	_, csr, err := collectortest.Request("node-1.example")
	check(t, err)
	issued, err := a.Enrol(t.Context(), text, "node-1.example", csr)
	check(t, err)
	cert, err := x509.ParseCertificate(issued.Chain[0])
	check(t, err)
	_, err = cert.Verify(x509.VerifyOptions{Roots: a.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	check(t, err)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: a.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a node can pass for a collector")
	}
	if cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://holdfast/node/node-1.example" {
		t.Errorf("certificate of %v", cert.URIs)
	}
	if life := cert.NotAfter.Sub(c.now); life > 24*time.Hour || life < 23*time.Hour {
		t.Errorf("the certificate is good for %v", life)
	}
	node, err := a.Node(t.Context(), cert)
	check(t, err)
	if node != "node-1.example" {
		t.Errorf("the certificate is of %q", node)
	}
}

func TestRequests(t *testing.T) {
	a := open(t, t.TempDir(), nil)
	_, good, err := collectortest.Request("n")
	check(t, err)
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	other, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "n"}}, weak)
	check(t, err)
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	for name, test := range map[string]struct {
		node string
		csr  []byte
	}{
		"no request": {"n", nil}, "noise": {"n", []byte("noise")}, "too long": {"n", make([]byte, 20<<10)},
		"broken signature": {"n", forged}, "RSA": {"n", other}, "another name": {"m", good}, "no name": {"", good},
		"long name": {strings.Repeat("n", 254), good}, "path": {"../n", good}, "line": {"n\n", good}, "colon": {"n:1", good},
	} {
		if _, err := a.Renew(test.node, test.csr); !errors.Is(err, authority.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerCertificateRotates(t *testing.T) {
	c := &clock{now: time.Now()}
	a := open(t, t.TempDir(), c)
	serial := func() string {
		t.Helper()
		got, err := a.ServerTLS().GetCertificate(nil)
		check(t, err)
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		check(t, err)
		for _, name := range []string{authority.ServerName, "localhost", "127.0.0.1", "collector.example", "192.0.2.7"} {
			check(t, leaf.VerifyHostname(name))
		}
		if !c.time().Before(leaf.NotAfter) {
			t.Error("the certificate has expired")
		}
		return leaf.SerialNumber.String()
	}
	first := serial()
	c.advance(15 * time.Hour)
	if serial() != first {
		t.Error("the certificate is made anew before two thirds of its time")
	}
	c.advance(2 * time.Hour)
	if serial() == first {
		t.Error("the certificate is not made anew after two thirds of its time")
	}
}

func TestAuthenticate(t *testing.T) {
	c := &clock{now: time.Now()}
	a := open(t, t.TempDir(), c)
	ctx := t.Context()
	make := func(g authority.Grant) string {
		t.Helper()
		text, _, err := a.CreateToken(ctx, g)
		check(t, err)
		return text
	}
	admin := make(authority.Grant{Role: store.RoleAdmin, Note: "ops"})
	who, err := a.Authenticate(ctx, admin)
	check(t, err)
	if who.Role != store.RoleAdmin || who.Note != "ops" || !strings.Contains(admin, who.ID) {
		t.Errorf("the token is of %+v", who)
	}
	short := make(authority.Grant{Role: store.RoleViewer, TTL: time.Hour})
	c.advance(2 * time.Hour)
	join := make(authority.Grant{Role: store.RoleJoin, Uses: 1})
	parts := strings.Split(join, "_")
	for name, text := range map[string]string{
		"empty": "", "noise": "x", "expired": short, "join token": join, "cut": admin[:len(admin)-1], "longer": admin + "a",
		"join token in disguise": "hfa_" + parts[1] + "_" + parts[2], "another id": strings.Replace(admin, who.ID, "aaaaaaaaaaaaaaaa", 1),
		"quote": "hfa_' OR 1=1 --_x", "huge": strings.Repeat("hfa_", 1<<16),
	} {
		if _, err := a.Authenticate(ctx, text); !errors.Is(err, authority.ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, g := range map[string]authority.Grant{
		"role": {Role: "root"}, "no uses": {Role: store.RoleJoin}, "node of an admin": {Role: store.RoleAdmin, Node: "n"},
		"negative": {Role: store.RoleAdmin, TTL: -1}, "node name": {Role: store.RoleJoin, Uses: 1, Node: "a b"},
		"note": {Role: store.RoleAdmin, Note: strings.Repeat("x", 201)},
	} {
		if _, _, err := a.CreateToken(ctx, g); !errors.Is(err, authority.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
