// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	containersv1 "github.com/containerd/containerd/api/services/containers/v1"
	imagesv1 "github.com/containerd/containerd/api/services/images/v1"
	namespacesv1 "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksv1 "github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/session"
)

// namespaceHeader carries containerd's namespace on every call.
const namespaceHeader = "containerd-namespace"

// Labels and annotations by which containerd's CRI plugin names a container.
const (
	labelKind   = "io.cri-containerd.kind"
	kindSandbox = "sandbox"

	annotationContainerName    = "io.kubernetes.cri.container-name"
	annotationContainerType    = "io.kubernetes.cri.container-type"
	annotationImageName        = "io.kubernetes.cri.image-name"
	annotationSandboxID        = "io.kubernetes.cri.sandbox-id"
	annotationSandboxName      = "io.kubernetes.cri.sandbox-name"
	annotationSandboxNamespace = "io.kubernetes.cri.sandbox-namespace"
	annotationSandboxUID       = "io.kubernetes.cri.sandbox-uid"
)

// frontEndNames are the labels under which other clients keep the name a person chose.
var frontEndNames = [...]string{"nerdctl/name", "com.docker.compose.service"}

// spec is the part of an OCI runtime spec that identity needs.
type spec struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		CgroupsPath string `json:"cgroupsPath"`
	} `json:"linux"`
}

// within returns a context for a call in a namespace, with a time limit.
func within(ctx context.Context, namespace string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, session.CallTimeout)
	return metadata.AppendToOutgoingContext(ctx, namespaceHeader, namespace), cancel
}

// list delivers every container of every namespace.
func (s *Source) list(ctx context.Context) error {
	namespaces, err := s.listNamespaces(ctx)
	if err != nil {
		return err
	}
	s.images.reset()
	s.cfg.Feed.BeginSync()
	for _, ns := range namespaces {
		s.cfg.Feed.Namespace(ns)
		if err := s.listContainers(ctx, ns); err != nil {
			return err
		}
		s.listTasks(ctx, ns)
	}
	s.cfg.Feed.EndSync()
	return nil
}

func (s *Source) listNamespaces(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, session.CallTimeout)
	defer cancel()
	resp, err := s.namespaces.List(ctx, &namespacesv1.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	names := make([]string, 0, len(resp.GetNamespaces()))
	for _, ns := range resp.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	s.known.Store(&names)
	return names, nil
}

// listContainers reads containers one by one: a whole list with all specs is megabytes.
func (s *Source) listContainers(ctx context.Context, ns string) error {
	callCtx, cancel := within(ctx, ns)
	defer cancel()
	stream, err := s.containers.ListStream(callCtx, &containersv1.ListContainersRequest{})
	if err != nil {
		return fmt.Errorf("list containers of %s: %w", ns, err)
	}
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list containers of %s: %w", ns, err)
		}
		s.deliver(ctx, ns, msg.GetContainer())
	}
}

// listTasks adds the first processes of running containers. Without them identity is still complete.
func (s *Source) listTasks(ctx context.Context, ns string) {
	ctx, cancel := within(ctx, ns)
	defer cancel()
	resp, err := s.tasks.List(ctx, &tasksv1.ListTasksRequest{})
	if err != nil {
		s.stats.failedReads.Add(1)
		s.log.Warn("first processes of containers are not known", "namespace", ns, "error", err)
		return
	}
	for _, t := range resp.GetTasks() {
		s.started(container.Key{RuntimeNamespace: ns, ID: t.GetID()}, t.GetPid())
	}
}

// fetch reads one container and delivers it. It returns false if containerd does not have it.
func (s *Source) fetch(ctx context.Context, key container.Key) (bool, error) {
	callCtx, cancel := within(ctx, key.RuntimeNamespace)
	defer cancel()
	resp, err := s.containers.Get(callCtx, &containersv1.GetContainerRequest{ID: key.ID})
	switch status.Code(err) {
	case codes.OK:
		s.deliver(ctx, key.RuntimeNamespace, resp.GetContainer())
		return true, nil
	case codes.NotFound, codes.InvalidArgument:
		return false, nil
	default:
		s.stats.failedReads.Add(1)
		return false, fmt.Errorf("read container %s of %s: %w", key.ID, key.RuntimeNamespace, err)
	}
}

// deliver hands a container to the registry, with the digest of its image.
func (s *Source) deliver(ctx context.Context, ns string, c *containersv1.Container) {
	rec := recordOf(ns, c)
	if name := c.GetImage(); name != "" {
		rec.ImageDigest = s.digest(ctx, ns, name)
	}
	s.cfg.Feed.Put(rec)
}

// started reports a container's first process. Only if the registry does not know where its cgroup is, the process is
// asked.
func (s *Source) started(key container.Key, pid uint32) {
	if pid == 0 {
		return
	}
	var path string
	if s.cfg.CgroupOf != nil && !s.cfg.Feed.Located(key) {
		// A process that is gone already has no path to tell; the record's own path has to do.
		if p, err := s.cfg.CgroupOf(pid); err == nil {
			path = p
		}
	}
	s.cfg.Feed.Started(key, pid, path)
}

// recordOf reads identity out of containerd's record. The CRI plugin's annotations come first: it writes them from the
// pod's own metadata. Labels follow.
func recordOf(ns string, c *containersv1.Container) container.Record {
	var sp spec
	// A spec that is not JSON leaves its fields empty: the labels still name the container.
	hasSpec := c.GetSpec() != nil && json.Unmarshal(c.GetSpec().GetValue(), &sp) == nil
	labels, notes := c.GetLabels(), sp.Annotations
	rec := container.Record{
		Key:         container.Key{RuntimeNamespace: ns, ID: c.GetID()},
		Runtime:     runtimeName(ns),
		Sandbox:     labels[labelKind] == kindSandbox || notes[annotationContainerType] == kindSandbox,
		Name:        cmp.Or(notes[annotationContainerName], labels[container.LabelContainerName]),
		Image:       imageName(notes[annotationImageName], c.GetImage()),
		Pod:         cmp.Or(notes[annotationSandboxName], labels[container.LabelPodName]),
		PodUID:      cmp.Or(notes[annotationSandboxUID], labels[container.LabelPodUID]),
		Namespace:   cmp.Or(notes[annotationSandboxNamespace], labels[container.LabelPodNamespace]),
		SandboxID:   cmp.Or(notes[annotationSandboxID], c.GetSandbox()),
		Labels:      labels,
		Snapshotter: c.GetSnapshotter(),
		SnapshotKey: c.GetSnapshotKey(),
		CgroupsPath: sp.Linux.CgroupsPath,
		HasSpec:     hasSpec,
		Created:     timeOf(c.GetCreatedAt()),
	}
	for _, label := range frontEndNames {
		rec.Name = cmp.Or(rec.Name, labels[label])
	}
	if rec.Sandbox {
		rec.SandboxID = cmp.Or(rec.SandboxID, rec.ID)
		rec.PodLabels = container.PodLabels(labels)
		rec.Name = cmp.Or(rec.Name, "pause")
	}
	return rec
}

// imageName prefers a name to a bare digest: the kubelet asks for containers by image id.
func imageName(requested, stored string) string {
	for _, name := range []string{requested, stored} {
		if name != "" && !strings.HasPrefix(name, "sha256:") {
			return name
		}
	}
	return cmp.Or(requested, stored)
}

// runtimeName tells Docker's containers, which live in a namespace of their own.
func runtimeName(ns string) string {
	if ns == "moby" {
		return "docker"
	}
	return "containerd"
}

// digest returns the digest that an image's name stands for, empty if there is no such image any more.
func (s *Source) digest(ctx context.Context, ns, name string) string {
	if d, ok := s.images.get(ns, name); ok {
		return d
	}
	mark := s.images.mark()
	ctx, cancel := within(ctx, ns)
	defer cancel()
	resp, err := s.imageStore.Get(ctx, &imagesv1.GetImageRequest{Name: name})
	if err != nil {
		if status.Code(err) != codes.NotFound {
			s.stats.failedReads.Add(1)
			s.log.Debug("image digest is not known", "namespace", ns, "image", name, "error", err)
		}
		return ""
	}
	d := resp.GetImage().GetTarget().GetDigest()
	s.images.put(mark, ns, name, d)
	return d
}

// maxImages bounds the cache of digests.
const maxImages = 4096

// imageCache keeps the digests that image names stand for, until containerd reports a change.
type imageCache struct {
	mu sync.Mutex
	m  map[string]string
	// changes counts what was forgotten, so that an answer from before a change is not kept after it.
	changes uint64
}

func (c *imageCache) get(ns, name string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.m[ns+"\x00"+name]
	return d, ok
}

// mark is taken before asking and given with the answer.
func (c *imageCache) mark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes
}

func (c *imageCache) put(mark uint64, ns, name, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if mark != c.changes {
		return
	}
	if c.m == nil || len(c.m) >= maxImages {
		c.m = make(map[string]string)
	}
	c.m[ns+"\x00"+name] = digest
}

func (c *imageCache) forget(ns, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	delete(c.m, ns+"\x00"+name)
}

func (c *imageCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.m = nil
}

// stamp is a protobuf timestamp.
type stamp interface {
	IsValid() bool
	AsTime() time.Time
}

func timeOf(t stamp) time.Time {
	if !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}
