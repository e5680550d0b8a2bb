// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/tests/cluster/build"
	node "github.com/holdfast-project/holdfast/tests/lab"
)

// dnsManifest is CoreDNS as a cluster runs it.
//
//go:embed coredns.yaml
var dnsManifest []byte

// dnsImage is the image that coredns.yaml names.
const dnsImage = "registry.k8s.io/coredns:lab"

// startNames runs CoreDNS in the cluster and waits until it answers through its
// Service.
func (c *Cluster) startNames(ctx context.Context) error {
	err := c.Node.Import(ctx, node.Image{
		Name: dnsImage, Entrypoint: []string{"/coredns"},
		Layers: []node.Layer{{Files: []node.File{{Path: "/coredns", Mode: 0o755, Source: c.programs[build.DNS]}}}},
	})
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, dnsManifest); err != nil {
		return err
	}
	if err := c.await(ctx, podPatience, "CoreDNS is ready", func(ctx context.Context) error {
		d, err := c.Client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return available(d)
	}); err != nil {
		return err
	}
	c.progress("CoreDNS is ready")
	resolver := &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return c.Node.DialContext(ctx, network, net.JoinHostPort(DNSAddress, "53"))
	}}
	if err := c.await(ctx, podPatience, "names resolve", func(ctx context.Context) error {
		addrs, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
		if err == nil && (len(addrs) != 1 || addrs[0] != apiAddress) {
			err = fmt.Errorf("the API server's name has the addresses %s", strings.Join(addrs, ", "))
		}
		return err
	}); err != nil {
		return err
	}
	c.progress("names resolve")
	return nil
}

// available tells what a Deployment lacks.
func available(d *appsv1.Deployment) error {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas < want {
		return fmt.Errorf("deployment %s/%s has %d of %d replicas", d.Namespace, d.Name, d.Status.AvailableReplicas, want)
	}
	return nil
}
