// SPDX-License-Identifier: Apache-2.0

package container

import (
	"maps"
	"slices"
)

// podRanks are the sources of what a pod's labels and annotations are: those of containers, and Kubernetes itself, which
// comes last and so goes before them.
const (
	rankKubernetes = int(ranks)
	podRanks       = rankKubernetes + 1
)

// Bounds on the commands that a pod's specification can make the agent keep.
const (
	maxCommands  = 16
	maxArguments = 64
	maxCommand   = 4096
)

// PodFacts is what Kubernetes says of a pod. Nil maps mean "not known", in which case what is known stays.
type PodFacts struct {
	Name, Namespace string
	// Owner is the workload, zero while it is not known: what was known before, or the guess of OwnerOf, holds then.
	Owner Owner
	// Labels and Annotations are the pod's as they are now; what a runtime knows is from the pod's beginning.
	Labels, Annotations map[string]string
	// OwnerAnnotations are those of the object that Owner names, NamespaceLabels and NamespaceAnnotations the namespace's.
	OwnerAnnotations, NamespaceLabels, NamespaceAnnotations map[string]string
	// Commands are what the kubelet runs in the pod's containers to see how they do and when they begin and end, as
	// argument vectors, by the container's name.
	Commands map[string][][]string
}

// SetPod takes what Kubernetes says of a pod. Containers that have been announced by OnResolved are announced again where
// that changes them. What is named stays named: without an Owner, the one that is known holds.
func (r *Registry) SetPod(uid string, f PodFacts) {
	r.mu.Lock()
	defer r.unlock()
	p := r.podOf(uid)
	if p == nil {
		return
	}
	p.ended = false
	changed := r.takeFacts(p, &f)
	if !changed {
		r.releasePod(uid, p)
		return
	}
	r.republish(p)
	r.releasePod(uid, p)
}

// takeFacts notes what is new and reports whether anything is.
func (r *Registry) takeFacts(p *pod, f *PodFacts) bool {
	changed := false
	text := func(to *string, from string) {
		if from = r.strings.string(from); from != "" && from != *to {
			*to, changed = from, true
		}
	}
	labels := func(to *map[string]string, from map[string]string) {
		if from == nil {
			return
		}
		kept, omitted := r.strings.labels(from)
		r.stats.OmittedLabels += uint64(omitted)
		if kept == nil {
			kept = map[string]string{}
		}
		if *to == nil || !maps.Equal(*to, kept) {
			*to, changed = kept, true
		}
	}
	text(&p.name, f.Name)
	text(&p.namespace, f.Namespace)
	if f.Owner != (Owner{}) && f.Owner != p.owner {
		p.owner = Owner{Kind: r.strings.string(f.Owner.Kind), Name: r.strings.string(f.Owner.Name)}
		changed = true
	}
	labels(&p.labels[rankKubernetes], f.Labels)
	labels(&p.annotations[rankKubernetes], f.Annotations)
	labels(&p.ownerAnnotations, f.OwnerAnnotations)
	labels(&p.namespaceLabels, f.NamespaceLabels)
	labels(&p.namespaceAnnotations, f.NamespaceAnnotations)
	if f.Commands != nil && !maps.EqualFunc(p.commands, f.Commands, sameCommands) {
		p.commands, changed = boundCommands(f.Commands), true
	}
	return changed
}

// EndPod says that a pod is gone. What is known of it goes with the last of its containers.
func (r *Registry) EndPod(uid string) {
	r.mu.Lock()
	defer r.unlock()
	if p := r.pods[uid]; p != nil {
		p.ended = true
		r.releasePod(uid, p)
	}
}

// AwaitOwners says whether the owners of pods will be told by SetPod: then a container of a pod is resolved when its owner
// is known or its deadline has passed, and not before. Until it is called, and once it is taken back, nothing waits for them.
func (r *Registry) AwaitOwners(await bool) {
	r.mu.Lock()
	defer r.unlock()
	if r.awaitOwners == await {
		return
	}
	r.awaitOwners = await
	if await {
		return
	}
	for _, e := range r.open {
		if e.state() == StatePending {
			r.publish(e)
		}
	}
}

// republish gives the containers of a pod what has become known of it.
func (r *Registry) republish(p *pod) {
	announced := r.resolvedOf(p)
	r.publishPod(p)
	for _, e := range announced {
		r.announce(e, e.current.Load())
	}
	for rec := range p.members {
		if rec.entry == nil && !rec.dropped && rec.parts[RankRuntime] != nil && rec.merged.HasSpec {
			r.notes = append(r.notes, note{expected: r.foretell(rec)})
		}
	}
}

// awaitsOwner reports whether a container waits for its pod's owner.
func (r *Registry) awaitsOwner(e *entry, c *Container) bool {
	if !r.awaitOwners || e.late || c.PodUID == "" {
		return false
	}
	p := r.pods[c.PodUID]
	return p == nil || p.owner == (Owner{})
}

func sameCommands(a, b [][]string) bool {
	return slices.EqualFunc(a, b, slices.Equal)
}

// boundCommands copies what fits.
func boundCommands(all map[string][][]string) map[string][][]string {
	kept := make(map[string][][]string, min(len(all), maxLabels))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(kept) == maxLabels {
			break
		}
		for _, argv := range all[name] {
			size := 0
			for _, argument := range argv {
				size += len(argument) + 1
			}
			if len(argv) > 0 && len(argv) <= maxArguments && size <= maxCommand && len(kept[name]) < maxCommands {
				kept[name] = append(kept[name], slices.Clone(argv))
			}
		}
	}
	return kept
}
