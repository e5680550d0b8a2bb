// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// recorder writes down what a sink is told, and checks that it is told in order.
type recorder struct {
	t     testing.TB
	open  map[uint64]*recorded
	texts map[uint64]*textState
	done  []*recorded
	ended int
	// given and biggest count bytes of texts.
	given int
}

type recorded struct {
	head  string
	lines []string
}

// textState is what the sink keeps in Context.State.
type textState struct {
	id   uint64
	data []byte
}

func newRecorder(t testing.TB) *recorder {
	return &recorder{t: t, open: make(map[uint64]*recorded), texts: make(map[uint64]*textState)}
}

func (r *recorder) Begin(c *Context) {
	if r.open[c.Message] != nil {
		r.t.Fatalf("message %d begins twice", c.Message)
	}
	m := &recorded{}
	r.open[c.Message] = m
	r.done = append(r.done, m)
}

func (r *recorder) Text(c *Context, part []byte, last bool) {
	m := r.open[c.Message]
	if m == nil {
		r.t.Fatalf("text of message %d, which is not open", c.Message)
	}
	s, _ := c.State.(*textState)
	if s == nil {
		s = &textState{id: c.TextID}
		if r.texts[c.TextID] != nil {
			r.t.Fatalf("text %d lost its state", c.TextID)
		}
		c.State, r.texts[c.TextID] = s, s
	}
	if s.id != c.TextID {
		r.t.Fatalf("text %d has the state of %d", c.TextID, s.id)
	}
	s.data = append(s.data, part...)
	r.given += len(part)
	if !last {
		return
	}
	delete(r.texts, c.TextID)
	line := c.Part.String()
	if len(c.Name) > 0 {
		line += fmt.Sprintf("(%s)", c.Name)
	}
	if len(c.Layers) > 0 {
		line += fmt.Sprint(c.Layers)
	}
	if len(s.data) > 300 {
		line += fmt.Sprintf(" %d bytes %x %q", len(s.data), sum(s.data), s.data[:60])
	} else {
		line += fmt.Sprintf(" %q", s.data)
	}
	m.lines = append(m.lines, line)
}

func sum(b []byte) (h uint32) {
	for _, c := range b {
		h = h*16777619 ^ uint32(c)
	}
	return h
}

func (r *recorder) End(c *Context) {
	m := r.open[c.Message]
	if m == nil {
		r.t.Fatalf("message %d ends, which is not open", c.Message)
	}
	delete(r.open, c.Message)
	r.ended++
	m.head = fmt.Sprintf("%s %s", [...]string{"out", "in"}[c.Dir], c.Protocol)
	for _, v := range [...][]byte{c.Method, c.Host, c.Path} {
		if len(v) > 0 {
			m.head += fmt.Sprintf(" %q", v)
		}
	}
	if c.Status != 0 {
		m.head += fmt.Sprintf(" %d", c.Status)
	}
}

func (r *recorder) Opaque(c *Context, why Reason) {
	r.done = append(r.done, &recorded{head: fmt.Sprintf("opaque %s %s host=%q name=%q", why, c.Protocol, c.Host, c.Name)})
}

// String is all that was recorded; texts of a message are sorted, since several are open at a time.
func (r *recorder) String() string {
	if len(r.open) > 0 || len(r.texts) > 0 {
		r.t.Fatalf("%d messages and %d texts were not closed", len(r.open), len(r.texts))
	}
	var b strings.Builder
	for _, m := range r.done {
		fmt.Fprintln(&b, m.head)
		slices.Sort(m.lines)
		for _, l := range m.lines {
			fmt.Fprintln(&b, "  "+l)
		}
	}
	return b.String()
}

// step is what one side of a conversation sends next; gap bytes are lost after it.
type step struct {
	dir  Dir
	data string
	gap  int
}

func say(d Dir, data string) step { return step{dir: d, data: data} }

// conversation is a flow; out is the client unless it is inbound.
type conversation struct {
	name    string
	port    uint16
	inbound bool
	udp     bool
	values  bool
	steps   []step
}

var testKey = Key{Cookie: 7}

// piece is the beginning of a piece of the conversation.
func (c *conversation) piece(d Dir) Piece {
	p := Piece{Key: testKey, Dir: d, Inbound: c.inbound, Protocol: ProtocolTCP, LocalPort: 40000, RemotePort: c.port,
		Remote: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Tag: 99}
	if c.inbound {
		p.LocalPort, p.RemotePort = c.port, 40000
	}
	if c.udp {
		p.Protocol = ProtocolUDP
	}
	return p
}

func newInspector(t testing.TB, cfg Config, s Sink) *Inspector {
	t.Helper()
	in, err := New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// play gives the conversation piece by piece and returns what came of it. cut splits what one side says into pieces by
// their ends; shuffle orders them.
func (c *conversation) play(t testing.TB, cut func(n int) []int, shuffle func(n int, swap func(i, j int))) (string, Stats) {
	t.Helper()
	r := newRecorder(t)
	in := newInspector(t, Config{Values: c.values}, r)
	seq := [2]uint32{0xfffffff0, 1000}
	if !c.udp {
		for d := range seq {
			p := c.piece(Dir(d))
			p.Sequenced, p.Sequence = true, seq[d]
			in.Piece(&p)
		}
	}
	for i := 0; i < len(c.steps); i++ {
		s := c.steps[i]
		for s.gap == 0 && !c.udp && i+1 < len(c.steps) && c.steps[i+1].dir == s.dir {
			i++
			s.data, s.gap = s.data+c.steps[i].data, c.steps[i].gap
		}
		var pieces []Piece
		from := 0
		for _, end := range cut(len(s.data)) {
			p := c.piece(s.dir)
			p.Sequenced, p.Sequence, p.Data = !c.udp, seq[s.dir]+uint32(from), []byte(s.data[from:end])
			pieces = append(pieces, p)
			from = end
		}
		seq[s.dir] += uint32(len(s.data) + s.gap)
		shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		for i := range pieces {
			in.Piece(&pieces[i])
		}
		if len(in.gapped) > 0 {
			in.Advance(in.now + 2*int64(in.cfg.GapWait))
		}
	}
	in.Closed(testKey)
	st := in.Stats()
	if st.Memory != 0 || st.Decoders != 0 || st.Flows != 0 {
		t.Fatalf("after the end %d bytes, %d decoders and %d flows are held", st.Memory, st.Decoders, st.Flows)
	}
	return r.String(), st
}

// whole is a cut that does not.
func whole(n int) []int { return []int{n} }

// inOrder is a shuffle that does not.
func inOrder(int, func(i, j int)) {}
