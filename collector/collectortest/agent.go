// SPDX-License-Identifier: Apache-2.0

// Package collectortest runs collectors and stands in for agents in tests: it speaks the whole protocol over real TLS, and
// can be told to break it. It starts goroutines only within Start, whose end joins them.
package collectortest

import (
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
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
)

// Agent is a node with a certificate.
type Agent struct {
	Node    string
	Address string
	Roots   *x509.CertPool
	Cert    tls.Certificate
}

// Request is a fresh key and a request for a certificate of it, DER.
func Request(name string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	return key, csr, err
}

// Enrol enrols a node with a join token, and verifies the collector by the token's pin before it sends anything.
func Enrol(ctx context.Context, address, token, node string) (*Agent, error) {
	parts := strings.Split(token, "_")
	if len(parts) != 4 {
		return nil, fmt.Errorf("join token has %d parts", len(parts))
	}
	conn, err := Dial(address, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: authority.ServerName, InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error { return verifyPin(s, parts[3]) },
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	key, csr, err := Request(node)
	if err != nil {
		return nil, err
	}
	got, err := apiv1.NewEnrolmentClient(conn).Enrol(ctx, &apiv1.EnrolRequest{JoinToken: token, Node: node, Csr: csr})
	if err != nil {
		return nil, err
	}
	return newAgent(address, node, key, got)
}

func newAgent(address, node string, key *ecdsa.PrivateKey, got *apiv1.Certificate) (*Agent, error) {
	a := &Agent{Node: node, Address: address, Roots: x509.NewCertPool(), Cert: tls.Certificate{Certificate: got.GetChain(), PrivateKey: key}}
	for _, der := range got.GetRoots() {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		a.Roots.AddCert(root)
	}
	return a, nil
}

func verifyPin(s tls.ConnectionState, pin string) error {
	roots := x509.NewCertPool()
	found := false
	for _, c := range s.PeerCertificates[1:] {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		if hex.EncodeToString(sum[:]) == pin {
			roots.AddCert(c)
			found = true
		}
	}
	if !found {
		return errors.New("no certificate has the pin of the token")
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: authority.ServerName})
	return err
}

// Dial connects with some TLS settings.
func Dial(address string, settings *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(settings)))
}

// Dial connects with the agent's certificate.
func (a *Agent) Dial() (*grpc.ClientConn, error) {
	return Dial(a.Address, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: authority.ServerName, RootCAs: a.Roots, Certificates: []tls.Certificate{a.Cert},
	})
}

// Renew asks for a certificate of a fresh key, and returns the agent with it.
func (a *Agent) Renew(ctx context.Context, name string) (*Agent, error) {
	conn, err := a.Dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	key, csr, err := Request(name)
	if err != nil {
		return nil, err
	}
	got, err := apiv1.NewEnrolmentClient(conn).Renew(ctx, &apiv1.RenewRequest{Csr: csr})
	if err != nil {
		return nil, err
	}
	return newAgent(a.Address, a.Node, key, got)
}

// Stream is an open uplink.
type Stream struct {
	apiv1.Uplink_ConnectClient
	conn   *grpc.ClientConn
	cancel context.CancelFunc
}

// Open opens an uplink and sends nothing.
func (a *Agent) Open(ctx context.Context) (*Stream, error) {
	conn, err := a.Dial()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := apiv1.NewUplinkClient(conn).Connect(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, conn.Close())
	}
	return &Stream{Uplink_ConnectClient: stream, conn: conn, cancel: cancel}, nil
}

// Connect opens an uplink, says hello and returns the welcome.
func (a *Agent) Connect(ctx context.Context, positions ...*apiv1.Position) (*Stream, *apiv1.Welcome, error) {
	s, err := a.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Say(&apiv1.Hello{Node: a.Node, AgentVersion: "test", KernelRelease: "6.18", Machine: "x86_64", Positions: positions}); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, errors.Join(err, s.Close())
	}
	// A stream that was refused at once says why only here.
	m, err := s.Recv()
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	if m.GetWelcome() == nil {
		return nil, nil, errors.Join(fmt.Errorf("the first message is %T", m.GetMessage()), s.Close())
	}
	return s, m.GetWelcome(), nil
}

// Say sends a message of any kind.
func (s *Stream) Say(message any) error {
	switch m := message.(type) {
	case *apiv1.Hello:
		return s.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Hello{Hello: m}})
	case *apiv1.Batch:
		return s.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Batch{Batch: m}})
	case *apiv1.Health:
		return s.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Health{Health: m}})
	case *apiv1.TailBatch:
		return s.Send(&apiv1.AgentMessage{Message: &apiv1.AgentMessage_Tail{Tail: m}})
	}
	return s.Send(&apiv1.AgentMessage{})
}

// Ack waits until a line is acknowledged up to a sequence. Other messages are left out.
func (s *Stream) Ack(lane apiv1.Lane, epoch, sequence uint64) (*apiv1.Ack, error) {
	for {
		m, err := s.Recv()
		if err != nil {
			return nil, err
		}
		if a := m.GetAck(); a.GetLane() == lane && a.GetEpoch() == epoch && a.GetAcked() >= sequence {
			return a, nil
		}
	}
}

// Close ends the uplink at once.
func (s *Stream) Close() error {
	s.cancel()
	return s.conn.Close()
}
