// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/session"
)

// errNoCRI says that the runtime does not offer CRI's version 1.
var errNoCRI = errors.New("the runtime does not speak CRI v1")

// A container is visible in CRI only when its creation is complete, some time after its first cgroup: attempts to look
// at it are made at once and after these waits.
var retries = [...]time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond}

// notice is a container to look at.
type notice struct {
	container.Query
	attempt int
	due     time.Time
}

// session lists, and then looks at what is asked for until the connection fails.
func (s *Source) session(ctx context.Context) error {
	if err := s.hello(ctx); err != nil {
		return err
	}
	if err := s.list(ctx); err != nil {
		return err
	}
	s.cfg.Feed.Up()
	s.reason = ""
	s.once.Do(func() { close(s.ready) })
	return s.serve(ctx)
}

// serve looks at one container at a time. What was not visible yet waits in a short list of its own.
func (s *Source) serve(ctx context.Context) error {
	again := time.NewTicker(relist)
	defer again.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var later []notice
	for {
		var n notice
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
			if err := s.list(ctx); err != nil {
				return err
			}
			continue
		case n.Query = <-s.cfg.Feed.Queries():
		case <-timer.C:
			var ok bool
			if n, later, ok = due(later, time.Now()); !ok {
				rearm(timer, later)
				continue
			}
		}
		retry, err := s.look(ctx, n.Query)
		if err != nil {
			return err
		}
		if retry {
			later = s.postpone(later, n)
		}
		rearm(timer, later)
	}
}

// postpone puts a notice off to its next attempt, or answers that the container is not there after the last.
func (s *Source) postpone(later []notice, n notice) []notice {
	if n.attempt >= len(retries) || len(later) >= maxLater {
		s.stats.notFound.Add(1)
		s.cfg.Feed.Absent(n.Query)
		return later
	}
	n.due = time.Now().Add(retries[n.attempt])
	n.attempt++
	return append(later, n)
}

// due takes the first notice out of a list whose time has come.
func due(later []notice, now time.Time) (notice, []notice, bool) {
	for i, n := range later {
		if !n.due.After(now) {
			return n, append(later[:i], later[i+1:]...), true
		}
	}
	return notice{}, later, false
}

// rearm sets the timer to the earliest of a list.
func rearm(t *time.Timer, later []notice) {
	t.Stop()
	if len(later) == 0 {
		return
	}
	next := later[0].due
	for _, n := range later[1:] {
		if n.due.Before(next) {
			next = n.due
		}
	}
	t.Reset(max(time.Until(next), 0))
}

// hello checks the version of the interface.
func (s *Source) hello(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, session.CallTimeout)
	defer cancel()
	v, err := s.runtime.Version(ctx, &runtimev1.VersionRequest{})
	if status.Code(err) == codes.Unimplemented {
		return errNoCRI
	}
	if err != nil {
		return fmt.Errorf("ask for the runtime's version: %w", err)
	}
	name := v.GetRuntimeName()
	s.name.Store(&name)
	return nil
}

// list reads all sandboxes and containers. Addresses come with the status of each ready sandbox.
func (s *Source) list(ctx context.Context) error {
	pods, err := s.listSandboxes(ctx, nil)
	if err != nil {
		return err
	}
	callCtx, cancel := context.WithTimeout(ctx, session.CallTimeout)
	defer cancel()
	containers, err := s.runtime.ListContainers(callCtx, &runtimev1.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	s.cfg.Feed.BeginSync()
	if s.cfg.Book != nil {
		s.cfg.Book.ReleaseAll(addressSource, "")
	}
	byID := make(map[string]*runtimev1.PodSandbox, len(pods))
	for _, p := range pods {
		byID[p.GetId()] = p
		s.cfg.Feed.Put(s.sandboxRecord(p.GetId(), p.GetMetadata(), p.GetLabels(), p.GetAnnotations(), p.GetCreatedAt()))
		if p.GetState() == runtimev1.PodSandboxState_SANDBOX_READY && s.cfg.Book != nil {
			if _, err := s.lookSandbox(ctx, p.GetId()); err != nil {
				return err
			}
		}
	}
	for _, c := range containers.GetContainers() {
		s.cfg.Feed.Put(s.listed(c, byID[c.GetPodSandboxId()]))
	}
	s.cfg.Feed.EndSync()
	s.stats.connects.Add(1)
	return nil
}

func (s *Source) listSandboxes(
	ctx context.Context, filter *runtimev1.PodSandboxFilter,
) ([]*runtimev1.PodSandbox, error) {
	ctx, cancel := context.WithTimeout(ctx, session.CallTimeout)
	defer cancel()
	resp, err := s.runtime.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("list pod sandboxes: %w", err)
	}
	return resp.GetItems(), nil
}

// look reads one container or, if it is none, one sandbox. retry says that CRI does not know it (yet). An error means
// that the connection is lost.
func (s *Source) look(ctx context.Context, q container.Query) (retry bool, err error) {
	switch {
	case q.ID == "":
		return false, nil
	case q.RuntimeNamespace != "" && q.RuntimeNamespace != s.cfg.Namespace:
		s.cfg.Feed.Absent(q)
		return false, nil
	case q.Deleted:
		if s.cfg.Book != nil {
			s.cfg.Book.ReleaseAll(addressSource, q.ID)
		}
		return false, nil
	}
	s.stats.lookups.Add(1)
	found, err := s.lookContainer(ctx, q.ID)
	if found || err != nil {
		return false, err
	}
	pods, err := s.listSandboxes(ctx, &runtimev1.PodSandboxFilter{Id: q.ID})
	if err != nil || len(pods) == 0 {
		return err == nil, err
	}
	found, err = s.lookSandbox(ctx, q.ID)
	return !found && err == nil, err
}

// lookContainer reads a container from a list of one: a runtime logs an error for each status asked of a container that
// it does not have. The status then adds the image's digest; in a list, image_ref can be the bare image id.
func (s *Source) lookContainer(ctx context.Context, id string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, session.CallTimeout)
	defer cancel()
	list, err := s.runtime.ListContainers(ctx, &runtimev1.ListContainersRequest{
		Filter: &runtimev1.ContainerFilter{Id: id},
	})
	if err != nil {
		return false, s.judge("container", id, err)
	}
	if len(list.GetContainers()) == 0 {
		return false, nil
	}
	rec := s.listed(list.GetContainers()[0], nil)
	resp, err := s.runtime.ContainerStatus(ctx, &runtimev1.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return false, s.judge("container", id, err)
	}
	c := resp.GetStatus()
	name, digest, config := image(c.GetImage(), c.GetImageRef(), c.GetImageId())
	rec.Image = cmp.Or(name, rec.Image)
	rec.ImageDigest, rec.ImageID = cmp.Or(digest, rec.ImageDigest), cmp.Or(config, rec.ImageID)
	s.cfg.Feed.Put(rec)
	return true, nil
}

func (s *Source) lookSandbox(ctx context.Context, id string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, session.CallTimeout)
	defer cancel()
	resp, err := s.runtime.PodSandboxStatus(ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return false, s.judge("pod sandbox", id, err)
	}
	p := resp.GetStatus()
	rec := s.sandboxRecord(p.GetId(), p.GetMetadata(), p.GetLabels(), p.GetAnnotations(), p.GetCreatedAt())
	rec.Resolvers = resolvers(resp.GetInfo())
	s.cfg.Feed.Put(rec)
	s.addresses(p)
	return true, nil
}

// judge decides whether an error concerns one container or the connection.
func (s *Source) judge(what, id string, err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled:
		return fmt.Errorf("read %s %s: %w", what, id, err)
	case codes.NotFound:
		return nil
	default:
		// Old runtimes answer "unknown" for a container they do not have.
		s.stats.failedReads.Add(1)
		s.log.Debug("CRI status not read", "what", what, "id", id, "error", err)
		return nil
	}
}
