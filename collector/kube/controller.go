// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Config makes a controller.
type Config struct {
	Connection *Connection
	Fleet      Fleet
	// Alerts are followed for Events.
	Alerts Alerts
	// Authority is the PEM of the certificate that is published.
	Authority []byte
	// Instance names this collector in Events.
	Instance string
	Log      *slog.Logger
	// Metrics is where the controller registers its metrics.
	Metrics prometheus.Registerer
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Controller is what the collector does in Kubernetes. Use New.
type Controller struct {
	Config
	clients    *clients
	metrics    *metrics
	reach      *reach
	profiles   cache.SharedIndexInformer
	policies   cache.SharedIndexInformer
	changed    chan struct{}
	reconciler reconciler
	read       map[types.UID]generation
	written    map[reference]writtenStatus
	told       map[reference]string
	events     *events
	// writes counts the statuses that were written in this step.
	writes int
}

// maxWrites is how many statuses are written in one step; the others wait for the next one, so that no change of an object
// waits for long.
const maxWrites = 50

// generation is what an object said in one of its generations.
type generation struct {
	number int64
	parsed
}

// writtenStatus is the status of an object that was written last, and when.
type writtenStatus struct {
	uid types.UID
	at  time.Time
	v1alpha1.ProfileStatus
}

// New makes a controller, and asks nothing of the API server yet.
func New(cfg Config) (*Controller, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Controller{
		Config: cfg, changed: make(chan struct{}, 1), reconciler: reconciler{fleet: cfg.Fleet, applied: map[profile.Key]applied{}},
		read: map[types.UID]generation{}, written: map[reference]writtenStatus{}, told: map[reference]string{},
	}
	var err error
	if c.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	c.reach = newReach(cfg, c.metrics)
	if c.clients, err = newClients(cfg.Connection.Config); err != nil {
		return nil, err
	}
	if c.profiles, err = newInformer(c.clients.holdfast, v1alpha1.ProfileResource, &v1alpha1.HoldfastProfile{}, &v1alpha1.HoldfastProfileList{}, c.wake, c.asked(v1alpha1.ProfileResource)); err != nil {
		return nil, fmt.Errorf("watch %s: %w", v1alpha1.ProfileResource, err)
	}
	if c.policies, err = newInformer(c.clients.holdfast, v1alpha1.PolicyResource, &v1alpha1.HoldfastPolicy{}, &v1alpha1.HoldfastPolicyList{}, c.wake, c.asked(v1alpha1.PolicyResource)); err != nil {
		return nil, fmt.Errorf("watch %s: %w", v1alpha1.PolicyResource, err)
	}
	c.events = newEvents(c.clients.events, cfg, c.metrics, c.reach)
	return c, nil
}

// asked notes what came of asking for the objects of a resource.
func (c *Controller) asked(resource string) func(error) {
	return func(err error) {
		if err != nil {
			c.metrics.failed("watch")
		}
		c.reach.note(resource, err)
	}
}

// wake has the objects looked at soon.
func (c *Controller) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. An API server that is away ends nothing.
func (c *Controller) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(c.Log.With("library", "client-go").Handler()))
	group, ctx := errgroup.WithContext(ctx)
	for _, informer := range []cache.SharedIndexInformer{c.profiles, c.policies} {
		group.Go(func() error {
			informer.RunWithContext(ctx)
			return ctx.Err()
		})
	}
	group.Go(func() error { return c.tend(ctx) })
	group.Go(func() error { return c.publish(ctx) })
	group.Go(func() error { return c.events.follow(ctx) })
	group.Go(func() error { return c.events.write(ctx) })
	return group.Wait()
}

// gather is how long changes of objects are gathered before they are looked at.
const gather = 200 * time.Millisecond

// tend takes objects over and writes their status, when they have changed and every so often.
func (c *Controller) tend(ctx context.Context) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.changed:
			if err := sleep(ctx, gather); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		// What is not known yet must not be taken for gone.
		if !c.profiles.HasSynced() || !c.policies.HasSynced() {
			continue
		}
		if err := c.step(ctx); err != nil && ctx.Err() == nil {
			c.metrics.failed("reconcile")
			c.Log.Error("objects could not be taken over as a whole, trying again", "error", err)
		}
	}
}

// sleep waits, or returns why ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// step takes over what objects say, once, and writes their status.
func (c *Controller) step(ctx context.Context) error {
	profiles, policies := listed[*v1alpha1.HoldfastProfile](c.profiles), listed[*v1alpha1.HoldfastPolicy](c.policies)
	p := newPlan(profiles, policies, c.parse)
	c.forget(profiles)
	err := c.reconciler.run(ctx, p)
	c.tell(ctx, p)
	if err != nil {
		return err
	}
	c.writes = 0
	running := runningOf(c.Fleet.Live())
	for _, o := range profiles {
		ref := reference{v1alpha1.ProfileKind, o.Namespace, o.Name}
		now := profileStatus(o, p.verdicts[ref], running, c.Fleet.EffectiveVersion(o.Key()))
		c.writeStatus(ctx, ref, v1alpha1.ProfileResource, o.UID, o.Status, now)
	}
	for _, o := range policies {
		ref := reference{v1alpha1.PolicyKind, o.Namespace, o.Name}
		now := policyStatus(o, p.verdicts[ref], running)
		c.writeStatus(ctx, ref, v1alpha1.PolicyResource, o.UID, v1alpha1.ProfileStatus{Status: o.Status.Status}, v1alpha1.ProfileStatus{Status: now.Status})
	}
	return nil
}

// listed are the objects that an informer keeps.
func listed[T any](informer cache.SharedIndexInformer) []T {
	var all []T
	for _, o := range informer.GetStore().List() {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	return all
}

// parse reads what an object says, once for each of its generations.
func (c *Controller) parse(o *v1alpha1.HoldfastProfile) parsed {
	if g, ok := c.read[o.UID]; ok && g.number == o.Generation {
		return g.parsed
	}
	p, err := o.Profile()
	c.read[o.UID] = generation{o.Generation, parsed{p, err}}
	return parsed{p, err}
}

// forget drops what objects said that are gone.
func (c *Controller) forget(profiles []*v1alpha1.HoldfastProfile) {
	there := map[types.UID]bool{}
	for _, o := range profiles {
		there[o.UID] = true
	}
	for uid := range c.read {
		if !there[uid] {
			delete(c.read, uid)
		}
	}
}

// tell logs what has become of objects, when that has changed, and counts them.
func (c *Controller) tell(ctx context.Context, p *plan) {
	counts := map[[2]string]int{}
	for ref, v := range p.verdicts {
		counts[[2]string{ref.kind, v.reason}]++
		if said := v.reason + ": " + v.message; c.told[ref] != said {
			c.told[ref] = said
			level := slog.LevelInfo
			if v.reason != v1alpha1.ReasonApplied {
				level = slog.LevelWarn
			}
			c.Log.Log(ctx, level, "object looked at", "object", ref.String(), "outcome", v.reason, "message", v.message)
		}
	}
	for ref := range c.told {
		if p.verdicts[ref] == nil {
			delete(c.told, ref)
			delete(c.written, ref)
			c.Log.Info("object is gone", "object", ref.String())
		}
	}
	c.metrics.objects(counts)
}

// writeStatus writes the status of an object if it has changed and it is time.
func (c *Controller) writeStatus(ctx context.Context, ref reference, resource string, uid types.UID, old, now v1alpha1.ProfileStatus) {
	last := c.written[ref]
	if last.uid == uid {
		old = last.ProfileStatus
	}
	other := old.OverlayVersion != now.OverlayVersion || old.EffectiveVersion != now.EffectiveVersion
	at := c.Now()
	if c.writes >= maxWrites || !due(&old.Status, &now.Status, other, last.at, at) {
		return
	}
	c.writes++
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status", "value": now}})
	if err == nil {
		err = c.clients.holdfast.Patch(types.JSONPatchType).Namespace(ref.namespace).Resource(resource).Name(ref.name).SubResource("status").
			Timeout(requestTimeout).Body(patch).Do(ctx).Error()
	}
	switch {
	case apierrors.IsNotFound(err): // It is gone by now.
	case err != nil:
		c.metrics.failed("status")
		c.reach.note("status of objects", err)
	default:
		c.reach.note("status of objects", nil)
		c.metrics.statuses.Inc()
		c.written[ref] = writtenStatus{uid, at, now}
	}
}
