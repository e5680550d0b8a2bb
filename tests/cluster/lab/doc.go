// SPDX-License-Identifier: Apache-2.0

// Package lab brings up a real Kubernetes cluster of one node on a development
// machine: etcd, API server, controllers, scheduler, kubelet, kube-proxy and
// CoreDNS around the containerd of [github.com/holdfast-project/holdfast/tests/lab],
// in its namespaces, below its cgroup and in its directory.
//
//	func TestMain(m *testing.M) {
//		node.RunHolder()
//		os.Exit(m.Run())
//	}
//
//	c, err := lab.Start(ctx, lab.Config{})
//	defer c.Close()
//	pods, err := c.Client.CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{})
//	err = c.Apply(ctx, manifest)
//
// What the parts believe to be theirs is the lab's: /run, /var/lib and /var/log
// are empty tmpfs mounts, the kernel settings that a kubelet insists on are
// files in their place, the node's address is on a device that leads nowhere.
// Services work by kube-proxy with nftables, names by CoreDNS, and the
// authority that signs everybody's certificates lives as long as the cluster.
//
// [Cluster.Close] ends all of it and reports what stayed behind.
//
// It needs root, the Debian packages of .ci/prepare lab and cluster, and the
// programs of [github.com/holdfast-project/holdfast/tests/cluster/build]. The
// kernel has to have bridge, veth and nftables. On a machine with v1 cgroup
// hierarchies the kubelet uses those.
package lab
