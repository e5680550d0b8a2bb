// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/holdfast-project/holdfast/agent/container"
)

// Bounds of what is known of pods of other nodes.
const (
	// maxFar is how many are remembered that were asked for by name.
	maxFar = 4096
	// farFor is how long an answer about one holds.
	farFor = 10 * time.Minute
	// maxWatched is how many namespaces are watched for the workloads that policies name.
	maxWatched = 32
)

// farPod is a pod of another node that a container of the node has contacted.
type farPod struct {
	owner container.Owner
	found bool
	// asking, next and tries are as of pods.
	asking bool
	next   time.Time
	tries  int
	at     time.Time
}

// Owner names the workload of a pod that Lookup gave. OwnerAsked says that the answer may come within seconds; OwnerUnknown
// that there is none: the pod is gone, has its node's address, or the API server is away.
func (s *Source) Owner(of container.Endpoint) (container.Owner, container.OwnerAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(of.Namespace, of.Name)
	if p := s.byName[name]; p != nil {
		if p.found {
			return p.owner.Owner, container.OwnerKnown
		}
		return container.Owner{}, s.asked()
	}
	f := s.far[name]
	switch {
	case f == nil && len(s.far) >= maxFar && !s.forgetFar():
		return container.Owner{}, container.OwnerUnknown
	case f == nil || f.found && s.now().Sub(f.at) > farFor:
		s.far[name] = &farPod{at: s.now()}
		s.poke()
		return container.Owner{}, s.asked()
	case !f.found:
		return container.Owner{}, s.asked()
	case f.owner == (container.Owner{}):
		return container.Owner{}, container.OwnerUnknown
	default:
		return f.owner, container.OwnerKnown
	}
}

// asked is the answer while the API server is there. mu is held.
func (s *Source) asked() container.OwnerAnswer {
	if s.told {
		return container.OwnerAsked
	}
	return container.OwnerUnknown
}

// forgetFar makes room among the pods that were asked for. mu is held.
func (s *Source) forgetFar() bool {
	now := s.now()
	for name, f := range s.far {
		if f.found && !f.asking && now.Sub(f.at) > farFor/10 {
			delete(s.far, name)
		}
	}
	return len(s.far) < maxFar
}

// askFar asks for pods elsewhere that are not known yet, and gives when the next may be tried again.
func (s *Source) askFar(ctx context.Context) (next time.Time) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, f := range s.far {
		switch {
		case f.found || f.asking:
		case f.tries > 5:
			// Nobody waits for the answer any more.
			delete(s.far, name)
		case f.next.After(now):
			next = earlier(next, f.next)
		default:
			if !s.start(func() { s.findFar(ctx, name) }) {
				return next
			}
			f.asking = true
		}
	}
	return next
}

func (s *Source) findFar(ctx context.Context, name string) {
	owner, err := s.farOwner(ctx, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.far[name]
	if f == nil {
		return
	}
	f.asking = false
	if err != nil {
		s.log.Debug("owner of a pod elsewhere is not known yet", "pod", name, "error", err)
		f.next = s.now().Add(pause(f.tries))
		f.tries++
		return
	}
	f.owner, f.found, f.at = owner, true, s.now()
}

// farOwner asks for a pod and follows its owners; the zero Owner where its address says nothing of it.
func (s *Source) farOwner(ctx context.Context, of string) (container.Owner, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	namespace, name, _ := strings.Cut(of, "/")
	var p corev1.Pod
	err := s.client.core.Get().Namespace(namespace).Resource("pods").Name(name).Do(ctx).Into(&p)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return container.Owner{}, nil
	case err != nil:
		return container.Owner{}, fmt.Errorf("ask for pod %s: %w", of, err)
	case p.Spec.HostNetwork:
		return container.Owner{}, nil
	}
	found := podOf(&p, false)
	if found.found {
		return found.owner.Owner, nil
	}
	top, err := s.owners.follow(ctx, found.up)
	return top.Owner, err
}

// watched is a namespace whose pods are watched.
type watched struct {
	stream *stream
	stop   context.CancelFunc
}

// Want says that a policy names a workload, NAMESPACE/KIND/NAME, or that one less does: then the pods of its namespace are
// watched on all nodes.
func (s *Source) Want(workload string, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wanted {
		s.wanted[workload]++
	} else if s.wanted[workload]--; s.wanted[workload] <= 0 {
		delete(s.wanted, workload)
	}
	s.poke()
}

// watchWanted watches the namespaces of the workloads that are wanted, and no others.
func (s *Source) watchWanted(ctx context.Context, group *sync.WaitGroup) {
	s.mu.Lock()
	namespaces := map[string]bool{}
	for workload := range s.wanted {
		namespace, _, _ := strings.Cut(workload, "/")
		if len(namespaces) < maxWatched {
			namespaces[namespace] = true
		}
	}
	var ended []string
	for namespace, w := range s.watched {
		if !namespaces[namespace] {
			w.stop()
			delete(s.watched, namespace)
			ended = append(ended, namespace)
		}
	}
	for namespace := range namespaces {
		if s.watched[namespace] != nil {
			continue
		}
		own, stop := context.WithCancel(ctx)
		st := s.farStream(namespace)
		s.watched[namespace] = &watched{stream: st, stop: stop}
		group.Go(func() { st.run(own, s.log) })
	}
	s.mu.Unlock()
	for _, namespace := range ended {
		s.allPods(nil, func(p *pod) bool { return !p.here && p.namespace == namespace })
	}
}

// farStream is the stream of the pods of a namespace on all nodes.
func (s *Source) farStream(namespace string) *stream {
	st := &stream{name: "pods of " + namespace, example: &corev1.Pod{}, changed: s.poke}
	st.asked = ask(s.client.core, "pods", namespace, "spec.nodeName!="+s.cfg.Node, func() runtime.Object { return &corev1.PodList{} })
	// One that was told to end may still have something in hand.
	current := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.watched[namespace] != nil && s.watched[namespace].stream == st
	}
	st.store = &sink[corev1.Pod]{
		of: st, trim: trimFarPod,
		set: func(p *corev1.Pod) {
			if current() {
				s.setPod(podOf(p, false))
			}
		},
		drop: func(p *corev1.Pod) {
			if current() {
				s.dropPod(string(p.UID))
			}
		},
		all: func(list []*corev1.Pod) {
			if !current() {
				return
			}
			pods := make([]*pod, len(list))
			for i, p := range list {
				pods[i] = podOf(p, false)
			}
			s.allPods(pods, func(p *pod) bool { return !p.here && p.namespace == namespace })
		},
	}
	return st
}
