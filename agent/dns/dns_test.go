// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// build makes a message from a header and raw sections.
func build(flags, questions, answers uint16, rest ...string) []byte {
	msg := make([]byte, headerSize)
	binary.BigEndian.PutUint16(msg, 0x1234)
	binary.BigEndian.PutUint16(msg[2:], flags)
	binary.BigEndian.PutUint16(msg[4:], questions)
	binary.BigEndian.PutUint16(msg[6:], answers)
	return append(msg, strings.Join(rest, "")...)
}

// question and record in wire form; names are given in wire form too.
func question(name string, t Type) string {
	return name + string(binary.BigEndian.AppendUint16(nil, uint16(t))) + "\x00\x01"
}

func record(name string, t Type, ttl uint32, data string) string {
	head := binary.BigEndian.AppendUint16(nil, uint16(t))
	head = append(head, 0, 1)
	head = binary.BigEndian.AppendUint32(head, ttl)
	head = binary.BigEndian.AppendUint16(head, uint16(len(data)))
	return name + string(head) + data
}

const www = "\x03www\x07example\x03com\x00"

func TestParse(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3) + "\x3d" + strings.Repeat("b", 61) + "\x00"
	tests := map[string]struct {
		msg  []byte
		want Message
		err  error
	}{
		"question": {
			msg:  build(0x0100, 1, 0, question(www, TypeA)),
			want: Message{ID: 0x1234, Question: "www.example.com", QuestionType: "A", Questions: 1, ResponseCode: "NOERROR"},
		},
		"root": {
			msg:  build(0x0100, 1, 0, question("\x00", TypeNS)),
			want: Message{ID: 0x1234, Question: ".", QuestionType: "NS", Questions: 1, ResponseCode: "NOERROR"},
		},
		"answers with compression": {
			msg: build(0x8180, 1, 3, question(www, TypeAAAA),
				record("\xc0\x0c", TypeCNAME, 60, "\x04edge\xc0\x10"),
				record("\xc0\x2d", TypeA, 30, "\x7f\x00\x00\x05"),
				record("\xc0\x2d", TypeAAAA, 31, "\xfd\x00"+strings.Repeat("\x00", 13)+"\x09")),
			want: Message{
				ID: 0x1234, Answer: true, Question: "www.example.com", QuestionType: "AAAA", Questions: 1, ResponseCode: "NOERROR",
				Records: []Resource{
					{"www.example.com", "CNAME", 60, "edge.example.com"},
					{"edge.example.com", "A", 30, "127.0.0.5"},
					{"edge.example.com", "AAAA", 31, "fd00::9"},
				},
			},
		},
		"no such name": {
			msg:  build(0x8183, 1, 0, question(www, TypeA)),
			want: Message{ID: 0x1234, Answer: true, Question: "www.example.com", QuestionType: "A", Questions: 1, ResponseCode: "NXDOMAIN"},
		},
		"text and unknown data": {
			msg: build(0x8180, 0, 2, record("\x01x\x00", TypeTXT, 1, "\x02a\"\x03b\n\\"), record("\x00", 999, 2, "\x01\xff")),
			want: Message{
				ID: 0x1234, Answer: true, ResponseCode: "NOERROR",
				Records: []Resource{{"x", "TXT", 1, `"a\"" "b\010\\"`}, {".", "TYPE999", 2, `\# 2 01ff`}},
			},
		},
		"an address of the wrong size": {
			msg: build(0x8180, 0, 1, record("\x00", TypeA, 1, "\x01\x02\x03")),
			want: Message{
				ID: 0x1234, Answer: true, ResponseCode: "NOERROR", Records: []Resource{{".", "A", 1, `\# 3 010203`}},
			},
		},
		"hostile label": {
			msg:  build(0, 1, 0, question("\x06a.b\n\x1b\x80\x00", TypeA)),
			want: Message{ID: 0x1234, Question: `a\.b\010\027\128`, QuestionType: "A", Questions: 1, ResponseCode: "NOERROR"},
		},
		"longest name": {
			msg: build(0, 1, 0, question(long, TypeA)),
			want: Message{
				ID: 0x1234, Question: strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61),
				QuestionType: "A", Questions: 1, ResponseCode: "NOERROR",
			},
		},
		"cut in the answers": {
			msg: build(0x8180, 1, 2, question(www, TypeA), record("\xc0\x0c", TypeA, 5, "\x01\x02\x03\x04"), "\xc0"),
			want: Message{
				ID: 0x1234, Answer: true, Question: "www.example.com", QuestionType: "A", Questions: 1, ResponseCode: "NOERROR",
				Records: []Resource{{"www.example.com", "A", 5, "1.2.3.4"}}, Cut: true,
			},
		},
		"name too long":       {msg: build(0, 1, 0, strings.Replace(question(long, TypeA), "\x3d", "\x3e", 1)), err: ErrName},
		"pointer to itself":   {msg: build(0, 1, 0, question("\xc0\x0c", TypeA)), err: ErrPointer},
		"pointer ahead":       {msg: build(0, 1, 0, question("\xc0\x20", TypeA)), err: ErrPointer},
		"pointer loop":        {msg: build(0, 1, 0, question("\x01a\xc0\x0c", TypeA)), err: ErrPointer},
		"reserved label type": {msg: build(0, 1, 0, question("\x80", TypeA)), err: ErrName},
		"no header":           {msg: []byte("short"), err: ErrShort},
		"no question":         {msg: build(0, 1, 0), err: ErrShort},
		"data beyond the end": {msg: build(0x8000, 1, 1, question("\x40", TypeA)), err: ErrName},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.msg)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err == nil && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestParseBounds gives more questions and answers than are visited.
func TestParseBounds(t *testing.T) {
	msg := build(0x8000, 0, 1000, strings.Repeat(record("\x00", TypeA, 1, "\x01\x02\x03\x04"), 1000))
	got, err := Parse(msg)
	if err != nil || len(got.Records) != recordMax {
		t.Errorf("%d records, error %v; want %d", len(got.Records), err, recordMax)
	}
}

type discard struct{ questions, answers int }

func (d *discard) Question([]byte, Type, uint16) { d.questions++ }
func (d *discard) Answer(*Record)                { d.answers++ }

func TestWalkAllocatesNothing(t *testing.T) {
	msg := build(0x8180, 1, 2, question(www, TypeA),
		record("\xc0\x0c", TypeCNAME, 60, "\x04edge\xc0\x10"), record("\xc0\x2d", TypeA, 30, "\x7f\x00\x00\x05"))
	var w Walker
	var d discard
	n := testing.AllocsPerRun(100, func() {
		if _, err := w.Walk(msg, &d); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 || d.questions == 0 || d.answers != 2*d.questions {
		t.Errorf("%v allocations, visited %+v", n, d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(build(0x8180, 1, 3, question(www, TypeAAAA), record("\xc0\x0c", TypeCNAME, 60, "\x04edge\xc0\x10"),
		record("\xc0\x2d", TypeA, 30, "\x7f\x00\x00\x05"), record("\x00", TypeTXT, 1, "\x02a\"\x03b\n\\")))
	f.Add(build(0, 1, 0, question("\xc0\x0c", TypeA)))
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := Parse(msg)
		texts := []string{got.Question}
		for _, r := range got.Records {
			texts = append(texts, r.Name, r.Data)
		}
		for _, text := range texts {
			for _, c := range []byte(text) {
				if c < ' ' || c >= 127 {
					t.Fatalf("byte %#x in %q", c, text)
				}
			}
		}
		if len(got.Records) > recordMax || len(got.Question) > textMax {
			t.Fatalf("%d records, a question of %d bytes", len(got.Records), len(got.Question))
		}
		// What parses whole parses cut, too, as cut or as an error, with no more in it.
		if err == nil && len(msg) > 0 {
			if less, _ := Parse(msg[:len(msg)-1]); len(less.Records) > len(got.Records) {
				t.Fatalf("a shorter message has %d records, the whole %d", len(less.Records), len(got.Records))
			}
		}
	})
}

func framed(msgs ...string) string {
	var stream []byte
	for _, m := range msgs {
		stream = binary.BigEndian.AppendUint16(stream, uint16(len(m)))
		stream = append(stream, m...)
	}
	return string(stream)
}

func TestStreams(t *testing.T) {
	two := framed("first message", "second")
	piece := func(seq uint32, data string, missing int) Piece {
		return Piece{Sequence: seq, Data: []byte(data), Size: len(data) + missing}
	}
	tests := map[string]struct {
		pieces []Piece
		want   []string
		lost   uint64
	}{
		"whole":     {[]Piece{piece(100, two, 0)}, []string{"first message/13", "second/6"}, 0},
		"wrapping":  {[]Piece{piece(0xfffffffe, two[:5], 0), piece(3, two[5:], 0)}, []string{"first message/13", "second/6"}, 0},
		"by bytes":  {bytewise(7, two), []string{"first message/13", "second/6"}, 0},
		"backwards": {[]Piece{piece(0, two[:1], 0), piece(9, two[9:], 0), piece(5, two[5:9], 0), piece(1, two[1:5], 0)}, []string{"first message/13", "second/6"}, 0},
		"twice":     {[]Piece{piece(0, two[:9], 0), piece(0, two[:9], 0), piece(4, two[4:], 0), piece(4, two[4:], 0)}, []string{"first message/13", "second/6"}, 0},
		"cut within a message": {
			[]Piece{piece(0, two[:7], 4), piece(11, two[11:], 0)}, []string{"first/13", "second/6"}, 0,
		},
		"cut over a length": {
			[]Piece{piece(0, two[:7], len(two)-7), piece(uint32(len(two)), framed("third"), 0)}, []string{"first/13", "third/5"}, 1,
		},
		"gone for good": {
			[]Piece{
				piece(0, two[:7], 0), piece(50, framed("a1"), 0), piece(54, framed("b2"), 0), piece(58, framed("c3"), 0),
				piece(62, framed("d4"), 0), piece(66, framed("e5"), 0),
			},
			[]string{"first/13", "a1/2", "b2/2", "c3/2", "d4/2", "e5/2"}, 1,
		},
		"empty messages":   {[]Piece{piece(0, framed("", "x", ""), 0)}, []string{"x/1"}, 0},
		"a size too small": {[]Piece{{Sequence: 1, Data: []byte(two), Size: 3}}, nil, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewStreams(0)
			var got []string
			for _, p := range tt.pieces {
				s.Push(StreamKey{Cookie: 1}, p, func(msg []byte, size int) { got = append(got, fmt.Sprintf("%s/%d", msg, size)) })
			}
			if !reflect.DeepEqual(got, tt.want) || s.Lost() != tt.lost {
				t.Errorf("got %q, lost %d; want %q, lost %d", got, s.Lost(), tt.want, tt.lost)
			}
		})
	}
}

func bytewise(seq uint32, text string) []Piece {
	var pieces []Piece
	for i := range len(text) {
		pieces = append(pieces, Piece{Sequence: seq + uint32(i), Data: []byte{text[i]}, Size: 1})
	}
	return pieces
}

func TestStreamsBounds(t *testing.T) {
	s := NewStreams(2)
	push := func(cookie uint64, seq uint32, data string) (got string) {
		s.Push(StreamKey{Cookie: cookie}, Piece{seq, []byte(data), len(data)}, func(msg []byte, size int) {
			got = fmt.Sprintf("%d of %d", len(msg), size)
		})
		return got
	}
	big := framed(strings.Repeat("x", 60000))
	if got := push(1, 0, big); got != "4096 of 60000" {
		t.Errorf("a large message came as %q", got)
	}
	half := framed("half")
	push(1, uint32(len(big)), half[:3])
	push(2, 0, half)
	push(3, 0, half)
	if s.Lost() != 1 || len(s.byKey) != 2 {
		t.Errorf("with a third stream: lost %d, %d streams", s.Lost(), len(s.byKey))
	}
	s.End(2)
	s.End(3)
	if len(s.byKey) != 0 || s.oldest.Len() != 0 {
		t.Errorf("%d streams are left after their end", len(s.byKey))
	}
}

func FuzzStreams(f *testing.F) {
	f.Add([]byte("\x00\x00\x04\x00\x00\x02hi\x00\x02\x01\x03\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		s := NewStreams(4)
		for len(script) >= 4 {
			n := min(int(script[1])&15, len(script)-4)
			p := Piece{Sequence: uint32(script[0]), Data: script[4 : 4+n], Size: n + int(script[2])}
			s.Push(StreamKey{Cookie: uint64(script[3] & 7)}, p, func(msg []byte, size int) {
				if len(msg) == 0 || len(msg) > size || len(msg) > keepMax {
					t.Fatalf("message of %d bytes, size %d", len(msg), size)
				}
			})
			script = script[4+n:]
		}
		if len(s.byKey) > 4 || s.oldest.Len() != len(s.byKey) {
			t.Fatalf("%d streams, %d in order", len(s.byKey), s.oldest.Len())
		}
		for _, e := range s.byKey {
			if st := e.Value.(*stream); len(st.pending) > pendingMax || len(st.kept) > keepMax {
				t.Fatalf("a stream keeps %d bytes and %d pieces", len(st.kept), len(st.pending))
			}
		}
	})
}
