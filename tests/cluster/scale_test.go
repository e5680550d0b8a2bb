// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/tests/metrics"
)

// How much there is on the node and in the cluster, and how much memory the
// agent may have with it.
const (
	scalePods      = 250
	scaleServices  = 5000
	scaleEndpoints = 3
	maxResident    = 100 << 20
	// atRest is long beside the times after which the agent asks again.
	atRest = 3 * time.Minute
)

// metricsAddress is where the chart has the agent tell its metrics.
const metricsAddress = "127.0.0.1:9465"

// scaleManifest has pods in the node's network: what a pod's own network costs
// is not what is asked here.
const scaleManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: scale}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: many, namespace: scale}
spec:
  replicas: %d
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      hostNetwork: true
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 0
      containers:
        - {name: main, image: "docker.io/library/busybox:lab", command: [sleep, "100000"]}
`

// testScale fills the node with pods and the cluster with services, and looks
// at what the agent needs: memory, and of the API server.
func testScale(t *testing.T, h *holdfast) {
	begin, before := time.Now(), h.metrics(t)
	h.apply(t, fmt.Sprintf(scaleManifest, scalePods))
	h.makeServices(t)
	t.Logf("%d services with %d endpoints each were made within %s", scaleServices, scaleEndpoints, time.Since(begin).Round(time.Second))
	if err := h.Await(t.Context(), 3*patience, "all pods run", func(ctx context.Context) error {
		d, err := h.Client.AppsV1().Deployments("scale").Get(ctx, "many", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas < scalePods {
			err = fmt.Errorf("%d of %d do", d.Status.ReadyReplicas, scalePods)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods ran after %s", scalePods, time.Since(begin).Round(time.Second))
	h.await(t, "the agent knows all of it", func(context.Context) error {
		m := h.metrics(t)
		for series, want := range map[string]float64{
			`holdfast_agent_kubernetes_known{kind="pods"}`: scalePods, `holdfast_agent_kubernetes_known{kind="services"}`: scaleServices,
			`holdfast_agent_kubernetes_known{kind="endpointslices"}`: scaleServices,
		} {
			if m[series] < want {
				return fmt.Errorf("%s is %g, want %g", series, m[series], want)
			}
		}
		return nil
	})
	full := h.metrics(t)
	logTraffic(t, "while all that came", before, full, time.Since(begin))
	if n := full["holdfast_agent_kubernetes_omitted_total"]; n != 0 {
		t.Errorf("%g objects found no room", n)
	}
	rest := time.Now()
	select {
	case <-time.After(atRest):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	logTraffic(t, "at rest", full, h.metrics(t), time.Since(rest))
	h.checkResident(t)
}

// checkResident checks the agent's memory.
func (h *holdfast) checkResident(t *testing.T) {
	t.Helper()
	n := h.nodeNow(t, time.Now())
	t.Logf("%d containers, %d processes, resident set of the agent %.1f MiB", n.Health.Containers, n.Health.Processes, float64(n.Health.RSSBytes)/(1<<20))
	if n.Health.Containers < scalePods {
		t.Errorf("the agent knows %d containers", n.Health.Containers)
	}
	if n.Health.RSSBytes > maxResident {
		t.Errorf("the agent's resident set is %d bytes, want at most %d", n.Health.RSSBytes, maxResident)
	}
	pod, err := h.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", processOf(t, pod)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "Rss") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// makeServices makes services with addresses and endpoints. kube-proxy leaves
// them alone by their label: rules for nobody are not what is asked here.
func (h *holdfast) makeServices(t *testing.T) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(16)
	for n := range scaleServices {
		group.Go(func() error { return h.makeService(ctx, n) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// makeService makes a service and its endpoints, whose addresses are nobody's.
func (h *holdfast) makeService(ctx context.Context, n int) error {
	name, port, protocol := fmt.Sprintf("service-%04d", n), int32(8080), corev1.ProtocolTCP
	labels := map[string]string{"service.kubernetes.io/service-proxy-name": "none"}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, Protocol: protocol}}},
	}
	if _, err := h.Client.CoreV1().Services("scale").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"service.kubernetes.io/service-proxy-name": "none", discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "cluster-test",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: &port, Protocol: &protocol}},
	}
	for i := range scaleEndpoints {
		at := n*scaleEndpoints + i
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 130+at>>16, at>>8&0xff, at&0xff)},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "scale", Name: fmt.Sprintf("%s-%d", name, i)},
		})
	}
	_, err := h.Client.DiscoveryV1().EndpointSlices("scale").Create(ctx, slice, metav1.CreateOptions{})
	return err
}

// metrics are the agent's, by series.
func (h *holdfast) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: h.Node.DialContext, DisableKeepAlives: true}, Timeout: time.Minute}
	all, err := metrics.Read(t.Context(), client, "http://"+metricsAddress+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// logTraffic prints what the agent asked of the API server, and what came.
func logTraffic(t *testing.T, when string, before, after map[string]float64, took time.Duration) {
	t.Helper()
	sum := func(name string) (n float64) {
		for series, v := range after {
			if strings.HasPrefix(series, name+"{") {
				n += v - before[series]
			}
		}
		return n
	}
	requests, bytes := sum("holdfast_agent_kubernetes_requests_total"), sum("holdfast_agent_kubernetes_received_bytes_total")
	if after["holdfast_agent_kubernetes_up"] != 1 {
		t.Errorf("%s, the agent is not told all that it asks of Kubernetes", when)
	}
	t.Logf("%s, in %s: %.0f requests to the API server, %.1f KiB received; a minute %.1f and %.1f KiB", when, took.Round(time.Second),
		requests, bytes/1024, requests/took.Minutes(), bytes/1024/took.Minutes())
}
