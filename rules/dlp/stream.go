// SPDX-License-Identifier: Apache-2.0

package dlp

// block is how much of a part a stream looks at in one go.
const block = 32 << 10

// StreamMatch is a match in a stream.
type StreamMatch struct {
	// Match has the stream's offset of the value in At; its Start and End are relative to each other only.
	Match
	// At is where the value starts, counted from the start of the stream.
	At     int64
	masked [maskBytes]byte
	length uint8
}

// Masked is the value's masked form, see Matcher.Mask.
func (m *StreamMatch) Masked() []byte { return m.masked[:m.length] }

// Stream looks at a text that comes in parts, and finds what Scan would find in the whole. Between parts it keeps the
// last bytes, at most 4 KiB, and only as long as they matter. It is for one goroutine at a time.
type Stream struct {
	st    *state
	carry []byte
	out   []StreamMatch
}

// Stream returns a new stream.
func (m *Matcher) Stream() *Stream { return &Stream{st: newState(m)} }

// Reset forgets what was written; the stream is as new.
func (s *Stream) Reset() {
	s.st.reset()
	clear(s.carry)
	s.carry = s.carry[:0]
}

// Name says after Reset that the text is the value of a field: words in its name count as near to all of it.
func (s *Stream) Name(name []byte) { s.st.name(name) }

// Write appends the matches that the part decides. A value that the next part may continue waits for it, or for Close.
func (s *Stream) Write(dst []StreamMatch, part []byte) []StreamMatch { return s.feed(dst, part, false) }

// Close appends the matches that waited for more text, and resets the stream.
func (s *Stream) Close(dst []StreamMatch) []StreamMatch {
	dst = s.feed(dst, nil, true)
	s.Reset()
	return dst
}

// feed looks at what was carried over and a part, block by block.
func (s *Stream) feed(dst []StreamMatch, part []byte, final bool) []StreamMatch {
	st := s.st
	buffer, _ := st.m.buffers.Get().(*[]byte)
	if buffer == nil {
		b := make([]byte, 0, block+maxCarry)
		buffer = &b
	}
	st.stream, s.out = s, dst
	used := 0
	for more := true; more; more = len(part) > 0 {
		n := min(len(part), block)
		if h := len(st.header); h < headerBytes && (h == 0 || st.header[h-1] != '\n') {
			st.header = appendHeader(st.header, part[:n])
		}
		text := append(append((*buffer)[:0], s.carry...), part[:n]...)
		part, used = part[n:], max(used, len(text))
		st.final = final
		st.run(text)
		s.keep(text)
	}
	clear((*buffer)[:used])
	st.m.buffers.Put(buffer)
	dst, s.out, st.stream = s.out, nil, nil
	return dst
}

// maxCarry is the most that is kept between parts: a value that waits, and what matters before it.
const maxCarry = MaxMatch + 2*lookback

// keep carries over what the next part may need.
func (s *Stream) keep(text []byte) {
	st := s.st
	from := st.pos
	if st.m.exact != nil {
		from = min(from, st.exact.pos)
	}
	if st.table.begun && !st.table.over {
		from = min(from, st.table.pos)
	}
	// The filter looks at even distances from the stream's start, which base keeps.
	from = max(0, from-lookback) &^ 1
	if least := len(text) - maxCarry; from < least {
		from = least + least&1
	}
	clear(s.carry)
	s.carry = append(s.carry[:0], text[from:]...)
	st.base += int64(from)
	st.pos = max(0, st.pos-from)
	st.done = max(0, st.done-from)
	st.table.pos -= from
	st.exact.pos = max(0, st.exact.pos-from)
}

// report takes a match from the scan, whose text is about to go.
func (s *Stream) report(mt Match, text []byte) {
	out := StreamMatch{Match: mt, At: s.st.base + int64(mt.Start)}
	out.length = uint8(len(s.st.m.Mask(out.masked[:0], mt, text)))
	s.out = append(s.out, out)
}
