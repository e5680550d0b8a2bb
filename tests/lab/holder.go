// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// holderArg is the first argument of a holder's command line.
	holderArg = "holdfast-lab-holder"
	// bridgeName is the pods' bridge in the lab's network namespace.
	bridgeName = "lab0"
	// lockFD is where the holder inherits the open lock file.
	lockFD = 3
	// teardownLimit bounds the holder's own clearing up.
	teardownLimit = 20 * time.Second
)

// spec is what a holder is told, as JSON, on its first line of input. It is
// also kept in the lab's directory, for the next lab to clear up by.
type spec struct {
	Name       string `json:"name"`
	Dir        string `json:"dir"`
	Containerd string `json:"containerd"`
	Memory     bool   `json:"memory"`
	// Crun is the path of crun, or empty where no pod wants it.
	Crun        string       `json:"crun"`
	Hierarchies hierarchies  `json:"hierarchies"`
	Gateways    []netip.Addr `json:"gateways"`
	// Bits are the prefix lengths of the gateways' networks.
	Bits []int `json:"bits"`
}

// order is what a holder is told later on: to start containerd anew.
type order struct {
	Restart bool `json:"restart"`
}

// report is what a holder says: one when the lab is set up or could not be, one
// when containerd was started anew, and one when it has been torn down.
type report struct {
	Ready     bool     `json:"ready,omitempty"`
	Error     string   `json:"error,omitempty"`
	Leftovers []string `json:"leftovers,omitempty"`
}

// RunHolder runs the lab's holder, and then ends the process, if the process
// was started as one; otherwise it returns at once. A program that starts labs
// calls it before anything else.
func RunHolder() {
	if len(os.Args) != 2 || os.Args[0] != holderArg {
		return
	}
	if err := hold(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "lab holder: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hold sets the lab up and keeps it until in ends, containerd ends or the
// process is told to terminate; then it tears the lab down. The write end of
// in is open in one process only, so that its end is that process's end.
func hold(in io.Reader, out io.Writer) error {
	// containerd is killed when the thread that started it ends.
	runtime.LockOSThread()
	// The lock must not outlive the holder in what it starts.
	unix.CloseOnExec(lockFD)
	var s spec
	input := json.NewDecoder(in)
	if err := input.Decode(&s); err != nil {
		return fmt.Errorf("read the lab's description: %w", err)
	}
	say := json.NewEncoder(out)
	// Ctrl-C in a terminal goes to the parent, which decides.
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of the lab's processes: %w", err)
	}
	exited := make(chan int)
	go reap(exited)

	daemon, err := setUp(s)
	if err != nil {
		err = errors.Join(err, say.Encode(report{Error: err.Error()}))
	} else if err = say.Encode(report{Ready: true}); err == nil {
		err = waitForEnd(s, input, say, terminate, exited, daemon)
	}
	go drain(exited)
	ctx, cancel := context.WithTimeout(context.Background(), teardownLimit)
	defer cancel()
	left := tearDown(ctx, s)
	return errors.Join(err, say.Encode(report{Leftovers: left}))
}

// setUp prepares the namespaces that the process is in and starts containerd,
// whose process id it returns.
func setUp(s spec) (int, error) {
	if err := setUpMounts(s); err != nil {
		return 0, err
	}
	if err := setUpNetwork(s); err != nil {
		return 0, err
	}
	return startContainerd(s)
}

// waitForEnd does what the holder is told until the lab should end.
func waitForEnd(s spec, in *json.Decoder, say *json.Encoder, terminate <-chan os.Signal, exited <-chan int, daemon int) error {
	orders := make(chan order)
	go func() {
		defer close(orders)
		for {
			var o order
			if in.Decode(&o) != nil {
				return
			}
			orders <- o
		}
	}()
	for {
		select {
		case o, more := <-orders:
			if !more {
				return nil
			}
			if !o.Restart {
				continue
			}
			var err error
			if daemon, err = restartContainerd(s, exited, daemon); err != nil {
				return err
			}
			if err := say.Encode(report{Ready: true}); err != nil {
				return err
			}
		case <-terminate:
			return nil
		case pid := <-exited:
			if pid == daemon {
				return nil
			}
		}
	}
}

// restartContainerd ends the daemon as an upgrade of its package does, leaving
// shims and containers alone, and starts it again.
func restartContainerd(s spec, exited <-chan int, daemon int) (int, error) {
	if err := unix.Kill(daemon, unix.SIGTERM); err != nil {
		return 0, fmt.Errorf("end containerd: %w", err)
	}
	late := time.After(teardownLimit)
	for {
		select {
		case pid := <-exited:
			if pid == daemon {
				return startContainerd(s)
			}
		case <-late:
			return 0, fmt.Errorf("containerd did not end within %s", teardownLimit)
		}
	}
}

// reap collects every child that ends, adopted ones too, and names it.
func reap(exited chan<- int) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	for range signals {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			exited <- pid
		}
	}
}

// drain lets reap go on when nobody wants to know any more.
func drain(exited <-chan int) {
	for range exited {
	}
}

// hiddenDirs are the directories in whose place the lab sees an empty tmpfs:
// what containerd, its shims and CNI would write there is not configurable.
var hiddenDirs = [...]string{"/run", "/var/lib"}

// setUpMounts makes the mount namespace private and hides what must not be
// shared with the machine.
func setUpMounts(s spec) error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range hiddenDirs {
		if err := mountAt("tmpfs", dir, "mode=755"); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/netns", "/run/containerd", "/run/lock"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("set up mounts: %w", err)
		}
	}
	if err := mountAt("bpf", "/sys/fs/bpf", "mode=700"); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/kernel/tracing/events"); err != nil {
		if err := mountAt("tracefs", "/sys/kernel/tracing", ""); err != nil {
			return err
		}
	}
	if s.Memory {
		p := paths{s.Dir}
		if err := errors.Join(mountAt("tmpfs", p.root(), "mode=700"), mountAt("tmpfs", p.state(), "mode=700")); err != nil {
			return err
		}
	}
	if s.Crun != "" {
		return setUpCrun(s)
	}
	return nil
}

// setUpCrun gives crun what it wants of a machine. From where it could be
// written to it starts itself a second time, from a mount that it makes for that;
// here it is read-only, as on a node whose /usr is. And beside v1 hierarchies it
// refuses a cgroup2 that has controllers, were they used or not: the lab sees
// none.
func setUpCrun(s spec) error {
	binds := [][2]string{{s.Crun, s.Crun}}
	if len(s.Hierarchies.V1) > 0 {
		binds = append(binds, [2]string{os.DevNull, filepath.Join(s.Hierarchies.Unified, "cgroup.controllers")})
	}
	for _, bind := range binds {
		if err := unix.Mount(bind[0], bind[1], "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", bind[0], bind[1], err)
		}
	}
	if err := unix.Mount("", s.Crun, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", s.Crun, err)
	}
	return nil
}

// mountAt mounts a file system without a device.
func mountAt(fstype, dir, options string) error {
	if err := unix.Mount(fstype, dir, fstype, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype, dir, err)
	}
	return nil
}

// setUpNetwork brings up the loopback device and the pods' bridge, so that
// the gateway address can be listened on before the first pod.
func setUpNetwork(s spec) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up loopback device: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	// With an address of its own the bridge does not take its ports' one,
	// which would change while pods come and go.
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0x6c, 0x61, 0x62, 0, 1}
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", bridgeName, err)
	}
	for i, gateway := range s.Gateways {
		addr := &netlink.Addr{IPNet: &net.IPNet{
			IP:   gateway.AsSlice(),
			Mask: net.CIDRMask(s.Bits[i], gateway.BitLen()),
		}}
		if gateway.Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(bridge, addr); err != nil {
			return fmt.Errorf("add address %s to bridge %s: %w", gateway, bridgeName, err)
		}
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("bring up bridge %s: %w", bridgeName, err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("turn on forwarding in the lab: %w", err)
	}
	return nil
}

// startContainerd starts the daemon in the lab's system cgroup and returns its
// process id.
func startContainerd(s spec) (int, error) {
	p := paths{s.Dir}
	log, err := os.OpenFile(p.containerdLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("start containerd: %w", err)
	}
	defer log.Close()
	cgroup, err := os.Open(systemCgroup(s))
	if err != nil {
		return 0, fmt.Errorf("start containerd: open its cgroup: %w", err)
	}
	defer cgroup.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("start containerd: %w", err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(s.Containerd, []string{"containerd", "-c", p.config()}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   daemonEnv(s.Containerd),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys: &syscall.SysProcAttr{
			Setsid:      true,
			Pdeathsig:   syscall.SIGKILL,
			UseCgroupFD: true,
			CgroupFD:    int(cgroup.Fd()),
		},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", s.Containerd, err)
	}
	return pid, nil
}

// daemonEnv is the environment of containerd: PATH begins with the daemon's
// own directory, so that it runs the shim that it was built with, and proxies
// are left out.
func daemonEnv(containerd string) []string {
	path := filepath.Dir(containerd) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	env := []string{"PATH=" + path}
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "TMPDIR=") || strings.HasPrefix(entry, "HOME=") {
			env = append(env, entry)
		}
	}
	return env
}

// systemCgroup is the cgroup2 directory of containerd, its shims and whatever
// [Lab.Command] starts. Containers are in kubepods beside it.
func systemCgroup(s spec) string {
	return filepath.Join(s.Hierarchies.Unified, s.Name, "system")
}
