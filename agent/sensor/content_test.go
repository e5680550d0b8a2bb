// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/tlslib"
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
		{"directions", testContentDirections},
		{"calls", testContentCalls},
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

// testContentDirections changes what is wanted of two containers with the same program: its probes are those that one of them needs,
// and those that stay are not put anew.
func testContentDirections(t *testing.T, r *contentRig) {
	first, second := r.inspected(leaving, Budget{}), r.inspected(modes{}, Budget{})
	for _, c := range []*testPolicy{first, second} {
		read, write, err := os.Pipe()
		must(t, err)
		defer write.Close()
		d := c.begin("content tls", read)
		read.Close()
		defer d.end()
		defer func() { _, _ = write.Write([]byte{1}) }()
	}
	var kept []link.Link
	for _, step := range []struct {
		first, second, want Directions
	}{
		{Leaving, 0, Leaving},
		{Leaving, Entering, eitherWay},
		{Leaving, 0, Leaving},
		{eitherWay, 0, eitherWay},
		{eitherWay, Leaving, eitherWay},
		{Entering, Leaving, eitherWay},
		{Leaving, Leaving, Leaving},
	} {
		must(t, r.content.Inspect(first.id, step.first, Budget{}))
		must(t, r.content.Inspect(second.id, step.second, Budget{}))
		r.until(t, fmt.Sprintf("%+v", step), func() bool { return r.hasProbes(step.want) })
		now := r.probesOf(Leaving)
		if kept == nil {
			kept = now
		}
		if len(kept) == 0 || !slices.Equal(kept, now) {
			t.Errorf("%+v: the probes of what leaves are others", step)
		}
	}
}

// hasProbes reports whether the files with Go's TLS have probes for just these directions.
func (r *contentRig) hasProbes(want Directions) bool {
	f := r.content.files
	f.mu.Lock()
	defer f.mu.Unlock()
	var some bool
	for _, p := range f.at {
		if p.list[0].Kind == tlslib.Go {
			_, in := p.parts[Entering]
			_, out := p.parts[Leaving]
			_, both := p.parts[eitherWay]
			if p.has != want || in != (want&Entering != 0) || out != (want&Leaving != 0) || !both {
				return false
			}
			some = true
		}
	}
	return some
}

// probesOf gives the links of the parts of files with Go's TLS that are for a direction alone.
func (r *contentRig) probesOf(needs Directions) (links []link.Link) {
	r.content.files.mu.Lock()
	defer r.content.files.mu.Unlock()
	for _, p := range r.content.files.at {
		if p.list[0].Kind == tlslib.Go {
			links = append(links, p.parts[needs].links...)
		}
	}
	return links
}

// testContentCalls has calls that were noted: those of which nothing is wanted any more are forgotten.
func testContentCalls(t *testing.T, r *contentRig) {
	c := r.inspected(modes{wire.SignalDlp: wire.ModeMonitor, wire.SignalWaf: wire.ModeMonitor}, Budget{})
	read, write, err := os.Pipe()
	must(t, err)
	defer write.Close()
	d := c.begin("content tls", read)
	read.Close()
	defer d.end()
	defer func() { _, _ = write.Write([]byte{1}) }()
	r.until(t, "there are probes", func() bool { return r.hasProbes(eitherWay) })
	pid := uint64(d.cmd.Process.Pid)
	notes := map[wire.TlsCaller]wire.TlsCall{
		{Ids: pid<<32 | pid}:             {Object: 1, Buffer: 1, Out: 1},
		{Ids: pid<<32 | pid, Routine: 1}: {Object: 1},
		{Ids: pid<<32 | 1}:               {Object: 1, Buffer: 1},
		{Ids: pid, Routine: 1 << 40}:     {Object: 1, Buffer: 1},
		{Ids: 1<<32 | 1}:                 {Object: 1, Buffer: 1, Out: 1},
	}
	calls := r.content.taking.maps["tls_calls"]
	for caller, call := range notes {
		must(t, calls.Put(&caller, &call))
	}
	must(t, r.content.Inspect(c.id, Leaving, Budget{}))
	for caller, call := range notes {
		var found wire.TlsCall
		err := calls.Lookup(&caller, &found)
		if want := caller.Ids>>32 == pid && (call.Out != 0 || call.Buffer == 0); (err == nil) != want {
			t.Errorf("%+v: %+v: %v", caller, call, err)
		}
	}
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
