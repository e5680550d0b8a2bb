// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	"github.com/holdfast-project/holdfast/agent/container/kube"
	"github.com/holdfast-project/holdfast/agent/metrics"
	"github.com/holdfast-project/holdfast/agent/probe"
)

// buildCluster makes what knows of Kubernetes, where it is to be used.
func (a *Agent) buildCluster() error {
	switch {
	case a.cfg.Kubernetes == "off":
		return nil
	case a.cfg.Kubernetes == "auto" && a.cfg.Kubeconfig == "" && !kube.InCluster():
		a.log.Info("Kubernetes is not used: there is neither a service account nor a kubeconfig")
		return nil
	}
	var err error
	a.cluster, err = kube.New(kube.Config{
		Node: a.cfg.Node, Kubeconfig: a.cfg.Kubeconfig, Registry: a.registry,
		OnMoved: func(names []string) { a.guard.Moved(names) }, Logger: a.log.With("part", "kubernetes"),
	})
	if err != nil {
		return fmt.Errorf("make ready for Kubernetes: %w", err)
	}
	a.pipeline.cluster = a.cluster
	a.sources = append(a.sources, a.cluster)
	return nil
}

// clusterNamed says whether Kubernetes is asked, and how that goes.
func (a *Agent) clusterNamed() []probe.Capability {
	c := probe.Capability{Signal: "names from kubernetes", See: probe.No, Block: probe.No, Mechanism: "off", Reason: "Kubernetes is not used: set kubernetes, or kubeconfig"}
	if a.cluster != nil {
		status := a.cluster.Status()
		if c.Mechanism, c.Reason = "connecting", status.Reason; status.Up {
			c.See, c.Mechanism = probe.Yes, "up"
		}
	}
	return []probe.Capability{c}
}

// clusterCounters are what is known of Kubernetes and what was asked of its API server.
func (a *Agent) clusterCounters() []metrics.Counter {
	if a.cluster == nil {
		return nil
	}
	s := a.cluster.Stats()
	up := 0.0
	if a.cluster.Status().Up {
		up = 1
	}
	list := []metrics.Counter{
		{Name: "kubernetes_up", Help: "1 while all that is asked of Kubernetes is told.", Value: up, Gauge: true},
		{Name: "kubernetes_omitted_total", Help: "Objects of Kubernetes that found no room.", Value: float64(s.Omitted)},
		{Name: "kubernetes_refused_kinds", Help: "Kinds of owners that RBAC does not let the agent read.", Value: float64(s.Refused), Gauge: true},
		{Name: "kubernetes_pods_unowned", Help: "Pods of the node whose owner is not known yet.", Value: float64(s.Unowned), Gauge: true},
	}
	if !s.LastEvent.IsZero() {
		list = append(list, metrics.Counter{
			Name: "kubernetes_last_event_timestamp_seconds", Help: "When the API server last sent something, seconds since 1970.",
			Value: float64(s.LastEvent.UnixNano()) / 1e9, Gauge: true,
		})
	}
	for _, size := range []struct {
		what string
		n    int
	}{
		{"pods", s.Pods}, {"far_pods", s.FarPods}, {"namespaces", s.Namespaces}, {"services", s.Services}, {"endpointslices", s.Slices},
		{"endpoints", s.Endpoints}, {"owners", s.Owners},
	} {
		list = append(list, metrics.Counter{
			Name: "kubernetes_known", Help: "Objects of Kubernetes that are known, by kind.", Value: float64(size.n), Gauge: true,
			Labels: []string{"kind", size.what},
		})
	}
	for _, t := range s.Traffic {
		labels := []string{"verb", t.Verb, "resource", t.Resource}
		list = append(list,
			metrics.Counter{Name: "kubernetes_requests_total", Help: "Requests to the API server, by verb and resource.", Value: float64(t.Requests), Labels: labels},
			metrics.Counter{Name: "kubernetes_failed_requests_total", Help: "Those of them that failed or were refused.", Value: float64(t.Failed), Labels: labels},
			metrics.Counter{Name: "kubernetes_received_bytes_total", Help: "Bytes of the API server's answers, decompressed.", Value: float64(t.BytesIn), Labels: labels})
	}
	return list
}
