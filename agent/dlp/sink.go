// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"bytes"
	"slices"

	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// Value is a value that a detector found. Masked is read during the call only.
type Value struct {
	// Detector is the index in CounterConfig.Detectors.
	Detector   int
	Hash       uint64
	Confidence uint8
	Masked     []byte
}

// Stream finds values in one text that comes in parts.
type Stream interface {
	// Reset begins another text, which is the value of the named field; the name may be empty.
	Reset(name []byte)
	// Write calls the function for each value that the part decides.
	Write(part []byte, found func(*Value))
	// Close calls it for those that waited for more.
	Close(found func(*Value))
}

// Party is who a tag of inspect stands for.
type Party struct {
	Process              Process
	Executable, Workload string
	// Lineage is the same for all processes of a server; see Target.
	Lineage uint64
	// DLP and WAF say what the workload asked for.
	DLP, WAF bool
}

// World is what the sink has to know of processes and destinations.
type World interface {
	// Party is who a tag stands for; false if it is gone.
	Party(tag uint64) (Party, bool)
	// Peer is the other end: its address, and the host that the message names, which may be empty.
	Peer(c *inspect.Context) Peer
}

// SinkConfig has a Sink's bounds and parts. Counter, Prints, Tunnels, Attacks and Filter may be nil: what they do is then
// not done.
type SinkConfig struct {
	World World
	// Streams makes a stream for values; nil is none.
	Streams func() Stream
	Counter *Counter
	Prints  *Prints
	Tunnels *Tunnels
	Attacks *Attacks
	Filter  *waf.Filter
	// Findings takes what is found, during the call that led to it.
	Findings func(*Finding)
	// Struck is told of a message in which the filter has hits, each time that it has, told of before or not; nil: nobody.
	Struck func(message uint64)
	// Texts is how many texts are looked at at the same time: 4,096. Joined is how much of one the filter gets at once:
	// 64 KiB. Room is how much of all texts together waits for the rest: 8 MiB; beyond, the filter gets each part as it comes.
	Texts, Joined, Room int
}

// SinkStats is what a Sink did and gave up.
type SinkStats struct {
	// Texts were looked at; Unknown had a tag that stands for nobody; Evicted were not looked at any further, since others came
	// while too many were under way; Cut were longer than the filter gets; Apart came to it in parts, for want of room.
	Texts, Unknown, Evicted, Cut, Apart uint64
}

// Sink takes the texts of an Inspector: what goes out is looked through for values and files, what comes in to servers
// for attacks. It serves the goroutine that serves the Inspector.
type Sink struct {
	cfg  SinkConfig
	open int
	// joined is how many bytes of texts wait for the rest.
	joined int
	// idle and fresh are the ends of the list of texts under way: that which was idle longest, and the newest.
	idle, fresh *opened
	free        []*opened
	dst         []Finding
	hits        []waf.Hit
	stats       SinkStats

	// What found needs of the text at hand.
	at    *inspect.Context
	text  *opened
	found func(*Value)
	// headers are those of the message at hand on which servers may differ.
	message uint64
	headers []waf.Pair
}

// opened is a text under way; it is kept in Context.State. One that made room for others stands there with nothing in it.
type opened struct {
	c          *inspect.Context
	prev, next *opened
	party      Party
	stream     Stream
	out, in    bool
	joined     []byte
	cut        bool
	// apart says that parts of it were judged alone.
	apart  bool
	masked []byte
}

// NewSink returns a sink for an Inspector.
func NewSink(cfg SinkConfig) *Sink {
	cfg.Texts = orInt(cfg.Texts, 4096)
	cfg.Joined = orInt(cfg.Joined, 64<<10)
	cfg.Room = orInt(cfg.Room, 8<<20)
	s := &Sink{cfg: cfg}
	s.found = s.value
	return s
}

// Stats returns the counts so far.
func (s *Sink) Stats() SinkStats { return s.stats }

// At is where the text stands that the finding at hand was found in, while SinkConfig.Findings is called.
func (s *Sink) At() *inspect.Context { return s.at }

// Begin is of inspect.Sink.
func (s *Sink) Begin(c *inspect.Context) {
	if s.attacked(c) {
		s.message, s.headers = c.Message, s.headers[:0]
	}
}

// End is of inspect.Sink: it judges the headers that say where the message ends.
func (s *Sink) End(c *inspect.Context) {
	if c.Message != s.message || len(s.headers) == 0 {
		return
	}
	if party, ok := s.cfg.World.Party(c.Tag); ok && party.WAF {
		s.at = c
		s.hits = s.cfg.Filter.Framing(s.hits[:0], s.headers)
		s.report(c, &party)
	}
	s.headers = s.headers[:0]
}

// Opaque is of inspect.Sink; who counts what could not be looked into wraps the sink.
func (s *Sink) Opaque(*inspect.Context, inspect.Reason) {}

// Text is of inspect.Sink.
func (s *Sink) Text(c *inspect.Context, part []byte, last bool) {
	t, known := c.State.(*opened)
	if !known {
		if t = s.begin(c); t == nil {
			return
		}
		c.State = t
	}
	if last {
		c.State = nil
	}
	if t.c == nil {
		return
	}
	if s.fresh != t {
		s.unlink(t)
		s.link(t)
	}
	s.at, s.text = c, t
	if t.out {
		s.outgoing(c, t, part, last)
	}
	if t.in {
		s.incoming(c, t, part)
	}
	if last {
		s.decide(t)
		s.close(t)
	}
}

// decide gives the filter all that there is of a text.
func (s *Sink) decide(t *opened) {
	if !t.in {
		return
	}
	if t.cut {
		s.stats.Cut++
	}
	if t.apart {
		s.stats.Apart++
	}
	s.judge(t.c, t, t.joined)
}

// evict looks no further at the text that was idle longest: texts that never end shall not keep others from being looked at.
// Its context is as it was in the last call.
func (s *Sink) evict() {
	t := s.idle
	s.stats.Evicted++
	s.at, s.text = t.c, t
	if t.out && t.stream != nil && s.cfg.Counter != nil {
		t.stream.Close(s.found)
	}
	if t.out && s.cfg.Prints != nil {
		s.cfg.Prints.Forget(t.c.TextID)
	}
	s.decide(t)
	// What the inspector holds has nothing in it any more, and what was in it serves another text.
	kept := *t
	s.unlink(t)
	*t = opened{}
	s.link(&kept)
	s.close(&kept)
}

func (s *Sink) link(t *opened) {
	if t.prev = s.fresh; t.prev != nil {
		t.prev.next = t
	} else {
		s.idle = t
	}
	s.fresh, t.next = t, nil
}

func (s *Sink) unlink(t *opened) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		s.idle = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		s.fresh = t.prev
	}
}

// incoming keeps a part until the text is whole. Where the open texts have all the room, whoever holds them open shall not
// hide others: the part is judged alone.
func (s *Sink) incoming(c *inspect.Context, t *opened, part []byte) {
	if room := s.cfg.Joined - len(t.joined); len(part) > room {
		part, t.cut = part[:room], true
	}
	if len(part) > s.cfg.Room-s.joined {
		t.apart = true
		s.judge(c, t, part)
		return
	}
	t.joined = append(t.joined, part...)
	s.joined += len(part)
}

// begin is the state of a new text, or nil for one that nobody wants.
func (s *Sink) begin(c *inspect.Context) *opened {
	out := c.Dir == inspect.Out && (s.cfg.Streams != nil || s.cfg.Prints != nil || s.cfg.Tunnels != nil)
	in := s.attacked(c) && wanted(c)
	if !out && !in {
		return nil
	}
	party, ok := s.cfg.World.Party(c.Tag)
	if !ok {
		s.stats.Unknown++
		return nil
	}
	out, in = out && party.DLP, in && party.WAF
	if !out && !in {
		return nil
	}
	if s.open == s.cfg.Texts {
		s.evict()
	}
	s.open++
	s.stats.Texts++
	t := s.take()
	t.c, t.party, t.out, t.in = c, party, out, in
	s.link(t)
	if out && t.stream != nil {
		t.stream.Reset(c.Name)
	}
	return t
}

// keep is how many states of texts, and how large a buffer in each, are kept for texts to come.
const (
	keep       = 64
	keepJoined = 16 << 10
)

// take is a state that was used before, or a new one.
func (s *Sink) take() *opened {
	if n := len(s.free); n > 0 {
		t := s.free[n-1]
		s.free = s.free[:n-1]
		return t
	}
	t := &opened{}
	if s.cfg.Streams != nil {
		t.stream = s.cfg.Streams()
	}
	return t
}

func (s *Sink) close(t *opened) {
	s.unlink(t)
	s.open--
	s.joined -= len(t.joined)
	if len(s.free) == keep {
		return
	}
	if cap(t.joined) > keepJoined {
		t.joined = nil
	}
	*t = opened{stream: t.stream, joined: t.joined[:0], masked: t.masked[:0]}
	s.free = append(s.free, t)
}

// attacked reports whether a text is part of a request that came to a server of ours.
func (s *Sink) attacked(c *inspect.Context) bool {
	if s.cfg.Filter == nil || s.cfg.Attacks == nil || c.Dir != inspect.In || !c.Inbound {
		return false
	}
	return c.Protocol == inspect.HTTP1 || c.Protocol == inspect.HTTP2 || c.Protocol == inspect.GRPC || c.Protocol == inspect.WebSocket
}

// wanted reports whether the filter looks at a text: those that were decoded in a way that it does itself come to it as
// they were.
func wanted(c *inspect.Context) bool {
	switch c.Part {
	case inspect.URL, inspect.RequestLine:
		return len(c.Layers) == 0
	case inspect.JSONString:
		return !escaped(c.Layers)
	case inspect.Header, inspect.Cookie, inspect.FormField, inspect.MultipartFile, inspect.Body:
		return true
	}
	return false
}

// portDNS is where questions are seen with their answers, by others than a Sink, who tell more of a tunnel.
const portDNS = 53

// escaped reports whether nothing but escapes was undone, of a string in a body that the filter reads as a whole. Such a text
// may begin within the string, where no injection does.
func escaped(layers []inspect.Layer) bool {
	n := len(layers)
	return n > 0 && layers[n-1] == inspect.LayerJSON && !slices.ContainsFunc(layers[:n-1], func(l inspect.Layer) bool {
		return l > inspect.LayerZstd
	})
}

// outgoing looks a part through for values, files and tunnels.
func (s *Sink) outgoing(c *inspect.Context, t *opened, part []byte, last bool) {
	if t.stream != nil && s.cfg.Counter != nil {
		if len(part) > 0 {
			t.stream.Write(part, s.found)
		}
		if last {
			t.stream.Close(s.found)
		}
	}
	if s.cfg.Prints != nil && !c.Inbound {
		if read, ok := s.cfg.Prints.Text(c.TextID, part, last); ok {
			f := Matched(read, s.sent(c, t, len(part)))
			s.emit(append(s.dst[:0], f))
		}
	}
	if s.cfg.Tunnels == nil {
		return
	}
	switch {
	case c.Protocol == inspect.DNS && c.Part == inspect.DNSName && c.Remote.Port() != portDNS && len(c.Layers) == 0 && last:
		s.emit(s.cfg.Tunnels.Query(s.dst[:0], &Query{
			Time: c.Time, Tag: c.Tag, Process: t.party.Process, Executable: t.party.Executable, Workload: t.party.Workload, Peer: s.cfg.World.Peer(c),
			Name: string(c.Host), Join: t.party.Lineage,
		}))
	case c.Protocol == inspect.ICMP && c.Part == inspect.Payload && len(c.Layers) == 0:
		s.emit(s.cfg.Tunnels.Echo(s.dst[:0], &Echo{
			Time: c.Time, Tag: c.Tag, Process: t.party.Process, Executable: t.party.Executable, Workload: t.party.Workload,
			Peer: c.Remote.Addr(), Payload: part, Join: t.party.Lineage,
		}))
	}
}

func (s *Sink) sent(c *inspect.Context, t *opened, bytes int) *Send {
	return &Send{
		Time: c.Time, Tag: c.Tag, Process: t.party.Process, Executable: t.party.Executable, Workload: t.party.Workload, Peer: s.cfg.World.Peer(c),
		Inbound: c.Inbound, Bytes: uint64(bytes), Join: t.party.Lineage,
	}
}

// value takes a value of the text at hand.
func (s *Sink) value(v *Value) {
	c, t := s.at, s.text
	if carried(c, s.cfg.Counter.class(v.Detector)) {
		return
	}
	t.masked = append(t.masked[:0], v.Masked...)
	sighting := Sighting{
		Time: c.Time, Tag: c.Tag, Process: t.party.Process, Executable: t.party.Executable, Workload: t.party.Workload, Peer: s.cfg.World.Peer(c),
		Inbound: c.Inbound, Detector: v.Detector, Hash: v.Hash, Confidence: v.Confidence, Masked: t.masked, Join: t.party.Lineage,
		App: c.Protocol.String(), Part: c.Part.String(), Layers: c.Layers, Path: c.Path,
	}
	s.emit(s.cfg.Counter.Sighting(s.dst[:0], &sighting))
}

// carried reports whether values of a class are at their place: credentials in the headers that are there for them.
func carried(c *inspect.Context, class string) bool {
	credential := class == string(dlp.Credential) || class == string(dlp.Key)
	return credential && (c.Part == inspect.Header || c.Part == inspect.Cookie)
}

// maxFraming is how many headers of one message are held for their framing, and how long each may be.
const (
	maxFraming      = 8
	maxFramingBytes = 128
)

// judge gives a text to the filter.
func (s *Sink) judge(c *inspect.Context, t *opened, text []byte) {
	kind, name := waf.Body, c.Name
	switch c.Part {
	case inspect.URL, inspect.RequestLine:
		kind = waf.Query
	case inspect.Header:
		kind = waf.Header
		s.frame(c, text)
	case inspect.Cookie:
		kind, name = waf.Header, cookieName
	case inspect.FormField:
		kind = waf.Field
	case inspect.JSONString:
		kind = waf.Value
	case inspect.MultipartFile:
		kind = waf.File
	}
	if packed(c.Layers) && binary(text) {
		// A picture, say: that there are words in it means nothing.
		kind = waf.File
	}
	s.hits = s.cfg.Filter.Text(s.hits[:0], kind, name, text)
	s.report(c, &t.party)
}

// packed reports whether a text was written in other letters.
func packed(layers []inspect.Layer) bool {
	return slices.ContainsFunc(layers, func(l inspect.Layer) bool {
		return l == inspect.LayerBase64 || l == inspect.LayerBase32 || l == inspect.LayerHex
	})
}

// binary reports whether there are bytes at the beginning of a text that no text has.
func binary(b []byte) bool {
	return bytes.ContainsFunc(b[:min(len(b), 512)], func(c rune) bool {
		return c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f
	})
}

// cookieName makes the filter take a text apart into cookies.
var cookieName = []byte("cookie")

// frame keeps a header that says where the message ends.
func (s *Sink) frame(c *inspect.Context, value []byte) {
	if c.Protocol != inspect.HTTP1 || c.Message != s.message || len(s.headers) == maxFraming || !waf.Frames(c.Name) {
		return
	}
	s.headers = append(s.headers, waf.Pair{
		Name: append([]byte(nil), c.Name...), Value: append([]byte(nil), value[:min(len(value), maxFramingBytes)]...),
	})
}

// report tells of the hits at hand.
func (s *Sink) report(c *inspect.Context, party *Party) {
	if len(s.hits) == 0 {
		return
	}
	if s.cfg.Struck != nil {
		s.cfg.Struck(c.Message)
	}
	target := Target{
		Time: c.Time, Tag: c.Tag, Process: party.Process, Executable: party.Executable, Workload: party.Workload, Lineage: party.Lineage,
		Peer: s.cfg.World.Peer(c),
		App:  c.Protocol.String(), Path: string(c.Path),
	}
	s.emit(s.cfg.Attacks.Hits(s.dst[:0], &target, s.hits))
}

func (s *Sink) emit(found []Finding) {
	for i := range found {
		s.cfg.Findings(&found[i])
	}
	clear(found)
	s.dst = found[:0]
}
