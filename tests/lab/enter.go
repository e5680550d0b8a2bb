// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cmd is a process in the lab: an [exec.Cmd] whose methods that start it do so
// in the lab's mount and network namespaces and in its system cgroup. It has
// the machine's process ids, user ids and files, but the lab's /run, /var/lib
// and bpf file system. Close kills it.
type Cmd struct {
	*exec.Cmd
	// Without are the capabilities that the process cannot have, nor what it
	// runs, by their numbers (unix.CAP_KILL).
	Without []uintptr
	lab     *Lab
}

// Command prepares a process in the lab; it is killed when ctx ends. Without
// a Dir, it starts in the current directory.
func (l *Lab) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{Cmd: exec.CommandContext(ctx, name, args...), lab: l}
}

// Start starts the process; [exec.Cmd.Wait] waits for it.
func (c *Cmd) Start() error {
	attr := &syscall.SysProcAttr{}
	if c.SysProcAttr != nil {
		*attr = *c.SysProcAttr
	}
	if attr.Pdeathsig != 0 {
		return fmt.Errorf("start %s in the lab: Pdeathsig would fire at once, its thread ends", c.Path)
	}
	if !attr.UseCgroupFD {
		attr.UseCgroupFD, attr.CgroupFD = true, int(c.lab.system.Fd())
	}
	c.SysProcAttr = attr
	if c.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("start %s in the lab: %w", c.Path, err)
		}
		c.Dir = dir
	}
	if err := c.lab.enter(c.startWithout); err != nil {
		return fmt.Errorf("start %s in the lab: %w", c.Path, err)
	}
	return nil
}

// startWithout starts the process from a thread that ends afterwards: what is
// taken from its bounding set is lost to it and to the process.
func (c *Cmd) startWithout() error {
	for _, capability := range c.Without {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	return c.Cmd.Start()
}

// Run starts the process and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the process and returns what it wrote to its standard output.
// The error of a process that fails holds its standard error, if that was not
// directed elsewhere.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("lab: Stdout is set already")
	}
	var out, errOut bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &errOut
	}
	err := c.Run()
	if err != nil && errOut.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(errOut.Bytes()))
	}
	return out.Bytes(), err
}

// CombinedOutput runs the process and returns what it wrote to both outputs.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("lab: Stdout or Stderr is set already")
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// enter calls f on a thread in the lab's mount and network namespaces. The
// thread ends with the call, since a thread cannot share its file system
// state with the others again.
func (l *Lab) enter(f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("detach the thread's file system state: %w", err)
		}
		if err := unix.Setns(int(l.mountNS.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the mount namespace: %w", err)
		}
		if err := unix.Setns(int(l.netNS.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// InNetwork calls f on a thread in the lab's network namespace; sockets that f
// makes on its own goroutine belong to the lab, wherever they are used later.
func (l *Lab) InNetwork(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(l.netNS.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the lab's network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that ends with the call. It is never the
// process's first thread, which could not end and by which /proc tells the
// process's namespaces.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine holds the first thread, the next one gets
			// another.
			result <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		result <- f()
	}()
	return <-result
}

// AddAddress gives the lab's loopback device an address, so that a test can
// serve at it what pods believe to be elsewhere: a metadata service, say, or a
// public address.
func (l *Lab) AddAddress(addr netip.Addr) error {
	err := l.InNetwork(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{
			IP:   addr.AsSlice(),
			Mask: net.CIDRMask(addr.BitLen(), addr.BitLen()),
		}})
	})
	if err != nil {
		return fmt.Errorf("add address %s to the lab: %w", addr, err)
	}
	return nil
}

// DialContext connects from the lab's network namespace. The host in addr must
// be an IP address.
func (l *Lab) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := l.InNetwork(func() error {
		if err := wantIP(addr); err != nil {
			return err
		}
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens for streams in the lab's network namespace. The host in addr
// must be an IP address, for example the gateway's.
func (l *Lab) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var listener net.Listener
	err := l.InNetwork(func() error {
		if err := wantIP(addr); err != nil {
			return err
		}
		var err error
		listener, err = new(net.ListenConfig).Listen(ctx, network, addr)
		return err
	})
	return listener, err
}

// ListenPacket listens for datagrams in the lab's network namespace. The host
// in addr must be an IP address.
func (l *Lab) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := l.InNetwork(func() error {
		if err := wantIP(addr); err != nil {
			return err
		}
		var err error
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, addr)
		return err
	})
	return conn, err
}

// wantIP refuses names: they would be looked up on another thread, outside
// the lab.
func wantIP(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if net.ParseIP(host) == nil {
		return fmt.Errorf("address %s: want an IP address as the host", addr)
	}
	return nil
}

// Forward accepts TCP connections on listener, which may be on either side,
// and passes each on through dial, until ctx ends; then it closes them all and
// returns nil. With net.Listen and [Lab.DialContext] it shows a service of the
// lab on the machine; with [Lab.Listen] and a net.Dialer, the reverse.
func Forward(ctx context.Context, listener net.Listener, dial func(ctx context.Context) (net.Conn, error)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		in, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				in.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("forward from %s: %w", listener.Addr(), err)
		}
		wg.Go(func() {
			defer in.Close()
			out, err := dial(ctx)
			if err != nil {
				return
			}
			defer out.Close()
			splice(ctx, in, out)
		})
	}
}

// splice copies both ways until both directions, or ctx, have ended.
func splice(ctx context.Context, a, b net.Conn) {
	defer context.AfterFunc(ctx, func() { a.Close(); b.Close() })()
	var wg sync.WaitGroup
	oneWay := func(to, from net.Conn) {
		// The peer sees the end of the stream, whatever its cause.
		_, _ = io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	wg.Go(func() { oneWay(a, b) })
	wg.Go(func() { oneWay(b, a) })
	wg.Wait()
}
