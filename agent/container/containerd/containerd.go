// SPDX-License-Identifier: Apache-2.0

// Package containerd follows containerd: it listens to its events, reads containers and images of all its namespaces and
// delivers them to the registry. A container is announced when its create event arrives, before its cgroup exists.
//
// It uses the generated gRPC clients alone and changes nothing in containerd. Source.Run owns all goroutines; it
// reconnects for as long as its context lives, and takes a full listing after each connect.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	containersv1 "github.com/containerd/containerd/api/services/containers/v1"
	eventsv1 "github.com/containerd/containerd/api/services/events/v1"
	imagesv1 "github.com/containerd/containerd/api/services/images/v1"
	namespacesv1 "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksv1 "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/session"
)

const (
	// DefaultSocket is where containerd listens unless told otherwise.
	DefaultSocket = "/run/containerd/containerd.sock"

	// askers is how many queries are answered at a time.
	askers = 2
)

// Config is what a Source needs.
type Config struct {
	// Socket is the path of containerd's socket, DefaultSocket if empty.
	Socket string
	// Feed is the registry's handle for this source. Required.
	Feed *container.Feed
	// CgroupOf returns the cgroup path of a process, for containers whose path the spec does not tell. Optional.
	CgroupOf func(pid uint32) (string, error)
	Logger   *slog.Logger
}

// Source is a connection to containerd that is kept up.
type Source struct {
	cfg    Config
	log    *slog.Logger
	conn   *grpc.ClientConn
	ready  chan struct{}
	once   sync.Once
	images imageCache
	// reason is why there is no session, empty while there is one. Only Run's goroutine uses it.
	reason string

	containers containersv1.ContainersClient
	events     eventsv1.EventsClient
	imageStore imagesv1.ImagesClient
	namespaces namespacesv1.NamespacesClient
	tasks      tasksv1.TasksClient

	known atomic.Pointer[[]string]
	stats counters
}

type counters struct {
	connects, events, badEvents, vanished, failedReads atomic.Uint64
}

// Stats are a source's counters since it was made.
type Stats struct {
	// Connects counts listings after a connect; Events counts events taken, BadEvents those that could not be read.
	Connects, Events, BadEvents uint64
	// Vanished counts containers that were deleted before they could be read, so that only id and image are known.
	Vanished uint64
	// FailedReads counts calls that failed for another reason.
	FailedReads uint64
}

// New prepares a source. It connects to nothing yet.
func New(cfg Config) (*Source, error) {
	if cfg.Feed == nil {
		return nil, errors.New("containerd source: no feed")
	}
	if cfg.Socket == "" {
		cfg.Socket = DefaultSocket
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{cfg: cfg, log: cfg.Logger, ready: make(chan struct{})}, nil
}

// dial makes the connection, which connects when it is first used, and the clients on it.
func (s *Source) dial() error {
	conn, err := session.Dial(s.cfg.Socket)
	if err != nil {
		return fmt.Errorf("containerd source: %w", err)
	}
	s.conn = conn
	s.containers = containersv1.NewContainersClient(conn)
	s.events = eventsv1.NewEventsClient(conn)
	s.imageStore = imagesv1.NewImagesClient(conn)
	s.namespaces = namespacesv1.NewNamespacesClient(conn)
	s.tasks = tasksv1.NewTasksClient(conn)
	return nil
}

// Ready is closed once the first listing is complete, or once containerd was found to be unreachable.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Stats returns the counters.
func (s *Source) Stats() Stats {
	return Stats{
		Connects: s.stats.connects.Load(), Events: s.stats.events.Load(), BadEvents: s.stats.badEvents.Load(),
		Vanished: s.stats.vanished.Load(), FailedReads: s.stats.failedReads.Load(),
	}
}

// Run follows containerd until ctx ends, and returns nil then; it returns an error only if the socket's path cannot be
// one. It may be called once.
func (s *Source) Run(ctx context.Context) error {
	if err := s.dial(); err != nil {
		return err
	}
	defer s.conn.Close()
	session.Keep(ctx, s.session, s.lost)
	return nil
}

// lost reports why there is no session. A containerd that has been there is expected back, and containers wait for it.
func (s *Source) lost(err error) {
	reason := fmt.Sprintf("containerd at %s: %v", s.cfg.Socket, err)
	_, statErr := os.Stat(s.cfg.Socket)
	missing := errors.Is(statErr, fs.ErrNotExist)
	if missing {
		reason = fmt.Sprintf("no containerd socket at %s: containers are known by id only; "+
			"start containerd or set --containerd-socket", s.cfg.Socket)
	}
	if missing && s.stats.connects.Load() == 0 {
		s.cfg.Feed.Off(reason)
	} else {
		s.cfg.Feed.Connecting(reason)
	}
	if reason != s.reason {
		s.log.Warn("containerd is not reached, trying on", "reason", reason)
		s.reason = reason
	}
	s.once.Do(func() { close(s.ready) })
}

// session subscribes, lists, and then follows events and queries until something fails.
func (s *Source) session(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// The subscription comes before the listing, so that nothing falls between them.
	stream, err := s.events.Subscribe(ctx, &eventsv1.SubscribeRequest{Filters: topics})
	if err != nil {
		return fmt.Errorf("subscribe to events: %w", err)
	}
	s.conn.ResetConnectBackoff()
	if err := s.list(ctx); err != nil {
		return err
	}
	s.stats.connects.Add(1)
	s.cfg.Feed.Up()
	s.reason = ""
	s.once.Do(func() { close(s.ready) })
	queues := newReaders()
	g.Go(func() error { return s.follow(ctx, stream, queues) })
	for _, queue := range queues {
		g.Go(func() error { return s.read(ctx, queue) })
	}
	for range askers {
		g.Go(func() error { return s.answer(ctx) })
	}
	return g.Wait()
}
