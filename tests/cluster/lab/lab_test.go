// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/tests/cluster/build"
	"github.com/holdfast-project/holdfast/tests/cluster/lab"
	node "github.com/holdfast-project/holdfast/tests/lab"
)

func TestMain(m *testing.M) {
	node.RunHolder()
	os.Exit(m.Run())
}

// settings are those of the kernel that a kubelet would change.
var settings = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/netfilter/nf_conntrack_max",
}

// TestCluster brings a cluster up, has a Deployment answer through its Service,
// whose name resolves, reads a log, runs a command, stops and starts the API server, takes
// all of it down and looks for what stayed.
func TestCluster(t *testing.T) {
	before := machine(t)
	c, err := lab.Start(t.Context(), lab.Config{Progress: func(step string, after time.Duration) {
		t.Logf("%s after %s", step, after)
	}})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	if err := c.Node.Load(t.Context(), node.Busybox); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := c.Apply(t.Context(), []byte(shop)); err != nil {
		t.Fatal(err)
	}
	pod := awaitPod(t, c, "app=web")
	t.Logf("the pod runs %s after its Deployment was applied", time.Since(begin).Round(10*time.Millisecond))
	client := awaitPod(t, c, "app=client")
	service, err := c.Client.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Await(t.Context(), time.Minute, "the Service answers", func(ctx context.Context) error {
		page, err := c.Exec(ctx, "shop", client, "client", "sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 `+service.Spec.ClusterIP+" 80")
		if err == nil && !strings.HasSuffix(strings.TrimSpace(page), pod) {
			err = fmt.Errorf("it answered %q; want %q", page, pod)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// The C library of a static busybox cannot look names up; its nslookup can.
	err = c.Await(t.Context(), time.Minute, "the Service has a name", func(ctx context.Context) error {
		answer, err := c.Exec(ctx, "shop", client, "client", "nslookup", "web.shop.svc.cluster.local")
		if err == nil && !strings.Contains(answer, service.Spec.ClusterIP) {
			err = fmt.Errorf("the answer is %q; want %s", answer, service.Spec.ClusterIP)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if log, err := c.PodLog(t.Context(), "shop", pod, "web"); err != nil || !strings.Contains(log, "serving") {
		t.Errorf("log of %s: %q, %v", pod, log, err)
	}
	if err := c.StopAPI(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.CoreV1().Pods("shop").Get(t.Context(), pod, metav1.GetOptions{}); err == nil {
		t.Error("an API server that was stopped answers")
	}
	if err := c.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.CoreV1().Pods("shop").Get(t.Context(), pod, metav1.GetOptions{}); err != nil {
		t.Errorf("after the API server is back: %v", err)
	}
	closed = true
	begin = time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("down in %s", time.Since(begin).Round(10*time.Millisecond))
	if after := machine(t); after != before {
		t.Errorf("the cluster has changed the machine's settings:\n%s\nthey were:\n%s", after, before)
	}
}

// machine is what a cluster must leave alone.
func machine(t *testing.T) string {
	t.Helper()
	var lines strings.Builder
	for _, name := range settings {
		value, err := os.ReadFile("/proc/sys/" + name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s %s\n", name, strings.TrimSpace(string(value)))
	}
	for _, dir := range []string{"/var/log/pods", "/var/log/containers", "/var/lib/kubelet", "/usr/libexec/kubernetes", "/etc/cni", "/run/etcd"} {
		_, err := os.Stat(dir)
		fmt.Fprintf(&lines, "%s %t\n", dir, err == nil)
	}
	return lines.String()
}

// awaitPod waits until a pod that a selector finds is Ready, and names it.
func awaitPod(t *testing.T, c *lab.Cluster, selector string) string {
	t.Helper()
	var name string
	err := c.Await(t.Context(), 2*time.Minute, "a pod of "+selector+" is ready", func(ctx context.Context) error {
		pods, err := c.Client.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			for _, condition := range p.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					name = p.Name
					return nil
				}
			}
		}
		return fmt.Errorf("%d pods, none is ready", len(pods.Items))
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Log(build.Kubelet, 30))
	}
	return name
}

const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: docker.io/library/busybox:lab
          command: [sh, -c, 'mkdir /srv; hostname >/srv/index.html; echo serving; exec httpd -f -p 8080 -h /srv']
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 60}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: client, image: "docker.io/library/busybox:lab", command: [sleep, "3600"]}
`
