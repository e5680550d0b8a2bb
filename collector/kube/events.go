// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Alerts are what Events are made of. store.Reader is one.
type Alerts interface {
	Follow(ctx context.Context, lane apiv1.Lane, f store.Filter, after store.Cursor, emit func(store.Row) error) error
}

// controllerName is who Events are of.
const controllerName = "holdfast.dev/collector"

// events writes Events on pods in which something was blocked.
type events struct {
	client   *rest.RESTClient
	alerts   Alerts
	instance string
	log      *slog.Logger
	now      func() time.Time
	metrics  *metrics
	reach    *reach

	mu     sync.Mutex
	folder *folder
	// told are the counts of the folder that the metrics have.
	toldFolded, toldShed uint64
}

func newEvents(client *rest.RESTClient, cfg Config, m *metrics, r *reach) *events {
	return &events{
		client: client, alerts: cfg.Alerts, instance: plain(cfg.Instance, maxManager), log: cfg.Log, now: cfg.Now, metrics: m, reach: r,
		folder: newFolder(),
	}
}

// follow takes the alerts that are stored from now on.
func (e *events) follow(ctx context.Context) error {
	retry := firstRetry
	for {
		err := e.alerts.Follow(ctx, apiv1.Lane_LANE_ALERTS, store.Filter{}, "", func(row store.Row) error {
			retry = firstRetry
			if d, is := deedOf(row); is {
				e.mu.Lock()
				e.folder.add(d, e.now())
				e.mu.Unlock()
			}
			return nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.metrics.failed("event")
		e.log.Error("alerts could not be followed for Events, trying again", "in", retry.String(), "error", err)
		if err := sleep(ctx, retry); err != nil {
			return err
		}
		retry = min(2*retry, time.Minute)
	}
}

// Writing: how often what is due is looked for, and how many Events are written each time.
const (
	writeEvery = time.Second
	writeMost  = 20
)

// write writes what is due until ctx ends.
func (e *events) write(ctx context.Context) error {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, s := range e.due() {
			e.writeOne(ctx, s)
		}
		e.count()
	}
}

func (e *events) due() []series {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	e.folder.expire(now)
	return e.folder.next(now, writeMost)
}

// count brings the metrics up to date.
func (e *events) count() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.metrics.events.WithLabelValues("folded").Add(float64(e.folder.folded - e.toldFolded))
	e.metrics.events.WithLabelValues("shed").Add(float64(e.folder.shed - e.toldShed))
	e.toldFolded, e.toldShed = e.folder.folded, e.folder.shed
}

// writeOne makes the Event of a series, or raises its count.
func (e *events) writeOne(ctx context.Context, s series) {
	var err error
	if s.written > 0 {
		err = e.raise(ctx, s)
	}
	if s.written == 0 || apierrors.IsNotFound(err) {
		err = e.create(ctx, s)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	switch {
	case err == nil || apierrors.IsAlreadyExists(err):
		e.folder.done(s, now)
		e.reach.note("events", nil)
		e.metrics.events.WithLabelValues("written").Inc()
	case ctx.Err() != nil:
	default:
		// Of a namespace that is gone nobody reads Events.
		lasting := apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
		e.folder.failed(s, now, lasting)
		e.metrics.failed("event")
		if lasting {
			e.log.Warn("an Event was not written", "pod", s.namespace+"/"+s.pod, "error", err)
		} else {
			e.reach.note("events", err)
		}
	}
}

// create makes the Event.
func (e *events) create(ctx context.Context, s series) error {
	event := &eventsv1.Event{
		TypeMeta:            metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
		ObjectMeta:          metav1.ObjectMeta{Namespace: s.namespace, Name: s.name},
		EventTime:           metav1.NewMicroTime(s.at),
		ReportingController: controllerName,
		ReportingInstance:   e.instance,
		Action:              s.subject.deed,
		Reason:              s.reason,
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Pod", Namespace: s.namespace, Name: s.pod, UID: types.UID(s.uid),
			FieldPath: "spec.containers{" + s.container + "}",
		},
		Note: s.note,
		Type: corev1.EventTypeWarning,
	}
	if s.count > 1 {
		event.Series = seriesOf(s)
	}
	err := e.client.Post().Namespace(s.namespace).Resource("events").Timeout(requestTimeout).Body(event).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("create Event %s/%s: %w", s.namespace, s.name, err)
	}
	return nil
}

// raise tells how often it has happened by now.
func (e *events) raise(ctx context.Context, s series) error {
	patch, err := json.Marshal(map[string]any{"series": seriesOf(s)})
	if err == nil {
		err = e.client.Patch(types.MergePatchType).Namespace(s.namespace).Resource("events").Name(s.name).Timeout(requestTimeout).
			Body(patch).Do(ctx).Error()
	}
	if err != nil {
		return fmt.Errorf("raise the count of Event %s/%s: %w", s.namespace, s.name, err)
	}
	return nil
}

func seriesOf(s series) *eventsv1.EventSeries {
	return &eventsv1.EventSeries{Count: int32(min(s.count, 1<<31-1)), LastObservedTime: metav1.NewMicroTime(s.last)}
}
