// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/holdfast-project/holdfast/agent/spool"
	"github.com/holdfast-project/holdfast/agent/tail"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// The tests of this package are about what a collector should never do, and what lies between it and the agent: a real
// gRPC server over TLS that each test has say what it wants. The collector itself is met in tests/e2e/uplink.

// ca is a certificate authority.
type ca struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t testing.TB) *ca {
	t.Helper()
	c := &ca{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign signs a certificate of an hour after change has changed it.
func (c *ca) sign(key *ecdsa.PrivateKey, change func(*x509.Certificate)) []byte {
	c.t.Helper()
	der, err := c.signPublic(key.Public(), change)
	if err != nil {
		c.t.Fatal(err)
	}
	return der
}

func (c *ca) signPublic(key any, change func(*x509.Certificate)) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(template)
	return x509.CreateCertificate(rand.Reader, template, c.cert, key, c.key)
}

// pin is what a join token says of the authority.
func (c *ca) pin() string {
	sum := sha256.Sum256(c.cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// server signs a collector's certificate.
func (c *ca) server(changes ...func(*x509.Certificate)) tls.Certificate {
	c.t.Helper()
	key := newKey(c.t)
	der := c.sign(key, func(x *x509.Certificate) {
		x.DNSNames, x.ExtKeyUsage = []string{serverName}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, change := range changes {
			change(x)
		}
	})
	return tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key}
}

// forNode changes a template to a node's.
func forNode(node string) func(*x509.Certificate) {
	return func(x *x509.Certificate) {
		x.URIs = []*url.URL{{Scheme: "spiffe", Host: "holdfast", Path: "/node/" + node}}
		x.DNSNames, x.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
}

// node makes an identity of a node.
func (c *ca) node(node string, changes ...func(*x509.Certificate)) *identity {
	c.t.Helper()
	key := newKey(c.t)
	der := c.sign(key, func(x *x509.Certificate) {
		forNode(node)(x)
		for _, change := range changes {
			change(x)
		}
	})
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	id, err := newIdentity(key, []*x509.Certificate{leaf, c.cert}, []*x509.Certificate{c.cert})
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// peer is a gRPC server that does what a test wants. The nil functions refuse.
type peer struct {
	apiv1.UnimplementedEnrolmentServer
	apiv1.UnimplementedUplinkServer
	connect func(apiv1.Uplink_ConnectServer) error
	enrol   func(*apiv1.EnrolRequest) (*apiv1.Certificate, error)
	address string
}

func (p *peer) Connect(s apiv1.Uplink_ConnectServer) error {
	if p.connect == nil {
		return p.UnimplementedUplinkServer.Connect(s)
	}
	return p.connect(s)
}

func (p *peer) Enrol(ctx context.Context, r *apiv1.EnrolRequest) (*apiv1.Certificate, error) {
	if p.enrol == nil {
		return p.UnimplementedEnrolmentServer.Enrol(ctx, r)
	}
	return p.enrol(r)
}

// servePeer serves with a certificate until the test ends.
func servePeer(t testing.TB, p *peer, certificate tls.Certificate, options ...grpc.ServerOption) {
	t.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13}
	serveTLS(t, p, cfg, options...)
}

func serveTLS(t testing.TB, p *peer, cfg *tls.Config, options ...grpc.ServerOption) {
	t.Helper()
	listener := listenLocal(t)
	p.address = listener.Addr().String()
	server := grpc.NewServer(append([]grpc.ServerOption{grpc.Creds(credentials.NewTLS(cfg))}, options...)...)
	apiv1.RegisterEnrolmentServer(server, p)
	apiv1.RegisterUplinkServer(server, p)
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		served.Wait()
	})
}

func listenLocal(t testing.TB) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// accept answers hello with a welcome that gives both lanes credit.
func accept(s apiv1.Uplink_ConnectServer, credit uint32) (*apiv1.Hello, error) {
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	return m.GetHello(), s.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Welcome{Welcome: &apiv1.Welcome{Acks: []*apiv1.Ack{
		{Lane: apiv1.Lane_LANE_ALERTS, Credit: credit}, {Lane: apiv1.Lane_LANE_RECORDS, Credit: credit},
	}}}})
}

func acknowledge(s apiv1.Uplink_ConnectServer, lane apiv1.Lane, epoch, acked uint64, credit uint32) error {
	return s.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Ack{Ack: &apiv1.Ack{
		Lane: lane, Epoch: epoch, Acked: acked, Credit: credit,
	}}})
}

// rig is an uplink with what belongs to it.
type rig struct {
	*Uplink
	t               *testing.T
	alerts, records *spool.Spool
	tails           *tail.Hub
	log             *logText
	ended           chan error
	stop            func()
}

// newRig makes an uplink whose waits are short. An identity is kept in its directory if one is given.
func newRig(t *testing.T, address string, id *identity, change func(*Config)) *rig {
	t.Helper()
	checkLeaks(t)
	dir := t.TempDir()
	if id != nil {
		if err := id.save(filepath.Join(dir, "identity")); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{
		t: t, alerts: openSpool(t, dir, "alerts"), records: openSpool(t, dir, "records"), tails: tail.New(), log: &logText{},
		ended: make(chan error, 1),
	}
	cfg := Config{
		Address: address, Node: "node-1", DataDir: dir, Alerts: r.alerts, Records: r.records, Tails: r.tails,
		Hello:          func() *apiv1.Hello { return &apiv1.Hello{} },
		Health:         func() *apiv1.Health { return &apiv1.Health{} },
		OnRecordPolicy: func(*apiv1.RecordPolicy) {},
		Logger:         slog.New(slog.NewTextHandler(r.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.Uplink, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.timing = timing{
		first: 10 * time.Millisecond, last: 80 * time.Millisecond, slow: 150 * time.Millisecond, call: 5 * time.Second,
		welcome: 5 * time.Second, health: 50 * time.Millisecond, drain: time.Second, spool: 10 * time.Millisecond,
		observe: 10 * time.Millisecond,
	}
	return r
}

func openSpool(t *testing.T, dir, name string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, name), SyncEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the spool of %s: %v", name, err)
		}
	})
	return s
}

// run runs the uplink and its spools until stop, or the end of the test.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var group sync.WaitGroup
	for _, s := range []*spool.Spool{r.alerts, r.records} {
		group.Go(func() {
			if err := s.Run(ctx); err != nil {
				r.t.Errorf("spool: %v", err)
			}
		})
	}
	group.Go(func() { r.ended <- r.Run(ctx) })
	r.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
	})
	r.t.Cleanup(r.stop)
}

func (r *rig) appendTo(s *spool.Spool, n, size int) {
	r.t.Helper()
	for range n {
		if _, err := s.Append(bytes.Repeat([]byte{'x'}, size)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// fails waits until an attempt has ended in an error that is want, or says it.
func (r *rig) fails(want error, says string) {
	r.t.Helper()
	wait.Until(r.t, patience, func() error {
		err := r.Stats().LastError
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
			return fmt.Errorf("last error is %v, expected %v that says %q", err, want, says)
		}
		return nil
	})
}

// patience is how long something may take to come about.
const patience = 10 * time.Second

// checkLeaks checks, after the uplink was stopped, that no goroutine of it or of its connections is left.
func checkLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		wait.Until(t, patience, func() error {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			for stack := range strings.SplitSeq(string(stacks), "\n\n") {
				ours := strings.Contains(stack, "agent/uplink.(*") || strings.Contains(stack, "http2Client") || strings.Contains(stack, "ClientConn")
				if ours && !strings.Contains(stack, "_test.go") {
					return fmt.Errorf("a goroutine is left:\n%s", stack)
				}
			}
			return nil
		})
	})
}

// logText keeps what was logged.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is io.Writer.Write.
func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
