// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-project/holdfast/agent/container"
)

// Bounds of what is known of owners.
const (
	// maxDepth is how long a chain of owners is followed: a pod of a CronJob's Job has two.
	maxDepth = 8
	// maxObjects and maxVersions are how many objects, and how many groups with a version, are remembered.
	maxObjects  = 4096
	maxVersions = 256
	// refusedFor is how long an answer holds that something may not be read or does not exist: permissions are granted
	// and kinds are defined later.
	refusedFor = 5 * time.Minute
	// askedAgain is how often the annotations of workloads are asked for anew.
	askedAgain = time.Minute
)

// ref names an object that owns another.
type ref struct {
	version, kind, namespace, name, uid string
}

// String names the object for people.
func (r ref) String() string { return r.kind + " " + r.namespace + "/" + r.name }

// refOf gives the owner of an object: the controller that manages it, or the only one that it names. A node owns the
// static pods that it runs, which says nothing of what they are.
func refOf(namespace string, owners []metav1.OwnerReference) (ref, bool) {
	i := slices.IndexFunc(owners, func(o metav1.OwnerReference) bool { return o.Controller != nil && *o.Controller })
	if i < 0 && len(owners) == 1 {
		i = 0
	}
	if i < 0 || owners[i].Kind == "Node" && owners[i].APIVersion == "v1" {
		return ref{}, false
	}
	o := owners[i]
	return ref{version: o.APIVersion, kind: o.Kind, namespace: namespace, name: o.Name, uid: string(o.UID)}, true
}

// object is what is known of an object that owns others.
type object struct {
	// owner is its own owner; zero at the top.
	owner       ref
	annotations map[string]string
	// end says why the chain is not followed further; empty when it is.
	end  string
	at   time.Time
	used time.Time
}

// builtin are the kinds that need not be asked for.
var builtin = map[schema.GroupVersionKind]string{
	{Version: "v1", Kind: "Pod"}:                        "pods",
	{Version: "v1", Kind: "ReplicationController"}:      "replicationcontrollers",
	{Group: "apps", Version: "v1", Kind: "ReplicaSet"}:  "replicasets",
	{Group: "apps", Version: "v1", Kind: "Deployment"}:  "deployments",
	{Group: "apps", Version: "v1", Kind: "StatefulSet"}: "statefulsets",
	{Group: "apps", Version: "v1", Kind: "DaemonSet"}:   "daemonsets",
	{Group: "batch", Version: "v1", Kind: "Job"}:        "jobs",
	{Group: "batch", Version: "v1", Kind: "CronJob"}:    "cronjobs",
}

// owners follows the owners of pods. It is safe for concurrent use.
type owners struct {
	client *client
	log    *slog.Logger
	now    func() time.Time
	flight singleflight.Group

	mu       sync.Mutex
	objects  map[ref]*object
	versions map[string]*version
	// refused are the resources that may not be read, or that the server does not know, and why.
	refused map[string]string
}

// version is what a group and version has.
type version struct {
	kinds map[string]metav1.APIResource
	at    time.Time
}

func newOwners(c *client, log *slog.Logger, now func() time.Time) *owners {
	return &owners{
		client: c, log: log, now: now, objects: map[ref]*object{}, versions: map[string]*version{}, refused: map[string]string{},
	}
}

// top is the workload at the top of a chain, with its annotations as far as they may be read.
type top struct {
	container.Owner
	ref         ref
	annotations map[string]string
}

// follow goes up from an owner to the workload at the top. Where an object is gone, or may not be read, the chain ends at
// it: its kind and name are known from what it owns. The error says that the API server did not answer; try again.
func (o *owners) follow(ctx context.Context, r ref) (top, error) {
	for range maxDepth {
		found, err := o.object(ctx, r)
		if err != nil {
			return top{}, fmt.Errorf("ask for %s: %w", r, err)
		}
		if found.end != "" || found.owner == (ref{}) {
			return top{Owner: container.Owner{Kind: r.kind, Name: r.name}, ref: r, annotations: found.annotations}, nil
		}
		r = found.owner
	}
	return top{Owner: container.Owner{Kind: r.kind, Name: r.name}, ref: r}, nil
}

// object gives what is known of an object, and asks for it first where nothing is.
func (o *owners) object(ctx context.Context, r ref) (object, error) {
	if found, ok := o.known(r); ok {
		return found, nil
	}
	answer, err, _ := o.flight.Do(fmt.Sprintf("%q", r), func() (any, error) {
		if found, ok := o.known(r); ok {
			return found, nil
		}
		found, err := o.fetch(ctx, r, "")
		if err != nil {
			return object{}, err
		}
		o.keep(r, found)
		return found, nil
	})
	return answer.(object), err
}

func (o *owners) known(r ref) (object, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := o.objects[r]
	if found == nil || found.end != "" && o.now().Sub(found.at) > refusedFor {
		return object{}, false
	}
	found.used = o.now()
	return *found, true
}

// keep remembers an object. When there is no room, those go that were not used for the longest time.
func (o *owners) keep(r ref, found object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found.at, found.used = o.now(), o.now()
	if _, known := o.objects[r]; !known && len(o.objects) >= maxObjects {
		oldest := slices.SortedFunc(maps.Keys(o.objects), func(a, b ref) int { return o.objects[a].used.Compare(o.objects[b].used) })
		for _, old := range oldest[:maxObjects/8] {
			delete(o.objects, old)
		}
	}
	o.objects[r] = &found
}

// fetch asks for the metadata of an object. at is the resource version that will do: "" for the newest, "0" for what the
// server has at hand.
func (o *owners) fetch(ctx context.Context, r ref, at string) (object, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resource, namespaced, err := o.resource(ctx, r)
	if err != nil {
		return o.refusal(r, r.version+" "+r.kind, err)
	}
	getter := o.client.metadata.Resource(resource)
	get := getter.Get
	if namespaced {
		get = getter.Namespace(r.namespace).Get
	}
	found, err := get(ctx, r.name, metav1.GetOptions{ResourceVersion: at})
	if err != nil {
		return o.refusal(r, resource.GroupResource().String(), err)
	}
	if string(found.UID) != r.uid {
		return object{end: "another object has its name now"}, nil
	}
	owner, _ := refOf(found.Namespace, found.OwnerReferences)
	return object{owner: owner, annotations: ours(found.Annotations)}, nil
}

// refusal makes of an error of the server what ends a chain. What may pass is the error.
func (o *owners) refusal(r ref, resource string, err error) (object, error) {
	switch {
	case apierrors.IsNotFound(err):
		return object{end: "it is gone, or its kind is"}, nil
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsMethodNotSupported(err), apierrors.IsNotAcceptable(err):
		o.tell(r, resource, err)
		return object{end: err.Error()}, nil
	default:
		return object{}, err
	}
}

// tell says once of each resource that it may not be read.
func (o *owners) tell(r ref, resource string, err error) {
	o.mu.Lock()
	_, told := o.refused[resource]
	if !told && len(o.refused) < maxVersions {
		o.refused[resource] = err.Error()
	}
	o.mu.Unlock()
	if !told {
		o.log.Warn("owners of pods are followed up to here only: grant get", "resource", resource, "object", r.String(), "error", err)
	}
}

// resource finds how objects of a kind are asked for.
func (o *owners) resource(ctx context.Context, r ref) (schema.GroupVersionResource, bool, error) {
	gv, err := schema.ParseGroupVersion(r.version)
	if err != nil {
		return schema.GroupVersionResource{}, false, apierrors.NewNotFound(schema.GroupResource{Resource: r.kind}, r.name)
	}
	if plural, ok := builtin[gv.WithKind(r.kind)]; ok {
		return gv.WithResource(plural), true, nil
	}
	kinds, err := o.kinds(ctx, r.version)
	if err != nil {
		return schema.GroupVersionResource{}, false, err
	}
	kind, ok := kinds[r.kind]
	if !ok {
		return schema.GroupVersionResource{}, false, apierrors.NewNotFound(schema.GroupResource{Group: gv.Group, Resource: r.kind}, r.name)
	}
	return gv.WithResource(kind.Name), kind.Namespaced, nil
}

func (o *owners) kinds(ctx context.Context, name string) (map[string]metav1.APIResource, error) {
	o.mu.Lock()
	v := o.versions[name]
	o.mu.Unlock()
	if v != nil && o.now().Sub(v.at) < refusedFor {
		return v.kinds, nil
	}
	kinds, err := o.client.resources(ctx, name)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.versions) >= maxVersions {
		clear(o.versions)
	}
	o.versions[name] = &version{kinds: kinds, at: o.now()}
	return kinds, nil
}

// again asks for the annotations of a workload anew and reports whether they have changed. An object that is gone keeps
// those that it had.
func (o *owners) again(ctx context.Context, r ref) (annotations map[string]string, changed bool, err error) {
	now, err := o.fetch(ctx, r, "0")
	if err != nil || now.end != "" {
		return nil, false, err
	}
	was, _ := o.known(r)
	o.keep(r, now)
	return now.annotations, !maps.Equal(was.annotations, now.annotations), nil
}

// sizes are how many objects are remembered, and the resources that may not be read, in order.
func (o *owners) sizes() (objects int, refused []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.objects), slices.Sorted(maps.Keys(o.refused))
}

// prefix begins the annotations that are for Holdfast.
const prefix = "holdfast.dev/"

// ours are the annotations that are for Holdfast; never nil.
func ours(all map[string]string) map[string]string {
	kept := map[string]string{}
	for name, value := range all {
		if strings.HasPrefix(name, prefix) {
			kept[name] = value
		}
	}
	return kept
}

// groupPath is where a group and version lists its resources.
func groupPath(version string) []string {
	if !slashed(version) {
		return []string{"/api", version}
	}
	return []string{"/apis", version}
}

func slashed(text string) bool { return strings.Contains(text, "/") }
