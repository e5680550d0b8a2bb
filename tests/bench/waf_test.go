// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/rules/waf"
)

const wafRounds = 7

// prose is ordinary text of a given size, without what would make it a candidate for anything.
func prose(size int) []byte {
	g := rand.New(rand.NewPCG(3, 3))
	words := strings.Fields("the quick brown fox jumps over a lazy dog while summer rain falls on green hills of honey and bread in 2026 at nine")
	var b bytes.Buffer
	for b.Len() < size {
		b.WriteString(words[g.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.Bytes()[:size]
}

// record is a JSON document of ordinary records.
func record(size int) []byte {
	g := rand.New(rand.NewPCG(4, 4))
	var b bytes.Buffer
	b.WriteByte('[')
	for b.Len() < size {
		fmt.Fprintf(&b, `{"id":%d,"name":"Customer %d","mail":"c%d@example.com","note":"%s","total":%d.%02d},`, g.Uint32(), g.IntN(999), g.IntN(999), prose(60), g.IntN(999), g.IntN(99))
	}
	return append(bytes.TrimRight(b.Bytes(), ","), ']')
}

// BenchmarkWAF compares the filter with one regular expression, and with a scan for a single byte, on what requests
// carry. The contenders take turns; the figures are medians.
func BenchmarkWAF(b *testing.B) {
	f, err := waf.Compile(waf.Config{})
	if err != nil {
		b.Fatal(err)
	}
	image := []byte(base64.StdEncoding.EncodeToString(prose(96 << 10)))
	re := regexp.MustCompile(`(?i)union\s+select|\$\{jndi:|\.\./|etc/passwd`)
	small := &waf.Request{
		Method: []byte("GET"), Target: []byte("/api/v1/items/1234?sort=name&page=2&q=green+tea"), Host: []byte("shop.example.com"),
		Headers: []waf.Pair{
			{Name: []byte("User-Agent"), Value: []byte("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36")},
			{Name: []byte("Accept"), Value: []byte("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")},
			{Name: []byte("Cookie"), Value: []byte("session=0123456789abcdef; theme=dark; lang=en")},
		},
	}
	body := func(contentType string, content []byte) func() {
		r := &waf.Request{Method: []byte("POST"), Target: []byte("/upload"), ContentType: []byte(contentType), Body: content}
		return func() {
			if hits := f.Request(nil, r); len(hits) > 0 {
				b.Fatal(hits)
			}
		}
	}
	text, documents := prose(128<<10), record(128<<10)
	contenders := []struct {
		name string
		size int
		run  func()
	}{
		{"one byte, bytes.IndexByte", len(text), func() { bytes.IndexByte(text, '$') }},
		{"one regular expression of four words", len(text), func() { re.Match(text) }},
		{"filter, text", len(text), body("text/plain", text)},
		{"filter, JSON", len(documents), body("application/json", documents)},
		{"filter, base64", len(image), body("application/octet-stream", image)},
		{"filter, a small request", 300, func() { f.Request(nil, small) }},
	}
	for b.Loop() {
		times := make([][]float64, len(contenders))
		for range wafRounds {
			for i, c := range contenders {
				n := 1 + (4<<20)/c.size
				start := time.Now()
				for range n {
					c.run()
				}
				times[i] = append(times[i], float64(time.Since(start))/float64(n))
			}
		}
		b.Logf("%-40s %12s %10s", "", "ns", "MB/s")
		for i, c := range contenders {
			m := median(times[i])
			b.Logf("%-40s %12.0f %10.0f", c.name, m, float64(c.size)/m*1000)
		}
	}
}
