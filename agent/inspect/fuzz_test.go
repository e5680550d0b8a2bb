// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
)

// fuzzFlow gives a script of pieces to an Inspector: the first byte of each says its direction, length and whether a gap
// follows. What must hold for any bytes: no panic, the sink is told in order, memory is bounded and given back, and no
// more reaches the sink than the bounds allow.
func fuzzFlow(t *testing.T, c conversation, script []byte) {
	r := newRecorder(t)
	in := newInspector(t, Config{
		FlowBytes: 1 << 10, MemoryBytes: 1 << 20, MessageBytes: 4 << 10, HeaderBytes: 1 << 10, ExpansionBytes: 16 << 10,
	}, r)
	total := 0
	for len(script) > 0 {
		op := script[0]
		script = script[1:]
		p := c.piece(Dir(op & 1))
		n := min(int(op>>2)*8+1, len(script))
		p.Data, p.Time = script[:n], in.now+1
		if op&2 != 0 && n > 1 {
			n--
			p.Data, p.Cut = script[:n], int(script[n])
			n++
		}
		script = script[n:]
		total += n
		in.Piece(&p)
		if in.memory > in.cfg.MemoryBytes || in.memory < 0 {
			t.Fatalf("%d bytes are charged", in.memory)
		}
	}
	in.Closed(testKey)
	_ = r.String()
	if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 || st.Flows != 0 {
		t.Fatalf("after the end %d bytes, %d decoders, %d flows are held", st.Memory, st.Decoders, st.Flows)
	}
	// Each byte can be in the raw text and in one of each depth, beside what was decompressed of it and its copies in
	// those.
	if most := (total + 16<<10*(total/64+1)) * (depthMax + 3); r.given > most {
		t.Fatalf("%d bytes gave %d", total, r.given)
	}
}

// script is a conversation as fuzzFlow reads it.
func (c *conversation) script() []byte {
	var b []byte
	for _, s := range c.steps {
		data := []byte(s.data)
		for len(data) > 0 {
			n := min(len(data), 8*63+1)
			if n < 8*63+1 {
				n = max((n-1)/8*8+1, 1)
			}
			b = append(b, byte((n-1)/8)<<2|byte(s.dir))
			b = append(b, data[:n]...)
			data = data[n:]
		}
	}
	return b
}

// fuzzProtocol fuzzes the parser that the conversations with a prefix of their name lead to.
func fuzzProtocol(f *testing.F, port uint16, names ...string) {
	base := conversation{port: port}
	for _, c := range conversations(f) {
		for _, name := range names {
			if len(c.name) >= len(name) && c.name[:len(name)] == name {
				f.Add(c.inbound, c.script())
			}
		}
	}
	f.Fuzz(func(t *testing.T, inbound bool, script []byte) {
		c := base
		c.inbound = inbound
		fuzzFlow(t, c, script)
	})
}

func FuzzHTTP1(f *testing.F)     { fuzzProtocol(f, 80, "http1") }
func FuzzBody(f *testing.F)      { fuzzProtocol(f, 80, "body") }
func FuzzHTTP2(f *testing.F)     { fuzzProtocol(f, 80, "http2") }
func FuzzWebSocket(f *testing.F) { fuzzProtocol(f, 80, "http1-websocket") }
func FuzzSMTP(f *testing.F)      { fuzzProtocol(f, 25, "smtp") }
func FuzzRedis(f *testing.F)     { fuzzProtocol(f, 6379, "redis") }
func FuzzPostgres(f *testing.F)  { fuzzProtocol(f, 5432, "postgres") }
func FuzzMySQL(f *testing.F)     { fuzzProtocol(f, 3306, "mysql") }
func FuzzTLS(f *testing.F)       { fuzzProtocol(f, 443, "tls") }
func FuzzDNSStream(f *testing.F) { fuzzProtocol(f, 53, "dns-tcp") }

// FuzzDatagram fuzzes DNS, ICMP and other packets.
func FuzzDatagram(f *testing.F) {
	for _, c := range conversations(f) {
		for _, s := range c.steps {
			if c.udp {
				f.Add(uint8(ProtocolUDP), c.port, []byte(s.data))
			}
		}
	}
	f.Add(uint8(ProtocolICMP), uint16(0), []byte("\x08\x00\x00\x00\x00\x01\x00\x01payload "+card))
	f.Fuzz(func(t *testing.T, protocol uint8, port uint16, data []byte) {
		switch protocol {
		case ProtocolUDP, ProtocolICMP, ProtocolICMPv6:
		default:
			return
		}
		r := newRecorder(t)
		in := newInspector(t, Config{}, r)
		in.Piece(&Piece{Key: testKey, Protocol: protocol, RemotePort: port, Data: data})
		in.Closed(testKey)
		_ = r.String()
		if st := in.Stats(); st.Memory != 0 {
			t.Fatalf("%d bytes are held", st.Memory)
		}
	})
}

// FuzzSegments fuzzes the order of segments: what comes out is bytes that went in, each place once.
func FuzzSegments(f *testing.F) {
	f.Add([]byte("\x00\x05\x08\x03\x02\x07\x30\x01\x05\x03"))
	f.Fuzz(func(t *testing.T, script []byte) {
		var sink counter
		in := newInspector(t, Config{FlowBytes: 1 << 10, MemoryBytes: 1 << 20}, &sink)
		c := conversation{port: 9}
		data := make([]byte, 256)
		most := int64(0)
		for ; len(script) >= 2; script = script[2:] {
			p := c.piece(Out)
			p.Sequenced, p.Sequence, p.Data = true, 0xffffff00+uint32(script[0])*4, data[:script[1]>>1]
			p.Cut = int(script[1] & 1 * 9)
			p.Time = in.now + int64(script[1])<<20
			most = max(most, int64(script[0])*4+int64(len(p.Data)))
			in.Piece(&p)
			for _, h := range in.flows[testKey].half {
				for i := 1; i < len(h.segs); i++ {
					if before(h.segs[i].seq, h.segs[i-1].end()) {
						t.Fatal("waiting segments overlap")
					}
				}
			}
		}
		in.Closed(testKey)
		if st := in.Stats(); st.Memory != 0 || sink.bytes > most {
			t.Fatalf("%d bytes are held, %d of at most %d came out", st.Memory, sink.bytes, most)
		}
	})
}

var mutations = flag.Int("mutations", 100, "how often TestMutations damages each conversation")

// TestMutations damages each conversation in a few places, the same ones each time: what fuzzing asks for holds. It is
// what of fuzzing a busy machine can do.
func TestMutations(t *testing.T) {
	for _, c := range conversations(t) {
		if c.udp {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			script := c.script()
			for seed := range *mutations {
				rng := rand.New(rand.NewPCG(uint64(seed), 2))
				damaged := slices.Clone(script)
				for range 1 + rng.IntN(6) {
					at := rng.IntN(len(damaged))
					switch rng.IntN(4) {
					case 0:
						damaged[at] = byte(rng.Uint32())
					case 1:
						damaged[at] ^= 1 << rng.IntN(8)
					case 2:
						damaged = slices.Delete(damaged, at, max(at, min(at+1+rng.IntN(20), len(damaged)-1)))
					case 3:
						from := rng.IntN(len(damaged))
						part := slices.Clone(damaged[from:min(from+1+rng.IntN(40), len(damaged))])
						damaged = slices.Insert(damaged, at, part...)
					}
				}
				fuzzFlow(t, c, damaged)
			}
		})
	}
}
