// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/holdfast-project/holdfast/tests/cluster/build"
	node "github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/rig/kube"
)

// What is where in the cluster.
const (
	// NodeName is the node's name and NodeAddress its address, which is
	// reached from within the lab alone.
	NodeName    = "node-1"
	NodeAddress = "172.29.0.2"
	// ServiceRange holds the addresses of Services, of which the first is the
	// API server's and DNSAddress the name server's.
	ServiceRange = "10.96.0.0/16"
	apiAddress   = "10.96.0.1"
	DNSAddress   = "10.96.0.10"
	// podRange holds the pods' addresses where Config.Node names no Subnet.
	podRange = "10.222.0.0/16"
)

// server is the API server as everybody's kubeconfig names it.
const server = "https://" + NodeAddress + ":443"

// The limits of what is waited for. An idle machine needs a tenth of it.
const (
	apiPatience  = 3 * time.Minute
	nodePatience = 3 * time.Minute
	podPatience  = 3 * time.Minute
)

// Config says how a cluster is set up.
type Config struct {
	// Node is the lab that is the node. Its directory also holds everything
	// of the cluster.
	Node node.Config
	// Progress, if it is not nil, is told what has been done and how long
	// after the start of the cluster.
	Progress func(step string, after time.Duration)
}

// Cluster is a running cluster. Its functions may be called by several
// goroutines at once, but those that stop and start parts and Close.
type Cluster struct {
	// Node is the lab that is the node: its images are the cluster's.
	Node *node.Lab
	// Client and Config are an administrator's; they reach into the lab.
	Client kubernetes.Interface
	Config *rest.Config

	cfg       Config
	begin     time.Time
	dir       string
	authority *kube.Authority
	admin     string
	programs  map[string]string
	running   map[string]*rig.Program
}

// Start brings a cluster up and returns when its node is Ready and names
// resolve. On error nothing is left behind. ctx bounds the start alone.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if !cfg.Node.Subnet.IsValid() {
		cfg.Node.Subnet = netip.MustParsePrefix(podRange)
	}
	c := &Cluster{cfg: cfg, begin: time.Now(), programs: map[string]string{}, running: map[string]*rig.Program{}}
	for _, name := range build.Programs() {
		var err error
		// Helm is for those who install a chart.
		if c.programs[name], err = build.Path(name); err != nil && name != build.Helm {
			return nil, fmt.Errorf("start cluster: %w", err)
		}
	}
	l, err := node.New(cfg.Node)
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c.Node = l
	if err := l.Start(ctx); err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c.progress("containerd runs")
	for _, step := range []func(context.Context) error{c.prepare, c.startControl, c.startNode, c.startNames} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.Close())
		}
	}
	return c, nil
}

// Close ends the cluster, removes it, and reports what stayed behind.
func (c *Cluster) Close() error {
	// Killed with the lab, all at once: an orderly end of each would wait for
	// the others.
	return c.Node.Close()
}

func (c *Cluster) progress(step string) {
	if c.cfg.Progress != nil {
		c.cfg.Progress(step, time.Since(c.begin).Round(10*time.Millisecond))
	}
}

// prepare makes the node look like a machine and writes the certificates.
func (c *Cluster) prepare(ctx context.Context) error {
	c.dir = filepath.Join(c.Node.Dir(), "kubernetes")
	for _, dir := range []string{c.dir, c.file("pki"), c.file("settings")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("prepare the cluster: %w", err)
		}
	}
	if err := c.Node.MakeV1Cgroups(); err != nil {
		return err
	}
	if err := c.disguise(ctx); err != nil {
		return err
	}
	var err error
	if c.authority, err = kube.NewAuthority(c.file("pki")); err != nil {
		return err
	}
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}
	addrs := []net.IP{net.ParseIP(NodeAddress), net.ParseIP(apiAddress), net.IPv4(127, 0, 0, 1)}
	if err := c.authority.Server("apiserver", names, addrs); err != nil {
		return err
	}
	if c.admin, err = c.authority.Kubeconfig(server, "admin", "admin", "system:masters"); err != nil {
		return err
	}
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.admin); err != nil {
		return fmt.Errorf("read the administrator's kubeconfig: %w", err)
	}
	c.Config.Dial = c.Node.DialContext
	// A test asks as often as it likes.
	c.Config.QPS, c.Config.Burst = 500, 1000
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return fmt.Errorf("make the administrator's client: %w", err)
	}
	return nil
}

// file is a path in the cluster's directory.
func (c *Cluster) file(name ...string) string {
	return filepath.Join(append([]string{c.dir}, name...)...)
}

// launch starts one of the cluster's programs.
func (c *Cluster) launch(name, path string, args ...string) error {
	p, err := rig.Launch(c.Node, c.dir, name, nil, path, args...)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.running[name] = p
	return nil
}

// await waits until a condition holds, unless one of the programs ends.
func (c *Cluster) await(ctx context.Context, patience time.Duration, what string, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := Await(ctx, what, func(ctx context.Context) error {
		for name, p := range c.running {
			select {
			case <-p.Done():
				cancel()
				return fmt.Errorf("%s ended with code %d\n%s", name, p.Code(), p.Log(20))
			default:
			}
		}
		return condition(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.logs(8))
	}
	return nil
}

// Await asks a condition ten times a second until it holds. The error of one
// that never does says what was waited for and the condition's last error.
func Await(ctx context.Context, what string, condition func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		// One that the end of the time cut short tells nothing.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w: %w", what, ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// logs are the last lines of every program.
func (c *Cluster) logs(lines int) string {
	var text string
	for _, name := range []string{"etcd", build.APIServer, build.ControllerManager, build.Scheduler, build.Kubelet, build.Proxy} {
		if p := c.running[name]; p != nil {
			text += fmt.Sprintf("--- %s\n%s\n", name, p.Log(lines))
		}
	}
	return text
}

// Log is the last lines that a program of the cluster, such as
// [build.Kubelet], has written.
func (c *Cluster) Log(program string, lines int) string {
	p := c.running[program]
	if p == nil {
		return program + " does not run"
	}
	return p.Log(lines)
}

// Kubeconfig is the path of an administrator's kubeconfig, which is of use
// within the lab.
func (c *Cluster) Kubeconfig() string { return c.admin }

// Kubectl prepares kubectl as an administrator calls it.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *node.Cmd {
	return c.Node.Command(ctx, c.programs[build.Kubectl], append([]string{"--kubeconfig", c.admin}, args...)...)
}

// Helm prepares helm as an administrator calls it; without one it fails when it
// is started. What it keeps for itself is in the cluster's directory.
func (c *Cluster) Helm(ctx context.Context, args ...string) *node.Cmd {
	cmd := c.Node.Command(ctx, c.programs[build.Helm], append([]string{"--kubeconfig", c.admin}, args...)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+c.file("helm"), "HELM_CONFIG_HOME="+c.file("helm"), "HELM_DATA_HOME="+c.file("helm"))
	return cmd
}
