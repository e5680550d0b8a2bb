// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// wideZstd is data of zstd of which each frame asks for a window of so many bytes, and gives little.
func wideZstd(t testing.TB, windows ...int) string {
	t.Helper()
	var b strings.Builder
	for _, window := range windows {
		b.WriteString(compressed(t, strings.Repeat("some text that goes on", 10), func(w io.Writer) (io.WriteCloser, error) {
			e, err := zstd.NewWriter(w, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
			return flushing{e}, err
		}))
	}
	return b.String()
}

// flushing writes in blocks, so that a frame begins before its length is known.
type flushing struct{ *zstd.Encoder }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Encoder.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// bitWriter writes bits, the lowest of each byte first.
type bitWriter struct {
	b  []byte
	at int
}

func (w *bitWriter) put(v, n int) {
	for i := range n {
		if w.at%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.at/8] |= byte(v>>i&1) << (w.at % 8)
		w.at++
	}
}

// wideBrotli is data of brotli with a window of 8 MiB: a part of one byte, and the head of one of 8 MiB (RFC 7932, 9).
func wideBrotli() string {
	var w bitWriter
	w.put(1, 1)
	w.put(6, 3)  // a window of 2^23
	w.put(0, 1)  // not the last part
	w.put(0, 2)  // four digits of length
	w.put(0, 16) // one byte
	w.put(1, 1)  // not compressed
	w.put(0, -w.at&7)
	w.put('x', 8)
	w.put(0, 1)
	w.put(2, 2) // six digits
	w.put(8<<20-1, 24)
	w.put(1, 1)
	w.put(0, -w.at&7)
	return string(w.b) + "some text"
}

// TestLaterWindows has the data of decompressors ask for little at first, and for large windows later on: those are charged
// for or refused, on a hundred connections that do not end.
func TestLaterWindows(t *testing.T) {
	for name, data := range map[string]string{"zstd": wideZstd(t, 1<<10, 8<<20), "br": wideBrotli()} {
		t.Run(name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			before := heap()
			for i := range 100 {
				send(in, Key{Cookie: uint64(i)}, Out, 80, []byte("POST / HTTP/1.1\r\nContent-Encoding: "+name+"\r\nContent-Length: 100000\r\n\r\n"+data))
			}
			held := heap() - before
			runtime.KeepAlive(in)
			st := in.Stats()
			if held > int64(in.cfg.MemoryBytes)*3/2 || st.Memory > in.cfg.MemoryBytes {
				t.Errorf("%d KiB are held, %d charged for %d decoders", held>>10, st.Memory>>10, st.Decoders)
			}
			if st.DecoderMemory == 0 && st.BadEncodings == 0 || sink.opaque[ReasonMemory]+sink.opaque[ReasonEncoding] == 0 {
				t.Errorf("what was not decompressed is not told: %+v", st)
			}
			for i := range 100 {
				in.Closed(Key{Cookie: uint64(i)})
			}
			if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 {
				t.Errorf("%d bytes, %d decoders after the end", st.Memory, st.Decoders)
			}
		})
	}
}

// TestWindowsMadeAnew asks for large windows again and again, with few bytes. One after the other they are the same one;
// many at a time are made for as long as what comes is worth it.
func TestWindowsMadeAnew(t *testing.T) {
	request := func(data string, length int) []byte {
		return []byte("POST / HTTP/1.1\r\nContent-Encoding: zstd\r\nContent-Length: " + itoa(length) + "\r\n\r\n" + data)
	}
	one := wideZstd(t, 8<<20)
	t.Run("one by one", func(t *testing.T) {
		var sink counter
		in := newInspector(t, Config{}, &sink)
		for range 2000 {
			send(in, testKey, Out, 80, request(one, len(one)))
		}
		st := in.Stats()
		if st.DecoderBytes > 9<<20 || st.DecoderWork != 0 || sink.opaque != [reasons]int{} {
			t.Errorf("%d bytes of decoders were made, %d refused, told %v", st.DecoderBytes, st.DecoderWork, sink.opaque)
		}
		if st.Memory > 1<<20 || in.memory < 8<<20 {
			t.Errorf("%d bytes are charged to flows, %d to all", st.Memory, in.memory)
		}
		in.Advance(in.now + spareTime)
		if in.memory > 1<<20 {
			t.Errorf("%d bytes are charged though nobody has used them for a while", in.memory)
		}
	})
	t.Run("side by side", func(t *testing.T) {
		var sink counter
		in := newInspector(t, Config{}, &sink)
		data := wideZstd(t, 1<<20)
		for range 200 {
			for i := range 10 {
				send(in, Key{Cookie: uint64(i)}, Out, 80, request(data[:len(data)-3], len(data)))
			}
			for i := range 10 {
				send(in, Key{Cookie: uint64(i)}, Out, 80, []byte(data[len(data)-3:]))
			}
		}
		st := in.Stats()
		if most := creditFree + creditRatio*st.Bytes; st.DecoderBytes > most {
			t.Errorf("%d bytes of decoders were made of %d, at most %d", st.DecoderBytes, st.Bytes, most)
		}
		if st.DecoderWork == 0 || sink.opaque[ReasonWork] == 0 {
			t.Errorf("%d decoders were refused, told %d times", st.DecoderWork, sink.opaque[ReasonWork])
		}
	})
}

// TestSpareMakesRoom fills the memory while a spare decoder has much of it: flows come first.
func TestSpareMakesRoom(t *testing.T) {
	var sink counter
	in := newInspector(t, Config{}, &sink)
	one := wideZstd(t, 8<<20)
	send(in, testKey, Out, 80, []byte("POST / HTTP/1.1\r\nContent-Encoding: zstd\r\nContent-Length: "+itoa(len(one))+"\r\n\r\n"+one))
	for i := range 1700 {
		send(in, Key{Cookie: uint64(i)}, Out, 80, []byte("GET /"+strings.Repeat("a", 12000)))
	}
	if st := in.Stats(); in.decoders.held != 0 || st.Evicted != 0 || st.Refused != 0 {
		t.Errorf("%d bytes are kept while %d flows made room", in.decoders.held, st.Evicted)
	}
}

// TestNestedBombs has one compression in the other, of different kinds, more than are undone.
func TestNestedBombs(t *testing.T) {
	text := string(mustRead(t, zeros(32<<20)))
	for name, b := range map[string]struct {
		encodings string
		data      string
	}{
		"deflate":      {"deflate", zlibbed(t, text)},
		"raw deflate":  {"deflate", deflated(t, text)},
		"three kinds":  {"gzip, br, zstd", zstded(t, brotlied(t, gz(t, text)))},
		"unannounced":  {"deflate", zlibbed(t, gz(t, zstded(t, text)))},
		"many members": {"gzip", strings.Repeat(gz(t, ""), 40_000)},
	} {
		t.Run(name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			before := heap()
			send(in, testKey, Out, 80, []byte("POST / HTTP/1.1\r\nContent-Encoding: "+b.encodings+"\r\nContent-Length: "+itoa(len(b.data))+"\r\n\r\n"+b.data))
			held := heap() - before
			runtime.KeepAlive(in)
			st := in.Stats()
			if most := int64(in.cfg.ExpansionBytes + in.cfg.MessageBytes); sink.bytes > most {
				t.Errorf("%d bytes reached the sink, at most %d", sink.bytes, most)
			}
			if name != "many members" && (st.Expansions != 1 || sink.opaque[ReasonExpansion] != 1) {
				t.Errorf("%d expansions counted, told %d times", st.Expansions, sink.opaque[ReasonExpansion])
			}
			if most := int64(1<<20 + in.memory); held > most {
				t.Errorf("%d bytes are held, %d charged", held, in.memory)
			}
			checkWork(t, st)
		})
	}
}

// TestLinesByteByByte sends lines that never end, and lines that go on in the next, a byte at a time: nothing is looked at
// again for each.
func TestLinesByteByByte(t *testing.T) {
	for name, unit := range map[string]string{"one line": "x", "folded": "\n ", "lines": "a:\r\n"} {
		t.Run(name, func(t *testing.T) {
			var sink counter
			in := newInspector(t, Config{}, &sink)
			send(in, testKey, Out, 80, []byte("GET / HTTP/1.1\r\nHost: h\r\n"))
			p := Piece{Key: testKey, Protocol: ProtocolTCP, RemotePort: 80}
			for i := range 200_000 {
				p.Data = []byte(unit[i%len(unit):][:1])
				in.Piece(&p)
			}
			st := in.Stats()
			if most := 2*st.Bytes + st.Pieces; st.LineParts > most {
				t.Errorf("of %d bytes the end was looked for %d times", st.Bytes, st.LineParts)
			}
			if st.HeaderBytesCut == 0 || sink.opaque[ReasonHeaders] != 1 || sink.bytes > int64(2*in.cfg.HeaderBytes) {
				t.Errorf("%d bytes counted as cut, told %d times, %d bytes reached the sink", st.HeaderBytesCut, sink.opaque[ReasonHeaders], sink.bytes)
			}
			if st.Memory > 64<<10 {
				t.Errorf("%d bytes are charged", st.Memory)
			}
		})
	}
}

// TestOverlongExtensions hides what is sent behind the extensions of a chunk, and behind those that do not end.
func TestOverlongExtensions(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	extension := strings.Repeat(";ext=value", 10_000)
	for _, size := range []int{1, 100, 4096, 1 << 20} {
		r := newRecorder(t)
		in := newInspector(t, Config{}, r)
		all := []byte(head + "4\r\nbody\r\n13" + extension + "\r\n" + card + "\r\n0" + extension + "\r\n\r\n" + "GET /next HTTP/1.1\r\n\r\n")
		for len(all) > 0 {
			n := min(size, len(all))
			in.Piece(&Piece{Key: testKey, Protocol: ProtocolTCP, RemotePort: 80, Data: all[:n]})
			all = all[n:]
		}
		in.Closed(testKey)
		if got := r.String(); !strings.Contains(got, card) || !strings.Contains(got, "/next") {
			t.Errorf("pieces of %d bytes: %s", size, got)
		}
		if st := in.Stats(); size <= 4096 && st.HeaderBytesCut < 150_000 || st.Malformed != 0 {
			t.Errorf("pieces of %d bytes: %d bytes counted as cut, %d malformed", size, st.HeaderBytesCut, st.Malformed)
		}
	}
	var sink counter
	in := newInspector(t, Config{}, &sink)
	before := heap()
	send(in, testKey, Out, 80, []byte(head+"5"))
	for range 16 {
		send(in, testKey, Out, 80, bytes.Repeat([]byte(";ext=val"), 128<<10))
	}
	held := heap() - before
	st := in.Stats()
	if held > 1<<20 || st.HeaderBytesCut < 15<<20 || sink.bytes > 1<<10 {
		t.Errorf("%d bytes are held, %d counted as cut, %d reached the sink", held, st.HeaderBytesCut, sink.bytes)
	}
	checkWork(t, st)
}

// TestEndlessFlows opens 50,000 flows in the midst of a message that never ends, while one real flow goes on.
func TestEndlessFlows(t *testing.T) {
	var sink counter
	in := newInspector(t, Config{}, &sink)
	rng := rand.New(rand.NewPCG(1, 2))
	before := heap()
	begins := []string{
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nbody", "GET / HTTP/1.1\r\nHost: h\r\nX: ", http2Preface + "\x00\x00\x04\x00\x00\x00\x00\x00\x01",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n5\r\n\x1f\x8b\x08\x00\x00\r\n", "GE",
	}
	send(in, testKey, Out, 80, []byte("POST / HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n"))
	for i := range 50_000 {
		send(in, Key{Cookie: uint64(i + 10)}, Out, 80, []byte(begins[rng.IntN(len(begins))]))
		if i%1000 == 0 {
			send(in, testKey, Out, 80, []byte("still followed"))
		}
		if len(in.flows) > in.cfg.Flows || in.memory > in.cfg.MemoryBytes {
			t.Fatalf("%d flows, %d bytes charged", len(in.flows), in.memory)
		}
	}
	held := heap() - before
	st := in.Stats()
	if st.Evicted == 0 || st.EvictedHalfOpen == 0 || st.Evicted+st.EvictedHalfOpen+uint64(st.Flows) != 50_001 {
		t.Errorf("%d and %d flows made room, %d are followed", st.Evicted, st.EvictedHalfOpen, st.Flows)
	}
	if f := in.flows[testKey]; f == nil || f.app != HTTP1 {
		t.Error("the real flow is gone")
	}
	if most := int64(in.cfg.MemoryBytes) * 3 / 2; held > most {
		t.Errorf("%d bytes are held, at most %d, %d charged", held, most, st.Memory)
	}
	t.Logf("%d KiB held, %d KiB charged for %d flows", held>>10, st.Memory>>10, st.Flows)
	checkWork(t, st)
}

// bodies is a sink that keeps what bodies hold, by connection.
type bodies struct {
	counter
	of map[Key]string
}

func (b *bodies) Text(c *Context, p []byte, _ bool) {
	if b.of == nil {
		b.of = map[Key]string{}
	}
	if c.Part == Body {
		b.of[c.Key] += string(p)
	}
}

// TestIdleDecodersMakeRoom holds so many compressed bodies open that decompressors have all the memory that they may: others are
// read all the same.
func TestIdleDecodersMakeRoom(t *testing.T) {
	for name, pack := range map[string]func(testing.TB, string) string{"gzip": gz, "br": brotlied, "zstd": zstded} {
		t.Run(name, func(t *testing.T) {
			var r bodies
			in := newInspector(t, Config{MemoryBytes: 4 << 20}, &r)
			text := strings.Repeat("text that goes on ", 20) + card
			data := pack(t, text)
			head := "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: " + name + "\r\nContent-Length: " + itoa(len(data)) + "\r\n\r\n"
			for i := range 200 {
				send(in, Key{Cookie: uint64(i + 10)}, Out, 80, []byte(head+data[:len(data)-4]))
				if in.decoding > in.cfg.MemoryBytes/2 || in.memory > in.cfg.MemoryBytes {
					t.Fatalf("%d bytes are charged, %d for decoders", in.memory, in.decoding)
				}
			}
			send(in, testKey, Out, 80, []byte(head+data))
			st := in.Stats()
			if st.DecoderMemory < 100 || st.Opaque[ReasonMemory] != st.DecoderMemory || st.Decoders < 2 {
				t.Errorf("%d decoders at work, %d made room, told %d times", st.Decoders, st.DecoderMemory, st.Opaque[ReasonMemory])
			}
			// Those that made room go on, and come to their end.
			for i := range 200 {
				send(in, Key{Cookie: uint64(i + 10)}, Out, 80, []byte(data[len(data)-4:]))
				in.Closed(Key{Cookie: uint64(i + 10)})
			}
			in.Closed(testKey)
			if got := r.of[testKey]; got != text {
				t.Errorf("of what came while others were held open %q is read", got)
			}
			if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 || in.decoders.idle != nil || in.decoding != in.decoders.held {
				t.Errorf("%d bytes, %d decoders after the end", st.Memory, st.Decoders)
			}
		})
	}
}

// TestDecodersAtRandom sends compressed bodies, one in the other, and messages of WebSocket, piece by piece over many connections
// that take each other's memory: what is charged is given back, whichever makes room.
func TestDecodersAtRandom(t *testing.T) {
	text := strings.Repeat("text that goes on ", 300)
	var streams []string
	for encoding, data := range map[string]string{
		"gzip": gz(t, text), "deflate": deflated(t, text), "br": brotlied(t, text), "zstd": zstded(t, text), "zstd, gzip": gz(t, zstded(t, text)),
		"gzip, br": brotlied(t, gz(t, text)), "zstd, zstd": wideZstd(t, 256<<10), "identity": gz(t, gz(t, zstded(t, text))),
	} {
		streams = append(streams, "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: "+encoding+"\r\nContent-Length: "+itoa(len(data))+"\r\n\r\n"+data)
	}
	socket := "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
	streams = append(streams, socket+wsDeflated(t, "first text "+card, "second text "+card)+wsFrame(0xc1, true, "damaged"))
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var sink counter
		in := newInspector(t, Config{MemoryBytes: 2 << 20}, &sink)
		left := map[Key]string{}
		for range 4000 {
			key := Key{Cookie: rng.Uint64N(40)}
			rest := left[key]
			if rest == "" {
				if rng.IntN(2) == 0 {
					in.Closed(key)
				}
				rest = streams[rng.IntN(len(streams))]
			}
			n := min(1+rng.IntN(200), len(rest))
			send(in, key, Out, 80, []byte(rest[:n]))
			if strings.HasPrefix(rest, socket[:4]) && n >= len(socket) {
				send(in, key, In, 80, []byte(answer))
			}
			left[key] = rest[n:]
			if in.memory > in.cfg.MemoryBytes || in.decoding > in.cfg.MemoryBytes/2 || in.decoding < in.decoders.held {
				t.Fatalf("seed %d: %d bytes are charged, %d for decoders, %d for spare ones", seed, in.memory, in.decoding, in.decoders.held)
			}
		}
		for key := range left {
			in.Closed(key)
		}
		if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 || in.decoders.idle != nil || in.decoding != in.decoders.held || st.DecoderMemory == 0 {
			t.Errorf("seed %d: %d bytes, %d decoders after the end, %d made room", seed, st.Memory, st.Decoders, st.DecoderMemory)
		}
	}
}
