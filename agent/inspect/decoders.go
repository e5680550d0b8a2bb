// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"io"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decoder is a library's reader.
type decoder struct {
	// window is what the data at hand is charged for, made the largest so far with its tables: the library keeps it.
	window, made int
	// limit is the largest window that a decoder of zstd takes.
	limit  int
	r      io.Reader
	gzip   *gzip.Reader
	flate  io.ReadCloser
	zstd   *zstd.Decoder
	brotli *brotli.Reader
}

func (d *decoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
	*d = decoder{}
}

// decoders keeps decompressors for use again, so that steady traffic makes none.
type decoders struct {
	// free have windows up to windowKept; they are not charged for.
	free [layers][]*inflater
	// spare has one decoder of a kind with a larger window, charged for until something else needs the memory or it was
	// not used for a while.
	spare [layers]spare
	// held is what the spare ones are charged for.
	held int
	// credit is how much may be made anew.
	credit int
	// idle and fresh are the ends of the list of those at work: that which was idle longest, and the newest.
	idle, fresh *inflater
}

type spare struct {
	dec   decoder
	since int64
}

const (
	// decodersKept is how many of each kind are kept.
	decodersKept = 4
	// spareTime is how long a spare decoder waits for its use.
	spareTime = int64(10 * time.Second)
	// creditFree and creditRatio bound what decompressors are made anew: so many bytes of memory at once, and for each byte
	// that comes. To ask for a window takes a few bytes, to make it a millisecond.
	creditFree  = 64 << 20
	creditRatio = 64
)

// newInflater makes a decompressor in front of a consumer, or nil when there is no memory for it.
func (in *Inspector) newInflater(m *message, l Layer, out consumer) *inflater {
	if !in.reserveDecoder(inflaterCost, m) {
		return nil
	}
	var x *inflater
	if free := in.decoders.free[l]; len(free) > 0 {
		x = free[len(free)-1]
		in.decoders.free[l] = free[:len(free)-1]
	} else {
		if !in.afford(inflaterCost, m) {
			in.releaseDecoder(inflaterCost)
			return nil
		}
		x = newInflater()
	}
	x.in, x.m, x.layer, x.out, x.charge = in, m, l, out, inflaterCost
	x.raw, x.headN, x.ended, x.cut, x.dead, x.took, x.gave, x.dec.window = false, 0, false, false, false, 0, 0, 0
	in.stats.Decoders++
	in.decoders.link(x)
	return x
}

// keep keeps the decoder of one that is given up for the next of its kind, if it is small and there is room.
func (d *decoders) keep(x *inflater) {
	if x.wide(x.dec.made) || len(d.free[x.layer]) >= decodersKept {
		x.dec.close()
		return
	}
	kept := newInflater()
	kept.dec, x.dec = x.dec, decoder{}
	kept.dec.r = nil
	d.free[x.layer] = append(d.free[x.layer], kept)
}

// swap gives a decoder that is kept and has so much memory for one that has less.
func (d *decoders) swap(x *inflater, made int) {
	for _, kept := range d.free[x.layer] {
		if kept.dec.made >= made {
			kept.dec, x.dec = x.dec, kept.dec
			return
		}
	}
}

func (d *decoders) link(x *inflater) {
	if x.older = d.fresh; x.older != nil {
		x.older.newer = x
	} else {
		d.idle = x
	}
	d.fresh, x.newer, x.linked = x, nil, true
}

func (d *decoders) unlink(x *inflater) {
	if x.older != nil {
		x.older.newer = x.newer
	} else {
		d.idle = x.newer
	}
	if x.newer != nil {
		x.newer.older = x.older
	} else {
		d.fresh = x.older
	}
	x.older, x.newer, x.linked = nil, nil, false
}

// evictDecoder gives up the decompressor that was idle longest, of other messages: bodies that do not end are no reason not to
// read others. One that is at work further up, and waits for what it gives to be dealt with, stays. False when there is none.
func (in *Inspector) evictDecoder(m *message) bool {
	for x := in.decoders.idle; x != nil; x = x.newer {
		if x.running || x.m == m {
			continue
		}
		in.stats.DecoderMemory++
		if x.m != nil {
			x.m.opaque(ReasonMemory)
		}
		x.giveUp()
		return true
	}
	return false
}

// reserveDecoder is reserve for decompressors, which together have half of the memory at most: they are no reason to
// forget thousands of flows. Those that were idle longest make room.
func (in *Inspector) reserveDecoder(n int, m *message) bool {
	for in.decoding+n > in.cfg.MemoryBytes/2 && n <= in.cfg.MemoryBytes/2 {
		if !in.dropSpares() && !in.evictDecoder(m) {
			break
		}
	}
	if in.decoding+n > in.cfg.MemoryBytes/2 || !in.reserve(n, m.f) {
		in.stats.DecoderMemory++
		m.opaque(ReasonMemory)
		return false
	}
	in.decoding += n
	return true
}

func (in *Inspector) releaseDecoder(n int) {
	in.release(n)
	in.decoding -= n
}

// afford says whether n bytes of a decompressor may be made anew.
func (in *Inspector) afford(n int, m *message) bool {
	if n > in.decoders.credit {
		in.stats.DecoderWork++
		m.opaque(ReasonWork)
		return false
	}
	in.decoders.credit -= n
	in.stats.DecoderBytes += uint64(n)
	return true
}

// earn lets n bytes that came pay for decompressors.
func (in *Inspector) earn(n int) {
	in.decoders.credit = min(in.decoders.credit+creditRatio*n, creditFree)
}

// takeSpare gives the spare decoder of a kind if it has so much memory already.
func (in *Inspector) takeSpare(l Layer, made int) (decoder, bool) {
	s := &in.decoders.spare[l]
	if s.dec.made < made {
		return decoder{}, false
	}
	dec := s.dec
	s.dec = decoder{}
	in.decoders.held -= dec.made
	in.releaseDecoder(dec.made)
	return dec, true
}

// keepSpare keeps a decoder of which the memory was just released, if it is the largest of its kind.
func (in *Inspector) keepSpare(l Layer, dec decoder) {
	if in.decoders.spare[l].dec.made >= dec.made {
		dec.close()
		return
	}
	in.dropSpare(l)
	if in.decoding+dec.made > in.cfg.MemoryBytes/2 || in.memory+dec.made > in.cfg.MemoryBytes {
		dec.close()
		return
	}
	in.memory += dec.made
	in.decoding += dec.made
	in.decoders.held += dec.made
	dec.r = nil
	in.decoders.spare[l] = spare{dec: dec, since: in.now}
}

func (in *Inspector) dropSpare(l Layer) {
	s := &in.decoders.spare[l]
	in.decoders.held -= s.dec.made
	in.releaseDecoder(s.dec.made)
	s.dec.close()
}

// dropSpares gives back the memory of all spare decoders. False when there are none.
func (in *Inspector) dropSpares() bool {
	if in.decoders.held == 0 {
		return false
	}
	for l := range in.decoders.spare {
		in.dropSpare(Layer(l))
	}
	return true
}

// ageSpares drops the spare decoders that nobody has used for a while.
func (in *Inspector) ageSpares() {
	for l := range in.decoders.spare {
		if s := &in.decoders.spare[l]; s.dec.made > 0 && in.now-s.since >= spareTime {
			in.dropSpare(Layer(l))
		}
	}
}
