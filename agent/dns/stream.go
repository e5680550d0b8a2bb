// SPDX-License-Identifier: Apache-2.0

package dns

import "container/list"

const (
	// keepMax is how much of a message is kept; messages of TCP can be sixteen times as long.
	keepMax = 4096
	// pendingMax is how many pieces wait for one that is missing.
	pendingMax = 4
	// streamsMax is the default number of streams: at keepMax × (1 + pendingMax) bytes each, 5 MiB.
	streamsMax = 256
)

// StreamKey names one direction of a connection.
type StreamKey struct {
	Cookie   uint64
	Outbound bool
}

// Streams puts together the messages of DNS over TCP (RFC 1035, 4.2.2: two bytes of length, then the message) from the
// pieces of packets, which may come twice, out of order, cut, or not at all. It knows a bounded number of streams; when
// there are more, the one that was silent longest is forgotten.
type Streams struct {
	max    int
	byKey  map[StreamKey]*list.Element
	oldest *list.List
	lost   uint64
}

// NewStreams makes room for so many streams; 0 means 256.
func NewStreams(limit int) *Streams {
	if limit <= 0 {
		limit = streamsMax
	}
	return &Streams{max: limit, byKey: map[StreamKey]*list.Element{}, oldest: list.New()}
}

// Piece is what one packet carried.
type Piece struct {
	// Sequence is TCP's number of the first byte.
	Sequence uint32
	// Data is what was captured of Size bytes.
	Data []byte
	Size int
}

// Lost counts places where the thread was lost and taken up again at a later piece: messages may be missing there.
func (s *Streams) Lost() uint64 { return s.lost }

// Push takes a piece and calls handle for every message that it completes, with the message's full size; the bytes, at
// most 4096, are valid until handle returns.
func (s *Streams) Push(key StreamKey, p Piece, handle func(msg []byte, size int)) {
	if p.Size < len(p.Data) || p.Size == 0 {
		return
	}
	st := s.stream(key)
	if !st.begun {
		st.begun, st.next = true, p.Sequence
	}
	st.push(p, handle)
	for st.takePending(handle) {
	}
	if len(st.pending) > pendingMax {
		st.restart(handle)
	}
	s.lost += st.lost
	st.lost = 0
}

// End forgets both directions of a connection.
func (s *Streams) End(cookie uint64) {
	for _, outbound := range []bool{false, true} {
		key := StreamKey{cookie, outbound}
		if e, ok := s.byKey[key]; ok {
			s.oldest.Remove(e)
			delete(s.byKey, key)
		}
	}
}

func (s *Streams) stream(key StreamKey) *stream {
	if e, ok := s.byKey[key]; ok {
		s.oldest.MoveToBack(e)
		return e.Value.(*stream)
	}
	if len(s.byKey) >= s.max {
		first := s.oldest.Front()
		delete(s.byKey, first.Value.(*stream).key)
		s.oldest.Remove(first)
		s.lost++
	}
	st := &stream{key: key}
	s.byKey[key] = s.oldest.PushBack(st)
	return st
}

type stream struct {
	key   StreamKey
	begun bool
	// next is the sequence number of the byte that is wanted next.
	next uint32
	// prefix holds the bytes of the length that have come, then the message is size long and got of it has come, the
	// first of it in kept.
	prefix []byte
	size   int
	got    int
	kept   []byte
	// given says that the message was handed out before its end, because some of it is missing.
	given   bool
	pending []Piece
	lost    uint64
}

// push feeds a piece that continues the stream, drops what has come before, and keeps what comes too early.
func (st *stream) push(p Piece, handle func([]byte, int)) {
	ahead := int(int32(p.Sequence - st.next))
	if ahead > 0 {
		// A copy, since the caller's bytes are valid only now.
		p.Data = append([]byte(nil), p.Data[:min(len(p.Data), keepMax)]...)
		st.pending = append(st.pending, p)
		return
	}
	old := -ahead
	if old >= p.Size {
		return
	}
	st.next += uint32(p.Size - old)
	hole := p.Size - max(len(p.Data), old)
	if old < len(p.Data) {
		st.feed(p.Data[old:], handle)
	}
	if hole > 0 {
		st.skip(hole, handle)
	}
}

func (st *stream) takePending(handle func([]byte, int)) bool {
	for i, p := range st.pending {
		if int32(p.Sequence-st.next) <= 0 {
			st.pending = append(st.pending[:i], st.pending[i+1:]...)
			st.push(p, handle)
			return true
		}
	}
	return false
}

// restart gives up on what is missing: the stream goes on at the earliest piece that waits, taken for the beginning of
// a message.
func (st *stream) restart(handle func([]byte, int)) {
	st.finish(handle)
	st.lost++
	first := st.pending[0].Sequence
	for _, p := range st.pending {
		if int32(p.Sequence-first) < 0 {
			first = p.Sequence
		}
	}
	st.next = first
	for st.takePending(handle) {
	}
}

func (st *stream) feed(data []byte, handle func([]byte, int)) {
	for len(data) > 0 {
		if len(st.prefix) < 2 {
			st.prefix = append(st.prefix, data[0])
			data = data[1:]
			if len(st.prefix) == 2 {
				st.size = lengthOf(st.prefix)
			}
		} else {
			n := min(len(data), st.size-st.got)
			st.kept = append(st.kept, data[:min(n, keepMax-len(st.kept))]...)
			st.got += n
			data = data[n:]
		}
		st.complete(handle)
	}
}

// skip passes over bytes of the stream that nobody has.
func (st *stream) skip(n int, handle func([]byte, int)) {
	if len(st.prefix) < 2 || n > st.size-st.got {
		// The next length is among them.
		st.finish(handle)
		st.lost++
		return
	}
	st.got += n
	if len(st.kept) == 0 {
		// Its beginning is among them, without which the rest says nothing.
		st.given = true
		st.lost++
	}
	st.give(handle)
	st.complete(handle)
}

func (st *stream) complete(handle func([]byte, int)) {
	if len(st.prefix) == 2 && st.got == st.size {
		st.finish(handle)
	}
}

// finish hands out what there is of the message and begins another.
func (st *stream) finish(handle func([]byte, int)) {
	if len(st.prefix) == 2 && len(st.kept) > 0 {
		st.give(handle)
	}
	st.prefix, st.kept = st.prefix[:0], st.kept[:0]
	st.size, st.got, st.given = 0, 0, false
}

func (st *stream) give(handle func([]byte, int)) {
	if !st.given {
		st.given = true
		handle(st.kept, st.size)
	}
}
