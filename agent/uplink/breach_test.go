// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestBreaches lets a collector do what it must not. The agent says what it was, tries again without haste, and loses
// nothing.
func TestBreaches(t *testing.T) {
	hold := func(s apiv1.Uplink_ConnectServer) error {
		<-s.Context().Done()
		return s.Context().Err()
	}
	for _, test := range []struct {
		name    string
		connect func(apiv1.Uplink_ConnectServer) error
		want    error
		says    string
	}{
		{"no welcome", func(s apiv1.Uplink_ConnectServer) error {
			return errors.Join(acknowledge(s, apiv1.Lane_LANE_ALERTS, 0, 0, 1), hold(s))
		}, errBreach, "not welcome"},
		{"empty message first", func(s apiv1.Uplink_ConnectServer) error {
			return errors.Join(s.Send(&apiv1.CollectorMessage{}), hold(s))
		}, errBreach, "not welcome"},
		{"silence", hold, errSilent, "hello"},
		{"end before welcome", func(apiv1.Uplink_ConnectServer) error { return nil }, nil, "ended the stream"},
		{"end after welcome", func(s apiv1.Uplink_ConnectServer) error {
			_, err := accept(s, 1)
			return err
		}, nil, "ended the stream"},
		{"second welcome", func(s apiv1.Uplink_ConnectServer) error {
			_, err := accept(s, 1)
			return errors.Join(err, s.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Welcome{}}), hold(s))
		}, errBreach, "second welcome"},
		{"acknowledgement of no lane", func(s apiv1.Uplink_ConnectServer) error {
			_, err := accept(s, 1)
			return errors.Join(err, acknowledge(s, 77, 1, 1, 1), hold(s))
		}, errBreach, "lane 77"},
		{"oversized message", func(s apiv1.Uplink_ConnectServer) error {
			_, err := accept(s, 1)
			return errors.Join(err, s.Send(&apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Record{Record: &apiv1.RecordPolicy{
				Rules: []*apiv1.RecordRule{{Workload: strings.Repeat("x", maxMessage+1)}},
			}}}), hold(s))
		}, nil, "ResourceExhausted"},
		{"superseded", func(apiv1.Uplink_ConnectServer) error {
			return status.Error(codes.Aborted, "the node has opened a newer stream")
		}, nil, "newer stream"},
		{"malformed", func(apiv1.Uplink_ConnectServer) error { return status.Error(codes.InvalidArgument, "what?") }, ErrRequest, "what?"},
		{"revoked", func(apiv1.Uplink_ConnectServer) error {
			return status.Error(codes.PermissionDenied, "node was revoked")
		}, ErrDenied, "revoked"},
		{"no certificate", func(apiv1.Uplink_ConnectServer) error {
			return status.Error(codes.Unauthenticated, "the certificate has expired")
		}, ErrCertificate, "has expired"},
		{"long reason", func(apiv1.Uplink_ConnectServer) error {
			return status.Error(codes.Internal, strings.Repeat("long ", 1000))
		}, nil, "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			authority := newCA(t)
			var attempts atomic.Int32
			p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
				attempts.Add(1)
				return test.connect(s)
			}}
			servePeer(t, p, authority.server())
			r := newRig(t, p.address, authority.node("node-1"), nil)
			if test.want == errSilent {
				r.timing.welcome = 100 * time.Millisecond
			}
			r.appendTo(r.alerts, 3, 10)
			began := time.Now()
			r.run()
			r.fails(test.want, test.says)
			wait.Until(t, patience, func() error {
				if attempts.Load() < 3 {
					return fmt.Errorf("%d attempts", attempts.Load())
				}
				return nil
			})
			// The shortest pause is half of first; the first few attempts are quick.
			if most := 6 + int32(time.Since(began)/(20*time.Millisecond)); attempts.Load() > most {
				t.Errorf("%d attempts in %s", attempts.Load(), time.Since(began))
			}
			if s := r.alerts.Stats(); s.Acked != 0 {
				t.Errorf("spool: %+v", s)
			}
			if len(r.Stats().LastError.Error()) > 2*maxReason {
				t.Errorf("error of %d bytes", len(r.Stats().LastError.Error()))
			}
			r.stop()
			if err := <-r.ended; err != nil {
				t.Errorf("Run returned %v: a node that is enrolled never gives up", err)
			}
			if n := strings.Count(r.log.String(), "no line to the collector"); n > 2 {
				t.Errorf("the same trouble was logged %d times:\n%s", n, r.log)
			}
		})
	}
}

// garbage is a codec whose messages are not protobuf.
type garbage struct{ encoding.CodecV2 }

// Marshal is encoding.CodecV2.Marshal.
func (garbage) Marshal(any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer("\xff\xff\xff\xff garbage")}, nil
}

// TestGarbage meets things that are no collector.
func TestGarbage(t *testing.T) {
	authority := newCA(t)
	speak := func(t *testing.T, with func(net.Conn)) string {
		listener := listenLocal(t)
		var group sync.WaitGroup
		group.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				group.Go(func() {
					with(conn)
					_ = conn.Close() // what the other side thinks of it does not matter
				})
			}
		})
		t.Cleanup(func() {
			if err := listener.Close(); err != nil {
				t.Error(err)
			}
			group.Wait()
		})
		return listener.Addr().String()
	}
	for _, test := range []struct {
		name    string
		address func(t *testing.T) string
		says    string
	}{
		{"nobody listens", func(t *testing.T) string {
			listener := listenLocal(t)
			defer func() { _ = listener.Close() }()
			return listener.Addr().String()
		}, "connection refused"},
		{"not TLS", func(t *testing.T) string {
			return speak(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
		}, "does not look like a TLS handshake"},
		{"nothing said", func(t *testing.T) string { return speak(t, func(net.Conn) {}) }, "TLS handshake"},
		{"TLS, but not HTTP/2", func(t *testing.T) string {
			cfg := &tls.Config{Certificates: []tls.Certificate{authority.server()}}
			return speak(t, func(c net.Conn) { _ = tls.Server(c, cfg).HandshakeContext(t.Context()) })
		}, "ALPN"},
		{"HTTP/2 that is none", func(t *testing.T) string {
			cfg := &tls.Config{Certificates: []tls.Certificate{authority.server()}, NextProtos: []string{"h2"}}
			return speak(t, func(c net.Conn) {
				_, _ = tls.Server(c, cfg).Write([]byte(strings.Repeat("garbage ", 100)))
				_, _ = io.CopyN(io.Discard, c, 100)
			})
		}, ""},
		{"messages that are no protobuf", func(t *testing.T) string {
			p := &peer{connect: func(s apiv1.Uplink_ConnectServer) error {
				_, err := accept(s, 1)
				return err
			}}
			servePeer(t, p, authority.server(), grpc.ForceServerCodecV2(garbage{encoding.GetCodecV2("proto")}))
			return p.address
		}, "unmarshal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, test.address(t), authority.node("node-1"), nil)
			r.appendTo(r.alerts, 3, 10)
			r.run()
			r.fails(nil, test.says)
			t.Log(r.Stats().LastError)
			if s := r.alerts.Stats(); s.Acked != 0 {
				t.Errorf("spool: %+v", s)
			}
		})
	}
}

// TestImpostors meets servers whose certificate is not a collector's that the node knows.
func TestImpostors(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	for _, test := range []struct {
		name string
		cert tls.Certificate
		want error
		says string
	}{
		{"another authority", theirs.server(), ErrAuthority, "unknown authority"},
		{"a node as a collector", ours.server(forNode("node-2")), ErrAuthority, ""},
		{"a node with the collector's name", ours.server(forNode("node-2"), func(x *x509.Certificate) { x.DNSNames = []string{serverName} }),
			ErrAuthority, "incompatible key usage"},
		{"another name", ours.server(func(x *x509.Certificate) { x.DNSNames = []string{"localhost"} }), ErrAuthority, serverName},
		{"not good yet", ours.server(func(x *x509.Certificate) { x.NotBefore = time.Now().Add(time.Hour) }), ErrClock, "good from"},
		{"not good any more", ours.server(func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Second) }), ErrClock, "good from"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &peer{connect: func(apiv1.Uplink_ConnectServer) error {
				t.Error("the agent has connected")
				return nil
			}}
			servePeer(t, p, test.cert)
			r := newRig(t, p.address, ours.node("node-1"), nil)
			r.run()
			r.fails(test.want, test.says)
		})
	}
}

// TestCertificateRefused meets a collector that refuses the node's certificate within TLS.
func TestCertificateRefused(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	pool := x509.NewCertPool()
	pool.AddCert(theirs.cert)
	p := &peer{}
	serveTLS(t, p, &tls.Config{
		Certificates: []tls.Certificate{ours.server()}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13,
	})
	r := newRig(t, p.address, ours.node("node-1"), nil)
	r.run()
	r.fails(ErrCertificate, "remote error")
}
