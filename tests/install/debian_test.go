// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// debian is a Debian of its own: this machine's root file system below an overlay in memory, in mount, network and host name
// namespaces that end with the test. Its BPF file system is empty, its loopback device up.
type debian struct {
	t *testing.T
	// pid is that of the process that holds the namespaces, root its new root file system: empty where that is the root of the
	// mount namespace.
	pid  int
	root string
}

// setUp is what the holder does, with the folder for mounts as its argument; then it waits for the end of its input.
const setUp = `set -e
dir=$1
mount -t tmpfs holdfast-test "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" holdfast-test "$dir/root"
cd "$dir/root"
mount --rbind /proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs run run
mount -t tmpfs tmp tmp
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d
chmod +x usr/sbin/policy-rc.d
ip link set lo up
echo ready
exec cat >/dev/null`

func newDebian(t *testing.T) *debian {
	t.Helper()
	for _, needed := range []string{"dpkg", "deb-systemd-helper", "systemd-sysusers", "systemd-analyze", "setpriv", "nsenter", "ip"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("no Debian with systemd's tools: %v", err)
		}
	}
	dir := t.TempDir()
	holder := exec.Command("unshare", "--mount", "--net", "--uts", "--propagation", "private", "sh", "-c", setUp, "sh", dir)
	holder.Stderr = t.Output()
	in, err := holder.StdinPipe()
	must(t, err)
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	t.Cleanup(func() { must(t, errors.Join(in.Close(), holder.Wait())) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the holder said %q (%v)", line, err)
	}
	return &debian{t: t, pid: holder.Process.Pid, root: filepath.Join(dir, "root")}
}

// path is a file of the Debian as this process can open it.
func (d *debian) path(name string) string {
	return "/proc/" + strconv.Itoa(d.pid) + "/root" + filepath.Join(d.root, name)
}

// command runs a program in the Debian.
func (d *debian) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(d.pid), "--mount", "--net", "--uts", "--", "chroot", d.root}
	if d.root == "" {
		enter = []string{"--target", strconv.Itoa(d.pid), "--all", "--"}
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"}
	return cmd
}

// try runs a program to its end and gives what it wrote.
func (d *debian) try(args ...string) (string, error) {
	text, err := d.command(d.t.Context(), args...).CombinedOutput()
	return string(text), err
}

func (d *debian) run(args ...string) string {
	d.t.Helper()
	text, err := d.try(args...)
	if err != nil {
		d.t.Fatalf("%q: %v\n%s", args, err, text)
	}
	return text
}

// put copies a file into the Debian's /root.
func (d *debian) put(file string) string {
	d.t.Helper()
	text, err := os.ReadFile(file)
	must(d.t, err)
	to := "/root/" + filepath.Base(file)
	must(d.t, os.WriteFile(d.path(to), text, 0o644))
	return to
}

func (d *debian) exists(name string) bool {
	_, err := os.Lstat(d.path(name))
	return err == nil
}

// installed is what the packages bring; left is what they and their use may leave nothing of.
var (
	installed = []string{
		"/etc/holdfast/agent.yaml", "/etc/holdfast/collector.yaml",
		"/usr/bin/holdfast", "/usr/bin/holdfast-agent", "/usr/bin/holdfast-collector",
		"/usr/lib/systemd/system/holdfast-agent.service", "/usr/lib/systemd/system/holdfast-collector.service",
		"/usr/lib/sysusers.d/holdfast-collector.conf", "/usr/share/doc/holdfast-agent", "/usr/share/doc/holdfast-collector",
		"/etc/systemd/system/multi-user.target.wants/holdfast-agent.service",
		"/etc/systemd/system/multi-user.target.wants/holdfast-collector.service",
	}
	left = append([]string{
		"/etc/holdfast", "/etc/systemd/system/holdfast-agent.service", "/etc/systemd/system/holdfast-collector.service",
		"/var/lib/holdfast-agent", "/var/lib/holdfast-collector", "/sys/fs/bpf/holdfast",
	}, installed...)
)

// TestPackages installs the packages, runs what the units run, upgrades, and purges.
func TestPackages(t *testing.T) {
	out := makeFrom(t, "./deploy/deb", "--native", bin)
	d := newDebian(t)
	agent, collector := d.put(one(t, out, "holdfast-agent_*.deb")), d.put(one(t, out, "holdfast-collector_*.deb"))
	for _, name := range left {
		if d.exists(name) {
			t.Fatalf("%s is there already", name)
		}
	}
	d.run("dpkg", "--install", agent, collector)
	for _, name := range installed {
		if !d.exists(name) {
			t.Errorf("%s is not installed", name)
		}
	}
	t.Run("units", d.units)
	t.Run("settings", d.settings)
	t.Run("collector", d.collector)
	t.Run("agent", d.agent)
	t.Run("upgrade", func(t *testing.T) {
		changed := append(d.read("/etc/holdfast/agent.yaml"), "mode: monitor\n"...)
		must(t, os.WriteFile(d.path("/etc/holdfast/agent.yaml"), changed, 0o644))
		d.run("dpkg", "--install", agent, collector)
		if !bytes.Equal(d.read("/etc/holdfast/agent.yaml"), changed) {
			t.Error("the upgrade changed the administrator's settings")
		}
		if !d.exists("/sys/fs/bpf/holdfast") {
			t.Error("the upgrade removed what is pinned")
		}
	})
	d.run("dpkg", "--purge", "holdfast-agent", "holdfast-collector")
	for _, name := range left {
		if d.exists(name) {
			t.Errorf("%s is left", name)
		}
	}
}

func (d *debian) read(name string) []byte {
	d.t.Helper()
	text, err := os.ReadFile(d.path(name))
	must(d.t, err)
	return text
}

// units has systemd check the units where the programs are, and say how exposed they are, of 100.
func (d *debian) units(t *testing.T) {
	for unit, threshold := range map[string]string{"holdfast-agent.service": "35", "holdfast-collector.service": "15"} {
		file := "/usr/lib/systemd/system/" + unit
		if text, err := d.try("systemd-analyze", "verify", file); err != nil || strings.Contains(text, unit) {
			t.Errorf("verify %s: %v\n%s", unit, err, text)
		}
		if text, err := d.try("systemd-analyze", "security", "--offline=true", "--threshold="+threshold, file); err != nil {
			t.Errorf("%s is more exposed than %s: %v\n%s", unit, threshold, err, text)
		}
	}
}

// defaults are the lines of a file of settings that have a default commented out.
var defaults = regexp.MustCompile(`(?m)^#([a-z0-9-]+: [^<\n]*)$`)

// settings turns every default of the installed files on and has the programs read them. A log level that does not exist
// keeps them from starting, so it must be all that they complain of.
func (d *debian) settings(t *testing.T) {
	for program, file := range map[string]string{"holdfast-agent run": "agent.yaml", "holdfast-collector serve": "collector.yaml"} {
		text := defaults.ReplaceAllString(string(d.read("/etc/holdfast/"+file)), "$1")
		if n := strings.Count(text, "\nlog-level: "); n != 1 {
			t.Fatalf("%s has log-level %d times:\n%s", file, n, text)
		}
		text = regexp.MustCompile(`(?m)^log-level: .*$`).ReplaceAllString(text, "log-level: nonsense")
		must(t, os.WriteFile(d.path("/root/"+file), []byte(text), 0o644))
		said, err := d.try(append(strings.Fields(program), "--config", "/root/"+file)...)
		var exit *exec.ExitError
		if lines := strings.Count(strings.TrimSpace(said), "\n") + 1; !errors.As(err, &exit) || lines > 1 || !strings.Contains(said, "log-level") {
			t.Errorf("%s with all defaults of %s: %v\n%s", program, file, err, said)
		}
	}
}

// collector runs the collector as its unit does, makes a token as docs/install.md says, and asks.
func (d *debian) collector(t *testing.T) {
	const data = "/var/lib/holdfast-collector"
	// StateDirectory=
	d.run("install", "-d", "-m", "0700", "-o", "holdfast-collector", "-g", "holdfast-collector", data)
	as := []string{
		"setpriv", "--reuid=holdfast-collector", "--regid=holdfast-collector", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
		"--inh-caps=-all", "holdfast-collector",
	}
	stop := d.start(t, confined(data, append(as, "serve", "--config", "/etc/holdfast/collector.yaml")...)...)
	token := ""
	await(t, "a token", func() (bool, string) {
		cmd := d.command(t.Context(), append(as, "token", "create", "--config", "/etc/holdfast/collector.yaml", "--role", "admin")...)
		text, err := cmd.Output()
		token = strings.TrimSpace(string(text))
		return err == nil, string(text)
	})
	await(t, "an answer", func() (bool, string) {
		cmd := d.command(t.Context(), "holdfast", "nodes")
		cmd.Env = append(cmd.Env, "HOLDFAST_ADDRESS=127.0.0.1:7480", "HOLDFAST_CA="+data+"/ca.pem", "HOLDFAST_TOKEN="+token)
		text, err := cmd.CombinedOutput()
		return err == nil, string(text)
	})
	stop()
}

// agent runs the agent as its unit does, with the capabilities that the unit leaves it. What it pins outlives it.
func (d *debian) agent(t *testing.T) {
	set := "-all"
	for _, name := range granted(t) {
		set += ",+" + strings.ToLower(name)
	}
	const data = "/var/lib/holdfast-agent"
	d.run("install", "-d", "-m", "0700", data)
	stop := d.start(t, confined(data, "setpriv", "--no-new-privs", "--bounding-set="+set, "--inh-caps=-all",
		"holdfast-agent", "run", "--config", "/etc/holdfast/agent.yaml", "--nri-socket=", "--metrics-listen=127.0.0.1:7491")...)
	await(t, "an agent that is ready", func() (bool, string) {
		text, err := d.try("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/7491 && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && head -1 <&3`)
		return err == nil && strings.Contains(text, "200"), text
	})
	if log := stop(); strings.Contains(log, "not permitted") || strings.Contains(log, "read-only") {
		t.Errorf("the unit leaves the agent too little:\n%s", log)
	}
	if !d.exists("/sys/fs/bpf/holdfast") {
		t.Error("nothing is pinned after the agent's end")
	}
}

// strict makes the file systems read-only as ProtectSystem=strict, ReadOnlyPaths=/sys and ProtectControlGroups=yes do,
// but for the state directory, which is its first argument, and for what can be pinned to; then it runs the rest.
const strict = `set -e
mount --bind "$1" "$1"
awk '$5 == "/" || $5 == "/sys" || $5 ~ "^/sys/" && $5 != "/sys/fs/bpf" { print $5 }' /proc/self/mountinfo |
	while read -r at; do mount -o remount,bind,ro "$at"; done
shift
exec "$@"`

// confined is the command that runs a program as a unit with that state directory does.
func confined(state string, args ...string) []string {
	return append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", strict, "sh", state}, args...)
}

// granted are the capabilities that the agent's unit leaves it, without CAP_.
func granted(t *testing.T) []string {
	t.Helper()
	unit, err := os.ReadFile(filepath.Join(top, "deploy/systemd/holdfast-agent.service"))
	must(t, err)
	m := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(unit)
	if m == nil {
		t.Fatal("the agent's unit has no CapabilityBoundingSet")
	}
	var names []string
	for _, name := range strings.Fields(string(m[1])) {
		names = append(names, strings.TrimPrefix(name, "CAP_"))
	}
	return names
}

// start starts a program in the Debian. The function that it returns ends it with SIGTERM, which has to be a good end, and
// gives its log.
func (d *debian) start(t *testing.T, args ...string) (stop func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	cmd := d.command(ctx, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &log
	must(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ended := false
	t.Cleanup(func() {
		if !ended {
			cancel()
			t.Log(<-done, log.String())
		}
	})
	return func() string {
		t.Helper()
		must(t, cmd.Process.Signal(syscall.SIGTERM))
		ended = true
		if err := <-done; err != nil {
			t.Errorf("%v: %v\n%s", args, err, log.String())
		}
		return log.String()
	}
}
