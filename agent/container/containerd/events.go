// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

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

// follow takes events until the stream ends. The order of containerd is kept.
func (s *Source) follow(ctx context.Context, stream eventsv1.Events_SubscribeClient) error {
	for {
		env, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("containerd closed the event stream")
		}
		if err != nil {
			return fmt.Errorf("receive event: %w", err)
		}
		s.stats.events.Add(1)
		if err := s.take(ctx, env); err != nil {
			s.log.Warn("containerd event not used", "topic", env.GetTopic(), "namespace", env.GetNamespace(), "error", err)
		}
	}
}

// take dispatches one event by its topic, which fixes the type of its body.
func (s *Source) take(ctx context.Context, env *types.Envelope) error {
	ns, topic := env.GetNamespace(), env.GetTopic()
	b, err := readBody(env.GetEvent().GetValue(), pidField(topic))
	if err != nil {
		s.stats.badEvents.Add(1)
		return err
	}
	key := container.Key{RuntimeNamespace: ns, ID: b.name}
	switch topic {
	case "/containers/create":
		return s.created(ctx, key, b.image)
	case "/containers/update":
		_, err := s.fetch(ctx, key)
		return err
	case "/containers/delete":
		s.cfg.Feed.Drop(key)
	case "/tasks/create", "/tasks/start":
		s.started(key, b.pid)
	case "/images/create", "/images/update", "/images/delete":
		s.images.forget(ns, b.name)
	case "/namespaces/create":
		s.learn(b.name)
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
	s.learn(key.RuntimeNamespace)
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
