// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"

	eventsv1 "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-project/holdfast/agent/container"
)

// topics are the filters of the subscription, any of which may match.
var topics = []string{
	`topic~="^/containers/"`,
	`topic=="/tasks/create"`,
	`topic=="/tasks/start"`,
	`topic~="^/images/"`,
	`topic~="^/namespaces/"`,
}

// happening is an event that concerns one container.
type happening struct {
	topic string
	key   container.Key
	body  body
}

// readers take happenings. Those of one container go to one reader, in containerd's order; a slow answer about one
// container holds up few others.
type readers [8]chan happening

// readerQueue is how many happenings may wait for one reader before the stream waits.
const readerQueue = 512

func newReaders() *readers {
	var r readers
	for i := range r {
		r[i] = make(chan happening, readerQueue)
	}
	return &r
}

func (r *readers) of(id string) chan happening {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return r[h.Sum32()%uint32(len(r))]
}

// follow takes events until the stream ends, and hands those about containers to the readers.
func (s *Source) follow(ctx context.Context, stream eventsv1.Events_SubscribeClient, to *readers) error {
	for {
		env, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("containerd closed the event stream")
		}
		if err != nil {
			return fmt.Errorf("receive event: %w", err)
		}
		s.stats.events.Add(1)
		if err := s.dispatch(ctx, env, to); err != nil {
			s.log.Warn("containerd event not used", "topic", env.GetTopic(), "namespace", env.GetNamespace(), "error", err)
		}
	}
}

// dispatch sorts an event by its topic, which fixes the type of its body.
func (s *Source) dispatch(ctx context.Context, env *types.Envelope, to *readers) error {
	ns, topic := env.GetNamespace(), env.GetTopic()
	b, err := readBody(env.GetEvent().GetValue(), pidField(topic))
	if err != nil {
		s.stats.badEvents.Add(1)
		return err
	}
	switch {
	case strings.HasPrefix(topic, "/images/"):
		s.images.forget(ns, b.name)
	case topic == "/namespaces/create":
		s.learn(b.name)
	default:
		s.learn(ns)
		select {
		case to.of(b.name) <- happening{topic, container.Key{RuntimeNamespace: ns, ID: b.name}, b}:
		case <-ctx.Done():
		}
	}
	return nil
}

// read works off the happenings of one reader.
func (s *Source) read(ctx context.Context, queue <-chan happening) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case h := <-queue:
			if err := s.take(ctx, h); err != nil {
				s.log.Warn("container not read", "topic", h.topic, "id", h.key.ID, "error", err)
			}
		}
	}
}

func (s *Source) take(ctx context.Context, h happening) error {
	switch h.topic {
	case "/containers/create":
		return s.created(ctx, h.key, h.body.image)
	case "/containers/update":
		_, err := s.fetch(ctx, h.key)
		return err
	case "/containers/delete":
		s.cfg.Feed.Drop(h.key)
	case "/tasks/create", "/tasks/start":
		s.started(h.key, h.body.pid)
	}
	return nil
}

// pidField is the number of the field that holds the process id in the event of a topic.
func pidField(topic string) protowire.Number {
	switch topic {
	case "/tasks/create":
		return fieldCreatePID
	case "/tasks/start":
		return fieldStartPID
	default:
		return 0
	}
}

// created reads a new container. If it is gone already, the event itself still says its id and image.
func (s *Source) created(ctx context.Context, key container.Key, image string) error {
	found, err := s.fetch(ctx, key)
	if err != nil || found {
		return err
	}
	s.stats.vanished.Add(1)
	s.cfg.Feed.Put(container.Record{Key: key, Runtime: runtimeName(key.RuntimeNamespace), Image: image})
	return nil
}

// learn adds a namespace to those that are searched. Only follow and list call it, one after the other.
func (s *Source) learn(ns string) {
	known := s.namespacesKnown()
	if ns == "" || slices.Contains(known, ns) {
		return
	}
	names := append(slices.Clone(known), ns)
	s.known.Store(&names)
	s.cfg.Feed.Namespace(ns)
}

func (s *Source) namespacesKnown() []string {
	if p := s.known.Load(); p != nil {
		return *p
	}
	return nil
}

// answer looks up containers that the registry met without a record.
func (s *Source) answer(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case q := <-s.cfg.Feed.Queries():
			s.look(ctx, q)
		}
	}
}

// look searches all namespaces for a container id, the one that the path names first.
func (s *Source) look(ctx context.Context, q container.Query) {
	if q.ID == "" || q.Cgroup == 0 {
		return
	}
	names := s.namespacesKnown()
	if q.RuntimeNamespace != "" {
		names = []string{q.RuntimeNamespace}
	}
	for _, ns := range names {
		found, err := s.fetch(ctx, container.Key{RuntimeNamespace: ns, ID: q.ID})
		if err != nil {
			s.log.Debug("query not answered", "id", q.ID, "error", err)
			return
		}
		if found {
			return
		}
	}
	s.cfg.Feed.Absent(q)
}
