// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerConfig describes a container.
type ContainerConfig struct {
	// Name names the container in its pod.
	Name string
	// Image is the name of an imported image.
	Image string
	// Command replaces the image's entry point, Args its arguments.
	Command, Args []string
	// Env is added to the image's environment.
	Env map[string]string
	// WorkingDir replaces the image's.
	WorkingDir string
	// Labels and Annotations are the container's.
	Labels, Annotations map[string]string
	// Mounts are bind mounts from this machine.
	Mounts []Mount
	// Privileged gives every capability and device; the pod has to allow it.
	Privileged bool
	// AddCapabilities and DropCapabilities change containerd's default set;
	// names come without CAP_.
	AddCapabilities, DropCapabilities []string
	// RuntimeDefaultSeccomp turns containerd's own seccomp profile on.
	// Without it the container runs unconfined, as under a kubelet.
	RuntimeDefaultSeccomp bool
	// SeccompProfile is the path of a seccomp profile on this machine, as a
	// kubelet passes on a localhostProfile.
	SeccompProfile string
	// ReadOnlyRoot mounts the root file system read-only.
	ReadOnlyRoot bool
	// UID and GID run the processes as somebody else than the image says;
	// GID counts only beside UID.
	UID, GID *int64
}

// Mount is a bind mount.
type Mount struct {
	// HostPath is a path on this machine, ContainerPath one in the container.
	HostPath, ContainerPath string
	// ReadOnly mounts it so.
	ReadOnly bool
}

// Container is a container of a pod.
type Container struct {
	// ID is containerd's id.
	ID string
	// Name is the container's in its pod, Image what it was made from.
	Name, Image string
	// Pod is the container's pod.
	Pod *Pod

	logPath string
}

// Create makes a container that does not run yet.
func (p *Pod) Create(ctx context.Context, cfg ContainerConfig) (*Container, error) {
	attempt := p.nextAttempt(cfg.Name)
	labels := maps.Clone(cfg.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID] = p.Name, p.Namespace, p.UID
	labels[labelContainerName] = cfg.Name
	config := &cri.ContainerConfig{
		Metadata:    &cri.ContainerMetadata{Name: cfg.Name, Attempt: attempt},
		Image:       &cri.ImageSpec{Image: cfg.Image},
		Command:     cfg.Command,
		Args:        cfg.Args,
		WorkingDir:  cfg.WorkingDir,
		Labels:      labels,
		Annotations: cfg.Annotations,
		LogPath:     fmt.Sprintf("%s_%d.log", cfg.Name, attempt),
		Linux:       &cri.LinuxContainerConfig{SecurityContext: cfg.securityContext(p)},
	}
	for name, value := range cfg.Env {
		config.Envs = append(config.Envs, &cri.KeyValue{Key: name, Value: []byte(value)})
	}
	for _, m := range cfg.Mounts {
		config.Mounts = append(config.Mounts, &cri.Mount{
			HostPath: m.HostPath, ContainerPath: m.ContainerPath, Readonly: m.ReadOnly,
		})
	}
	created, err := p.lab.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: p.ID, Config: config, SandboxConfig: p.config,
	})
	if err != nil {
		return nil, fmt.Errorf("create container %s of %s: %w", cfg.Name, p, err)
	}
	return &Container{
		ID: created.ContainerId, Name: cfg.Name, Image: cfg.Image, Pod: p,
		logPath: filepath.Join(p.config.LogDirectory, config.LogPath),
	}, nil
}

// securityContext translates the security settings, with the defaults of a
// kubelet.
func (cfg ContainerConfig) securityContext(p *Pod) *cri.LinuxContainerSecurityContext {
	security := &cri.LinuxContainerSecurityContext{
		Privileged:       cfg.Privileged,
		ReadonlyRootfs:   cfg.ReadOnlyRoot,
		NamespaceOptions: p.config.Linux.SecurityContext.NamespaceOptions,
		Capabilities:     &cri.Capability{AddCapabilities: cfg.AddCapabilities, DropCapabilities: cfg.DropCapabilities},
		Seccomp:          &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined},
	}
	switch {
	case cfg.SeccompProfile != "":
		security.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: cfg.SeccompProfile}
	case cfg.RuntimeDefaultSeccomp:
		security.Seccomp.ProfileType = cri.SecurityProfile_RuntimeDefault
	}
	if !cfg.Privileged {
		security.MaskedPaths = []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
			"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}
		security.ReadonlyPaths = []string{"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	}
	if cfg.UID != nil {
		security.RunAsUser = &cri.Int64Value{Value: *cfg.UID}
		if cfg.GID != nil {
			security.RunAsGroup = &cri.Int64Value{Value: *cfg.GID}
		}
	}
	return security
}

// Run creates and starts a container.
func (p *Pod) Run(ctx context.Context, cfg ContainerConfig) (*Container, error) {
	c, err := p.Create(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, errors.Join(err, c.Remove(ctx))
	}
	return c, nil
}

// String names the container for people.
func (c *Container) String() string { return "container " + c.Name + " of " + c.Pod.String() }

// Start starts a created container.
func (c *Container) Start(ctx context.Context) error {
	_, err := c.Pod.lab.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: c.ID})
	return c.explain("start", err)
}

// Stop asks the container to end and kills it after grace, in whole seconds.
func (c *Container) Stop(ctx context.Context, grace time.Duration) error {
	_, err := c.Pod.lab.runtime.StopContainer(ctx, &cri.StopContainerRequest{
		ContainerId: c.ID, Timeout: int64(grace / time.Second),
	})
	return c.explain("stop", err)
}

// Remove kills the container if it runs, and removes it.
func (c *Container) Remove(ctx context.Context) error {
	_, err := c.Pod.lab.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: c.ID})
	return c.explain("remove", err)
}

// explain says what was being done to the container.
func (c *Container) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, c, err)
}

// ExecResult is what a process in a container left.
type ExecResult struct {
	// Stdout and Stderr are its outputs, up to 16 MiB together.
	Stdout, Stderr string
	// Code is its exit code, 128 and the signal's number if it was killed.
	Code int
}

// Exec runs a program in the container and waits for it. A program that ends
// with another code than 0 is no error.
func (c *Container) Exec(ctx context.Context, argv ...string) (ExecResult, error) {
	out, err := c.Pod.lab.runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: c.ID, Cmd: argv})
	if err != nil {
		return ExecResult{}, c.explain(fmt.Sprintf("run %q in", argv), err)
	}
	return ExecResult{string(out.Stdout), string(out.Stderr), int(out.ExitCode)}, nil
}

// Status is a container's state as CRI tells it.
type Status struct {
	// Running tells whether the container runs, Exited whether it has ended.
	Running, Exited bool
	// PID is the container's first process, on the machine; 0 if it does not
	// run.
	PID int
	// ExitCode and Reason say how it ended.
	ExitCode int
	Reason   string
	// ImageRef is what CRI says the image is: name@digest, where it has one.
	ImageRef string
	// Created, Started and Finished are zero where it has not come to that.
	Created, Started, Finished time.Time
}

// ImageDigest is the digest in ImageRef, as [Built] has it.
func (s Status) ImageDigest() string {
	if _, digest, found := strings.Cut(s.ImageRef, "@"); found {
		return digest
	}
	return s.ImageRef
}

// Status reads the container's state.
func (c *Container) Status(ctx context.Context) (Status, error) {
	answer, err := c.Pod.lab.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.ID, Verbose: true})
	if err != nil {
		return Status{}, c.explain("read status of", err)
	}
	var info struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(answer.Info["info"]), &info); err != nil {
		return Status{}, c.explain("read details of", err)
	}
	s := answer.Status
	return Status{
		Running:  s.State == cri.ContainerState_CONTAINER_RUNNING,
		Exited:   s.State == cri.ContainerState_CONTAINER_EXITED,
		PID:      info.PID,
		ExitCode: int(s.ExitCode),
		Reason:   s.Reason,
		ImageRef: s.ImageRef,
		Created:  unixTime(s.CreatedAt),
		Started:  unixTime(s.StartedAt),
		Finished: unixTime(s.FinishedAt),
	}, nil
}

// unixTime converts CRI's nanoseconds, where 0 means never.
func unixTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// Wait waits until the container has ended and returns its last state.
func (c *Container) Wait(ctx context.Context) (Status, error) {
	// CRI deletes the task of a container that has ended, and containerd then answers that there is none, or that the
	// connection to its shim is closed. So only CRI's own word counts; this call just saves asking for it all the time.
	_, err := tasksapi.NewTasksClient(c.Pod.lab.conn).Wait(inNamespace(ctx), &tasksapi.WaitRequest{ContainerID: c.ID})
	if err != nil && ctx.Err() != nil {
		return Status{}, c.explain("wait for", err)
	}
	for {
		s, err := c.Status(ctx)
		if err != nil || s.Exited {
			return s, err
		}
		// CRI is still handling the event.
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return s, c.explain("wait for", err)
		}
	}
}

// CgroupDir is the container's directory in cgroup2.
func (c *Container) CgroupDir() string { return filepath.Join(c.Pod.CgroupDir(), c.ID) }

// CgroupID is the container's cgroup2 id, as bpf_get_current_cgroup_id()
// gives it. It exists while the container runs.
func (c *Container) CgroupID() (uint64, error) { return cgroupID(c.CgroupDir()) }

// cgroupID returns the id of a cgroup2 directory: its inode number on every
// 64-bit kernel.
func cgroupID(dir string) (uint64, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, fmt.Errorf("find cgroup id: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("find cgroup id: %s has no inode number", dir)
	}
	return stat.Ino, nil
}

// Logs returns what the container has written so far, both outputs in one.
func (c *Container) Logs() (string, error) {
	data, err := os.ReadFile(c.logPath)
	if err != nil {
		return "", c.explain("read logs of", err)
	}
	// What follows the last end of a line is being written.
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	var text strings.Builder
	for line := range bytes.Lines(data) {
		// Time, stream and tag come first; the tag P says that the line goes
		// on in the next entry.
		fields := bytes.SplitN(line, []byte(" "), 4)
		if len(fields) < 4 {
			return "", c.explain("read logs of", fmt.Errorf("unexpected line %q", line))
		}
		if bytes.Equal(fields[2], []byte("P")) {
			fields[3] = bytes.TrimSuffix(fields[3], []byte("\n"))
		}
		text.Write(fields[3])
	}
	return text.String(), nil
}
