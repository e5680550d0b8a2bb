// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Store is what the server needs of store.Store.
type Store interface {
	Lines
	store.Refusals
}

// Config makes a Server.
type Config struct {
	Authority *authority.Authority
	Fleet     *fleet.Fleet
	Store     Store
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Server serves agents. Use New.
type Server struct {
	authority *authority.Authority
	fleet     *fleet.Fleet
	lines     Lines
	log       *slog.Logger
	metrics   *metrics
	alerts    *Committer
	records   *Committer
	limits    *limits
	refusals  *Refusals
	streams   sync.WaitGroup
	stopping  chan struct{}
}

// New makes a server. It starts nothing.
func New(cfg Config) (*Server, error) {
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of ingest: %w", err)
	}
	return &Server{
		authority: cfg.Authority, fleet: cfg.Fleet, lines: cfg.Store, log: cfg.Log, metrics: m,
		alerts:  newCommitter(apiv1.Lane_LANE_ALERTS, cfg, m),
		records: newCommitter(apiv1.Lane_LANE_RECORDS, cfg, m),
		limits:  newLimits(), refusals: newRefusals(cfg.Store, cfg.Log), stopping: make(chan struct{}),
	}, nil
}

// Alerts is the committer of the alerts lane. The caller runs it.
func (s *Server) Alerts() *Committer { return s.alerts }

// Records is the committer of the records lane. The caller runs it.
func (s *Server) Records() *Committer { return s.records }

// Refusals keeps who was refused. The caller runs it.
func (s *Server) Refusals() *Refusals { return s.refusals }

// Ready is nil when agents' records can be stored, else why they cannot.
func (s *Server) Ready() error {
	for _, c := range []*Committer{s.alerts, s.records} {
		if err := c.Trouble(); err != nil {
			return err
		}
	}
	return nil
}

// Times of a connection.
const (
	handshakeTimeout = 10 * time.Second
	pingAfter        = 30 * time.Second
	pingTimeout      = 10 * time.Second
	// leastPing is how seldom agents have to ping; one that does so more often is cut off.
	leastPing = 10 * time.Second
	// idleTimeout is for connections without any call.
	idleTimeout = 2 * time.Minute
	// stopTimeout is how long streams have to end by themselves.
	stopTimeout = 5 * time.Second
)

// Run serves agents on a listener until ctx ends, and returns when every stream has ended. It closes the listener.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		grpc.Creds(&handshaker{TransportCredentials: credentials.NewTLS(s.tls()), server: s}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(16),
		grpc.MaxHeaderListSize(16<<10),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout, MaxConnectionIdle: idleTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.guardUnary),
		grpc.StreamInterceptor(s.guardStream),
	)
	apiv1.RegisterEnrolmentServer(server, enrolment{server: s})
	apiv1.RegisterUplinkServer(server, uplink{server: s})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve agents on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	close(s.stopping)
	kill := time.AfterFunc(stopTimeout, server.Stop)
	server.GracefulStop()
	kill.Stop()
	<-served
	s.streams.Wait()
	return ctx.Err()
}

func (s *Server) tls() *tls.Config {
	cfg := s.authority.ServerTLS()
	cfg.NextProtos = []string{"h2"}
	return cfg
}

// handshaker is TLS that logs and counts the handshakes that go wrong.
type handshaker struct {
	credentials.TransportCredentials
	server *Server
}

// ServerHandshake is credentials.TransportCredentials.ServerHandshake.
func (h *handshaker) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		h.server.reject("handshake", raw.RemoteAddr().String(), err)
	}
	return conn, info, err
}

// Clone is credentials.TransportCredentials.Clone.
func (h *handshaker) Clone() credentials.TransportCredentials {
	return &handshaker{TransportCredentials: h.TransportCredentials.Clone(), server: h.server}
}

// short is a text of a client's, cut to what a log bears.
func short(s string) string { return s[:min(len(s), 256)] }

// reject logs and counts something that was rejected.
func (s *Server) reject(reason, address string, err error, more ...any) {
	s.metrics.reject(reason)
	s.log.Warn("rejected", append([]any{"reason", reason, "address", address, "error", err}, more...)...)
}

// guardUnary and guardStream keep a panic in one call from ending the collector.
func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
	defer s.recover(info.FullMethod, &err)
	return next(ctx, req)
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer s.recover(info.FullMethod, &err)
	return next(srv, stream)
}

func (s *Server) recover(method string, err *error) {
	if p := recover(); p != nil {
		s.metrics.reject("panic")
		s.log.Error("a call panicked", "method", method, "panic", fmt.Sprint(p))
		*err = status.Error(codes.Internal, "internal error")
	}
}
