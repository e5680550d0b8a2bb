// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-project/holdfast/agent/tail"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/wait"
)

func TestIdentityOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "identity")
	if _, err := loadIdentity(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no identity: %v", err)
	}
	authority := newCA(t)
	first, second := authority.node("node-1"), authority.node("node-1")
	if err := first.save(dir); err != nil {
		t.Fatal(err)
	}
	// What a crash has left behind is in nobody's way, whatever its mode.
	if err := os.WriteFile(filepath.Join(dir, identityFile+".new"), []byte("half"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := second.save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := loadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !got.leaf.Equal(second.leaf) || got.node != "node-1" || len(got.roots) != 1 || len(got.certificate.Certificate) != 2 {
		t.Errorf("read back %+v", got)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the directory holds %v: %v", names, err)
	}
}

func TestDamagedIdentity(t *testing.T) {
	authority, other := newCA(t), newCA(t)
	good, err := authority.node("node-1").encode()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.node("node-1").encode()
	if err != nil {
		t.Fatal(err)
	}
	chain := func(text []byte) string {
		return string(text)[strings.Index(string(text), "-----END PRIVATE KEY-----")+26:]
	}
	key := func(text []byte) string { return strings.TrimSuffix(string(text), chain(text)) }
	for _, test := range []struct {
		name, text string
		mode       os.FileMode
		says       string
	}{
		{"empty", "", 0o600, "no ECDSA key"},
		{"cut off", string(good[:len(good)/2]), 0o600, "at least one of each"},
		{"no roots", string(good[:strings.Index(string(good), "Use: root")-28]), 0o600, "at least one of each"},
		{"key of another", key(foreign) + chain(good), 0o600, "not for the node's key"},
		{"no key", chain(good), 0o600, "no ECDSA key"},
		{"garbage", strings.Replace(string(good), "MI", "IM", 3), 0o600, ""},
		{"readable by others", string(good), 0o640, "others have access"},
		{"too large", strings.Repeat("x", maxIdentity+1), 0o600, "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, identityFile)
			if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			_, err := loadIdentity(dir)
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, expected an error that says %q and %q", err, test.says, path)
			}
		})
	}
}

func TestIssuedIdentity(t *testing.T) {
	authority, other := newCA(t), newCA(t)
	key := newKey(t)
	issue := func(changes ...func(*x509.Certificate)) *apiv1.Certificate {
		der := authority.sign(key, func(x *x509.Certificate) {
			forNode("node-1")(x)
			for _, change := range changes {
				change(x)
			}
		})
		return &apiv1.Certificate{Chain: [][]byte{der, authority.cert.Raw}, Roots: [][]byte{authority.cert.Raw}}
	}
	good := issue()
	id, err := issuedIdentity("node-1", key, good, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(id.renew); left > 40*time.Minute || left < 35*time.Minute {
		t.Errorf("a certificate of an hour is renewed in %s", left)
	}
	for _, test := range []struct {
		name string
		cert *apiv1.Certificate
		want error
		says string
	}{
		{"nothing", &apiv1.Certificate{}, errBreach, "0 certificates"},
		{"garbage", &apiv1.Certificate{Chain: [][]byte{{1, 2}}, Roots: good.Roots}, errBreach, "certificate 1"},
		{"too many", &apiv1.Certificate{Chain: make([][]byte, maxChain+1)}, errBreach, "more than"},
		{"another node", issue(forNode("node-2")), errBreach, `"node-2"`},
		{"no node", issue(func(x *x509.Certificate) { x.URIs = nil }), errBreach, "no node"},
		{"roots of another", &apiv1.Certificate{Chain: good.Chain, Roots: [][]byte{other.cert.Raw}}, errBreach, "verify"},
		{"not for clients", issue(func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), errBreach, "key usage"},
		{"not good yet", issue(func(x *x509.Certificate) { x.NotBefore = time.Now().Add(time.Minute) }), ErrClock, "good from"},
		{"not good any more", issue(func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Second) }), ErrClock, "good from"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := issuedIdentity("node-1", key, test.cert, time.Now()); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, expected %v that says %q", err, test.want, test.says)
			}
		})
	}
	if _, err := issuedIdentity("node-1", newKey(t), good, time.Now()); !errors.Is(err, errBreach) {
		t.Errorf("certificate of another key: %v", err)
	}
}

func TestToken(t *testing.T) {
	pin := strings.Repeat("0a", 32)
	for text, says := range map[string]string{
		"hfj_id_secret_" + pin:                 "",
		"\n hfj_id_secret_" + pin + " \r\n":    "",
		"":                                     "empty",
		"hfa_id_secret":                        "API token",
		"hfj_id_secret":                        "four parts",
		"hfj__secret_" + pin:                   "four parts",
		"hfj_id__" + pin:                       "four parts",
		"hfj_id_secret_" + pin + "_x":          "four parts",
		"hfj_id_secret_" + pin[1:]:             "cut off",
		"hfj_id_secret_" + pin + "00":          "cut off",
		"hfj_id_secret_" + pin[2:] + "zz":      "cut off",
		"something":                            "no join token",
		strings.Repeat("hfj_", 3000):           "four parts",
		"hfj_id_secret_" + pin + "\nhfj_x_y_z": "four parts",
	} {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := readToken(path)
		switch {
		case says == "" && (err != nil || token.pin[31] != 10):
			t.Errorf("%q: %v", text, err)
		case says != "" && (!errors.Is(err, ErrToken) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path)):
			t.Errorf("%q: %v, expected an error that says %q", text, err, says)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the error tells the secret: %v", text, err)
		}
	}
	if _, err := readToken(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrToken) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestNotEnrolled checks what New says when the node has neither an identity nor a token.
func TestNotEnrolled(t *testing.T) {
	dir := t.TempDir()
	alerts, records := openSpool(t, dir, "alerts"), openSpool(t, dir, "records")
	base := Config{
		Address: "127.0.0.1:1", Node: "node-1", DataDir: dir, Alerts: alerts, Records: records,
		Hello: func() *apiv1.Hello { return nil }, Health: func() *apiv1.Health { return nil },
		OnRecordPolicy: func(*apiv1.RecordPolicy) {}, Tails: tail.New(),
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   error
		says   string
	}{
		{"no token", func(*Config) {}, ErrToken, "not enrolled"},
		{"no file", func(c *Config) { c.JoinTokenFile = filepath.Join(dir, "none") }, ErrToken, "no such file"},
		{"address", func(c *Config) { c.Address = "nowhere" }, nil, `"nowhere"`},
		{"node", func(c *Config) { c.Node = "a b" }, nil, `"a b"`},
		{"no node", func(c *Config) { c.Node = "" }, nil, "node name"},
		{"two tokens", func(c *Config) { c.JoinTokenFile, c.ServiceAccountTokenFile, c.CollectorCAFile = "a", "b", "c" }, nil, "one of them"},
		{"no authority", func(c *Config) { c.ServiceAccountTokenFile = "b" }, nil, "both or none"},
		{"no spool", func(c *Config) { c.Alerts = nil }, nil, "Alerts"},
		{"no hello", func(c *Config) { c.Hello = nil }, nil, "Hello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := base
			test.change(&cfg)
			if _, err := New(cfg); err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, expected %v that says %q", err, test.want, test.says)
			}
		})
	}
}

// TestEnrolmentThatGoesWrong lets a collector with the right authority answer an enrolment in ways that it must not, or
// cannot help. A node that was never enrolled gives up only when it was told no.
func TestEnrolmentThatGoesWrong(t *testing.T) {
	authority, other := newCA(t), newCA(t)
	for _, test := range []struct {
		name  string
		enrol func(*apiv1.EnrolRequest) (*apiv1.Certificate, error)
		want  error
		final bool
	}{
		{"token refused", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.Unauthenticated, "spent")
		}, ErrToken, true},
		{"denied", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.PermissionDenied, "revoked")
		}, ErrDenied, true},
		{"malformed", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.InvalidArgument, "csr")
		}, ErrRequest, true},
		{"too often", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.ResourceExhausted, "wait")
		}, nil, false},
		{"not now", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.Unavailable, "starting")
		}, nil, false},
		{"empty answer", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) { return &apiv1.Certificate{}, nil }, errBreach, false},
		{"roots that are not the token's", func(r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			csr, err := x509.ParseCertificateRequest(r.GetCsr())
			if err != nil {
				return nil, err
			}
			der, err := other.signPublic(csr.PublicKey, forNode(r.GetNode()))
			return &apiv1.Certificate{Chain: [][]byte{der}, Roots: [][]byte{other.cert.Raw}}, err
		}, errBreach, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &peer{enrol: test.enrol}
			servePeer(t, p, authority.server())
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte("hfj_id_secret_"+authority.pin()), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, p.address, nil, func(c *Config) { c.JoinTokenFile = token })
			r.run()
			if test.final {
				if err := <-r.ended; !errors.Is(err, test.want) {
					t.Errorf("Run returned %v, expected %v", err, test.want)
				}
			} else {
				r.fails(test.want, "")
				wait.Until(t, patience, func() error {
					if n := r.Stats().Failures; n < 3 {
						return fmt.Errorf("%d attempts", n)
					}
					return nil
				})
			}
			if _, err := os.Stat(r.dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("an identity is kept: %v", err)
			}
		})
	}
}

// TestTokenIsToldToNobodyElse puts a server of another authority at the address. It must not see the token.
func TestTokenIsToldToNobodyElse(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	leaf := theirs.server()
	for name, certificate := range map[string]tls.Certificate{
		"another authority": leaf,
		// It shows the authority that the token names, but is not certified by it.
		"the authority's certificate as an ornament": {Certificate: [][]byte{leaf.Certificate[0], ours.cert.Raw}, PrivateKey: leaf.PrivateKey},
		"a node":                         ours.server(forNode("node-2")),
		"another name of that authority": ours.server(func(x *x509.Certificate) { x.DNSNames = []string{"localhost"} }),
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{enrol: func(r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
				t.Errorf("the server was told the token %s", r.GetJoinToken())
				return nil, status.Error(codes.Unauthenticated, "")
			}}
			servePeer(t, p, certificate)
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte("hfj_id_secret_"+ours.pin()), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, p.address, nil, func(c *Config) { c.JoinTokenFile = token })
			r.run()
			if err := <-r.ended; !errors.Is(err, ErrAuthority) {
				t.Errorf("Run returned %v", err)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{first: time.Second, last: 10 * time.Second, slow: time.Minute}
	for _, most := range []time.Duration{1, 2, 4, 8, 10, 10} {
		most *= time.Second
		if got := b.next(false); got > most || got < most/2 {
			t.Errorf("pause of %s, expected %s to %s", got, most/2, most)
		}
	}
	if got := b.next(true); got < 30*time.Second || got > time.Minute {
		t.Errorf("pause of %s after a refusal", got)
	}
	b.reset()
	if got := b.next(false); got > time.Second {
		t.Errorf("pause of %s after a reset", got)
	}
}
