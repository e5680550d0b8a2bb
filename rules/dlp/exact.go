// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// The file of exact data, all integers little-endian:
//
//	"HFEXACT1"   magic and version
//	u8           most words of a value
//	u8           length of the id, then the id
//	u32          number of values
//	u64 …        their keyed hashes, ascending
//	u64          keyed hash of all before, which also tells a wrong key
const exactMagic = "HFEXACT1"

const (
	maxExactWords  = 4
	minExactBytes  = 5
	maxExactBytes  = 96
	maxExactValues = 1 << 24
	exactFilter    = 1 << 16 // bits of the filter before the table
)

// ExactData are hashes of a user's own records. It is not changed once made.
type ExactData struct {
	id     string
	words  int
	hashes []uint64
}

// Len is the number of values.
func (e *ExactData) Len() int { return len(e.hashes) }

func exactKey(key [32]byte) hashKey { return deriveKey(key, "exact data") }

// BuildExact makes the file of exact data of a user's values, such as names, customer numbers or addresses, for the key
// that the agents compile with. Of a value letters, without case, and digits count, so that AB-123.4 is found in ab1234;
// it may be of up to four words, and needs five letters or digits. The file holds no value, and without the key nobody
// can try values against it.
func BuildExact(key [32]byte, id string, values [][]byte) ([]byte, error) {
	if !isID(id) {
		return nil, fmt.Errorf("exact data: id %q: want 2 to 63 small letters, digits and dashes", id)
	}
	if len(values) > maxExactValues {
		return nil, fmt.Errorf("exact data %s: %d values, at most %d", id, len(values), maxExactValues)
	}
	k := exactKey(key)
	var hashes []uint64
	most := 1
	for i, value := range values {
		norm, words := exactNorm(value)
		if len(norm) < minExactBytes || len(norm) > maxExactBytes || words > maxExactWords {
			return nil, fmt.Errorf("exact data %s: value %d: want %d to %d letters and digits in at most %d words",
				id, i+1, minExactBytes, maxExactBytes, maxExactWords)
		}
		most = max(most, words)
		hashes = append(hashes, k.sum(norm))
	}
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	out := append([]byte(exactMagic), byte(most), byte(len(id)))
	out = append(out, id...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(hashes)))
	for _, h := range hashes {
		out = binary.LittleEndian.AppendUint64(out, h)
	}
	return binary.LittleEndian.AppendUint64(out, k.sum(out)), nil
}

// exactNorm is a value as it is hashed, and its number of words.
func exactNorm(value []byte) (norm []byte, words int) {
	for rest := value; ; words++ {
		start, end := nextToken(rest, 0)
		if start == end {
			return norm, words
		}
		norm = appendToken(norm, rest[start:end])
		rest = rest[end:]
	}
}

// tokenByte reports whether a byte belongs to a word of exact data; bytes outside ASCII are letters of some script.
func tokenByte(b byte) bool {
	return isAlnum(b) || b == '-' || b == '_' || b == '.' || b == '@' || b == '+' || b > 0x7f
}

// nextToken is the first word of a text from at on; it holds a letter or digit.
func nextToken(text []byte, at int) (start, end int) {
	for at < len(text) {
		for at < len(text) && !(isAlnum(text[at]) || text[at] > 0x7f) {
			at++
		}
		start = at
		for at < len(text) && tokenByte(text[at]) {
			at++
		}
		if at > start {
			return start, at
		}
	}
	return at, at
}

func appendToken(dst, token []byte) []byte {
	for _, b := range token {
		if isAlnum(b) || b > 0x7f {
			dst = append(dst, lower(b))
		}
	}
	return dst
}

// ReadExact reads a file that BuildExact made. It refuses one that is damaged or was made with another key.
func ReadExact(key [32]byte, data []byte) (*ExactData, error) {
	rest, ok := bytes.CutPrefix(data, []byte(exactMagic))
	if !ok {
		return nil, fmt.Errorf("exact data: no file of exact data")
	}
	if len(rest) < 2+4+8 || len(rest) < 2+int(rest[1])+4+8 {
		return nil, fmt.Errorf("exact data: is cut off")
	}
	e := &ExactData{words: int(rest[0]), id: string(rest[2 : 2+int(rest[1])])}
	if !isID(e.id) || e.words < 1 || e.words > maxExactWords {
		return nil, fmt.Errorf("exact data: a damaged head")
	}
	rest = rest[2+len(e.id):]
	n := int(binary.LittleEndian.Uint32(rest))
	rest = rest[4:]
	if n > maxExactValues || len(rest) != n*8+8 {
		return nil, fmt.Errorf("exact data %s: says that it has %d values, and has %d bytes", e.id, n, len(rest))
	}
	if binary.LittleEndian.Uint64(rest[n*8:]) != exactKey(key).sum(data[:len(data)-8]) {
		return nil, fmt.Errorf("exact data %s: is damaged or was made with another key", e.id)
	}
	e.hashes = make([]uint64, n)
	for i := range e.hashes {
		e.hashes[i] = binary.LittleEndian.Uint64(rest[i*8:])
	}
	if !slices.IsSorted(e.hashes) {
		return nil, fmt.Errorf("exact data %s: its hashes are not in order", e.id)
	}
	return e, nil
}

// exactTable is the exact data of a matcher.
type exactTable struct {
	key    hashKey
	words  int
	filter [exactFilter / 64]uint64
	sets   []exactSet
}

type exactSet struct {
	detector int32
	hashes   []uint64
}

// addExact makes a detector of each set of exact data.
func (m *Matcher) addExact(key hashKey, all []*ExactData) error {
	for _, e := range all {
		if slices.ContainsFunc(m.detectors, func(d Detector) bool { return d.ID == e.id }) {
			return fmt.Errorf("compile the detectors: exact data %s: a detector has this id", e.id)
		}
		m.detectors = append(m.detectors, Detector{
			ID: e.id, Title: "Records of " + e.id, Class: Exact, Severity: High, Threshold: Threshold{Count: 1},
			Confidence: 99, Alone: 99, Grouped: 99, File: "exact data",
		})
		m.checks = append(m.checks, nil)
		if m.exact == nil {
			m.exact = &exactTable{key: key}
		}
		t := m.exact
		t.words = max(t.words, e.words)
		t.sets = append(t.sets, exactSet{int32(len(m.detectors) - 1), e.hashes})
		for _, h := range e.hashes {
			t.filter[h%exactFilter/64] |= 1 << (h % 64)
		}
	}
	return nil
}

// exactState is how far a text was held against exact data.
type exactState struct {
	pos  int
	skip bool // pos is inside a word that is too long
}

// maxToken is the length from which on a word of the text is no value's.
const maxToken = 4 * maxExactBytes

// runExact looks at each word of the text from pos on, alone and with those behind it.
func (st *state) runExact(text []byte) {
	at := st.exact.pos
	for st.exact.skip && at < len(text) {
		if st.exact.skip = tokenByte(text[at]); st.exact.skip {
			at++
		}
	}
	for at < len(text) {
		start, end := nextToken(text, at)
		if end-start > maxToken {
			at, st.exact.skip = end, end == len(text)
			continue
		}
		if !st.phrases(text, start, end) {
			at = start
			break
		}
		at = end
	}
	st.exact.pos = at
}

// phrases looks up a word, alone and with those behind it. It is false if only more text can decide.
func (st *state) phrases(text []byte, start, end int) bool {
	var buf [maxExactBytes]byte
	norm := buf[:0]
	for at, words := start, 1; ; words++ {
		if end == len(text) && !st.final {
			return false
		}
		if len(norm)+end-at > maxExactBytes {
			return true
		}
		norm = appendToken(norm, text[at:end])
		st.lookExact(text, norm, start, end)
		if words == st.m.exact.words {
			return true
		}
		next, nextEnd := nextToken(text, end)
		switch {
		case next-end > 3:
			return true
		case next == nextEnd:
			return st.final
		}
		at, end = next, nextEnd
	}
}

// lookExact reports a value that is one of the records.
func (st *state) lookExact(text, norm []byte, start, end int) {
	if len(norm) < minExactBytes {
		return
	}
	t := st.m.exact
	h := t.key.sum(norm)
	if t.filter[h%exactFilter/64]&(1<<(h%64)) == 0 {
		return
	}
	for _, set := range t.sets {
		if _, ok := slices.BinarySearch(set.hashes, h); ok && st.base+int64(start) >= st.ends[set.detector] {
			st.report(text, set.detector, start, end, st.m.detectors[set.detector].Confidence, norm)
		}
	}
}
