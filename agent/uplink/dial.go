// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// serverName is the DNS name that every collector's certificate carries, whatever its address.
const serverName = "collector.holdfast.internal"

// maxMessage is the largest message in either direction, in bytes.
const maxMessage = 4 << 20

// Keepalive: a collector that has gone without a word is noticed after the sum of both.
const (
	pingAfter   = 20 * time.Second
	pingTimeout = 10 * time.Second
)

// link is a connection to the collector, for one attempt: when it breaks, a new one is made.
type link struct {
	conn    *grpc.ClientConn
	address string

	mu sync.Mutex
	// trouble is what went wrong below gRPC, which passes on its text alone.
	trouble error
}

// dial prepares a connection, which the first call makes. Verify checks the collector's certificates, leaf first; the
// certificate is the node's, nil before enrolment.
func (u *Uplink) dial(verify func([]*x509.Certificate) error, certificate *tls.Certificate) (*link, error) {
	l := &link{address: u.cfg.Address}
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: serverName,
		// VerifyConnection does it, so that the reason is at hand.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return verify(s.PeerCertificates) },
		// Sent whatever authorities the collector asks for: it has the one that counts.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if certificate == nil {
				return &tls.Certificate{}, nil
			}
			return certificate, nil
		},
	}
	dialer := net.Dialer{Timeout: u.timing.call}
	conn, err := grpc.NewClient("passthrough:///"+u.cfg.Address,
		grpc.WithTransportCredentials(&handshaker{TransportCredentials: credentials.NewTLS(cfg), link: l}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", address)
			l.note(err)
			return conn, err
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: grpcbackoff.DefaultConfig, MinConnectTimeout: u.timing.call}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to %s: %w", u.cfg.Address, err)
	}
	l.conn = conn
	return l, nil
}

func (l *link) close() {
	_ = l.conn.Close() // it fails only when it is closed already
}

// note keeps the first thing that went wrong.
func (l *link) note(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble == nil {
		l.trouble = err
	}
}

// explain makes an error of a call one of this package's, with what went wrong below it where that is known.
func (l *link) explain(err, unauthenticated error) error {
	l.mu.Lock()
	trouble := l.trouble
	l.mu.Unlock()
	if trouble != nil && status.Code(err) == codes.Unavailable {
		if remoteAlert(trouble) {
			trouble = fmt.Errorf("%w: %w", ErrCertificate, trouble)
		}
		return fmt.Errorf("connect to %s: %w", l.address, trouble)
	}
	return callError(err, unauthenticated)
}

// handshaker is TLS that keeps what went wrong.
type handshaker struct {
	credentials.TransportCredentials
	link *link
}

// ClientHandshake is credentials.TransportCredentials.ClientHandshake.
func (h *handshaker) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		h.link.note(fmt.Errorf("TLS handshake: %w", err))
		return nil, nil, err
	}
	return &alertConn{Conn: conn, link: h.link}, info, nil
}

// Clone is credentials.TransportCredentials.Clone.
func (h *handshaker) Clone() credentials.TransportCredentials {
	return &handshaker{TransportCredentials: h.TransportCredentials.Clone(), link: h.link}
}

// alertConn keeps the alert by which the collector refuses the node's certificate: in TLS 1.3 it comes after the
// handshake.
type alertConn struct {
	net.Conn
	link *link
}

// Read is net.Conn.Read.
func (c *alertConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && remoteAlert(err) {
		c.link.note(err)
	}
	return n, err
}

// SyscallConn is syscall.Conn.SyscallConn: gRPC bounds by it how long what was sent may go unacknowledged.
func (c *alertConn) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// verifyRoots checks a collector against the roots that enrolment gave.
func verifyRoots(roots *x509.CertPool) func([]*x509.Certificate) error {
	return func(chain []*x509.Certificate) error { return verifyPeer(chain, roots) }
}

// verifyPin checks a collector against the fingerprint in a join token.
func verifyPin(pin [sha256.Size]byte) func([]*x509.Certificate) error {
	return func(chain []*x509.Certificate) error {
		root := pinned(chain, pin)
		if root == nil {
			return fmt.Errorf("%w: its authority is not the one whose fingerprint the join token carries: "+
				"compare the address with the collector that made the token", ErrAuthority)
		}
		roots := x509.NewCertPool()
		roots.AddCert(root)
		return verifyPeer(chain, roots)
	}
}

func verifyPeer(chain []*x509.Certificate, roots *x509.CertPool) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: it has no certificate", ErrAuthority)
	}
	now := time.Now()
	options := x509.VerifyOptions{Roots: roots, DNSName: serverName, CurrentTime: now, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return peerError(err, chain[0], now)
	}
	return nil
}
