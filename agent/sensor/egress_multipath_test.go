// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// deedListenMultipath binds sockets of MPTCP, as servers in Go do, and listens on them; -1 where there are none.
func deedListenMultipath(s say) error {
	for name, port := range map[string]int64{"listed": listedPort, "unlisted": unlistedPort, "chosen": 0} {
		for _, addr := range []string{"127.0.0.1", "::1"} {
			fd, err := unix.Socket(family(addr), unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
			if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT) {
				s["none"] = 1
				return nil
			}
			if err != nil {
				return err
			}
			var errno unix.Errno
			if err := unix.Bind(fd, sockaddr(addr, port)); err != nil && !errors.As(err, &errno) {
				return err
			}
			s[name+" "+addr] = int64(errno)
			if errno == 0 {
				if err := unix.Listen(fd, 1); err != nil && !errors.As(err, &errno) {
					return err
				}
				s[name+" "+addr+" listen"] = int64(errno)
			}
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
	}
	return nil
}

// testEgressListenMultipath has a socket of MPTCP, which is bound through another one, listen on a listed port, and no
// other.
func testEgressListenMultipath(t *testing.T, r *netRig) {
	p := r.under(modes{wire.SignalEgress: wire.ModeEnforce})
	p.forget(wire.AllowListen, anyExe, unix.IPPROTO_TCP<<16)
	p.allow(wire.AllowListen, anyExe, unix.IPPROTO_TCP<<16|listedPort)
	d := p.deed("listen multipath")
	if d.said["none"] != 0 {
		t.Skip("unsupported: listening with MPTCP needs CONFIG_MPTCP")
	}
	refused, late := int64(unix.EPERM), int64(0)
	if r.capability("listen").Block == probe.Yes {
		late = refused
	}
	for _, addr := range []string{"127.0.0.1", "::1"} {
		for what, want := range map[string]int64{
			"listed " + addr: 0, "listed " + addr + " listen": 0, "unlisted " + addr: refused,
			"chosen " + addr: 0, "chosen " + addr + " listen": late,
		} {
			if d.said[what] != want {
				t.Errorf("%s: %v, want %v", what, unix.Errno(d.said[what]), unix.Errno(want))
			}
		}
	}
	r.settle()
	told := map[string]bool{}
	for _, e := range r.of(d.pid, netTypes...) {
		if e.Net().LocalPort == listedPort {
			t.Errorf("told of the listed port:%s", r.list(d.pid))
		}
		told[fmt.Sprint(e.Type, " ", e.Net().LocalPort == unlistedPort)] = true
	}
	if !told[fmt.Sprint(wire.TypeBind, " ", true)] {
		t.Errorf("not told of the port that is not listed:%s", r.list(d.pid))
	}
}
