// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/holdfast-project/holdfast/agent/container"
)

// Bounds of what is known of pods and namespaces.
const (
	maxPods       = 32768
	maxNamespaces = 16384
)

// Registry takes what is known of pods.
type Registry interface {
	SetPod(uid string, f container.PodFacts)
	EndPod(uid string)
	AwaitOwners(await bool)
}

// Config makes a Source.
type Config struct {
	// Node is the name of the node's object. Required.
	Node string
	// Kubeconfig is a file with the API server's address and credentials; empty for the service account of the pod that
	// the process runs in.
	Kubeconfig string
	// Registry is told of the node's pods. Required.
	Registry Registry
	// OnMoved is told, in order, the names of services and workloads that stand for other addresses than before,
	// "service NAMESPACE/NAME" and "workload NAMESPACE/KIND/NAME"; without names, that more of them are Told. It is called on Run's goroutine, without locks held. It may be nil.
	OnMoved func(names []string)
	Logger  *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Source knows what Kubernetes knows. All methods are safe for concurrent use.
type Source struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	client  *client
	traffic traffic
	owners  *owners
	// services and slices are two of the streams; the first is the node's pods.
	services, slices *stream
	streams          []*stream
	// wake holds a token when the loop has something to do.
	wake chan struct{}
	// tasks are the goroutines of questions, at most so many at a time.
	tasks sync.WaitGroup
	slots chan struct{}
	// pushing is held while the registry is told of a pod; it is taken before mu.
	pushing sync.Mutex

	mu         sync.Mutex
	pods       map[string]*pod
	byName     map[string]*pod
	byAddr     map[netip.Addr]*pod
	namespaces map[string]*namespace
	table      *table
	held       map[string][]held
	heldCount  int
	// news are the names that have moved since newsAt and were not told yet.
	news   map[string]struct{}
	newsAt time.Time
	// far are the pods elsewhere that were asked for by name, wanted the workloads that policies name, watched the
	// namespaces that are watched for them.
	far      map[string]*farPod
	wanted   map[string]int
	watched  map[string]*watched
	recheck  time.Time
	whole    int
	omitted  uint64
	told     bool
	toldWhen time.Time
}

// namespace is what is kept of a namespace.
type namespace struct {
	labels, annotations map[string]string
}

// New makes a source. It starts nothing and sends nothing.
func New(cfg Config) (*Source, error) {
	if cfg.Node == "" || cfg.Registry == nil {
		return nil, errors.New("kubernetes source: a node's name and a registry are needed")
	}
	config, err := load(cfg.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return newSource(cfg, config)
}

func newSource(cfg Config, config *rest.Config) (*Source, error) {
	s := bare(cfg)
	var err error
	if s.client, err = dial(config, &s.traffic); err != nil {
		return nil, err
	}
	s.owners = newOwners(s.client, s.log, s.now)
	s.services, s.slices = s.serviceStream(), s.sliceStream()
	s.streams = []*stream{s.podStream(), s.namespaceStream(), s.services, s.slices}
	return s, nil
}

// bare makes a source that has nobody to ask.
func bare(cfg Config) *Source {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Source{
		cfg: cfg, log: cfg.Logger, now: cfg.Now, wake: make(chan struct{}, 1), slots: make(chan struct{}, maxTasks),
		pods: map[string]*pod{}, byName: map[string]*pod{}, byAddr: map[netip.Addr]*pod{}, namespaces: map[string]*namespace{},
		table: newTable(), held: map[string][]held{}, news: map[string]struct{}{}, far: map[string]*farPod{},
		wanted: map[string]int{}, watched: map[string]*watched{}, toldWhen: cfg.Now(),
	}
}

// Run works until the context ends. It returns nil.
func (s *Source) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, one := range s.streams {
		group.Go(func() { one.run(ctx, s.log) })
	}
	s.work(ctx, &group)
	group.Wait()
	s.tasks.Wait()
	s.cfg.Registry.AwaitOwners(false)
	return nil
}

// poke makes the loop look again at what is due.
func (s *Source) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Source) podStream() *stream {
	st := &stream{name: "pods", example: &corev1.Pod{}, changed: s.poke}
	st.asked = ask(s.client.core, "pods", "", "spec.nodeName="+s.cfg.Node, func() runtime.Object { return &corev1.PodList{} })
	st.store = &sink[corev1.Pod]{
		of: st, trim: trimPod,
		set:  func(p *corev1.Pod) { s.setPod(podOf(p, true)) },
		drop: func(p *corev1.Pod) { s.dropPod(string(p.UID)) },
		all: func(list []*corev1.Pod) {
			pods := make([]*pod, len(list))
			for i, p := range list {
				pods[i] = podOf(p, true)
			}
			s.allPods(pods, func(p *pod) bool { return p.here })
		},
	}
	return st
}

func (s *Source) namespaceStream() *stream {
	st := &stream{name: "namespaces", example: &metav1.PartialObjectMetadata{}, changed: s.poke}
	namespaces := s.client.metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	st.asked = &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return namespaces.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return namespaces.Watch(ctx, o)
		},
	}
	st.store = &sink[metav1.PartialObjectMetadata]{
		of: st, trim: trimNamespace, set: s.setNamespace,
		drop: func(o *metav1.PartialObjectMetadata) {
			// Its pods go before it: what was known of them stays.
			s.mu.Lock()
			delete(s.namespaces, o.Name)
			s.mu.Unlock()
		},
		all: func(list []*metav1.PartialObjectMetadata) {
			there := make(map[string]bool, len(list))
			for _, o := range list {
				there[o.Name] = true
				s.setNamespace(o)
			}
			s.mu.Lock()
			for name := range s.namespaces {
				if !there[name] {
					delete(s.namespaces, name)
				}
			}
			s.mu.Unlock()
		},
	}
	return st
}

// trimNamespace leaves of a namespace what is used.
func trimNamespace(o *metav1.PartialObjectMetadata) {
	annotations := ours(o.Annotations)
	labels := o.Labels
	o.ObjectMeta = trimMeta(&o.ObjectMeta)
	o.Annotations, o.Labels = annotations, labels
}

// setNamespace takes in a namespace, and tells the registry of its pods.
func (s *Source) setNamespace(o *metav1.PartialObjectMetadata) {
	s.mu.Lock()
	if s.namespaces[o.Name] == nil && len(s.namespaces) >= maxNamespaces {
		s.omitted++
		s.mu.Unlock()
		return
	}
	s.namespaces[o.Name] = &namespace{labels: notNil(o.Labels), annotations: notNil(o.Annotations)}
	var pods []*pod
	for _, p := range s.pods {
		if p.here && p.namespace == o.Name {
			pods = append(pods, p)
		}
	}
	s.mu.Unlock()
	s.push(pods...)
}

func (s *Source) serviceStream() *stream {
	st := &stream{name: "services", example: &corev1.Service{}, changed: s.poke}
	st.asked = ask(s.client.core, "services", "", "", func() runtime.Object { return &corev1.ServiceList{} })
	st.store = &sink[corev1.Service]{
		of: st, trim: trimService, set: s.setService,
		drop: func(o *corev1.Service) { s.dropService(nameOf(o.Namespace, o.Name)) },
		all: func(list []*corev1.Service) {
			there := make(map[string]bool, len(list))
			for _, o := range list {
				there[nameOf(o.Namespace, o.Name)] = true
				s.setService(o)
			}
			s.mu.Lock()
			var gone []string
			for name, known := range s.table.services {
				if known.known && !there[name] {
					gone = append(gone, name)
				}
			}
			s.mu.Unlock()
			for _, name := range gone {
				s.dropService(name)
			}
		},
	}
	return st
}

func (s *Source) setService(o *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table.setService(o) {
		s.moved(serviceName(nameOf(o.Namespace, o.Name)))
	}
}

func (s *Source) dropService(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table.dropService(name) {
		s.moved(serviceName(name))
	}
}

func (s *Source) sliceStream() *stream {
	st := &stream{name: "endpointslices", example: &discoveryv1.EndpointSlice{}, changed: s.poke}
	st.asked = ask(s.client.discovery, "endpointslices", "", "", func() runtime.Object { return &discoveryv1.EndpointSliceList{} })
	st.store = &sink[discoveryv1.EndpointSlice]{
		of: st, trim: trimSlice, set: s.setSlice,
		drop: func(o *discoveryv1.EndpointSlice) { s.dropSlice(nameOf(o.Namespace, o.Name)) },
		all: func(list []*discoveryv1.EndpointSlice) {
			there := make(map[string]bool, len(list))
			for _, o := range list {
				there[nameOf(o.Namespace, o.Name)] = true
				s.setSlice(o)
			}
			s.mu.Lock()
			var gone []string
			for key := range s.table.slices {
				if !there[key] {
					gone = append(gone, key)
				}
			}
			s.mu.Unlock()
			for _, key := range gone {
				s.dropSlice(key)
			}
		},
	}
	return st
}

func (s *Source) setSlice(o *discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, of := nameOf(o.Namespace, o.Name), o.Labels[discoveryv1.LabelServiceName]
	if was := s.table.slices[key]; was != nil && was.service.name != nameOf(o.Namespace, of) {
		s.movedSlice(s.table.dropSlice(key))
	}
	s.movedSlice(s.table.setSlice(o))
}

func (s *Source) dropSlice(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.movedSlice(s.table.dropSlice(key))
}

// movedSlice notes that a service has other addresses, and holds for a while those that it lost. mu is held.
func (s *Source) movedSlice(name string, gone []endpoint, ports []servicePort) {
	if name == "" {
		return
	}
	for _, e := range gone {
		if !s.table.reaches(name, e) {
			s.hold(serviceName(name), held{address: e.address, pod: e.pod, ports: ports})
		}
	}
	s.moved(serviceName(name))
}
