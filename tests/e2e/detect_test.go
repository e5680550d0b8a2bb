// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// deed is something that is done once in a container and that one rule is about.
type deed struct {
	rule string
	argv []string
	// exe is the program that did it, where it is not deeds itself.
	exe string
	// refused says that the kernel may refuse it; that it was tried is what counts.
	refused bool
	// signal is the capability without which the deed cannot be seen; the test then wants the reason.
	signal string
}

func catalogue(outside string) []deed {
	return []deed{
		{rule: "Executable not from the image", argv: []string{"drift"}, exe: "/tmp/dropped"},
		{rule: "Fileless execution", argv: []string{"fileless"}, exe: "memfd"},
		{rule: "Shell with a socket for its input", argv: []string{"reverse-shell"}, exe: "/usr/bin/busybox"},
		{rule: "Sensitive file read", argv: []string{"read-shadow"}},
		{rule: "Sensitive file read", argv: []string{"read-token"}},
		{rule: "Write below a binary directory", argv: []string{"write-bin"}},
		{rule: "Write below a binary directory", argv: []string{"rename-bin", "/tmp/renamed", "/usr/bin/renamed"}},
		{rule: "Cloud metadata service contacted", argv: []string{"metadata"}, refused: true},
		{rule: "Namespace changed", argv: []string{"unshare"}},
		{rule: "Namespace changed", argv: []string{"setns", "/proc/self/ns/uts"}},
		{rule: "Kernel module loaded", argv: []string{"module", "/etc/passwd"}, refused: true, signal: "module"},
		{rule: "Process traced", argv: []string{"ptrace"}},
		{rule: "Raw or packet socket opened", argv: []string{"raw-socket"}},
		{rule: "Raw or packet socket opened", argv: []string{"packet-socket"}},
		{rule: "Process left its container's cgroup", argv: []string{"leave-cgroup", outside}},
		{rule: "Process left its container's cgroup", argv: []string{"born-outside", outside}},
	}
}

// webPod runs a pod of a Deployment, with a container that only waits and can be made to do deeds.
func webPod(t *testing.T, r *rig.Rig, image *lab.Built, name string, mounts ...lab.Mount) *lab.Container {
	t.Helper()
	pod := runPod(t, r, lab.PodConfig{
		Namespace: "shop", Name: name, Labels: map[string]string{"app": "web", "pod-template-hash": "6d4cf56db6"},
	})
	return run(t, pod, lab.ContainerConfig{
		Name: "app", Image: image.Name, Command: []string{"/bin/sleep", "3600"}, Mounts: mounts,
		AddCapabilities: []string{"SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "NET_RAW"},
	})
}

// do has a container do a deed as kubectl exec would.
func do(t *testing.T, c *lab.Container, refusable bool, argv ...string) {
	t.Helper()
	const refused = 3
	res, err := c.Exec(t.Context(), append([]string{"deeds"}, argv...)...)
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 0 && (res.Code != refused || !refusable) {
		t.Fatalf("deeds %s ended with %d: %s%s", strings.Join(argv, " "), res.Code, res.Stdout, res.Stderr)
	}
}

// TestDetections does each deed once and wants one alert for it, which says who did it, and no other.
func TestDetections(t *testing.T) {
	r := startRig(t, rig.Config{})
	image := attacker(t, r)
	secrets, shared := filepath.Join(r.Dir, "secrets"), filepath.Join(r.Dir, "shared")
	for _, dir := range []string{secrets, shared} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(secrets, "token"), []byte("a.b.c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Base(cgroupPath(t, r, "outside"))
	mounts := []lab.Mount{
		{HostPath: secrets, ContainerPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true},
		{HostPath: shared, ContainerPath: "/shared"},
		{HostPath: r.Lab.CgroupDir(), ContainerPath: "/cgroup"},
	}
	c := webPod(t, r, image, "web-6d4cf56db6-x7x2p", mounts...)
	other := webPod(t, r, image, "web-6d4cf56db6-k2k9q", mounts...)
	began := time.Now()
	seen := map[string]bool{}
	for _, d := range catalogue("/cgroup/" + outside) {
		t.Run(strings.Join(d.argv[:1], " "), func(t *testing.T) {
			do(t, c, d.refused, d.argv...)
			if d.signal != "" && cannot(t, r, d.signal) {
				return
			}
			expectAlert(t, r, c, image, began, d, seen)
		})
	}
	t.Run("passed-socket", func(t *testing.T) {
		addr := accept(t, r)
		offered := make(chan error, 1)
		go func() {
			_, err := other.Exec(t.Context(), "deeds", "offer-socket", "/shared/socket", addr)
			offered <- err
		}()
		do(t, c, false, "passed-socket", "/shared/socket")
		if err := <-offered; err != nil {
			t.Fatal(err)
		}
		d := deed{rule: "Socket of another container used", argv: []string{"passed-socket"}}
		if !cannot(t, r, "passed_socket") {
			expectAlert(t, r, c, image, began, d, seen)
		}
	})
	quiesce(t, r, 30*time.Second)
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "shop/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		if !seen[a.ID] {
			t.Errorf("for no deed: %s: %s", a.Rule, a.Output)
		}
	}
	t.Logf("%d alerts for %d deeds", len(seen), len(catalogue(""))+1)
}

// cannot reports whether the node says of a signal that it cannot be seen, and logs why.
func cannot(t *testing.T, r *rig.Rig, signal string) bool {
	t.Helper()
	n := node(t, r)
	i := slices.IndexFunc(n.Capabilities, func(c view.Capability) bool { return c.Signal == signal })
	if i < 0 {
		t.Fatalf("the node says nothing of the signal %s", signal)
	}
	if c := n.Capabilities[i]; c.See != view.SupportYes {
		if c.Reason == "" {
			t.Errorf("%s cannot be seen, and no reason is given", signal)
		}
		t.Logf("%s cannot be seen on this kernel: %s", signal, c.Reason)
		return true
	}
	return false
}

// expectAlert waits for the one new alert of a deed's rule and checks what it says.
func expectAlert(t *testing.T, r *rig.Rig, c *lab.Container, image *lab.Built, began time.Time, d deed, seen map[string]bool) {
	t.Helper()
	var fresh []view.Alert
	err := wait.For(t.Context(), 10*time.Second, func() error {
		alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "shop/*", "--rule", d.rule)
		if err != nil {
			return err
		}
		fresh = slices.DeleteFunc(alerts, func(a view.Alert) bool { return seen[a.ID] })
		if len(fresh) == 0 {
			return fmt.Errorf("no alert %q", d.rule)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range fresh {
		seen[a.ID] = true
	}
	if len(fresh) != 1 {
		for _, a := range fresh {
			t.Logf("%s %+v", a.Output, a.Event)
		}
		t.Fatalf("%d alerts %q for one deed", len(fresh), d.rule)
	}
	t.Log(fresh[0].Output)
	if err := checkAlert(&fresh[0], c, image, d); err != nil {
		t.Errorf("%v\n%+v", err, fresh[0])
	}
}

func checkAlert(a *view.Alert, c *lab.Container, image *lab.Built, d deed) error {
	var errs []error
	expect := func(what, got, want string) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s is %q, want %q", what, got, want))
		}
	}
	got := a.Container
	if got == nil {
		return errors.New("no container")
	}
	expect("container", got.ID, c.ID)
	expect("container's name", got.Name, c.Name)
	expect("pod", got.Pod, c.Pod.Name)
	expect("pod's uid", got.PodUID, c.Pod.UID)
	expect("namespace", got.Namespace, c.Pod.Namespace)
	expect("image", got.Image, image.Name)
	expect("image's digest", got.ImageDigest, image.Digest)
	expect("workload", a.Workload.Kind+"/"+a.Workload.String(), "Deployment/shop/web/app")
	expect("node", a.Node, rig.NodeName)
	if a.Count != 1 {
		errs = append(errs, fmt.Errorf("it stands for %d deeds", a.Count))
	}
	if a.Process == nil {
		return errors.Join(append(errs, errors.New("no process"))...)
	}
	exe := d.exe
	if exe == "" {
		exe = "/usr/bin/deeds"
	}
	if !strings.Contains(a.Process.Exe, exe) {
		errs = append(errs, fmt.Errorf("executable %q, want %q", a.Process.Exe, exe))
	}
	shim := func(p view.Process) bool { return strings.HasSuffix(p.Exe, "/containerd-shim-runc-v2") }
	if !slices.ContainsFunc(a.Process.Ancestors, shim) {
		errs = append(errs, errors.New("the ancestry does not lead to the runtime"))
	}
	return errors.Join(errs...)
}
