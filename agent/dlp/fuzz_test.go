// SPDX-License-Identifier: Apache-2.0

package dlp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
)

// FuzzTunnels asks for any names and sends any echoes: what is remembered is bounded, and a finding names what it is about.
func FuzzTunnels(f *testing.F) {
	f.Add("a1b2c3d4e5f6.tunnel.example.", uint16(16), "\x00\x01payload", uint8(200))
	f.Add("..", uint16(1), "", uint8(3))
	f.Add("co.uk", uint16(28), "xx", uint8(9))
	f.Fuzz(func(t *testing.T, name string, kind uint16, payload string, times uint8) {
		u := dlp.NewTunnels(dlp.TunnelConfig{Domains: 8, Peers: 8, Names: 8})
		var found []dlp.Finding
		for n := range int64(times) {
			now := n * int64(time.Second)
			label := string([]byte{byte('a' + n%26), byte('a' + n/26)})
			found = u.Query(found[:0], &dlp.Query{Time: now, Name: label + name, Type: kind})
			found = u.Echo(found, &dlp.Echo{Time: now, Peer: netip.AddrFrom4([4]byte{192, 0, 2, byte(n % 16)}), Payload: []byte(payload)})
			for i := range found {
				if f := &found[i]; f.Reason != dlp.DNSTunnel && f.Reason != dlp.ICMPVolume || f.Bytes > uint64(times)*uint64(len(name)+2+len(payload)) {
					t.Fatalf("finding %+v", f)
				}
			}
			u.Advance(now)
		}
	})
}
