// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/container/kube"
	rig "github.com/holdfast-project/holdfast/tests/rig/kube"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// patience is how long a condition is waited for.
const patience = 2 * time.Minute

// registry notes what it is told.
type registry struct {
	mu    sync.Mutex
	pods  map[string]container.PodFacts
	ended map[string]bool
	await bool
}

func newRegistry() *registry {
	return &registry{pods: map[string]container.PodFacts{}, ended: map[string]bool{}}
}

// SetPod implements kube.Registry.
func (r *registry) SetPod(uid string, f container.PodFacts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[uid] = f
}

// EndPod implements kube.Registry.
func (r *registry) EndPod(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[uid] = true
}

// AwaitOwners implements kube.Registry.
func (r *registry) AwaitOwners(await bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.await = await
}

func (r *registry) of(uid types.UID) container.PodFacts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pods[string(uid)]
}

func (r *registry) awaits() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.await
}

// bench is an API server with an administrator, and a source that is an agent with the rights that the chart gives.
type bench struct {
	*testing.T
	server   *rig.Server
	admin    *kubernetes.Clientset
	objects  dynamic.Interface
	registry *registry
	source   *kube.Source
	moved    chan string
}

// start runs an API server with a namespace and the agent's rights.
func start(t *testing.T) *bench {
	server := rig.Run(t)
	cfg := server.Admin()
	cfg.QPS, cfg.Burst = 1000, 1000
	b := &bench{T: t, server: server, registry: newRegistry(), moved: make(chan string, 65536)}
	var err error
	if b.admin, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	if b.objects, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	b.grant()
	b.make(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "a"}, Annotations: map[string]string{
		"holdfast.dev/mode": "monitor", "other": "x",
	}}})
	return b
}

// run makes the source and runs it until the test ends.
func (b *bench) run() {
	b.Helper()
	agent, err := b.server.User("holdfast-agent")
	if err != nil {
		b.Fatal(err)
	}
	file, err := b.server.Kubeconfig(agent)
	if err != nil {
		b.Fatal(err)
	}
	b.source, err = kube.New(kube.Config{
		Node: "node-1", Kubeconfig: file, Registry: b.registry, Logger: slog.New(slog.NewTextHandler(b.Output(), nil)),
		OnMoved: func(names []string) {
			for _, name := range names {
				b.moved <- name
			}
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- b.source.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// grant gives the agent the rights of the chart, and one custom kind of two.
func (b *bench) grant() {
	b.Helper()
	get, watch := []string{"get"}, []string{"list", "watch"}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Rules: []rbacv1.PolicyRule{
		{Verbs: append(get, watch...), APIGroups: []string{""}, Resources: []string{"pods"}},
		{Verbs: watch, APIGroups: []string{""}, Resources: []string{"namespaces", "services"}},
		{Verbs: watch, APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}},
		{Verbs: get, APIGroups: []string{"apps"}, Resources: []string{"replicasets", "deployments", "statefulsets", "daemonsets"}},
		{Verbs: get, APIGroups: []string{"batch"}, Resources: []string{"jobs", "cronjobs"}},
		{Verbs: get, APIGroups: []string{"example.dev"}, Resources: []string{"rollouts"}},
	}}
	if _, err := b.admin.RbacV1().ClusterRoles().Create(b.Context(), role, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "agent"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: "holdfast-agent"}},
	}
	if _, err := b.admin.RbacV1().ClusterRoleBindings().Create(b.Context(), binding, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// until waits for a condition.
func (b *bench) until(what string, met func() bool) {
	b.Helper()
	wait.Until(b, patience, func() error {
		if !met() {
			return fmt.Errorf("%s; status %+v", what, b.source.Status())
		}
		return nil
	})
}

// template is the least that a pod needs.
func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "a"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// make creates an object of a kind that the tests use and gives its name and uid as an owner.
func (b *bench) make(o metav1.Object, owners ...metav1.OwnerReference) metav1.OwnerReference {
	b.Helper()
	o.SetOwnerReferences(owners)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}
	ctx, options := b.Context(), metav1.CreateOptions{}
	var made metav1.Object
	var err error
	ref := metav1.OwnerReference{APIVersion: "apps/v1"}
	switch o := o.(type) {
	case *corev1.Namespace:
		made, err = b.admin.CoreV1().Namespaces().Create(ctx, o, options)
	case *appsv1.Deployment:
		ref.Kind, o.Spec.Selector, o.Spec.Template = "Deployment", selector, template()
		made, err = b.admin.AppsV1().Deployments("shop").Create(ctx, o, options)
	case *appsv1.ReplicaSet:
		ref.Kind, o.Spec.Selector, o.Spec.Template = "ReplicaSet", selector, template()
		made, err = b.admin.AppsV1().ReplicaSets("shop").Create(ctx, o, options)
	case *appsv1.StatefulSet:
		ref.Kind, o.Spec.Selector, o.Spec.Template = "StatefulSet", selector, template()
		made, err = b.admin.AppsV1().StatefulSets("shop").Create(ctx, o, options)
	case *appsv1.DaemonSet:
		ref.Kind, o.Spec.Selector, o.Spec.Template = "DaemonSet", selector, template()
		made, err = b.admin.AppsV1().DaemonSets("shop").Create(ctx, o, options)
	case *batchv1.Job:
		ref.APIVersion, ref.Kind, o.Spec.Template = "batch/v1", "Job", template()
		o.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		made, err = b.admin.BatchV1().Jobs("shop").Create(ctx, o, options)
	case *batchv1.CronJob:
		ref.APIVersion, ref.Kind, o.Spec.Schedule = "batch/v1", "CronJob", "* * * * *"
		o.Spec.JobTemplate.Spec.Template = template()
		o.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		made, err = b.admin.BatchV1().CronJobs("shop").Create(ctx, o, options)
	default:
		b.Fatalf("make a %T", o)
	}
	if err != nil {
		b.Fatal(err)
	}
	controller := true
	ref.Name, ref.UID, ref.Controller = made.GetName(), made.GetUID(), &controller
	return ref
}

// define makes a kind of custom controllers, and one object of it.
func (b *bench) define(kind, plural, name string) metav1.OwnerReference {
	b.Helper()
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": plural + ".example.dev"},
		"spec": map[string]any{
			"group": "example.dev", "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": plural},
			"versions": []any{map[string]any{
				"name": "v1alpha1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	if _, err := b.objects.Resource(crds).Create(b.Context(), crd, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.dev/v1alpha1", "kind": kind,
		"metadata": map[string]any{"name": name, "annotations": map[string]any{"holdfast.dev/mode": "enforce"}},
	}}
	resource := b.objects.Resource(schema.GroupVersionResource{Group: "example.dev", Version: "v1alpha1", Resource: plural}).Namespace("shop")
	var made *unstructured.Unstructured
	b.until(kind+" can be made", func() bool {
		var err error
		made, err = resource.Create(b.Context(), object, metav1.CreateOptions{})
		return err == nil
	})
	controller := true
	return metav1.OwnerReference{APIVersion: "example.dev/v1alpha1", Kind: kind, Name: name, UID: made.GetUID(), Controller: &controller}
}

// pod makes a pod on a node.
func (b *bench) pod(name, node string, change func(*corev1.Pod), owners ...metav1.OwnerReference) types.UID {
	b.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners, Labels: map[string]string{"app": name}}, Spec: template().Spec}
	p.Spec.NodeName = node
	if change != nil {
		change(p)
	}
	made, err := b.admin.CoreV1().Pods("shop").Create(b.Context(), p, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return made.UID
}

// address gives a pod an address, as the kubelet does.
func (b *bench) address(name, ip string) {
	b.Helper()
	patch := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}]}}`, ip, ip)
	if _, err := b.admin.CoreV1().Pods("shop").Patch(b.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		b.Fatal(err)
	}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

// TestOwners checks that pods of every kind of controller get the workload at the top, with what Kubernetes says of them.
func TestOwners(t *testing.T) {
	b := start(t)
	web := b.make(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"holdfast.dev/mode": "learn", "other": "x"}}})
	nightly := b.make(&batchv1.CronJob{ObjectMeta: named("nightly")})
	b.run()
	rollout, secret := b.define("Rollout", "rollouts", "canary"), b.define("Secret", "secretives", "hidden")
	other := rollout
	other.UID = "00000000-0000-0000-0000-000000000000"
	foreign := metav1.OwnerReference{APIVersion: "nowhere.dev/v9", Kind: "Thing", Name: "thing", UID: "1", Controller: web.Controller}
	for _, one := range []struct {
		pod   string
		owner []metav1.OwnerReference
		want  string
	}{
		{"web-1", []metav1.OwnerReference{b.make(&appsv1.ReplicaSet{ObjectMeta: named("web-5d4")}, web)}, "Deployment/web"},
		{"web-2", []metav1.OwnerReference{b.make(&appsv1.ReplicaSet{ObjectMeta: named("web-5d5")}, web)}, "Deployment/web"},
		{"set-abc", []metav1.OwnerReference{b.make(&appsv1.ReplicaSet{ObjectMeta: named("set")})}, "ReplicaSet/set"},
		{"db-0", []metav1.OwnerReference{b.make(&appsv1.StatefulSet{ObjectMeta: named("db")})}, "StatefulSet/db"},
		{"log-x", []metav1.OwnerReference{b.make(&appsv1.DaemonSet{ObjectMeta: named("log")})}, "DaemonSet/log"},
		{"once-x", []metav1.OwnerReference{b.make(&batchv1.Job{ObjectMeta: named("once")})}, "Job/once"},
		{"nightly-x", []metav1.OwnerReference{b.make(&batchv1.Job{ObjectMeta: named("nightly-manual")}, nightly)}, "CronJob/nightly"},
		{"canary-x", []metav1.OwnerReference{b.make(&appsv1.ReplicaSet{ObjectMeta: named("canary-1")}, rollout)}, "Rollout/canary"},
		{"db2-0", []metav1.OwnerReference{b.make(&appsv1.StatefulSet{ObjectMeta: named("db2")}, rollout)}, "Rollout/canary"},
		{"hidden-x", []metav1.OwnerReference{secret}, "Secret/hidden"},
		{"gone-x", []metav1.OwnerReference{other}, "Rollout/canary"},
		{"foreign-x", []metav1.OwnerReference{foreign}, "Thing/thing"},
		{"bare", nil, "Pod/bare"},
		{"static-node-1", []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "node-1", UID: "2", Controller: web.Controller}}, "Pod/static-node-1"},
	} {
		uid := b.pod(one.pod, "node-1", nil, one.owner...)
		b.until(one.pod+" has its owner", func() bool { return b.registry.of(uid).Owner.Name != "" })
		facts := b.registry.of(uid)
		if got := facts.Owner.Kind + "/" + facts.Owner.Name; got != one.want || facts.Name != one.pod || facts.Namespace != "shop" {
			t.Errorf("%s: %s, expected %s; %+v", one.pod, got, one.want, facts)
		}
		if facts.Labels["app"] != one.pod || facts.NamespaceLabels["team"] != "a" || !maps.Equal(facts.NamespaceAnnotations, map[string]string{"holdfast.dev/mode": "monitor"}) {
			t.Errorf("%s: labels and annotations: %+v", one.pod, facts)
		}
		want := map[string]string{"Deployment/web": "learn", "Rollout/canary": "enforce"}[one.want]
		if one.pod != "gone-x" && facts.OwnerAnnotations["holdfast.dev/mode"] != want {
			t.Errorf("%s: owner's annotations %v", one.pod, facts.OwnerAnnotations)
		}
	}
	if status, stats := b.source.Status(), b.source.Stats(); !status.Up || stats.Refused != 1 || !strings.Contains(status.Reason, "secretives") {
		t.Errorf("what may not be read is not said: %+v %+v", status, stats)
	}
	b.changes()
}

// changes checks what comes later: annotations, a pod that ends, one of another node, a static pod's other uid, probes.
func (b *bench) changes() {
	uid := b.pod("probed", "node-1", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		run := func(argv ...string) corev1.ProbeHandler {
			return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: argv}}
		}
		c.LivenessProbe, c.ReadinessProbe = &corev1.Probe{ProbeHandler: run("/live", "-v")}, &corev1.Probe{ProbeHandler: run("/ready")}
		c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}
		c.StartupProbe.TCPSocket.Port.IntVal = 80
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/stop"}}}}
	})
	b.until("the probes are known", func() bool { return len(b.registry.of(uid).Commands["app"]) == 3 })
	if got := fmt.Sprint(b.registry.of(uid).Commands); got != "map[app:[[/live -v] [/ready] [/stop]]]" {
		b.Errorf("commands: %s", got)
	}
	far := b.pod("far", "node-2", nil)
	b.pod("static-two", "node-1", func(p *corev1.Pod) {
		p.Annotations = map[string]string{"kubernetes.io/config.hash": "0123", "kubernetes.io/config.mirror": "0123"}
	})
	b.until("a static pod is known by its hash", func() bool { return b.registry.of("0123").Name == "static-two" })
	if b.registry.of(far).Name != "" {
		b.Error("a pod of another node was told")
	}
	note := []byte(`{"metadata":{"annotations":{"holdfast.dev/mode":"enforce"}}}`)
	if _, err := b.admin.CoreV1().Pods("shop").Patch(b.Context(), "probed", types.MergePatchType, note, metav1.PatchOptions{}); err != nil {
		b.Fatal(err)
	}
	if _, err := b.admin.CoreV1().Namespaces().Patch(b.Context(), "shop", types.MergePatchType, note, metav1.PatchOptions{}); err != nil {
		b.Fatal(err)
	}
	b.until("annotations of pod and namespace are seen", func() bool {
		f := b.registry.of(uid)
		return f.Annotations["holdfast.dev/mode"] == "enforce" && f.NamespaceAnnotations["holdfast.dev/mode"] == "enforce"
	})
	if _, err := b.admin.AppsV1().Deployments("shop").Patch(b.Context(), "web", types.MergePatchType, note, metav1.PatchOptions{}); err != nil {
		b.Fatal(err)
	}
	web, err := b.admin.CoreV1().Pods("shop").Get(b.Context(), "web-1", metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.until("an annotation of the owner is seen", func() bool {
		return b.registry.of(web.UID).OwnerAnnotations["holdfast.dev/mode"] == "enforce"
	})
	now := int64(0)
	if err := b.admin.CoreV1().Pods("shop").Delete(b.Context(), "probed", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		b.Fatal(err)
	}
	b.until("the end of a pod is told", func() bool {
		b.registry.mu.Lock()
		defer b.registry.mu.Unlock()
		return b.registry.ended[string(uid)]
	})
}

// TestAway checks that with the API server away nothing is forgotten, nobody waits for owners, and that it is all made up
// for when it is back, with few requests.
func TestAway(t *testing.T) {
	b := start(t)
	b.run()
	set := b.make(&appsv1.StatefulSet{ObjectMeta: named("db")})
	uid := b.pod("db-0", "node-1", nil, set)
	b.address("db-0", "10.1.0.7")
	b.service("db", "10.96.0.7", "10.1.0.7", "db-0")
	db := netip.MustParseAddr("10.96.0.7")
	b.until("all is known", func() bool {
		_, known := b.source.Lookup(db)
		return known && b.registry.of(uid).Owner.Name == "db" && b.registry.awaits() && b.source.Status().Up &&
			len(b.source.Service("shop", "db", 6, 80)) == 2 && len(b.source.Workload("shop", "StatefulSet", "db")) == 1
	})
	if err := b.server.StopAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.until("it is said to be away", func() bool { return !b.source.Status().Up && !b.registry.awaits() })
	if status := b.source.Status(); !strings.Contains(status.Reason, "since") || status.Since.IsZero() {
		t.Errorf("since when is not said: %+v", status)
	}
	of, known := b.source.Lookup(db)
	if !known || of.Name != "db" || len(b.source.Service("shop", "db", 6, 80)) != 2 || b.registry.of(uid).Owner.Name != "db" {
		t.Error("what was known is not known any more")
	}
	before := requests(b.source)
	if err := b.server.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := b.pod("db-1", "node-1", nil, set)
	b.until("what came since is known", func() bool {
		return b.registry.of(next).Owner.Name == "db" && b.source.Status().Up && b.registry.awaits()
	})
	if n := requests(b.source) - before; n > 100 {
		t.Errorf("%d requests since the API server was stopped", n)
	} else {
		t.Logf("%d requests while it was away and until all was known again", n)
	}
}

func requests(s *kube.Source) (n uint64) {
	for _, traffic := range s.Stats().Traffic {
		n += traffic.Requests
	}
	return n
}

// service makes a service with one pod behind it.
func (b *bench) service(name, ip, pod, podName string) {
	b.Helper()
	s := &corev1.Service{ObjectMeta: named(name), Spec: corev1.ServiceSpec{
		ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	if ip == "" {
		s.Spec.Selector = map[string]string{"app": name}
	}
	if _, err := b.admin.CoreV1().Services("shop").Create(b.Context(), s, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	if _, err := b.admin.DiscoveryV1().EndpointSlices("shop").Create(b.Context(), slice(name, pod, podName), metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

func slice(service string, addresses ...string) *discoveryv1.EndpointSlice {
	port, protocol, none := int32(8080), corev1.ProtocolTCP, ""
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &none, Port: &port, Protocol: &protocol}},
	}
	for pair := range slices.Chunk(addresses, 2) {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: pair[:1], TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: pair[1]},
		})
	}
	return s
}

// TestMoves checks that services and workloads stand for the addresses of the moment, and that their moves are told.
func TestMoves(t *testing.T) {
	b := start(t)
	b.run()
	b.service("cart", "10.96.0.9", "10.2.0.1", "cart-0")
	reach := func(want ...string) func() bool {
		return func() bool {
			var got []string
			for _, target := range b.source.Service("shop", "cart", 6, 80) {
				got = append(got, fmt.Sprintf("%s:%d", target.Prefix.Addr(), target.Port))
			}
			return slices.Equal(got, want)
		}
	}
	b.until("the service is known", reach("10.96.0.9:80", "10.2.0.1:8080"))
	if _, err := b.admin.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), slice("cart", "10.2.0.2", "cart-1"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the new pod is reached", func() bool {
		return reach("10.96.0.9:80", "10.2.0.1:8080", "10.2.0.2:8080")() || reach("10.96.0.9:80", "10.2.0.2:8080")()
	})
	b.until("the old one is not any more", reach("10.96.0.9:80", "10.2.0.2:8080"))
	for told := ""; told != "service shop/cart"; {
		select {
		case told = <-b.moved:
		case <-time.After(patience):
			t.Fatal("the move was not told")
		}
	}
	b.far()
}

// far checks workloads of other nodes: asked for one by one where a service leads to them, and watched where they are
// wanted.
func (b *bench) far() {
	set := b.make(&appsv1.StatefulSet{ObjectMeta: named("cart")})
	b.pod("cart-1", "node-2", nil, set)
	b.address("cart-1", "10.2.0.2")
	of, known := b.source.Lookup(netip.MustParseAddr("10.2.0.2"))
	if !known || of.Kind != container.EndpointPod || of.Name != "cart-1" {
		b.Errorf("whose the address is: %+v", of)
	}
	b.until("the owner of a pod elsewhere is told", func() bool {
		owner, answer := b.source.Owner(of)
		return answer == container.OwnerKnown && owner == container.Owner{Kind: "StatefulSet", Name: "cart"}
	})
	if list := b.source.Workload("shop", "StatefulSet", "cart"); len(list) != 0 {
		b.Errorf("addresses of a workload that nobody wants: %v", list)
	}
	b.source.Want("shop/StatefulSet/cart", true)
	member := func(want ...string) func() bool {
		return func() bool { return fmt.Sprint(b.source.Workload("shop", "StatefulSet", "cart")) == fmt.Sprint(want) }
	}
	b.until("its addresses are known", member("10.2.0.2/32"))
	b.pod("cart-2", "node-3", nil, set)
	b.address("cart-2", "10.3.0.2")
	b.until("one more", member("10.2.0.2/32", "10.3.0.2/32"))
	b.source.Want("shop/StatefulSet/cart", false)
	b.until("they are forgotten", member())
	if stats := b.source.Stats(); stats.FarPods > 1 {
		b.Errorf("%d pods of other nodes are kept", stats.FarPods)
	}
}

// TestMany measures what 5,000 services with their slices, and 250 pods of the node, take.
func TestMany(t *testing.T) {
	const services, pods = 5000, 250
	b := start(t)
	var group errgroup.Group
	group.SetLimit(16)
	for i := range services {
		group.Go(func() error {
			name := fmt.Sprintf("service-%04d", i)
			s := &corev1.Service{ObjectMeta: named(name), Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": name}, ClusterIP: fmt.Sprintf("10.96.%d.%d", 1+i>>8, i&255),
				Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
			}}
			if _, err := b.admin.CoreV1().Services("shop").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
				return err
			}
			var addresses []string
			for j := range 4 {
				addresses = append(addresses, fmt.Sprintf("10.%d.%d.%d", 128+j, i>>8, i&255), fmt.Sprintf("%s-5d4f6c7b8-%05d", name, j))
			}
			_, err := b.admin.DiscoveryV1().EndpointSlices("shop").Create(t.Context(), slice(name, addresses...), metav1.CreateOptions{})
			return err
		})
	}
	set := b.make(&appsv1.StatefulSet{ObjectMeta: named("db")})
	for i := range pods {
		group.Go(func() error {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("db-%d", i), OwnerReferences: []metav1.OwnerReference{set}}, Spec: template().Spec}
			p.Spec.NodeName = "node-1"
			_, err := b.admin.CoreV1().Pods("shop").Create(t.Context(), p, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	before := heap()
	b.run()
	b.until("all is known", func() bool {
		s := b.source.Stats()
		return s.Services >= services && s.Endpoints >= 4*services && s.Pods == pods && s.Unowned == 0
	})
	after := heap()
	stats := b.source.Stats()
	t.Logf("%d services, %d endpoints, %d pods: %.1f MiB of heap", stats.Services, stats.Endpoints, stats.Pods, float64(after-before)/(1<<20))
	var in uint64
	for _, traffic := range stats.Traffic {
		t.Logf("%s %s: %d requests, %d failed, %d bytes in", traffic.Verb, traffic.Resource, traffic.Requests, traffic.Failed, traffic.BytesIn)
		in += traffic.BytesIn
	}
	t.Logf("%.1f MiB from the API server", float64(in)/(1<<20))
	if after-before > 24<<20 {
		t.Errorf("%d bytes of heap", after-before)
	}
}

// heap is what is in use, bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
