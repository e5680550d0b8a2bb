// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/agent/container"
)

// configHash is the annotation in which the object of a static pod has the uid that the kubelet knows the pod by.
const configHash = "kubernetes.io/config.hash"

// maxAnnotation is the longest annotation that is kept, bytes; the registry takes no longer ones. kubectl keeps the whole
// object in one.
const maxAnnotation = 256

// pod is what is kept of a pod.
type pod struct {
	// uid is the object's, known the one that the kubelet and the runtime know the pod by.
	uid, known      string
	name, namespace string
	labels          map[string]string
	annotations     map[string]string
	commands        map[string][][]string
	addresses       []netip.Addr
	// here says that it runs on the node, host that it has the node's addresses.
	here, host bool
	// owner is the workload, once it is found; up is where the search begins.
	owner top
	up    ref
	found bool
	// asking says that it is being found, next when it may be tried again, tries how often it was in vain.
	asking bool
	next   time.Time
	tries  int
}

// trimPod leaves of a pod what is used.
func trimPod(p *corev1.Pod) {
	kept := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion, Labels: p.Labels,
			Annotations: p.Annotations, OwnerReferences: p.OwnerReferences,
		},
		Spec:   corev1.PodSpec{NodeName: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork},
		Status: corev1.PodStatus{PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs, Phase: p.Status.Phase},
	}
	maps.DeleteFunc(kept.Annotations, func(_, value string) bool { return len(value) > maxAnnotation })
	trim := func(of []corev1.Container) []corev1.Container {
		list := make([]corev1.Container, 0, len(of))
		for i := range of {
			c := &of[i]
			list = append(list, corev1.Container{
				Name: c.Name, LivenessProbe: c.LivenessProbe, ReadinessProbe: c.ReadinessProbe, StartupProbe: c.StartupProbe, Lifecycle: c.Lifecycle,
			})
		}
		return list
	}
	kept.Spec.Containers, kept.Spec.InitContainers = trim(p.Spec.Containers), trim(p.Spec.InitContainers)
	*p = kept
}

// trimFarPod leaves of a pod of another node what is used.
func trimFarPod(p *corev1.Pod) {
	trimPod(p)
	p.Labels, p.Annotations, p.Spec.Containers, p.Spec.InitContainers = nil, nil, nil, nil
}

// podOf makes what is kept of a pod.
func podOf(p *corev1.Pod, here bool) *pod {
	kept := &pod{
		uid: string(p.UID), known: string(p.UID), name: p.Name, namespace: p.Namespace, here: here,
		host: p.Spec.HostNetwork, addresses: addressesOf(p),
	}
	if up, owned := refOf(p.Namespace, p.OwnerReferences); owned {
		kept.up = up
	} else {
		kept.owner, kept.found = top{Owner: container.Owner{Kind: "Pod", Name: p.Name}}, true
	}
	if !here {
		return kept
	}
	if hash := p.Annotations[configHash]; hash != "" {
		kept.known = hash
	}
	kept.labels, kept.annotations, kept.commands = notNil(p.Labels), notNil(p.Annotations), commandsOf(p)
	return kept
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// addressesOf are the pod's addresses while it has not ended: then they may be another's.
func addressesOf(p *corev1.Pod) []netip.Addr {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return nil
	}
	var list []netip.Addr
	texts := []string{p.Status.PodIP}
	for _, ip := range p.Status.PodIPs {
		texts = append(texts, ip.IP)
	}
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		if a = plain(a); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// plain brings an address to the one form that is used as a key.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// commandsOf are the commands that the kubelet runs in a pod's containers, by the container's name; never nil. Probes over
// HTTP, TCP and gRPC come from the node and run nothing in the container. Containers that are added to a pod while it runs
// can have none.
func commandsOf(p *corev1.Pod) map[string][][]string {
	all := map[string][][]string{}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			c := &list[i]
			for _, command := range containerCommands(c) {
				if len(command) > 0 {
					all[c.Name] = append(all[c.Name], command)
				}
			}
		}
	}
	return all
}

func containerCommands(c *corev1.Container) [][]string {
	var list [][]string
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe != nil && probe.Exec != nil {
			list = append(list, probe.Exec.Command)
		}
	}
	if c.Lifecycle == nil {
		return list
	}
	for _, hook := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if hook != nil && hook.Exec != nil {
			list = append(list, hook.Exec.Command)
		}
	}
	return list
}

// facts are what the registry is told of a pod.
func (s *Source) facts(p *pod) container.PodFacts {
	f := container.PodFacts{
		Name: p.name, Namespace: p.namespace, Labels: p.labels, Annotations: p.annotations, Commands: p.commands,
	}
	if p.found {
		f.Owner, f.OwnerAnnotations = p.owner.Owner, p.owner.annotations
	}
	if ns := s.namespaces[p.namespace]; ns != nil {
		f.NamespaceLabels, f.NamespaceAnnotations = ns.labels, ns.annotations
	}
	return f
}

// push tells the registry what is known of pods of the node by now. One at a time, so that nothing that is older is told
// later.
func (s *Source) push(list ...*pod) {
	s.pushing.Lock()
	defer s.pushing.Unlock()
	for _, p := range list {
		s.mu.Lock()
		current := s.pods[p.uid]
		if current == nil || !current.here {
			s.mu.Unlock()
			continue
		}
		facts := s.facts(current)
		s.mu.Unlock()
		s.cfg.Registry.SetPod(current.known, facts)
	}
}

// setPod takes in a pod that is new or has changed.
func (s *Source) setPod(next *pod) {
	s.mu.Lock()
	if !s.enter(next) {
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.poke()
	if next.here {
		s.push(next)
	}
}

// enter puts a pod into the tables; false when there is no room, or it is known better. mu is held.
func (s *Source) enter(next *pod) bool {
	was := s.pods[next.uid]
	switch {
	case was == nil && len(s.pods) >= maxPods:
		s.omitted++
		return false
	case was != nil && was.here && !next.here:
		// The node's own pods are told of by a stream of their own.
		return false
	}
	if was != nil {
		if was.up == next.up && was.found && !next.found {
			next.owner, next.found = was.owner, true
		}
		next.asking = was.asking && !next.found
		s.leaves(was, next)
	}
	s.pods[next.uid] = next
	s.byName[nameOf(next.namespace, next.name)] = next
	if !next.host {
		for _, a := range next.addresses {
			s.byAddr[a] = next
		}
	}
	if was == nil || !slices.Equal(was.addresses, next.addresses) || was.found != next.found {
		s.movedPod(next)
	}
	return true
}

// leaves takes the addresses from the table that a pod has no more. mu is held.
func (s *Source) leaves(was, next *pod) {
	for _, a := range was.addresses {
		if s.byAddr[a] == was {
			delete(s.byAddr, a)
		}
		if was.found && !was.host && (next == nil || !slices.Contains(next.addresses, a)) {
			s.hold(workloadName(was.namespace, was.owner.Owner), held{address: a, pod: nameOf(was.namespace, was.name)})
		}
	}
	if s.byName[nameOf(was.namespace, was.name)] == was {
		delete(s.byName, nameOf(was.namespace, was.name))
	}
}

// dropPod forgets a pod.
func (s *Source) dropPod(uid string) {
	s.mu.Lock()
	p := s.pods[uid]
	if p != nil {
		delete(s.pods, uid)
		s.leaves(p, nil)
		s.movedPod(p)
	}
	s.mu.Unlock()
	if p != nil && p.here {
		s.cfg.Registry.EndPod(p.known)
	}
}

// allPods takes in the whole of what a stream has: pods of the node, or else of a namespace.
func (s *Source) allPods(list []*pod, ours func(*pod) bool) {
	there := make(map[string]bool, len(list))
	for _, p := range list {
		there[p.uid] = true
		s.setPod(p)
	}
	s.mu.Lock()
	var gone []string
	for uid, p := range s.pods {
		if ours(p) && !there[uid] {
			gone = append(gone, uid)
		}
	}
	s.mu.Unlock()
	for _, uid := range gone {
		s.dropPod(uid)
	}
}
