// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// mounted are the files that a pod has to enrol with.
type mounted struct {
	t         *testing.T
	token, ca string
}

func mount(t *testing.T) mounted {
	dir := t.TempDir()
	return mounted{t: t, token: filepath.Join(dir, "token"), ca: filepath.Join(dir, "ca.pem")}
}

func (m mounted) config(c *Config) { c.ServiceAccountTokenFile, c.CollectorCAFile = m.token, m.ca }

func (m mounted) write(path, text string) {
	m.t.Helper()
	// As the kubelet does it: a reader sees the old file or the new one.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

// text is a certificate, PEM.
func text(certificates ...*x509.Certificate) string {
	var all bytes.Buffer
	for _, c := range certificates {
		all.Write(pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: c.Raw}))
	}
	return all.String()
}

// issue answers an enrolment as a collector of the authority does.
func (c *ca) issue(r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
	csr, err := x509.ParseCertificateRequest(r.GetCsr())
	if err != nil {
		return nil, err
	}
	der, err := c.signPublic(csr.PublicKey, forNode(r.GetNode()))
	return &apiv1.Certificate{Chain: [][]byte{der, c.cert.Raw}, Roots: [][]byte{c.cert.Raw}}, err
}

// TestAccountFilesComeLate starts a node whose files are not mounted yet, and then gives it one after the other: it waits
// for each, says so, and enrols with what the file holds at the time.
func TestAccountFilesComeLate(t *testing.T) {
	authority := newCA(t)
	p := &peer{
		enrol: func(r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			if r.GetJoinToken() != "" || r.GetServiceAccountToken() != "h.second.s" {
				return nil, status.Error(codes.Unauthenticated, "token "+r.GetServiceAccountToken())
			}
			return authority.issue(r)
		},
		connect: func(s apiv1.Uplink_ConnectServer) error {
			if _, err := accept(s, 10); err != nil {
				return err
			}
			<-s.Context().Done()
			return nil
		},
	}
	servePeer(t, p, authority.server())
	m := mount(t)
	r := newRig(t, p.address, nil, m.config)
	r.run()
	r.fails(fs.ErrNotExist, "wait for the certificate of the collector's authority")
	m.write(m.ca, text(newCA(t).cert, authority.cert))
	r.fails(fs.ErrNotExist, "wait for the ServiceAccount token")
	m.write(m.token, "h.first.s\n")
	r.fails(ErrAccount, "token h.first.s")
	m.write(m.token, "h.second.s\n")
	wait.Until(t, patience, func() error {
		if s := r.Stats(); !s.Connected || s.Expires.IsZero() {
			return fmt.Errorf("not connected: %v", s.LastError)
		}
		return nil
	})
	if log := r.log.String(); strings.Contains(log, "h.second") || !strings.Contains(log, `with="ServiceAccount token"`) {
		t.Errorf("the log has the token, or lacks what it was enrolled with:\n%s", log)
	}
}

// TestAccountTokenIsToldToNobodyElse puts servers at the address that the file's authority does not vouch for. None sees
// the token, and the node goes on asking.
func TestAccountTokenIsToldToNobodyElse(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	for name, server := range map[string]*ca{"another authority": theirs, "a node": ours} {
		t.Run(name, func(t *testing.T) {
			certificate := theirs.server()
			if server == ours {
				certificate = ours.server(forNode("node-2"))
			}
			p := &peer{enrol: func(r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
				t.Errorf("the server was told the token %s", r.GetServiceAccountToken())
				return nil, status.Error(codes.Unauthenticated, "")
			}}
			servePeer(t, p, certificate)
			m := mount(t)
			m.write(m.ca, text(ours.cert))
			m.write(m.token, "h.p.s")
			r := newRig(t, p.address, nil, m.config)
			r.run()
			r.fails(ErrAuthority, m.ca)
			goesOn(t, r)
		})
	}
}

// goesOn waits for some more attempts.
func goesOn(t *testing.T, r *rig) {
	t.Helper()
	wait.Until(t, patience, func() error {
		select {
		case err := <-r.ended:
			t.Fatalf("Run ended with %v", err)
		default:
		}
		if n := r.Stats().Failures; n < 3 {
			return fmt.Errorf("%d attempts", n)
		}
		return nil
	})
}

// TestAccountRefused lets a collector refuse a node that was never enrolled: it goes on, for what the collector minds can
// change, and keeps no identity.
func TestAccountRefused(t *testing.T) {
	authority, other := newCA(t), newCA(t)
	for _, test := range []struct {
		name  string
		enrol func(*apiv1.EnrolRequest) (*apiv1.Certificate, error)
		want  error
	}{
		{"token", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.Unauthenticated, "forged")
		}, ErrAccount},
		{"node", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.PermissionDenied, "revoked")
		}, ErrDenied},
		{"a collector that knows no ServiceAccounts", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.InvalidArgument, "no token")
		}, ErrRequest},
		{"the API server is away", func(*apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			return nil, status.Error(codes.Unavailable, "later")
		}, nil},
		{"roots that are not the file's", other.issue, errBreach},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &peer{enrol: test.enrol}
			servePeer(t, p, authority.server())
			m := mount(t)
			m.write(m.ca, text(authority.cert))
			m.write(m.token, "h.p.s")
			r := newRig(t, p.address, nil, m.config)
			r.run()
			r.fails(test.want, "")
			goesOn(t, r)
			if _, err := os.Stat(r.dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("an identity is kept: %v", err)
			}
		})
	}
}

// TestAccountOfRevokedNode revokes a node that is enrolled. It asks by its certificate and by its token in turn, and is
// taken in when the collector takes the same token.
func TestAccountOfRevokedNode(t *testing.T) {
	authority := newCA(t)
	var streams, enrolments atomic.Int64
	var allowed atomic.Bool
	p := &peer{
		enrol: func(r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
			enrolments.Add(1)
			if !allowed.Load() {
				return nil, status.Error(codes.PermissionDenied, "revoked")
			}
			return authority.issue(r)
		},
		connect: func(s apiv1.Uplink_ConnectServer) error {
			streams.Add(1)
			if !allowed.Load() {
				return status.Error(codes.PermissionDenied, "revoked")
			}
			if _, err := accept(s, 10); err != nil {
				return err
			}
			<-s.Context().Done()
			return nil
		},
	}
	servePeer(t, p, authority.server())
	m := mount(t)
	m.write(m.ca, text(authority.cert))
	m.write(m.token, "h.p.s")
	r := newRig(t, p.address, authority.node("node-1"), m.config)
	r.run()
	wait.Until(t, patience, func() error {
		if s, e := streams.Load(), enrolments.Load(); s < 3 || e < 3 {
			return fmt.Errorf("%d streams, %d enrolments", s, e)
		}
		return nil
	})
	r.fails(ErrDenied, "revoked")
	allowed.Store(true)
	wait.Until(t, patience, func() error {
		if s := r.Stats(); !s.Connected {
			return fmt.Errorf("not connected: %v", s.LastError)
		}
		return nil
	})
}

// TestAccountAfterExpiry starts a node whose certificate ran out while it was down.
func TestAccountAfterExpiry(t *testing.T) {
	authority := newCA(t)
	p := &peer{enrol: authority.issue, connect: func(s apiv1.Uplink_ConnectServer) error {
		if _, err := accept(s, 10); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}}
	servePeer(t, p, authority.server())
	m := mount(t)
	m.write(m.ca, text(authority.cert))
	m.write(m.token, "h.p.s")
	expired := authority.node("node-1", func(x *x509.Certificate) {
		x.NotBefore, x.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	r := newRig(t, p.address, expired, m.config)
	r.run()
	wait.Until(t, patience, func() error {
		if s := r.Stats(); !s.Connected || !s.Expires.After(time.Now()) {
			return fmt.Errorf("not connected: %v", s.LastError)
		}
		return nil
	})
}

func TestAccountFiles(t *testing.T) {
	authority := newCA(t)
	good := text(authority.cert)
	key := string(pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: []byte("x")}))
	leaf := authority.node("node-1").leaf
	for _, test := range []struct{ name, ca, token, says string }{
		{"good", good, "h.p.s", ""},
		{"no certificate", "none\n", "h.p.s", "no PEM certificate"},
		{"a key", key + good, "h.p.s", "PRIVATE KEY"},
		{"a damaged certificate", strings.Replace(good, good[40:80], strings.Repeat("A", 40), 1), "h.p.s", "certificate"},
		{"a node's certificate", text(leaf), "h.p.s", "certificate 1 is no authority's"},
		{"too many", strings.Repeat(good, maxChain+1), "h.p.s", "more than"},
		{"a long file", strings.Repeat("x", maxAuthorities+1), "h.p.s", "larger than"},
		{"no token", good, "\n", "holds no token"},
		{"a token in two lines", good, "h.p.s\nsecret", "holds no token"},
		{"a long token", good, strings.Repeat("x", maxAccountToken+1), "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := mount(t)
			m.write(m.ca, test.ca)
			m.write(m.token, test.token)
			c, err := accountCredential(m.token, m.ca)
			if test.says == "" {
				if err != nil || c.text != "h.p.s" || c.once || !c.among([]*x509.Certificate{authority.cert}) || c.among([]*x509.Certificate{leaf}) {
					t.Errorf("%+v %v", c, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "secret") || refused(err) {
				t.Errorf("%v, expected one that says %q", err, test.says)
			}
		})
	}
}
