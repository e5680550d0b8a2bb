// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Pauses between attempts to reach the API server: each doubles the one before, and is up to twice as long as it says, so
// that the agents of a cluster do not come back together.
const (
	firstPause = 500 * time.Millisecond
	mostPause  = 10 * time.Second
	pauseSteps = 1 << 20
)

// stream is one list and watch.
type stream struct {
	name    string
	asked   *cache.ListWatch
	example runtime.Object
	store   cache.ReflectorStore
	changed func()

	mu     sync.Mutex
	synced bool
	err    error
	since  time.Time
	last   time.Time
}

// run keeps the stream going until the context ends.
func (s *stream) run(ctx context.Context, log *slog.Logger) {
	// What the library has to say of its attempts is in the status.
	quiet := logr.FromSlogHandler(quieter{log.Handler()})
	logger := klog.Logger(quiet)
	reflector := cache.NewReflectorWithOptions(s.observed(), s.example, s.store, cache.ReflectorOptions{
		Name: s.name, Logger: &logger,
		Backoff: &wait.Backoff{Duration: firstPause, Factor: 2, Jitter: 1, Cap: mostPause, Steps: pauseSteps},
	})
	reflector.RunWithContext(klog.NewContext(ctx, logger))
}

// observed notes how lists and watches do.
func (s *stream) observed() *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := s.asked.ListWithContextFunc(ctx, o)
			s.note(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := s.asked.WatchFuncWithContext(ctx, o)
			s.note(ctx, err)
			return w, err
		},
	}
}

// note takes the outcome of an attempt.
func (s *stream) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	was := s.err
	if (was == nil) != (err == nil) {
		s.since = time.Now()
	}
	s.err = err
	s.mu.Unlock()
	if (was == nil) != (err == nil) {
		s.changed()
	}
}

// seen notes that something came; whole, that all of it has.
func (s *stream) seen(whole bool) {
	s.mu.Lock()
	s.last = time.Now()
	first := whole && !s.synced
	s.synced = s.synced || whole
	s.mu.Unlock()
	if first {
		s.changed()
	}
}

// whole reports whether all of it has come once.
func (s *stream) whole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// up reports whether the stream is in step with the API server, as far as is known, and if not, why.
func (s *stream) up() (bool, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced && s.err == nil, s.since, s.err
}

// sink takes the objects of a stream. trim leaves of an object only what is used.
type sink[T any] struct {
	of   *stream
	trim func(*T)
	set  func(*T)
	drop func(*T)
	all  func([]*T)
}

func (k *sink[T]) object(obj any) (*T, error) {
	o, ok := obj.(*T)
	if !ok {
		return nil, fmt.Errorf("the API server sent a %T in place of a %T", obj, o)
	}
	k.trim(o)
	return o, nil
}

// Add implements cache.ReflectorStore.
func (k *sink[T]) Add(obj any) error { return k.Update(obj) }

// Update implements cache.ReflectorStore.
func (k *sink[T]) Update(obj any) error {
	o, err := k.object(obj)
	if err == nil {
		k.of.seen(false)
		k.set(o)
	}
	return err
}

// Delete implements cache.ReflectorStore.
func (k *sink[T]) Delete(obj any) error {
	o, err := k.object(obj)
	if err == nil {
		k.of.seen(false)
		k.drop(o)
	}
	return err
}

// Replace implements cache.ReflectorStore.
func (k *sink[T]) Replace(list []any, _ string) error {
	objects := make([]*T, 0, len(list))
	for _, obj := range list {
		o, err := k.object(obj)
		if err != nil {
			return err
		}
		objects = append(objects, o)
	}
	k.all(objects)
	k.of.seen(true)
	return nil
}

// Bookmark implements cache.ReflectorBookmarkStore: nothing has changed, and the API server is there.
func (k *sink[T]) Bookmark(string) error {
	k.of.seen(false)
	return nil
}

// Resync implements cache.ReflectorStore.
func (k *sink[T]) Resync() error { return nil }

// Transformer implements cache.TransformingStore, so that a first list that is streamed is not held whole.
func (k *sink[T]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, ok := obj.(*T); ok {
			k.trim(o)
		}
		return obj, nil
	}
}

// quieter passes on what is logged as of the lowest level.
type quieter struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quieter) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (q quieter) Handle(ctx context.Context, r slog.Record) error {
	// Errors come without a question before.
	if !q.Enabled(ctx, r.Level) {
		return nil
	}
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }
