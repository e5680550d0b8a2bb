// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// intruder is a client that speaks to the collector's port for agents and does not mean well.
type intruder struct {
	r    *rig.Rig
	key  *ecdsa.PrivateKey
	cert *tls.Certificate
}

func newIntruder(t *testing.T, r *rig.Rig) *intruder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &intruder{r: r, key: key}
}

// dial connects with TLS, with the certificate if it has one. It does not care who the collector is.
func (i *intruder) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	if i.cert != nil {
		// Sent whatever authorities the server names.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return i.cert, nil }
	}
	return i.client(t, credentials.NewTLS(cfg))
}

func (i *intruder) client(t *testing.T, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+rig.GRPCAddress, grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return i.r.Lab.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// enrol gets a certificate for a node as an agent does.
func (i *intruder) enrol(t *testing.T, node string) {
	t.Helper()
	token, err := i.r.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, i.key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := apiv1.NewEnrolmentClient(i.dial(t)).Enrol(t.Context(), &apiv1.EnrolRequest{JoinToken: token, Node: node, Csr: csr})
	if err != nil {
		t.Fatal(err)
	}
	i.cert = &tls.Certificate{Certificate: got.GetChain(), PrivateKey: i.key}
}

// signSelf makes a certificate that claims a node and that no authority has signed.
func (i *intruder) signSelf(t *testing.T, node string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: node}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, i.key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	i.cert = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.key}
}

// connect opens a stream, sends messages, and returns how the stream ends.
func (i *intruder) connect(t *testing.T, messages ...*apiv1.AgentMessage) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := apiv1.NewUplinkClient(i.dial(t)).Connect(ctx)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := stream.Send(m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

func hello(node string) *apiv1.AgentMessage {
	return &apiv1.AgentMessage{Message: &apiv1.AgentMessage_Hello{Hello: &apiv1.Hello{Node: node, BootId: "b"}}}
}

func batch(lane apiv1.Lane, records ...[]byte) *apiv1.AgentMessage {
	return &apiv1.AgentMessage{Message: &apiv1.AgentMessage_Batch{Batch: &apiv1.Batch{Lane: lane, Epoch: 1, First: 1, Records: records}}}
}

// TestIntruders speaks to the collector's port for agents as nobody should. Each is turned away with a reason that it is
// told and that the collector logs; the agent that is connected notices nothing.
func TestIntruders(t *testing.T) {
	r := startRig(t, rig.Config{})
	image := attacker(t, r)
	c := webPod(t, r, image, "web-6d4cf56db6-x7x2p")
	began := time.Now()
	do(t, c, false, "write-bin", "/usr/bin/before")
	for _, test := range []struct {
		name string
		do   func(t *testing.T, i *intruder) error
		code codes.Code
		// told is part of what the intruder is told, logged of what the collector logs.
		told, logged string
	}{
		{"certificate of no authority", func(t *testing.T, i *intruder) error {
			i.signSelf(t, rig.NodeName)
			return i.connect(t, hello(rig.NodeName))
		}, codes.Unavailable, "", `"reason":"handshake"`},
		{"no certificate", func(t *testing.T, i *intruder) error { return i.connect(t, hello(rig.NodeName)) },
			codes.Unauthenticated, "certificate", `"msg":"rejected"`},
		{"forged node name", func(t *testing.T, i *intruder) error {
			i.enrol(t, "intruder")
			return i.connect(t, hello(rig.NodeName))
		}, codes.PermissionDenied, rig.NodeName, `"msg":"rejected"`},
		{"no hello", func(t *testing.T, i *intruder) error {
			i.enrol(t, "intruder")
			return i.connect(t, batch(apiv1.Lane_LANE_ALERTS, []byte("x")))
		}, codes.InvalidArgument, "hello", `"msg":"rejected"`},
		{"message that is too large", func(t *testing.T, i *intruder) error {
			i.enrol(t, "intruder")
			return i.connect(t, hello("intruder"), batch(apiv1.Lane_LANE_ALERTS, make([]byte, 5<<20)))
		}, codes.ResourceExhausted, "larger", `"reason":"oversized"`},
		{"lane that does not exist", func(t *testing.T, i *intruder) error {
			i.enrol(t, "intruder")
			return i.connect(t, hello("intruder"), batch(apiv1.Lane(7), []byte("x")))
		}, codes.InvalidArgument, "lane", `"msg":"rejected"`},
		{"no TLS", func(t *testing.T, i *intruder) error {
			stream, err := apiv1.NewUplinkClient(i.client(t, insecure.NewCredentials())).Connect(t.Context())
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}, codes.Unavailable, "", `"reason":"handshake"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := r.Collector.Log(1 << 20)
			err := test.do(t, newIntruder(t, r))
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.told) {
				t.Errorf("it is told %v, want %s with %q", err, test.code, test.told)
			}
			expectLog(t, r, len(before), test.logged)
			t.Log(err)
		})
	}
	t.Run("garbage", func(t *testing.T) { garbage(t, r) })
	t.Run("records that are none", func(t *testing.T) { quarantine(t, r) })
	do(t, c, false, "write-bin", "/usr/bin/after")
	quiesce(t, r, 30*time.Second)
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "shop/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(alerts) != 2 || alerts[0].Node != rig.NodeName || alerts[1].Node != rig.NodeName {
		t.Errorf("%d alerts, want the two of the deeds before and after: %+v", len(alerts), alerts)
	}
	if strings.Count(r.Agent.Log(1<<20), "connected to the collector") != 1 {
		t.Error("the agent had to connect again")
	}
}

// expectLog waits until the collector has logged something beyond the first bytes of its log.
func expectLog(t *testing.T, r *rig.Rig, from int, want string) {
	t.Helper()
	err := wait.For(t.Context(), 5*time.Second, func() error {
		if log := r.Collector.Log(1 << 20); len(log) <= from || !strings.Contains(log[from:], want) {
			return errors.New("the collector has not logged " + want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// garbage sends bytes that are no TLS, and bytes that are no HTTP/2 inside TLS.
func garbage(t *testing.T, r *rig.Rig) {
	junk := make([]byte, 64<<10)
	if _, err := rand.Read(junk); err != nil {
		t.Fatal(err)
	}
	before := len(r.Collector.Log(1 << 20))
	for _, secure := range []bool{false, true} {
		conn, err := r.Lab.DialContext(t.Context(), "tcp", rig.GRPCAddress)
		if err != nil {
			t.Fatal(err)
		}
		if secure {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// The collector may have hung up before all was sent.
		_, _ = conn.Write(junk)
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("TLS %v: the collector keeps a connection that sends garbage", secure)
		}
		_ = conn.Close()
	}
	expectLog(t, r, before, `"reason":"handshake"`)
}

// quarantine sends records that do not decode. They must not stop the line: they are put aside, and said so.
func quarantine(t *testing.T, r *rig.Rig) {
	i := newIntruder(t, r)
	i.enrol(t, "intruder")
	before := len(r.Collector.Log(1 << 20))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := apiv1.NewUplinkClient(i.dial(t)).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*apiv1.AgentMessage{hello("intruder"), batch(apiv1.Lane_LANE_ALERTS, []byte("\xff\xff\xff"), []byte{})} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if a := m.GetAck(); a.GetLane() == apiv1.Lane_LANE_ALERTS && a.GetAcked() == 2 {
			break
		}
	}
	expectLog(t, r, before, "records quarantined")
}
