// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/base64"
	"strings"
	"testing"
)

// readBody sends a request with a body in pieces of a size, and gives what the sink was told.
func readBody(t *testing.T, headers string, body []byte, size int) string {
	t.Helper()
	r := newRecorder(t)
	in := newInspector(t, Config{MemoryBytes: 2 << 20, ExpansionBytes: 64 << 10}, r)
	send(in, testKey, Out, 80, []byte("POST / HTTP/1.1\r\nHost: h\r\n"+headers+"Content-Length: "+itoa(len(body))+"\r\n\r\n"))
	for rest := body; len(rest) > 0; {
		n := min(size, len(rest))
		in.Piece(&Piece{Key: testKey, Protocol: ProtocolTCP, RemotePort: 80, Data: rest[:n]})
		rest = rest[n:]
		if in.memory > in.cfg.MemoryBytes || in.memory < 0 {
			t.Fatalf("%d bytes are charged", in.memory)
		}
	}
	in.Closed(testKey)
	if st := in.Stats(); st.Memory != 0 || st.Decoders != 0 || st.Flows != 0 {
		t.Fatalf("after the end %d bytes, %d decoders, %d flows are held", st.Memory, st.Decoders, st.Flows)
	}
	if most := (len(body) + in.cfg.ExpansionBytes) * (depthMax + 3); r.given > most {
		t.Fatalf("%d bytes gave %d", len(body), r.given)
	}
	return r.String()
}

// FuzzMultipart fuzzes bodies of several parts: however they are cut, they are read the same.
func FuzzMultipart(f *testing.F) {
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f.txt\"\r\nContent-Type: text/plain\r\n\r\n"+card+"\r\n--b--\r\nafter"), uint16(3))
	f.Add([]byte("before\n--b\nContent-Transfer-Encoding: base64\n\n"+base64.StdEncoding.EncodeToString([]byte("text "+card))+"\n--b\n\n"), uint16(0))
	f.Add([]byte("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=\r\nb=41\r\n--c--\r\n--b--"), uint16(7))
	f.Fuzz(func(t *testing.T, body []byte, size uint16) {
		const headers = "Content-Type: multipart/form-data; boundary=b\r\n"
		whole := readBody(t, headers, body, len(body))
		if parts := readBody(t, headers, body, int(size)+1); parts != whole {
			t.Fatalf("in parts of %d\n%s\nin one\n%s", int(size)+1, parts, whole)
		}
	})
}

// textKinds are what bodies of text may say that they are.
var textKinds = [...]string{
	"", "Content-Type: application/json\r\n", "Content-Type: application/x-www-form-urlencoded\r\n", "Content-Type: text/plain\r\n",
}

// FuzzTexts fuzzes JSON, forms, and what is encoded as text: however they are cut, they are read the same.
func FuzzTexts(f *testing.F) {
	f.Add(uint8(1), []byte(`{"a":[1,"\u0034111","b\\",{"c":"NDExMSAxMTExIDExMTEgMTExMQ=="}],"d":null}`), uint16(2))
	f.Add(uint8(2), []byte("a=1&b=%34111+1111&c=%7b%22d%22%3a1%7d&&=x"), uint16(0))
	f.Add(uint8(3), []byte(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("text "+card, 20)))), uint16(10))
	f.Add(uint8(0), []byte("data:text/plain;base64,"+base64.URLEncoding.EncodeToString([]byte("text ??>"+card))), uint16(1))
	f.Add(uint8(0), []byte(strings.Repeat("34313131203131313120", 10)), uint16(5))
	f.Fuzz(func(t *testing.T, kind uint8, body []byte, size uint16) {
		headers := textKinds[int(kind)%len(textKinds)]
		whole := readBody(t, headers, body, len(body))
		if parts := readBody(t, headers, body, int(size)+1); parts != whole {
			t.Fatalf("in parts of %d\n%s\nin one\n%s", int(size)+1, parts, whole)
		}
	})
}

// FuzzDecoders fuzzes what is compressed, in one or two ways.
func FuzzDecoders(f *testing.F) {
	encodings := [...]string{"gzip", "deflate", "br", "zstd", "gzip, zstd", "br, deflate", "identity"}
	text := strings.Repeat("text "+card+"\n", 30)
	for i, data := range []string{
		gz(f, text), zlibbed(f, text), brotlied(f, text), zstded(f, text), zstded(f, gz(f, text)), deflated(f, brotlied(f, text)), gz(f, text),
		deflated(f, text), wideBrotli(), wideZstd(f, 1<<10, 1<<20),
	} {
		f.Add(uint8(i), []byte(data), uint16(i*i))
	}
	f.Fuzz(func(t *testing.T, encoding uint8, body []byte, size uint16) {
		readBody(t, "Content-Encoding: "+encodings[int(encoding)%len(encodings)]+"\r\n", body, int(size)+1)
	})
}
