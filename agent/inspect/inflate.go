// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// windowMax is the largest window that a decompressor may have: what RFC 9659 asks of zstd over HTTP.
	windowMax = 8 << 20
	// windowKept is the largest window of a decompressor that is kept for use again.
	windowKept = 128 << 10
	// inflaterCost is a decompressor but for its window.
	inflaterCost = 64 << 10
	// ratioFree is how much a decompressor may give whatever it was given.
	ratioFree = 64 << 10
	// inflateHead is how many bytes tell the window.
	inflateHead = zstd.HeaderMaxSize
	inflateRead = 4 << 10
)

var (
	errStopped = errors.New("stopped")
	errWindow  = errors.New("window too large")
)

// inflater decompresses. The libraries read from an io.Reader, so each runs as a coroutine, which is resumed when there
// is input and suspended when it asks for more; it never runs beside its caller.
type inflater struct {
	in     *Inspector
	m      *message
	layer  Layer
	out    consumer
	raw    bool
	charge int

	head  [inflateHead]byte
	headN int
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	// input is what the coroutine may read; ended says that no more comes.
	input []byte
	ended bool
	// cut says that the end is missing, so that it is no error that it is.
	cut bool
	// dead inflaters take nothing any more.
	dead     bool
	took     int
	gave     int
	buffered *bufio.Reader
	dec      decoder
	// small is the decoder that was put aside for a spare one.
	small decoder
	// older and newer are those that were at work before and after; running says that the coroutine is.
	older, newer    *inflater
	linked, running bool
	buf             [inflateRead]byte
}

func newInflater() *inflater {
	x := &inflater{}
	x.buffered = bufio.NewReaderSize(x, inflateRead)
	return x
}

// write implements consumer.
func (x *inflater) write(p []byte) {
	if x.next == nil && !x.dead {
		if x.headN < inflateHead && (x.layer == LayerZstd || x.layer == LayerBrotli) {
			k := copy(x.head[x.headN:], p)
			x.headN += k
			p = p[k:]
			if x.headN < inflateHead {
				return
			}
		}
		x.begin()
	}
	x.resume(p)
}

// begin charges for the window and starts the coroutine.
func (x *inflater) begin() {
	window := x.window()
	if window > windowMax {
		x.give(errWindow)
		return
	}
	if !x.grow(window + x.tables()) {
		return
	}
	x.dec.window = window
	x.buffered.Reset(x)
	x.next, x.stop = iter.Pull(x.run)
	if x.headN > 0 {
		x.resume(x.head[:x.headN])
	}
}

// grow charges for n bytes of window and tables, and for what of them has to be made anew.
func (x *inflater) grow(n int) bool {
	if x.wide(n) && x.dec.made < n {
		if dec, ok := x.in.takeSpare(x.layer, n); ok {
			x.small, x.dec, n = x.dec, dec, dec.made
		}
	}
	if !x.in.reserveDecoder(n, x.m) {
		x.dead = true
		return false
	}
	x.charge += n
	if n > x.dec.made {
		x.in.decoders.swap(x, n)
	}
	if n > x.dec.made {
		if !x.in.afford(n-x.dec.made, x.m) {
			x.dead = true
			return false
		}
		x.dec.made = n
	}
	return true
}

// wide says that n bytes are more than a decoder may have that is kept without being charged for.
func (x *inflater) wide(n int) bool { return n > windowKept+x.tables() }

// window is how large a window the data may need, by its head.
func (x *inflater) window() int {
	switch x.layer {
	case LayerBrotli:
		wide, most := brotliHead(x.head[:x.headN])
		if wide > brotliWindowMax {
			return windowMax + 1
		}
		n := 1 << 10
		for n < most && n < wide {
			n <<= 1
		}
		return min(n, wide)
	case LayerZstd:
		// What follows the first frame, or cannot be read, may have as large a window as is kept in any case.
		var h zstd.Header
		if err := h.Decode(x.head[:x.headN]); err != nil {
			return windowKept
		}
		n := h.WindowSize
		if h.SingleSegment {
			n = h.FrameContentSize
		}
		return int(max(min(n, windowMax+1), windowKept))
	}
	return 0
}

// tables is what a decoder has beside its window and beyond inflaterCost.
func (x *inflater) tables() int {
	switch x.layer {
	case LayerBrotli:
		return 96 << 10
	case LayerZstd:
		return 256 << 10
	}
	return 0
}

// resume lets the coroutine read p.
func (x *inflater) resume(p []byte) {
	if x.dead || x.next == nil {
		return
	}
	x.took += len(p)
	x.input = p
	if x.in.decoders.fresh != x {
		x.in.decoders.unlink(x)
		x.in.decoders.link(x)
	}
	x.running = true
	if _, more := x.next(); !more {
		x.dead = true
	}
	x.running = false
	x.input = nil
}

// giveUp ends a decompressor before its data does, and gives back what it has.
func (x *inflater) giveUp() {
	x.dead = true
	if x.next != nil {
		x.stop()
		x.next, x.stop = nil, nil
	}
	x.in.decoders.keep(x)
	x.small.close()
	x.in.releaseDecoder(x.charge)
	x.charge = 0
	x.in.decoders.unlink(x)
	x.in.stats.Decoders--
}

// Read gives the decoder what there is, and suspends the coroutine when there is none.
func (x *inflater) Read(p []byte) (int, error) {
	for len(x.input) == 0 {
		if x.ended {
			return 0, io.EOF
		}
		if !x.yield(struct{}{}) {
			return 0, errStopped
		}
	}
	n := copy(p, x.input)
	x.input = x.input[n:]
	return n, nil
}

// run is the coroutine.
func (x *inflater) run(yield func(struct{}) bool) {
	x.yield = yield
	if err := x.open(); err != nil {
		x.give(err)
		return
	}
	for {
		n, err := x.read()
		if n > 0 && !x.emit(x.buf[:n]) {
			return
		}
		if err != nil {
			x.give(err)
			return
		}
	}
}

// read keeps a decoder that panics over hostile input from ending the process.
func (x *inflater) read() (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			x.dec = decoder{}
			n, err = 0, fmt.Errorf("decoder: %v", v)
		}
	}()
	return x.dec.r.Read(x.buf[:])
}

// emit hands on what was decompressed. False when it is enough.
func (x *inflater) emit(p []byte) bool {
	if x.dead {
		return false
	}
	cfg := &x.in.cfg
	left := max(cfg.ExpansionBytes-x.m.expanded, 0)
	if ratio := x.took*cfg.ExpansionRatio + ratioFree - x.gave; ratio < left {
		left = max(ratio, 0)
	}
	over := len(p) > left
	p = p[:min(len(p), left)]
	x.gave += len(p)
	x.m.expanded += len(p)
	x.out.write(p)
	if over {
		x.in.stats.Expansions++
		x.m.opaque(ReasonExpansion)
		x.dead = true
	}
	return !over
}

// give counts why a decoder ended, unless it is the end of its data.
func (x *inflater) give(err error) {
	was := x.dead
	x.dead = true
	if was || x.cut || errors.Is(err, io.EOF) || errors.Is(err, errStopped) {
		return
	}
	x.in.stats.BadEncodings++
	x.m.opaque(ReasonEncoding)
}

// open makes the decoder, or sets the one from before on the new data.
func (x *inflater) open() (err error) {
	d := &x.dec
	switch x.layer {
	case LayerGzip:
		if d.gzip == nil {
			d.gzip = new(gzip.Reader)
		}
		d.r, err = d.gzip, d.gzip.Reset(x.buffered)
	case LayerDeflate:
		if !x.raw {
			x.skipZlib()
		}
		if d.flate == nil {
			d.flate = flate.NewReader(x.buffered)
		} else {
			err = d.flate.(flate.Resetter).Reset(x.buffered, nil)
		}
		d.r = d.flate
	case LayerBrotli:
		if d.brotli == nil {
			d.brotli = new(brotli.Reader)
		}
		d.r, err = d.brotli, d.brotli.Reset(x.buffered)
	case LayerZstd:
		if d.zstd == nil {
			d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(windowMax), zstd.IgnoreChecksum(true))
			if err != nil {
				return fmt.Errorf("zstd decoder: %w", err)
			}
		}
		if d.r = d.zstd; d.limit == d.window {
			return d.zstd.Reset(x.buffered)
		}
		// Any of the data's frames may ask for a window, not only the first, which was charged for.
		d.limit = d.window
		return d.zstd.ResetWithOptions(x.buffered, zstd.WithDecoderMaxWindow(uint64(d.window)))
	default:
		return fmt.Errorf("layer %s: %w", x.layer, errors.ErrUnsupported)
	}
	return err
}

// skipZlib skips the header of zlib (RFC 1950) if there is one: "deflate" means both (RFC 9110, 8.4.1.2).
func (x *inflater) skipZlib() {
	h, err := x.buffered.Peek(2)
	if err != nil || h[0]&15 != 8 || (int(h[0])<<8|int(h[1]))%31 != 0 {
		return
	}
	n := 2
	if h[1]&0x20 != 0 {
		n = 6
	}
	_, _ = x.buffered.Discard(n) // Too short a header is found by the next read.
}

// close implements consumer.
func (x *inflater) close(whole bool) {
	if x.next == nil && !x.dead && x.headN > 0 {
		x.begin()
	}
	x.ended, x.cut = true, !whole
	if x.next != nil {
		if !x.dead {
			x.resume(nil)
		}
		x.stop()
	}
	x.out.close(whole && !x.dead)
	in, l := x.in, x.layer
	if x.linked {
		in.decoders.unlink(x)
		in.stats.Decoders--
	}
	in.releaseDecoder(x.charge)
	x.in, x.m, x.out, x.next, x.stop, x.yield, x.dec.r = nil, nil, nil, nil, nil, nil, nil
	if x.wide(x.dec.made) {
		in.keepSpare(l, x.dec)
		x.dec, x.small = x.small, decoder{}
	}
	if len(in.decoders.free[l]) < decodersKept {
		in.decoders.free[l] = append(in.decoders.free[l], x)
		return
	}
	x.dec.close()
}
