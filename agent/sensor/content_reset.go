// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/sockdiag"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// refused ends a connection from which the kernel lets nothing leave any more. Where it cannot be ended it stays as it is, until
// the program gives it up.
func (c *Content) refused(r *wire.Content) {
	err := sockdiag.Destroy(r.Head.Tgid, sockdiag.Socket{
		Family: uint8(r.Family), Protocol: uint8(r.Protocol), LocalPort: r.LocalPort, RemotePort: r.RemotePort, Local: r.Local, Remote: r.Remote,
		Cookie: r.Cookie,
	})
	switch {
	case err == nil:
		c.resets.Add(1)
		return
	case errors.Is(err, sockdiag.ErrGone):
		// Its program has ended it, or another piece of it was quicker.
		return
	}
	c.unreset.Add(1)
	peer := netip.AddrFrom16(r.Remote)
	if r.Family == unix.AF_INET {
		peer = netip.AddrFrom4([4]byte(r.Remote[:4]))
	}
	c.log.Warn("a connection that was stopped could not be reset: it stays silent", "pid", r.Head.Tgid,
		"peer", netip.AddrPortFrom(peer, r.RemotePort), "error", err)
}
