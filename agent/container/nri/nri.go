// SPDX-License-Identifier: Apache-2.0

// Package nri listens to a container runtime as a plugin of its Node Resource Interface. The runtime tells a plugin of a
// container before it makes the container's cgroup, and waits for the answer: the one way to have what holds for a
// container in force before its first program, however busy the node is. Source announces the container to the registry,
// has its policy put in force, and answers then, or after a short time if that takes longer: a container is never held up
// for longer, and never refused. The same is done once more when the container is started, after its cgroup was made.
//
// Nothing about a container is changed. A runtime without NRI, or one that restarts, is tried again and again. The
// protocol (messages of ttrpc in frames of a socket) is spoken directly, see docs/decisions.
//
// Source.Run owns all goroutines.
package nri

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

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/session"
)

const (
	// DefaultSocket is where a runtime listens for plugins unless told otherwise.
	DefaultSocket = "/var/run/nri/nri.sock"
	// DefaultNamespace is the runtime's namespace of the containers that Kubernetes asks for.
	DefaultNamespace = "k8s.io"
	// DefaultWait is how long a container is held up at most.
	DefaultWait = 500 * time.Millisecond

	// retryWithin is how long a runtime that has come back may be without its plugin: containers that it makes meanwhile
	// are not waited for.
	retryWithin = 400 * time.Millisecond
	// leastWait is what is left of the wait while answers are late one after the other.
	leastWait = 10 * time.Millisecond
)

// Config is what a Source needs.
type Config struct {
	// Socket is the path of the runtime's socket for plugins, DefaultSocket if empty.
	Socket string
	// Namespace is the namespace of the runtime whose containers NRI tells of, DefaultNamespace if empty.
	Namespace string
	// Feed is the registry's handle for this source. Required.
	Feed *container.Feed
	// Ready puts in force what holds for a container and returns when it is, or when the context ends; an error says that
	// it is not in force by then. Required.
	Ready func(ctx context.Context, c *container.Container) error
	// Wait is how long a container is held up for Ready, DefaultWait if 0. While answers are late, it is halved from one to
	// the next, so that a node whose agent is overloaded starts containers at nearly its own speed.
	Wait   time.Duration
	Logger *slog.Logger
}

// Source is a connection to a runtime that is kept up.
type Source struct {
	cfg   Config
	log   *slog.Logger
	stats counters
	// runtime is what the runtime calls itself.
	runtime atomic.Pointer[string]
	// wait is the present bound in nanoseconds, at most cfg.Wait.
	wait atomic.Int64
	// reason is why there is no session, empty while there is one.
	reason atomic.Pointer[string]

	mu sync.Mutex
	// announced are the containers that were announced and not started yet, with the time.
	announced map[string]time.Time
}

type counters struct {
	connects, announced, ready, late, failed, refused, bad atomic.Uint64
	waited, longest                                        atomic.Int64
}

// Stats are a source's counters since it was made.
type Stats struct {
	// Connects counts sessions that were set up.
	Connects uint64
	// Announced counts containers that were made or started while the runtime waited: Ready of them were answered when
	// their policy was in force, Late when the time was over, Failed when it could not be put in force. Unknown counts
	// those that the registry had no room for.
	Announced, Ready, Late, Failed, Unknown uint64
	// BadMessages counts requests that could not be read; they were answered all the same.
	BadMessages uint64
	// Waited is for how long containers were held up in all, Longest the most for one.
	Waited, Longest time.Duration
}

// New prepares a source. It connects to nothing yet.
func New(cfg Config) (*Source, error) {
	if cfg.Feed == nil || cfg.Ready == nil {
		return nil, errors.New("nri source: no feed, or nothing to make containers ready")
	}
	if cfg.Wait < 0 {
		return nil, fmt.Errorf("nri source: a wait of %s", cfg.Wait)
	}
	if cfg.Socket == "" {
		cfg.Socket = DefaultSocket
	}
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if cfg.Wait == 0 {
		cfg.Wait = DefaultWait
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, log: cfg.Logger, announced: map[string]time.Time{}}
	s.wait.Store(int64(cfg.Wait))
	// Until the runtime has been asked, no container waits for it.
	cfg.Feed.Off("not connected yet")
	return s, nil
}

// Stats returns the counters.
func (s *Source) Stats() Stats {
	c := &s.stats
	return Stats{
		Connects: c.connects.Load(), Announced: c.announced.Load(), Ready: c.ready.Load(), Late: c.late.Load(),
		Failed: c.failed.Load(), Unknown: c.refused.Load(), BadMessages: c.bad.Load(),
		Waited: time.Duration(c.waited.Load()), Longest: time.Duration(c.longest.Load()),
	}
}

// Run follows the runtime until ctx ends, and returns nil then. It may be called once.
func (s *Source) Run(ctx context.Context) error {
	session.KeepWithin(ctx, retryWithin, s.session, s.lost)
	return nil
}

// lost reports why there is no session. Containers do not wait for this source: it answers no questions.
func (s *Source) lost(err error) {
	reason := fmt.Sprintf("NRI at %s: %v", s.cfg.Socket, err)
	if _, statErr := os.Stat(s.cfg.Socket); errors.Is(statErr, fs.ErrNotExist) {
		reason = fmt.Sprintf("no NRI socket at %s: what holds for a container is in force some milliseconds after it began; "+
			"containerd has NRI from 1.7 on, enabled from 2.0 on", s.cfg.Socket)
	}
	s.cfg.Feed.Off(reason)
	if old := s.reason.Swap(&reason); old == nil || *old != reason {
		s.log.Info("NRI is not reached, trying on", "reason", reason)
	}
}
