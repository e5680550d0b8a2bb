// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"

	"github.com/holdfast-project/holdfast/tests/cluster/build"
)

// etcdDir is in a tmpfs of the lab's: nothing has to outlive it.
const etcdDir = "/run/etcd"

// apiQPS and apiBurst let controllers ask the API server as often as they like:
// theirs is 20 requests a second, which some hundred Jobs wait for.
const (
	apiQPS   = "--kube-api-qps=500"
	apiBurst = "--kube-api-burst=1000"
)

// startControl starts etcd, the API server, and what needs no node.
func (c *Cluster) startControl(ctx context.Context) error {
	if err := c.launch("etcd", "etcd", "--data-dir", etcdDir, "--logger", "zap", "--log-level", "warn"); err != nil {
		return err
	}
	if err := c.authority.Client("kubelet-client", "kube-apiserver", "system:masters"); err != nil {
		return err
	}
	if err := c.StartAPI(ctx); err != nil {
		return err
	}
	c.progress("the API server answers")
	if err := c.startControllers(); err != nil {
		return err
	}
	config, err := c.authority.Kubeconfig(server, build.Scheduler, "system:kube-scheduler")
	if err != nil {
		return err
	}
	return c.launch(build.Scheduler, c.programs[build.Scheduler], "--kubeconfig", config, "--leader-elect=false", apiQPS, apiBurst,
		"--bind-address=127.0.0.1", "--authentication-kubeconfig", config, "--authorization-kubeconfig", config)
}

// StartAPI starts the API server and waits until it is ready. The cluster
// starts with one that runs; see [Cluster.StopAPI].
func (c *Cluster) StartAPI(ctx context.Context) error {
	pki := c.authority.File
	err := c.launch(build.APIServer, c.programs[build.APIServer],
		"--etcd-servers=http://127.0.0.1:2379",
		"--secure-port=443", "--advertise-address="+NodeAddress, "--service-cluster-ip-range="+ServiceRange,
		"--tls-cert-file="+pki("apiserver.pem"), "--tls-private-key-file="+pki("apiserver.key"), "--client-ca-file="+pki("ca.pem"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+pki("tokens.key"), "--service-account-signing-key-file="+pki("tokens.key"),
		"--requestheader-client-ca-file="+pki("ca.pem"), "--requestheader-allowed-names=front-proxy",
		"--kubelet-client-certificate="+pki("kubelet-client.pem"), "--kubelet-client-key="+pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
	)
	if err != nil {
		return err
	}
	return c.await(ctx, apiPatience, "the API server is ready", func(ctx context.Context) error {
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// StopAPI kills the API server. Everything else runs on, etcd included.
func (c *Cluster) StopAPI() error {
	p := c.running[build.APIServer]
	if p == nil {
		return fmt.Errorf("stop %s: it does not run", build.APIServer)
	}
	delete(c.running, build.APIServer)
	if err := p.Kill(); err != nil {
		return fmt.Errorf("stop %s: %w", build.APIServer, err)
	}
	return nil
}

func (c *Cluster) startControllers() error {
	config, err := c.authority.Kubeconfig(server, build.ControllerManager, "system:kube-controller-manager")
	if err != nil {
		return err
	}
	pki := c.authority.File
	return c.launch(build.ControllerManager, c.programs[build.ControllerManager], "--kubeconfig", config, "--leader-elect=false", apiQPS, apiBurst,
		"--bind-address=127.0.0.1", "--authentication-kubeconfig", config, "--authorization-kubeconfig", config,
		"--use-service-account-credentials", "--service-account-private-key-file="+pki("tokens.key"),
		"--root-ca-file="+pki("ca.pem"), "--cluster-signing-cert-file="+pki("ca.pem"), "--cluster-signing-key-file="+pki("ca.key"))
}
