// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// boot brings up a Debian as debian does, in namespaces of its own for processes and cgroups too, whose first process is
// systemd: what units allow and forbid, the kernel enforces. Its arguments are the folder for mounts and the cgroup, which
// systemd gets for its own. What systemd would do to the machine is kept from it: devices, settings of the kernel, modules,
// and the services that this machine has enabled.
const boot = `set -e
echo $$ >"$2/cgroup.procs"
exec unshare --mount --net --uts --ipc --pid --cgroup --fork --kill-child --propagation private sh -ec '
dir=$1
mount -t tmpfs holdfast-test "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" holdfast-test "$dir/root"
cd "$dir/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t bpf bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs dev dev
for node in null zero full random urandom tty; do
	touch "dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm dev/mqueue dev/hugepages
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mkdir -p run/systemd/system mnt/old
for unit in modules-load sysctl udevd udev-trigger tmpfiles-setup-dev remount-fs random-seed; do
	ln -s /dev/null "run/systemd/system/systemd-$unit.service"
done
rm -f etc/systemd/system/*.wants/* usr/sbin/policy-rc.d
hostname plain
ip link set lo up
pivot_root . mnt/old
umount -l mnt/old
exec env -i container=holdfast-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=basic.target --log-target=console
' sh "$1"`

// newHost boots a Debian. It ends with the test.
func newHost(t *testing.T) *debian {
	t.Helper()
	for _, needed := range []string{"apt", "systemd-sysusers", "/lib/systemd/systemd", "nsenter", "unshare", "pivot_root", "runuser", "ip"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("no Debian with systemd: %v", err)
		}
	}
	cgroup := ownCgroup(t)
	holder := exec.Command("sh", "-c", boot, "sh", t.TempDir(), cgroup)
	holder.Stdout, holder.Stderr = t.Output(), t.Output()
	must(t, holder.Start())
	t.Cleanup(func() {
		must(t, holder.Process.Kill())
		var killed *exec.ExitError
		if err := holder.Wait(); !errors.As(err, &killed) {
			t.Error(err)
		}
		await(t, "the end of everything in the cgroup", func() (bool, string) {
			err := removeCgroups(cgroup)
			return err == nil, fmt.Sprint(err)
		})
	})
	d := &debian{t: t}
	await(t, "systemd", func() (bool, string) {
		if d.pid == 0 {
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", holder.Process.Pid))
			if _, scanned := fmt.Sscan(string(children), &d.pid); err != nil || scanned != nil {
				return false, fmt.Sprintf("it has not been started: %v", err)
			}
		}
		state, err := d.try("systemctl", "is-system-running")
		return strings.TrimSpace(state) == "running", fmt.Sprintf("%s (%v)", state, err)
	})
	return d
}

// ownCgroup makes a cgroup, in the hierarchy of version 2.
func ownCgroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			dir, err := os.MkdirTemp(f[1], "holdfast-install-")
			must(t, err)
			return dir
		}
	}
	t.Fatal("no hierarchy of cgroup2 is mounted")
	return ""
}

// removeCgroups removes a cgroup and those below it, once there is nothing in them.
func removeCgroups(top string) error {
	var all []string
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return err
	})
	for i := len(all) - 1; i >= 0 && err == nil; i-- {
		err = os.Remove(all[i])
	}
	return err
}

// steps are the commands of docs/packages.md for a plain host, by the heading before them, as they are written there, but for
// what depends on the machine: its architecture, and the name of the collector's.
func steps(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(top, "docs/packages.md"))
	must(t, err)
	_, section, found := strings.Cut(string(page), "\n## A plain host\n")
	if !found {
		t.Fatal("docs/packages.md has no plain host")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	all, heading := map[string]string{}, ""
	for line := range strings.Lines(section) {
		if rest, ok := strings.CutPrefix(line, "**"); ok {
			heading, _, _ = strings.Cut(rest, ".")
		}
		if command, ok := strings.CutPrefix(line, "    "); ok {
			all[heading] += command
		}
	}
	for heading, script := range all {
		script = strings.ReplaceAll(script, "_amd64.deb", "_"+runtime.GOARCH+".deb")
		all[heading] = strings.ReplaceAll(script, "collector.example:", "127.0.0.1:")
	}
	return all
}

// TestPlainHost does on a Debian with systemd what docs/packages.md says, command by command.
func TestPlainHost(t *testing.T) {
	out := makeFrom(t, "./deploy/deb", "--native", bin)
	d := newHost(t)
	d.run("mkdir", "-p", "/root/bin/deb")
	for _, name := range []string{"agent", "collector"} {
		text, err := os.ReadFile(one(t, out, "holdfast-"+name+"_*.deb"))
		must(t, err)
		must(t, os.WriteFile(d.path(fmt.Sprintf("/root/bin/deb/holdfast-%s_0_%s.deb", name, runtime.GOARCH)), text, 0o644))
	}
	all := steps(t)
	do := func(t *testing.T, heading string) {
		t.Helper()
		script := all[heading]
		if script == "" {
			t.Fatalf("docs/packages.md has no commands for %s", heading)
		}
		if text, err := d.try("bash", "-exc", "cd /root\n"+script); err != nil {
			log, _ := d.try("journalctl", "--no-pager")
			t.Fatalf("%v\n%s\n%s", err, text, log)
		}
	}
	t.Run("collector", func(t *testing.T) {
		do(t, "Collector")
		d.active(t, "holdfast-collector")
	})
	t.Run("agent", func(t *testing.T) {
		do(t, "Agent")
		d.active(t, "holdfast-agent")
	})
	t.Run("look", func(t *testing.T) {
		// The last command is asked again until the node is there.
		const asks = "\nholdfast nodes\n"
		if !strings.HasSuffix(all["Look"], asks) {
			t.Fatalf("the commands to look do not end with %q:\n%s", asks, all["Look"])
		}
		all["Look"] = strings.TrimSuffix(all["Look"], asks) + "\nuntil holdfast nodes | grep -w connected; do sleep 1; done\n"
		do(t, "Look")
	})
	t.Run("capability", func(t *testing.T) {
		d.resets(t, "CAP_SYS_ADMIN is missing")
		do(t, "TLS on older kernels, and resets")
		d.active(t, "holdfast-agent")
		if set := d.run("systemctl", "show", "--property", "CapabilityBoundingSet", "--value", "holdfast-agent"); !strings.Contains(set, "cap_sys_admin") {
			t.Errorf("the agent has %s", set)
		}
		d.resets(t, "")
		// Having the right is not all that it takes.
		if text := d.run("systemd-run", "--quiet", "--pipe", "--wait", "--property", "RestrictNamespaces=yes", "holdfast-agent", "capabilities"); !strings.Contains(text,
			"not reset: enter a network namespace: operation not permitted") {
			t.Errorf("where no namespace may be entered:\n%s", text)
		}
	})
	t.Run("life", d.lifeOfAgent)
}

// active checks that units run, without having been restarted by systemd.
func (d *debian) active(t *testing.T, units ...string) {
	t.Helper()
	for _, unit := range units {
		await(t, unit, func() (bool, string) {
			state, _ := d.try("systemctl", "is-active", unit)
			return state == "active\n", state
		})
		if n := d.run("systemctl", "show", "--property", "NRestarts", "--value", unit); n != "0\n" {
			t.Errorf("%s ended by itself %s times", unit, strings.TrimSpace(n))
		}
		log := d.run("journalctl", "--no-pager", "-u", unit)
		for _, word := range []string{"not permitted", "ead-only file system", "not supported by protocol"} {
			if t.Failed() || strings.Contains(log, word) {
				t.Fatalf("what its unit leaves %s:\n%s", unit, log)
			}
		}
	}
}

// resets wants the agent that runs to say why it does not reset the connections of containers; an empty reason, that it does.
func (d *debian) resets(t *testing.T, reason string) {
	t.Helper()
	const says = "msg=capability signal=content "
	id := strings.TrimSpace(d.run("systemctl", "show", "--property", "InvocationID", "--value", "holdfast-agent"))
	var line string
	await(t, "what the agent can do", func() (bool, string) {
		log := d.run("journalctl", "--no-pager", "--output", "cat", "_SYSTEMD_INVOCATION_ID="+id)
		_, after, found := strings.Cut(log, says)
		line, _, _ = strings.Cut(after, "\n")
		return found, log
	})
	if want := reason != ""; strings.Contains(line, "not reset") != want || !strings.Contains(line, reason) {
		t.Errorf("the agent says of content: %s; want the reason %q", line, reason)
	}
}

// lifeOfAgent upgrades, stops, removes and purges: what docs/packages.md says stays, stays, and the rest goes.
func (d *debian) lifeOfAgent(t *testing.T) {
	pid := func(unit string) string { return d.run("systemctl", "show", "--property", "MainPID", "--value", unit) }
	const pins = "/sys/fs/bpf/holdfast"
	pinned := func(want bool, when string) {
		t.Helper()
		if d.exists(pins) != want {
			t.Errorf("%s: something is pinned: %v", when, !want)
		}
	}
	agent, collector := pid("holdfast-agent"), pid("holdfast-collector")
	await(t, "what the agent pins", func() (bool, string) { return d.exists(pins), "nothing is pinned" })
	d.run("sh", "-c", "apt-get install --reinstall --yes /root/bin/deb/*.deb")
	if pid("holdfast-agent") == agent || pid("holdfast-collector") == collector {
		t.Error("an upgrade did not restart what runs")
	}
	d.active(t, "holdfast-agent", "holdfast-collector")
	d.run("systemctl", "stop", "holdfast-agent")
	pinned(true, "after the agent was stopped")
	d.run("holdfast-agent", "unload")
	pinned(false, "after unload")
	d.run("systemctl", "start", "holdfast-agent")
	await(t, "what the agent pins", func() (bool, string) { return d.exists(pins), "nothing is pinned" })
	d.run("apt-get", "remove", "--yes", "holdfast-agent")
	pinned(false, "after the package was removed")
	if !d.exists("/var/lib/holdfast-agent") {
		t.Error("the data went with the package")
	}
	d.run("apt-get", "purge", "--yes", "holdfast-agent", "holdfast-collector")
	for _, gone := range []string{"/var/lib/holdfast-agent", "/var/lib/holdfast-collector", "/etc/holdfast/agent.yaml"} {
		if d.exists(gone) {
			t.Errorf("%s is left after a purge", gone)
		}
	}
	if !d.exists("/etc/holdfast/join-token") {
		t.Error("the join token, which is the administrator's, went with the package")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if text, err := d.command(ctx, "systemctl", "list-units", "--failed", "--no-legend").CombinedOutput(); err != nil || len(strings.TrimSpace(string(text))) > 0 {
		t.Errorf("units have failed: %s (%v)", text, err)
	}
}
