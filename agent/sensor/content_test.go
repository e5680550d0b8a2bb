// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// What a container may be inspected for.
var (
	leaving  = modes{wire.SignalDlp: wire.ModeMonitor}
	entering = modes{wire.SignalWaf: wire.ModeMonitor}
)

// TestNetworkContent takes what processes send and get, by packets and within TLS.
func TestNetworkContent(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	r := newContentRig(t, ContentConfig{})
	for _, tt := range []struct {
		name string
		test func(*testing.T, *contentRig)
	}{
		{"plain", testContentPlain},
		{"served", testContentServed},
		{"large", testContentLarge},
		{"icmp", testContentICMP},
		{"budget", testContentBudget},
		{"others", testContentOthers},
		{"time", testContentTime},
		{"go", testContentGo},
		{"opaque", testContentOpaque},
		{"programs", testContentPrograms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole := r.t
			r.t = t
			defer func() { r.t = whole }()
			tt.test(t, r)
		})
	}
}

// testContentTime has nothing come: time passes all the same, and is not ahead of what is still to be handed out.
func testContentTime(t *testing.T, r *contentRig) {
	r.inspected(leaving, Budget{})
	start := int64(bootNow())
	for _, goal := range []int64{start, start + int64(200*time.Millisecond)} {
		r.until(t, "time has passed", func() bool { return r.told.Load() > goal })
	}
	if told := r.told.Load(); told > int64(bootNow()) {
		t.Errorf("it is said to be %d ns later than it is", told-int64(bootNow()))
	}
}

func plain(p *piece) bool { return wire.Via(p.Via) == wire.ViaPacket }

// clientSends is what a client sends by packets, serverSends is what a server does.
func clientSends(p *piece) bool {
	return plain(p) && p.is(wire.ContentOut) && !p.is(wire.ContentInbound)
}

func serverSends(p *piece) bool {
	return plain(p) && p.is(wire.ContentOut) && p.is(wire.ContentInbound)
}

func testContentPlain(t *testing.T, r *contentRig) {
	c := r.inspected(leaving, Budget{})
	d := c.deed("content")
	tcp := func(p *piece) bool { return clientSends(p) && p.Protocol == unix.IPPROTO_TCP }
	r.has(c.id, "what a client sends", contentQuestion, tcp)
	r.has(c.id, "what a server answers", contentAnswer, serverSends)
	r.has(c.id, "a datagram", "datagram "+contentQuestion, func(p *piece) bool {
		return clientSends(p) && p.Protocol == unix.IPPROTO_UDP
	})
	for _, p := range r.of(c.id, tcp) {
		if int(p.Head.Tgid) != d.pid || p.Head.Origin != c.id || p.Head.Cgroup != c.id || p.Head.Start == 0 || p.Cookie == 0 ||
			int64(p.RemotePort) != d.said["tcp"] || address(p.Family, p.Remote).String() != "127.0.0.1" || p.LocalPort == 0 ||
			p.is(wire.ContentGuessed) || p.Tls != 0 || p.Skipped != 0 {
			t.Errorf("piece of another kind: %+v", p.Content)
		}
	}
	if in := r.of(c.id, func(p *piece) bool { return !p.is(wire.ContentOut) }); len(in) > 0 {
		t.Errorf("%d pieces of what comes in, that nobody asked for", len(in))
	}
}

func testContentServed(t *testing.T, r *contentRig) {
	c := r.inspected(entering, Budget{})
	c.deed("content")
	r.has(c.id, "what a server is asked", contentQuestion, func(p *piece) bool {
		return plain(p) && p.Protocol == unix.IPPROTO_TCP && !p.is(wire.ContentOut) && p.is(wire.ContentInbound)
	})
	if out := r.of(c.id, func(p *piece) bool { return p.is(wire.ContentOut) || !p.is(wire.ContentInbound) }); len(out) > 0 {
		t.Errorf("%d pieces of what leaves, or answers a client", len(out))
	}
}

func testContentLarge(t *testing.T, r *contentRig) {
	c := r.inspected(leaving, Budget{Burst: 64 << 20})
	c.deed("content large")
	want := string(largeText(contentLarge))
	r.wait(c.id, "a large text", clientSends, func(got string) bool { return got == want })
	largest := slices.MaxFunc(r.of(c.id, clientSends), func(a, b piece) int { return int(a.Total) - int(b.Total) })
	t.Logf("the largest packet has %d bytes", largest.Total)
	if largest.Total < 16<<10 {
		t.Errorf("the largest packet has %d bytes: none that is cut into segments later", largest.Total)
	}
}

func testContentICMP(t *testing.T, r *contentRig) {
	c := r.inspected(leaving, Budget{})
	c.deed("content icmp")
	r.has(c.id, "an echo request", strings.Repeat("tunnel", 10), func(p *piece) bool { return p.Protocol == unix.IPPROTO_ICMP })
}

func testContentBudget(t *testing.T, r *contentRig) {
	c := r.inspected(leaving, Budget{Rate: 1, Burst: 1 << 20})
	for range 4 {
		c.deed("content large")
	}
	spent, ok := r.content.Spent(c.id)
	if !ok || spent.SkippedBytes == 0 || spent.SkippedPackets == 0 {
		t.Errorf("nothing is over a budget of 1 MiB: %+v", spent)
	}
	if total := spent.Bytes + spent.LostBytes; total > 1<<20 || total+spent.SkippedBytes < 4*contentLarge {
		t.Errorf("of 2.8 MB, %d bytes were taken and %d skipped", total, spent.SkippedBytes)
	}
}

func testContentOthers(t *testing.T, r *contentRig) {
	c := r.inspected(leaving, Budget{})
	other, off := r.under(leaving), r.inspected(modes{wire.SignalEgress: wire.ModeMonitor}, Budget{})
	other.deed("content")
	off.deed("content")
	c.deed("content")
	r.has(c.id, "what a client sends", contentQuestion, clientSends)
	for _, id := range []uint64{other.id, off.id} {
		if list := r.of(id, func(*piece) bool { return true }); len(list) > 0 {
			t.Errorf("%d pieces of a container that is not inspected", len(list))
		}
	}
}

// testContentGo asks by TLS from a program whose binary was found before.
func testContentGo(t *testing.T, r *contentRig) {
	c := r.inspected(modes{wire.SignalDlp: wire.ModeMonitor, wire.SignalWaf: wire.ModeMonitor}, Budget{})
	read, write, err := os.Pipe()
	must(t, err)
	defer write.Close()
	d := c.begin("content tls", read)
	read.Close()
	r.untilProbed(t)
	_, err = write.Write([]byte{1})
	must(t, err)
	d.end()
	via := func(out, inbound bool) func(*piece) bool {
		return func(p *piece) bool {
			return wire.Via(p.Via) == wire.ViaGo && p.is(wire.ContentOut) == out && p.is(wire.ContentInbound) == inbound
		}
	}
	r.has(c.id, "what a client writes", contentQuestion+string(largeText(20000)), via(true, false))
	r.has(c.id, "what a server reads", contentQuestion+string(largeText(20000)), via(false, true))
	r.has(c.id, "what a server writes", contentAnswer, via(true, true))
	r.checkTLS(t, c.id)
}

// testContentOpaque has a process send what looks like TLS, and that no library makes.
func testContentOpaque(t *testing.T, r *contentRig) {
	c := r.inspected(leaving, Budget{})
	read, write, err := os.Pipe()
	must(t, err)
	d := c.begin("content opaque", read)
	read.Close()
	r.has(c.id, "the begin of TLS", contentHello, func(p *piece) bool { return p.is(wire.ContentTls) && !p.is(wire.ContentSeen) })
	r.until(t, "the process is listed as opaque", func() bool {
		return slices.ContainsFunc(r.content.Opaque(), func(o Opaque) bool {
			return int(o.Pid) == d.cmd.Process.Pid && o.Container == c.id && o.Reason != ""
		})
	})
	must(t, write.Close())
	d.end()
	r.until(t, "the process is forgotten", func() bool { return len(r.content.Opaque()) == 0 })
	want := uint64(len("ok" + contentQuestion))
	if spent, ok := r.content.Spent(c.id); !ok || spent.OpaqueBytes != want {
		t.Errorf("%d bytes are opaque, want %d", spent.OpaqueBytes, want)
	}
	if all := r.stream(c.id, plain); strings.Contains(all, contentQuestion) {
		t.Error("what follows the begin of TLS is taken")
	}
}
