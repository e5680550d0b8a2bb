// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/tests/cluster/build"
)

// startNode starts the kubelet and kube-proxy and waits until the node is
// Ready.
func (c *Cluster) startNode(ctx context.Context) error {
	config, err := c.authority.Kubeconfig(server, build.Kubelet, "system:node:"+NodeName, "system:nodes")
	if err != nil {
		return err
	}
	settings, err := c.writeConfig(build.Kubelet, c.kubeletConfig())
	if err != nil {
		return err
	}
	err = c.launch(build.Kubelet, c.programs[build.Kubelet], "--config", settings, "--kubeconfig", config,
		"--node-ip", NodeAddress, "--hostname-override", NodeName, "--root-dir", c.file("kubelet"), "--cert-dir", c.file("kubelet-pki"))
	if err != nil {
		return err
	}
	if config, err = c.authority.Kubeconfig(server, build.Proxy, "system:kube-proxy"); err != nil {
		return err
	}
	if settings, err = c.writeConfig(build.Proxy, c.proxyConfig(config)); err != nil {
		return err
	}
	if err := c.launch(build.Proxy, c.programs[build.Proxy], "--config", settings); err != nil {
		return err
	}
	if err := c.await(ctx, nodePatience, "the node is ready", c.nodeReady); err != nil {
		return err
	}
	c.progress("the node is Ready")
	return nil
}

// nodeReady asks for the node's condition.
func (c *Cluster) nodeReady(ctx context.Context) error {
	n, err := c.Client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range n.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("node %s is not ready: %s", NodeName, condition.Message)
		}
		return nil
	}
	return fmt.Errorf("node %s has not said how it is", NodeName)
}

// writeConfig writes a program's configuration and returns the file's path.
func (c *Cluster) writeConfig(name string, config map[string]any) (string, error) {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the configuration of %s: %w", name, err)
	}
	path := c.file(name + ".json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("write the configuration of %s: %w", name, err)
	}
	return path, os.WriteFile(c.file("resolv.conf"), []byte("nameserver "+c.Node.Gateway().String()+"\n"), 0o600)
}

// kubeletConfig is a KubeletConfiguration. Everything of the kubelet's stays in
// the lab's directory and below its cgroup, and nothing is evicted because the
// machine is full of something else.
func (c *Cluster) kubeletConfig() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"cgroupRoot": "/" + c.Node.Name(), "cgroupDriver": "cgroupfs", "failCgroupV1": false,
		"enforceNodeAllocatable":   []string{"none"},
		"containerRuntimeEndpoint": "unix://" + c.Node.Socket(),
		"address":                  NodeAddress, "healthzBindAddress": "127.0.0.1",
		"authentication": map[string]any{
			"x509":      map[string]any{"clientCAFile": c.authority.File("ca.pem")},
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"clusterDNS":    []string{DNSAddress}, "clusterDomain": "cluster.local", "resolvConf": c.file("resolv.conf"),
		"volumePluginDir": c.file("volume-plugins"),
		"maxPods":         300, "failSwapOn": false, "oomScoreAdj": 0, "makeIPTablesUtilChains": false,
		"localStorageCapacityIsolation": false,
		"evictionHard": map[string]string{
			"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%", "pid.available": "0%",
		},
		"imageGCHighThresholdPercent": 100,
		// Pods start as fast as containerd starts them.
		"kubeAPIQPS": 500, "kubeAPIBurst": 1000, "eventRecordQPS": 0,
		"nodeStatusUpdateFrequency": "5s", "fileCheckFrequency": "1m0s",
	}
}

// proxyConfig is a KubeProxyConfiguration. It leaves the machine's limits of
// connection tracking alone.
func (c *Cluster) proxyConfig(kubeconfig string) map[string]any {
	return map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": map[string]any{"kubeconfig": kubeconfig},
		"mode":             "nftables", "hostnameOverride": NodeName,
		"clusterCIDR": c.cfg.Node.Subnet.String(), "detectLocalMode": "ClusterCIDR",
		"conntrack":          map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		"healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
	}
}
