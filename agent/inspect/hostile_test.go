// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"golang.org/x/net/http2/hpack"
)

// zeros is a reader of n bytes that compress well.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// heap is what the process has in use, garbage apart.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// counter is a sink that counts.
type counter struct {
	texts, bytes int64
	opaque       [reasons]int
}

func (c *counter) Begin(*Context)                    {}
func (c *counter) End(*Context)                      {}
func (c *counter) Opaque(_ *Context, r Reason)       { c.opaque[r]++ }
func (c *counter) Text(_ *Context, p []byte, _ bool) { c.texts++; c.bytes += int64(len(p)) }

// send gives a flow bytes in order, in pieces of 4 KiB as they are captured.
func send(in *Inspector, key Key, d Dir, port uint16, data []byte) {
	for len(data) > 0 {
		n := min(4096, len(data))
		in.Piece(&Piece{Key: key, Dir: d, Protocol: ProtocolTCP, RemotePort: port, Data: data[:n], Time: in.now})
		data = data[n:]
	}
}

// checkWork says that parsers were given each byte a few times at most, however it was cut.
func checkWork(t *testing.T, st Stats) {
	t.Helper()
	if st.Scanned > 8*st.Bytes {
		t.Errorf("of %d bytes %d were scanned", st.Bytes, st.Scanned)
	}
}

// TestBombs gives bodies of 100 MiB that compress to little, one in the other too: what reaches the sink and what is
// held stays within the bounds, and it is told.
func TestBombs(t *testing.T) {
	const size = 100 << 20
	bomb := func(pack func(testing.TB, string) string, times int) []byte {
		text := string(mustRead(t, zeros(size)))
		for range times {
			text = pack(t, text)
		}
		return []byte(text)
	}
	bombs := map[string]struct {
		encoding string
		data     []byte
	}{
		"gzip":        {"gzip", bomb(gz, 1)},
		"gzip twice":  {"gzip, gzip", bomb(gz, 2)},
		"brotli":      {"br", bomb(brotlied, 1)},
		"zstd":        {"zstd", bomb(zstded, 1)},
		"zstd twice":  {"zstd, zstd", bomb(zstded, 2)},
		"unannounced": {"identity", bomb(gz, 3)},
	}
	for name, b := range bombs {
		t.Run(name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			before := heap()
			head := "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: " + b.encoding + "\r\nContent-Length: " + itoa(len(b.data)) + "\r\n\r\n"
			send(in, testKey, Out, 80, append([]byte(head), b.data...))
			held := heap() - before
			runtime.KeepAlive(in)
			st := in.Stats()
			if most := int64(in.cfg.ExpansionBytes + in.cfg.MessageBytes); sink.bytes > most {
				t.Errorf("%d bytes reached the sink, at most %d", sink.bytes, most)
			}
			if st.Expansions == 0 || sink.opaque[ReasonExpansion] != 1 {
				t.Errorf("%d expansions counted, told %d times", st.Expansions, sink.opaque[ReasonExpansion])
			}
			if held > int64(in.cfg.MemoryBytes) || st.Memory > in.cfg.MemoryBytes {
				t.Errorf("%d bytes are held, %d charged", held, st.Memory)
			}
			t.Logf("%d compressed bytes gave %d, %d KiB held", len(b.data), sink.bytes, held>>10)
			in.Closed(testKey)
		})
	}
}

func mustRead(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEndlessHeaders sends 32 MiB of header in many lines, in one line, and in one folded line.
func TestEndlessHeaders(t *testing.T) {
	for name, unit := range map[string]string{
		"lines": "X-Header: some value of a header\r\n", "one line": "0123456789abcdef", "folded": "value\r\n ",
	} {
		t.Run(name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			before := heap()
			send(in, testKey, Out, 80, []byte("GET / HTTP/1.1\r\nX-First: "))
			part := bytes.Repeat([]byte(unit), (1<<20)/len(unit))
			for range 32 {
				send(in, testKey, Out, 80, part)
			}
			held := heap() - before
			st := in.Stats()
			if sink.bytes > int64(2*in.cfg.HeaderBytes+in.cfg.FlowBytes) {
				t.Errorf("%d bytes reached the sink", sink.bytes)
			}
			if st.HeaderBytesCut < 29<<20 || sink.opaque[ReasonHeaders] != 1 {
				t.Errorf("%d bytes counted as cut, told %d times", st.HeaderBytesCut, sink.opaque[ReasonHeaders])
			}
			if held > 1<<20 {
				t.Errorf("%d bytes are held", held)
			}
			checkWork(t, st)
			in.Closed(testKey)
		})
	}
}

// TestHPACKBombs refers to a large table entry over and over, and sends header blocks that never end.
func TestHPACKBombs(t *testing.T) {
	frame := func(kind, flags byte, stream uint32, body []byte) []byte {
		b := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags}
		return append(binary.BigEndian.AppendUint32(b, stream), body...)
	}
	var block bytes.Buffer
	if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("v", 4000)}); err != nil {
		t.Fatal(err)
	}
	entry := block.Bytes()
	endless := append([]byte(http2Preface), frame(frameHeaders, 0, 1, entry)...)
	references := bytes.Repeat([]byte{0x80 | 62}, 16<<10)
	literal := append([]byte{0x40, 0x01, 'y', 0x7f, 0xff, 0xff, 0xff, 0x7f}, bytes.Repeat([]byte{'z'}, 16<<10)...)
	for name, more := range map[string][]byte{"references": references, "one literal": literal, "empty frames": nil} {
		t.Run(name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			before := heap()
			send(in, testKey, Out, 80, endless)
			for range 256 {
				send(in, testKey, Out, 80, bytes.Repeat(frame(frameContinuation, 0, 1, more), 1+64*(1-min(len(more), 1))))
			}
			held := heap() - before
			send(in, testKey, Out, 80, frame(frameContinuation, flagEndHeaders, 1, nil))
			st := in.Stats()
			if sink.bytes > int64(in.cfg.HeaderBytes) {
				t.Errorf("%d bytes reached the sink", sink.bytes)
			}
			if name != "empty frames" && (st.HeaderBytesCut == 0 || sink.opaque[ReasonHeaders] == 0) {
				t.Errorf("%d bytes counted as cut, told %d times", st.HeaderBytesCut, sink.opaque[ReasonHeaders])
			}
			if held > 1<<20 {
				t.Errorf("%d bytes are held", held)
			}
			checkWork(t, st)
			in.Closed(testKey)
			if m := in.Stats().Memory; m != 0 {
				t.Errorf("%d bytes are charged after the end", m)
			}
		})
	}
}

// TestStreamFlood opens streams of HTTP/2 and never ends them.
func TestStreamFlood(t *testing.T) {
	var sink counter
	in := newInspector(t, Config{}, &sink)
	c := newH2(t)
	send(in, testKey, Out, 80, []byte(http2Preface))
	for i := range 10_000 {
		c.headers(uint32(2*i+1), false, 1000, ":method", "GET", ":path", "/", ":authority", "h")
		send(in, testKey, Out, 80, []byte(c.take()))
	}
	st := in.Stats()
	if st.Streams != 10_000-http2Streams || st.Messages != 10_000 || st.Memory > 2*http2Streams*(messageCost+http2StreamCost)+flowCost {
		t.Errorf("%d streams counted, %d messages, %d bytes charged", st.Streams, st.Messages, st.Memory)
	}
	in.Closed(testKey)
}

// TestOverlaps sends segments that contradict those before them: the first copy holds, each other is counted.
func TestOverlaps(t *testing.T) {
	c := conversation{port: 9}
	r := newRecorder(t)
	in := newInspector(t, Config{}, r)
	put := func(seq uint32, data string) {
		p := c.piece(Out)
		p.Sequenced, p.Sequence, p.Data = true, seq, []byte(data)
		in.Piece(&p)
	}
	put(100, "")
	put(110, "klmno")
	put(105, "fghijKLMNOpqrst")
	put(107, "HI")
	put(102, "cd")
	put(120, "uvw")
	put(100, "abXX")
	put(104, "e")
	put(104, "E-late")
	in.Closed(testKey)
	if got := r.String(); !strings.Contains(got, `"abcdefghijklmnopqrstuvw"`) {
		t.Errorf("got %s", got)
	}
	if st := in.Stats(); st.Differing != 3 || st.Gaps != 0 {
		t.Errorf("%d segments differed, %d gaps", st.Differing, st.Gaps)
	}
}

// TestOverlapFlood sends segments at random over a window, with holes: what waits is bounded, and the work is too.
func TestOverlapFlood(t *testing.T) {
	var sink counter
	in := newInspector(t, Config{}, &sink)
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1400)
	c := conversation{port: 9}
	before := heap()
	for i := range 200_000 {
		p := c.piece(Out)
		p.Sequenced, p.Sequence, p.Data, p.Time = true, rng.Uint32N(1<<20), data[:1+rng.IntN(1400)], int64(i)
		in.Piece(&p)
		h := &in.flows[testKey].half[Out]
		if h.segBytes > in.cfg.FlowBytes || len(h.segs) > 2*segmentsMax {
			t.Fatalf("%d bytes in %d segments wait", h.segBytes, len(h.segs))
		}
	}
	st := in.Stats()
	if held := heap() - before; held > 1<<20 || st.Memory > 1<<20 {
		t.Errorf("%d bytes are held, %d charged", held, st.Memory)
	}
	checkWork(t, st)
	if sink.bytes > int64(st.Bytes) || st.Gaps == 0 || st.Repeated == 0 {
		t.Errorf("%d bytes came, %d reached the sink, %d gaps, %d repeated", st.Bytes, sink.bytes, st.Gaps, st.Repeated)
	}
	in.Closed(testKey)
}

// TestHalfOpenFlood opens 100,000 flows that say too little to know what they are, while one real flow goes on.
func TestHalfOpenFlood(t *testing.T) {
	const flood = 100_000
	var sink counter
	in := newInspector(t, Config{}, &sink)
	before := heap()
	send(in, Key{Cookie: 1}, Out, 80, []byte("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"))
	for i := range flood {
		p := Piece{Key: Key{Cookie: uint64(i + 10)}, Protocol: ProtocolTCP, RemotePort: 80, Sequenced: true, Sequence: 5, Time: int64(i)}
		if i%2 == 0 {
			p.Data = []byte("GE")
		}
		in.Piece(&p)
		if len(in.flows) > in.cfg.Flows {
			t.Fatalf("%d flows", len(in.flows))
		}
	}
	held := heap() - before
	send(in, Key{Cookie: 1}, Out, 80, []byte("still followed"))
	st := in.Stats()
	if st.EvictedHalfOpen != flood+1-uint64(in.cfg.Flows) || st.Evicted != 0 {
		t.Errorf("%d half-open and %d other flows made room", st.EvictedHalfOpen, st.Evicted)
	}
	if in.flows[Key{Cookie: 1}].app != HTTP1 {
		t.Error("the real flow is gone")
	}
	// 10,000 flows of about 400 bytes, half of them with a buffer of 256 bytes, and the table.
	if most := int64(16 << 20); held > most || st.Memory > in.cfg.MemoryBytes {
		t.Errorf("%d bytes are held, at most %d; %d charged", held, most, st.Memory)
	}
	t.Logf("%d KiB held, %d KiB charged", held>>10, st.Memory>>10)
	in.Advance(int64(in.cfg.Idle) + flood)
	if st := in.Stats(); st.Flows != 0 || st.Memory != 0 {
		t.Errorf("after the idle time %d flows, %d bytes charged", st.Flows, st.Memory)
	}
}

// TestMemoryBound fills flows with what waits and what is decompressed until memory ends: the bound holds, others make
// room, nothing is lost without a count.
func TestMemoryBound(t *testing.T) {
	var sink counter
	in := newInspector(t, Config{MemoryBytes: 2 << 20}, &sink)
	before := heap()
	zipped := gz(t, strings.Repeat("text ", 2000))
	for i := range 2000 {
		key := Key{Cookie: uint64(i)}
		if i%2 == 0 {
			send(in, key, Out, 80, []byte("POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n"+zipped[:40]))
		} else {
			send(in, key, Out, 80, []byte("GET /"+strings.Repeat("a", 15000)))
		}
		if in.memory > in.cfg.MemoryBytes {
			t.Fatalf("%d bytes charged", in.memory)
		}
	}
	st := in.Stats()
	if st.Evicted == 0 {
		t.Error("no flow made room")
	}
	// What is kept for use again comes on top: decoders and values, a bounded number of each.
	if held := heap() - before; held > 2<<20+8<<20 {
		t.Errorf("%d bytes are held", held)
	}
	for i := range 2000 {
		in.Closed(Key{Cookie: uint64(i)})
	}
	if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 {
		t.Errorf("%d bytes and %d decoders are held after the end", st.Memory, st.Decoders)
	}
}

// TestAllocations says that ordinary requests and answers of HTTP/1 allocate nothing once the Inspector is warm.
func TestAllocations(t *testing.T) {
	var sink counter
	in := newInspector(t, Config{}, &sink)
	request := []byte("POST /api/v1/orders?id=17 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n" + `{"name":"a","text":"some words"}`[:31])
	answer := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
	p := Piece{Key: testKey, Protocol: ProtocolTCP, RemotePort: 80}
	round := func() {
		for _, part := range [...]struct {
			d    Dir
			data []byte
		}{{Out, request[:100]}, {Out, request[100:]}, {In, answer}} {
			p.Dir, p.Data = part.d, part.data
			in.Piece(&p)
		}
	}
	round()
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
	if st := in.Stats(); st.Messages < 400 || st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
}

// TestWindows opens many brotli and zstd bodies that ask for large windows: they are charged, and the heap stays within
// what is charged and what may be kept.
func TestWindows(t *testing.T) {
	text := string(mustRead(t, zeros(64<<10))) + card
	for name, data := range map[string]string{"br": brotlied(t, text), "zstd": zstded(t, text)} {
		t.Run(name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			before := heap()
			for i := range 300 {
				send(in, Key{Cookie: uint64(i)}, Out, 80, []byte("POST / HTTP/1.1\r\nContent-Encoding: "+name+"\r\nContent-Length: 100000\r\n\r\n"+data[:len(data)-3]))
				if in.memory > in.cfg.MemoryBytes {
					t.Fatalf("%d bytes charged", in.memory)
				}
			}
			st := in.Stats()
			if name == "br" && st.Decoders < 20 {
				t.Errorf("%d decoders, though the first parts are small", st.Decoders)
			}
			if held := heap() - before; held > int64(in.cfg.MemoryBytes)*3/2 {
				t.Errorf("%d KiB are held, %d charged for %d decoders", held>>10, st.Memory>>10, st.Decoders)
			} else {
				t.Logf("%d KiB are held, %d charged for %d decoders", held>>10, st.Memory>>10, st.Decoders)
			}
			for i := range 300 {
				in.Closed(Key{Cookie: uint64(i)})
			}
			if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 {
				t.Errorf("%d bytes, %d decoders after the end", st.Memory, st.Decoders)
			}
		})
	}
}

// TestBrotliHead compares what the head says with what the encoder was told.
func TestBrotliHead(t *testing.T) {
	for bits := 10; bits <= 24; bits++ {
		text := strings.Repeat("text of some length ", 100)
		data := compressed(t, text, func(w io.Writer) (io.WriteCloser, error) {
			return brotli.NewWriterOptions(w, brotli.WriterOptions{Quality: 5, LGWin: bits}), nil
		})
		if window, first := brotliHead([]byte(data)); window != 1<<bits || first != len(text) {
			t.Errorf("%d bits: window %d, first part %d of %d", bits, window, first, len(text))
		}
	}
}
