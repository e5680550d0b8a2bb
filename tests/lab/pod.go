// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The labels that a kubelet puts on pods and containers.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"
)

// PodConfig describes a pod.
type PodConfig struct {
	// Namespace and Name name the pod as Kubernetes would. Default
	// namespace: default.
	Namespace, Name string
	// UID is the pod's Kubernetes uid. Default: a random one.
	UID string
	// Labels and Annotations are the pod's; the labels that a kubelet adds
	// come on top.
	Labels, Annotations map[string]string
	// HostNetwork runs the pod in the lab's network namespace, without an
	// address of its own.
	HostNetwork bool
	// HostPID runs the pod's containers in the machine's process namespace.
	HostPID bool
	// ShareProcesses puts the pod's containers into one process namespace.
	ShareProcesses bool
	// Privileged allows privileged containers in the pod.
	Privileged bool
	// Nameservers of the pod. Default: the lab's gateway, where a test may
	// listen.
	Nameservers []string
	// Searches are the domains in which the pod looks for names without one.
	Searches []string
}

// Pod is a pod sandbox that runs.
type Pod struct {
	// ID is the sandbox container's id.
	ID string
	// Namespace, Name and UID are the pod's.
	Namespace, Name, UID string
	// IP is the pod's first address, IPs are all, both families; none in the
	// host's network.
	IP  netip.Addr
	IPs []netip.Addr

	lab    *Lab
	config *cri.PodSandboxConfig

	mu       sync.Mutex
	attempts map[string]uint32
}

// RunPod starts a pod without containers.
func (l *Lab) RunPod(ctx context.Context, cfg PodConfig) (*Pod, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = "default"
	}
	if cfg.UID == "" {
		cfg.UID = newUID()
	}
	config := l.sandboxConfig(cfg)
	if err := os.MkdirAll(config.LogDirectory, 0o700); err != nil {
		return nil, fmt.Errorf("run pod %s/%s: %w", cfg.Namespace, cfg.Name, err)
	}
	created, err := l.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, fmt.Errorf("run pod %s/%s: %w", cfg.Namespace, cfg.Name, err)
	}
	pod := &Pod{
		ID: created.PodSandboxId, Namespace: cfg.Namespace, Name: cfg.Name, UID: cfg.UID,
		lab: l, config: config, attempts: map[string]uint32{},
	}
	if err := pod.readAddresses(ctx); err != nil {
		return nil, errors.Join(err, pod.Remove(ctx))
	}
	return pod, nil
}

// sandboxConfig says to CRI what a kubelet would say.
func (l *Lab) sandboxConfig(cfg PodConfig) *cri.PodSandboxConfig {
	labels := maps.Clone(cfg.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID] = cfg.Name, cfg.Namespace, cfg.UID
	namespaces := &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
	if cfg.HostNetwork {
		namespaces.Network = cri.NamespaceMode_NODE
	}
	if cfg.ShareProcesses {
		namespaces.Pid = cri.NamespaceMode_POD
	}
	if cfg.HostPID {
		namespaces.Pid = cri.NamespaceMode_NODE
	}
	nameservers := cfg.Nameservers
	if len(nameservers) == 0 {
		nameservers = []string{l.Gateway().String()}
	}
	hostname := cfg.Name
	if cfg.HostNetwork {
		// Such a pod shares the lab's host name as well.
		hostname = ""
	}
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: cfg.Name, Namespace: cfg.Namespace, Uid: cfg.UID},
		Hostname:     hostname,
		Labels:       labels,
		Annotations:  cfg.Annotations,
		LogDirectory: filepath.Join(paths{l.spec.Dir}.logs(), cfg.Namespace+"_"+cfg.Name+"_"+cfg.UID),
		DnsConfig:    &cri.DNSConfig{Servers: nameservers, Searches: cfg.Searches},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: l.podCgroup(cfg.UID),
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: namespaces,
				Privileged:       cfg.Privileged,
			},
		},
	}
}

// podCgroup is the pod's cgroup path in the layout of a kubelet's cgroupfs
// driver.
func (l *Lab) podCgroup(uid string) string {
	return path.Join("/", l.spec.Name, "kubepods", "besteffort", "pod"+uid)
}

// newUID returns a random uid in the form of RFC 4122.
func newUID() string {
	h := randomHex(16)
	return fmt.Sprintf("%s-%s-4%s-a%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:])
}

// readAddresses asks CRI for the pod's addresses.
func (p *Pod) readAddresses(ctx context.Context) error {
	status, err := p.lab.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.ID})
	if err != nil {
		return fmt.Errorf("read status of %s: %w", p, err)
	}
	network := status.GetStatus().GetNetwork()
	texts := []string{network.GetIp()}
	for _, more := range network.GetAdditionalIps() {
		texts = append(texts, more.GetIp())
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("read addresses of %s: %w", p, err)
		}
		p.IPs = append(p.IPs, addr)
	}
	if len(p.IPs) > 0 {
		p.IP = p.IPs[0]
	}
	return nil
}

// String names the pod for people.
func (p *Pod) String() string { return "pod " + p.Namespace + "/" + p.Name }

// CgroupDir is the pod's directory in cgroup2; its containers' are in it,
// named by their ids.
func (p *Pod) CgroupDir() string {
	return filepath.Join(p.lab.spec.Hierarchies.Unified, p.lab.podCgroup(p.UID))
}

// CgroupID is the cgroup2 id of the pod's sandbox container, as
// bpf_get_current_cgroup_id() gives it.
func (p *Pod) CgroupID() (uint64, error) {
	return cgroupID(filepath.Join(p.CgroupDir(), p.ID))
}

// Remove stops the pod, its containers included, and removes it.
func (p *Pod) Remove(ctx context.Context) error {
	if _, err := p.lab.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.ID}); err != nil {
		return fmt.Errorf("stop %s: %w", p, err)
	}
	if _, err := p.lab.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.ID}); err != nil {
		return fmt.Errorf("remove %s: %w", p, err)
	}
	// CRI removes the containers' cgroups; the pod's are the kubelet's task.
	for _, root := range p.lab.spec.Hierarchies.all() {
		dir := filepath.Join(root, p.lab.podCgroup(p.UID))
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := removeCgroup(ctx, dir); err != nil {
			return fmt.Errorf("remove %s: %w", p, err)
		}
	}
	return nil
}

// AwaitPort waits until a TCP port of the pod accepts connections.
func (p *Pod) AwaitPort(ctx context.Context, port uint16) error {
	addr := netip.AddrPortFrom(p.IP, port).String()
	for {
		conn, err := p.lab.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		if pauseErr := pause(ctx, 20*time.Millisecond); pauseErr != nil {
			return fmt.Errorf("wait for port %d of %s: %w", port, p, errors.Join(err, pauseErr))
		}
	}
}

// nextAttempt counts the containers of one name, which CRI tells apart by it.
func (p *Pod) nextAttempt(name string) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	attempt := p.attempts[name]
	p.attempts[name]++
	return attempt
}

// imageKnown tells whether CRI knows an image by its name and digest.
func (l *Lab) imageKnown(ctx context.Context, b *Built) (bool, error) {
	status, err := l.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: b.Name}})
	if err != nil {
		return false, err
	}
	return slices.Contains(status.GetImage().GetRepoDigests(), digestName(b.Name, b.Digest)), nil
}

// alreadyThere tells whether a call was refused because the object exists.
func alreadyThere(err error) bool { return status.Code(err) == codes.AlreadyExists }
