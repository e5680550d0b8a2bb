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
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/holdfast-project/holdfast/agent/container"
)

const (
	// DefaultNamespace is containerd's namespace for CRI containers.
	DefaultNamespace = "k8s.io"

	callTimeout = 10 * time.Second
	minWait     = 100 * time.Millisecond
	maxWait     = 5 * time.Second
	// relist is how often everything is read again, which mends what was missed.
	relist = 5 * time.Minute
	// maxMessage is what the kubelet allows.
	maxMessage = 16 << 20
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
	conn, err := grpc.NewClient("unix:"+cfg.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minWait, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxWait},
			MinConnectTimeout: callTimeout,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("cri source: %s: %w", cfg.Socket, err)
	}
	return &Source{
		cfg: cfg, log: cfg.Logger, conn: conn, runtime: runtimev1.NewRuntimeServiceClient(conn),
		ready: make(chan struct{}),
	}, nil
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

// Run follows the runtime until ctx ends, and returns nil then. Run may be called once: it closes the connection.
func (s *Source) Run(ctx context.Context) error {
	defer s.conn.Close()
	wait := minWait
	for {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.lost(err)
		if time.Since(began) > maxWait {
			wait = minWait
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		wait = min(wait*2, maxWait)
	}
}

// lost reports why there is no session. Containers do not wait for a runtime that has no socket or does not speak CRI.
func (s *Source) lost(err error) {
	_, statErr := os.Stat(s.cfg.Socket)
	switch {
	case errors.Is(statErr, fs.ErrNotExist):
		s.cfg.Feed.Off(fmt.Sprintf("no CRI socket at %s: pod labels, annotations and addresses are not known; "+
			"start the runtime or set its socket", s.cfg.Socket))
	case errors.Is(err, errNoCRI):
		s.cfg.Feed.Off(fmt.Sprintf("%s: %v; enable the runtime's CRI plugin", s.cfg.Socket, err))
	default:
		s.cfg.Feed.Connecting(fmt.Sprintf("CRI at %s: %v", s.cfg.Socket, err))
	}
	s.log.Warn("CRI connection lost, retrying", "socket", s.cfg.Socket, "error", err)
	s.once.Do(func() { close(s.ready) })
}
