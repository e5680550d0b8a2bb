// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// Mixed is so many bytes of requests, JSON answers, log lines and prose, with the ids and times that such have; the same in every
// run. It holds nothing that a detector finds or that is an attack.
func Mixed(size int) []byte {
	g := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < size {
		switch g.IntN(4) {
		case 0:
			b = fmt.Appendf(b, "POST /api/v1/orders/%d HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"+
				"Accept: application/json, text/plain, */*\r\nContent-Type: application/json\r\nX-Request-Id: %016x\r\n\r\n", g.IntN(1e6), g.Uint64())
		case 1:
			b = append(item(b, g), '\n')
		case 2:
			b = fmt.Appendf(b, "2026-11-22T%02d:%02d:%02d.%03dZ level=info component=api msg=\"request done\" status=%d duration=%dms peer=10.0.%d.%d\n",
				g.IntN(24), g.IntN(60), g.IntN(60), g.IntN(1000), 200+g.IntN(300), g.IntN(900), g.IntN(256), g.IntN(256))
		default:
			for range 30 {
				b = append(append(b, word(g)...), ' ')
			}
			b = append(b, ".\n"...)
		}
	}
	return b[:size]
}

// JSON is an array of items, of about so many bytes, of which the same holds.
func JSON(size int) []byte {
	g := rand.New(rand.NewPCG(3, 4))
	b := item([]byte{'['}, g)
	for len(b) < size {
		b = item(append(b, ",\n"...), g)
	}
	return append(b, ']')
}

func item(b []byte, g *rand.Rand) []byte {
	return fmt.Appendf(b, `{"id":%d,"name":"%s %s","state":"active","price":%d.%02d,"tags":["%s","%s"],"created":"2026-%02d-%02dT10:%02d:00Z"}`,
		g.IntN(1e9), word(g), word(g), g.IntN(999), g.IntN(99), word(g), word(g), 1+g.IntN(12), 1+g.IntN(28), g.IntN(60))
}

var plain = bytes.Fields([]byte("the order was taken by our service and sent on to the next one for a look at its state while users " +
	"wait for the page with items prices names and pictures in stock account total status message content type length"))

func word(g *rand.Rand) []byte { return plain[g.IntN(len(plain))] }
