// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Lab is one node: its namespaces, containerd and the pods in it. But for New,
// Start, Close and Name, its functions are for a lab that has been started and
// not been closed.
type Lab struct {
	cfg  Config
	spec spec
	log  *slog.Logger

	holder  *exec.Cmd
	control io.WriteCloser
	// first carries the holder's first report, again that containerd was
	// started anew.
	first chan report
	again chan struct{}
	// down is closed when the holder has ended; last and ended are then its
	// last report and how it ended.
	down  chan struct{}
	last  report
	ended error
	// mountNS and netNS keep the namespaces open for Command and the dialers.
	mountNS, netNS *os.File
	nsIDs          []string
	system         *os.File

	conn    *grpc.ClientConn
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
}

// New checks cfg and prepares a lab; it starts nothing.
func New(cfg Config) (*Lab, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Lab{
		cfg:   cfg,
		log:   cfg.Log.With("lab", cfg.Name),
		first: make(chan report, 1),
		again: make(chan struct{}, 1),
		down:  make(chan struct{}),
	}, nil
}

// Start sets the lab up and returns when containerd runs pods. On error
// nothing is left behind. ctx bounds the start alone; the lab lives until
// Close.
func (l *Lab) Start(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	if l.holder != nil {
		return fmt.Errorf("start lab %s: it was started before", l.cfg.Name)
	}
	if len(os.Args) > 0 && os.Args[0] == holderArg {
		return errors.New("start lab: this process was started as a holder: call lab.RunHolder first in main or TestMain")
	}
	if err := sweep(ctx, l.cfg.Dir); err != nil {
		l.log.Warn("cannot clear up", "err", err)
	}
	begin := time.Now()
	if err := l.start(ctx); err != nil {
		return errors.Join(fmt.Errorf("start lab %s: %w", l.cfg.Name, err), l.Close())
	}
	l.log.Info("lab is up", "socket", l.Socket(), "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

func (l *Lab) start(ctx context.Context) error {
	lock, err := l.prepare()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := l.startHolder(lock); err != nil {
		return err
	}
	if err := l.awaitHolder(ctx); err != nil {
		return err
	}
	err = l.openNamespaces()
	if errors.Is(err, fs.ErrNotExist) {
		// The holder was there, and takes away what it made when containerd is not.
		return fmt.Errorf("containerd ended: %w", err)
	}
	if err != nil {
		return err
	}
	if err := l.connect(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, l.ContainerdLog(20))
	}
	return l.Import(ctx, pauseImage())
}

// prepare makes the lab's directory and cgroup and writes the configuration.
// The file it returns holds the lock that says that the lab is alive.
func (l *Lab) prepare() (*os.File, error) {
	var err error
	s := spec{Name: l.cfg.Name, Memory: l.cfg.Memory}
	if s.Hierarchies, err = findHierarchies(); err != nil {
		return nil, err
	}
	found, err := exec.LookPath(l.cfg.Containerd)
	if err != nil {
		return nil, fmt.Errorf("find containerd (Debian package containerd): %w", err)
	}
	if s.Containerd, err = filepath.Abs(found); err != nil {
		return nil, err
	}
	if l.cfg.Crun {
		if s.Crun, err = exec.LookPath("crun"); err != nil {
			return nil, fmt.Errorf("find crun (Debian package crun): %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(l.cfg.CNIBinDir, "bridge")); err != nil {
		return nil, fmt.Errorf("find CNI plugins (Debian package containernetworking-plugins): %w", err)
	}
	subnets := []netip.Prefix{l.cfg.Subnet}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		subnets = append(subnets, netip.MustParsePrefix(subnet6))
	}
	var networks []string
	for _, subnet := range subnets {
		networks = append(networks, subnet.String())
		s.Gateways = append(s.Gateways, subnet.Addr().Next())
		s.Bits = append(s.Bits, subnet.Bits())
	}
	if err := makeCgroups(s); err != nil {
		return nil, err
	}
	if s.Dir, err = os.MkdirTemp(l.cfg.Dir, dirPrefix); err != nil {
		return nil, errors.Join(fmt.Errorf("make the lab's directory: %w", err),
			os.Remove(systemCgroup(s)), os.Remove(filepath.Dir(systemCgroup(s))))
	}
	l.spec = s
	return writeFiles(s, l.cfg.CNIBinDir, l.cfg.NRI, networks)
}

// makeCgroups makes the lab's directories in cgroup2. A name that is taken in
// any hierarchy is refused: a lab kills and removes what bears its name.
func makeCgroups(s spec) error {
	for _, root := range s.Hierarchies.V1 {
		dir := filepath.Join(root, s.Name)
		if _, err := os.Stat(dir); err == nil {
			return fmt.Errorf("make the lab's cgroup: %s is there already", dir)
		}
	}
	for _, dir := range []string{filepath.Dir(systemCgroup(s)), systemCgroup(s)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make the lab's cgroup: %w", err)
		}
	}
	return nil
}

// writeFiles fills the lab's directory. The lock appears last and locked, so
// that the directory is never mistaken for one that was left behind.
func writeFiles(s spec, cniBinDir string, nri bool, networks []string) (*os.File, error) {
	p := paths{s.Dir}
	for _, dir := range []string{p.root(), p.state(), p.cni(), p.logs()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("prepare lab: %w", err)
		}
	}
	cni, err := cniConfig(p, networks)
	if err != nil {
		return nil, fmt.Errorf("prepare lab: describe its network: %w", err)
	}
	description, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("prepare lab: %w", err)
	}
	for path, data := range map[string][]byte{
		filepath.Join(p.cni(), "10-lab.conflist"): cni,
		p.config(): []byte(containerdConfig(p, cniBinDir, nri, s.Crun)),
		p.spec():   description,
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return nil, fmt.Errorf("prepare lab: %w", err)
		}
	}
	lock, err := os.OpenFile(p.lock()+".new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("prepare lab: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock lab: %w", err), lock.Close())
	}
	if err := os.Rename(p.lock()+".new", p.lock()); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare lab: %w", err), lock.Close())
	}
	return lock, nil
}

// startHolder starts this program again as the holder, in new namespaces. The
// holder inherits lock and, as its input, the read end of a pipe whose write
// end nobody else has.
func (l *Lab) startHolder(lock *os.File) error {
	holder := exec.Command("/proc/self/exe", "hold")
	holder.Args[0] = holderArg
	holder.Dir = "/"
	holder.ExtraFiles = []*os.File{lock}
	holder.SysProcAttr = &syscall.SysProcAttr{
		Setsid:       true,
		Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET,
	}
	errLog, err := os.OpenFile(paths{l.spec.Dir}.holderLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start holder: %w", err)
	}
	defer errLog.Close()
	holder.Stderr = errLog
	control, err := holder.StdinPipe()
	if err != nil {
		return fmt.Errorf("start holder: %w", err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start holder: %w", err)
	}
	if err := holder.Start(); err != nil {
		return fmt.Errorf("start holder: %w", err)
	}
	l.holder, l.control = holder, control
	go l.watch(json.NewDecoder(out))
	if err := json.NewEncoder(control).Encode(l.spec); err != nil {
		return fmt.Errorf("describe the lab to its holder: %w", err)
	}
	return nil
}

// watch reads what the holder says until it has ended. Close joins it.
func (l *Lab) watch(reports *json.Decoder) {
	defer close(l.down)
	for n := 0; ; n++ {
		var r report
		if reports.Decode(&r) != nil {
			break
		}
		l.last = r
		switch {
		case n == 0:
			l.first <- r
		case r.Ready:
			select {
			case l.again <- struct{}{}:
			default:
			}
		}
	}
	l.ended = l.holder.Wait()
}

// RestartContainerd ends containerd, leaving its containers alone, starts it
// again, and returns when it runs pods.
func (l *Lab) RestartContainerd(ctx context.Context) error {
	// One that nobody waited for to the end.
	select {
	case <-l.again:
	default:
	}
	if err := json.NewEncoder(l.control).Encode(order{Restart: true}); err != nil {
		return fmt.Errorf("restart containerd: tell the holder: %w", err)
	}
	select {
	case <-l.again:
	case <-l.down:
		return fmt.Errorf("restart containerd: the lab has ended\n%s", lastLines(paths{l.spec.Dir}.holderLog(), 20))
	case <-ctx.Done():
		return fmt.Errorf("restart containerd: %w", ctx.Err())
	}
	if err := l.awaitPods(ctx); err != nil {
		return fmt.Errorf("restart containerd: %w\n%s", err, l.ContainerdLog(20))
	}
	return nil
}

// Down is closed when the lab has ended, be it that containerd ended by itself
// or that something killed the lab. Close still has to be called.
func (l *Lab) Down() <-chan struct{} { return l.down }

// awaitHolder waits for the holder's first report.
func (l *Lab) awaitHolder(ctx context.Context) error {
	select {
	case r := <-l.first:
		if r.Error != "" {
			return errors.New(r.Error)
		}
		return nil
	case <-l.down:
		return fmt.Errorf("the holder ended before the lab was up; does main or TestMain call lab.RunHolder first?\n%s",
			lastLines(paths{l.spec.Dir}.holderLog(), 20))
	case <-ctx.Done():
		return fmt.Errorf("wait for the holder: %w", ctx.Err())
	}
}

// openNamespaces opens what is needed to start processes in the lab.
func (l *Lab) openNamespaces() error {
	for _, ns := range []struct {
		kind string
		file **os.File
	}{{"mnt", &l.mountNS}, {"net", &l.netNS}} {
		path := l.nsPath(ns.kind)
		id, err := os.Readlink(path)
		if err != nil {
			return fmt.Errorf("open the lab's namespaces: %w", err)
		}
		l.nsIDs = append(l.nsIDs, id)
		if *ns.file, err = os.Open(path); err != nil {
			return fmt.Errorf("open the lab's namespaces: %w", err)
		}
	}
	var err error
	if l.system, err = os.Open(systemCgroup(l.spec)); err != nil {
		return fmt.Errorf("open the lab's cgroup: %w", err)
	}
	return nil
}

// connect opens the CRI connection and waits until pods can be run.
func (l *Lab) connect(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+l.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	l.conn = conn
	l.runtime, l.images = cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)
	return l.awaitPods(ctx)
}

// awaitPods waits until pods can be run.
func (l *Lab) awaitPods(ctx context.Context) error {
	for {
		status, err := l.runtime.Status(ctx, &cri.StatusRequest{})
		if err == nil {
			err = notReady(status.GetStatus())
		}
		if err == nil {
			return nil
		}
		// Do not wait for gRPC's back-off, which is made for networks.
		l.conn.ResetConnectBackoff()
		select {
		case <-time.After(10 * time.Millisecond):
		case <-l.down:
			return fmt.Errorf("containerd ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("wait for containerd: %w", err)
		}
	}
}

// notReady returns the first condition that does not hold yet.
func notReady(status *cri.RuntimeStatus) error {
	for _, c := range status.GetConditions() {
		if !c.Status && (c.Type == cri.RuntimeReady || c.Type == cri.NetworkReady) {
			return fmt.Errorf("condition %s: %s: %s", c.Type, c.Reason, c.Message)
		}
	}
	return nil
}

// Close ends everything in the lab, removes it, and looks for what stayed. The
// error lists leftovers: processes, mounts, cgroups, files. A lab that was not
// started closes without error, as does one that is closed already.
func (l *Lab) Close() error {
	if l.spec.Dir == "" {
		return nil
	}
	begin := time.Now()
	if l.conn != nil {
		// The connection's end is of no interest to a lab that ends.
		_ = l.conn.Close()
	}
	left := l.stopHolder()
	// As long as they are open, no new namespace gets the old ones' numbers.
	left = append(left, leftovers(l.spec, l.nsIDs)...)
	for _, f := range []*os.File{l.mountNS, l.netNS, l.system} {
		if f != nil {
			f.Close()
		}
	}
	l.spec.Dir = ""
	if len(left) > 0 {
		return fmt.Errorf("close lab %s: left behind: %s", l.cfg.Name, strings.Join(left, "; "))
	}
	l.log.Info("lab is down", "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// stopHolder lets the holder tear the lab down and does it itself where the
// holder cannot.
func (l *Lab) stopHolder() []string {
	if l.holder != nil {
		// A holder that is dead already does not mind.
		_ = l.control.Close()
		stuck := time.AfterFunc(teardownLimit+5*time.Second, func() { _ = l.holder.Process.Kill() })
		<-l.down
		stuck.Stop()
		if l.ended == nil || len(l.last.Leftovers) > 0 {
			return l.last.Leftovers
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), teardownLimit)
	defer cancel()
	return tearDown(ctx, l.spec)
}

// Socket is the path of containerd's gRPC socket, CRI included, as seen both
// in the lab and on the machine.
func (l *Lab) Socket() string { return paths{l.spec.Dir}.socket() }

// NRISocket is where containerd listens for NRI plugins, if [Config.NRI] says
// so, as seen both in the lab and on the machine.
func (l *Lab) NRISocket() string { return paths{l.spec.Dir}.nri() }

// Dir is the lab's directory, gone after Close.
func (l *Lab) Dir() string { return l.spec.Dir }

// Name is the lab's name and, behind a slash, the path of its cgroup.
func (l *Lab) Name() string { return l.cfg.Name }

// CgroupRoot is the mount point of cgroup2.
func (l *Lab) CgroupRoot() string { return l.spec.Hierarchies.Unified }

// CgroupDir is the lab's directory in cgroup2. Below it, system holds
// containerd and what Command starts, kubepods the pods.
func (l *Lab) CgroupDir() string { return filepath.Join(l.spec.Hierarchies.Unified, l.spec.Name) }

// HolderPID is the process whose namespaces are the lab's.
func (l *Lab) HolderPID() int { return l.holder.Process.Pid }

// NetNS is the path of the lab's network namespace.
func (l *Lab) NetNS() string { return l.nsPath("net") }

// MountNS is the path of the lab's mount namespace.
func (l *Lab) MountNS() string { return l.nsPath("mnt") }

func (l *Lab) nsPath(kind string) string {
	return fmt.Sprintf("/proc/%d/ns/%s", l.holder.Process.Pid, kind)
}

// Gateway is the bridge's IPv4 address: the pods' router and name server,
// which listeners in the lab may bind before the first pod.
func (l *Lab) Gateway() netip.Addr { return l.spec.Gateways[0] }

// Gateway6 is the bridge's IPv6 address, and whether the kernel has IPv6.
func (l *Lab) Gateway6() (netip.Addr, bool) {
	if len(l.spec.Gateways) < 2 {
		return netip.Addr{}, false
	}
	return l.spec.Gateways[1], true
}

// ContainerdLog returns the last n lines that containerd has logged.
func (l *Lab) ContainerdLog(n int) string {
	return lastLines(paths{l.spec.Dir}.containerdLog(), n)
}

// lastLines returns the last n lines of a file that is there for a person to
// read; of one that cannot be read, the reason.
func lastLines(path string, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	var lines []string
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		lines = append(lines, scan.Text())
		if len(lines) > n {
			lines = lines[1:]
		}
	}
	return strings.Join(lines, "\n")
}
