// SPDX-License-Identifier: Apache-2.0

// Package cri asks the container runtime through the Kubernetes Container Runtime Interface. It adds to what the
// runtime's own source knows: the image as Kubernetes reports it, labels, annotations and addresses of pods. Where there
// is no other source (CRI-O) it names containers alone.
//
// CRI has no dependable events, so that the source lists after each connect and at a long interval, and otherwise looks
// at the containers that the registry asks for: those that nobody knows, and those that the runtime has just started.
// Source.Run works on the caller's goroutine.
package cri

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/session"
)

const (
	// DefaultNamespace is containerd's namespace for CRI containers.
	DefaultNamespace = "k8s.io"

	// relist is how often everything is read again, which mends what was missed.
	relist = 5 * time.Minute
	// maxLater bounds the containers that wait for another look.
	maxLater = 1024
)

// Config is what a Source needs.
type Config struct {
	// Socket is the path of the runtime's CRI socket. Required.
	Socket string
	// Namespace is the runtime namespace of CRI containers, DefaultNamespace if empty.
	Namespace string
	// Feed is the registry's handle for this source. Required.
	Feed *container.Feed
	// Book receives the addresses of pods. Optional.
	Book   *container.AddressBook
	Logger *slog.Logger
}

// Source is a connection to a CRI runtime that is kept up.
type Source struct {
	cfg     Config
	log     *slog.Logger
	conn    *grpc.ClientConn
	runtime runtimev1.RuntimeServiceClient
	ready   chan struct{}
	once    sync.Once
	stats   counters
	// name is the runtime's, known once a session stands.
	name atomic.Pointer[string]
	// reason is why there is no session, empty while there is one.
	reason string
}

type counters struct {
	connects, lookups, notFound, failedReads atomic.Uint64
}

// Stats are a source's counters since it was made.
type Stats struct {
	// Connects counts listings; Lookups single containers looked at, NotFound those that CRI did not know after the last
	// attempt, FailedReads calls that failed.
	Connects, Lookups, NotFound, FailedReads uint64
}

// New prepares a source. It connects to nothing yet.
func New(cfg Config) (*Source, error) {
	if cfg.Feed == nil {
		return nil, errors.New("cri source: no feed")
	}
	if cfg.Socket == "" {
		return nil, errors.New("cri source: no socket")
	}
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{cfg: cfg, log: cfg.Logger, ready: make(chan struct{})}, nil
}

// dial makes the connection, which connects when it is first used.
func (s *Source) dial() error {
	conn, err := session.Dial(s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("cri source: %w", err)
	}
	s.conn, s.runtime = conn, runtimev1.NewRuntimeServiceClient(conn)
	return nil
}

// Ready is closed once the first listing is complete, or once the runtime was found not to speak CRI.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Stats returns the counters.
func (s *Source) Stats() Stats {
	return Stats{
		Connects: s.stats.connects.Load(), Lookups: s.stats.lookups.Load(), NotFound: s.stats.notFound.Load(),
		FailedReads: s.stats.failedReads.Load(),
	}
}

// Run follows the runtime until ctx ends, and returns nil then; it returns an error only if the socket's path cannot be
// one. It may be called once.
func (s *Source) Run(ctx context.Context) error {
	if err := s.dial(); err != nil {
		return err
	}
	defer s.conn.Close()
	session.Keep(ctx, s.session, s.lost)
	return nil
}

// lost reports why there is no session. Containers do not wait for a runtime that has no socket or does not speak CRI.
func (s *Source) lost(err error) {
	reason := fmt.Sprintf("CRI at %s: %v", s.cfg.Socket, err)
	_, statErr := os.Stat(s.cfg.Socket)
	missing := errors.Is(statErr, fs.ErrNotExist)
	switch {
	case missing:
		reason = fmt.Sprintf("no CRI socket at %s: pod labels, annotations and addresses are not known; "+
			"start the runtime or set its socket", s.cfg.Socket)
	case errors.Is(err, errNoCRI):
		reason = fmt.Sprintf("%s: %v; enable the runtime's CRI plugin", s.cfg.Socket, err)
	}
	if errors.Is(err, errNoCRI) || (missing && s.stats.connects.Load() == 0) {
		s.cfg.Feed.Off(reason)
	} else {
		s.cfg.Feed.Connecting(reason)
	}
	if reason != s.reason {
		s.log.Warn("CRI is not reached, trying on", "reason", reason)
		s.reason = reason
	}
	s.once.Do(func() { close(s.ready) })
}
