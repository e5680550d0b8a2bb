// SPDX-License-Identifier: Apache-2.0

package content

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// token is nobody's: it has the form and the checksum of one.
const token = "ghp_" + "Zx81bQv0Kp7TnRm5Yw3Lc9Hd2Gs6Fj" + "1gW7ZP"

// TestWhatStandsAroundAValue has the value in the request's line, in its host, in a field's name, and in encodings: the finding
// tells of all of these what can be told without it.
func TestWhatStandsAroundAValue(t *testing.T) {
	coded := base64.RawURLEncoding.EncodeToString([]byte(token))
	escaped := strings.ReplaceAll(token, "_", "%5F")
	for _, c := range []struct{ request, host, path string }{
		{"GET /keep/" + token + "/now HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "/keep/ghp_********ZP/now"},
		{"GET /keep/" + escaped + " HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "/keep/ghp_********ZP"},
		{"GET /" + token + ".html?k=" + token + " HTTP/1.1\r\nHost: " + token + ".example\r\n\r\n", "", "/ghp_********ZP.html"},
		{body("/up/"+token, "{\"k\": \""+token+"\"}"), "a.example", "/up/ghp_********ZP"},
		{"GET /in/" + coded + " HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "/in/*"},
		{"GET /" + strings.Repeat("x", 230) + "/" + token + " HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example", "/" + strings.Repeat("x", 230) + "/"},
		{body("/up", "{\""+token+"\": \""+token+"\"}"), "a.example", "/up"},
	} {
		r := newRig(t)
		r.send(piece(wire.ContentOut), c.request, 4096)
		if len(r.found) == 0 {
			t.Errorf("%q: nothing is found", c.request)
			continue
		}
		for _, f := range r.found {
			if all := fmt.Sprintf("%+v", f); strings.Contains(all, token[4:20]) || strings.Contains(all, token[20:]) || strings.Contains(all, coded[8:40]) {
				t.Errorf("%q: told as %s", c.request, all)
			}
			if f.Path != c.path || c.host != "" && f.Host != c.host {
				t.Errorf("%q: host %q, path %q", c.request, f.Host, f.Path)
			}
		}
	}
}

func body(path, text string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(text), text)
}

// TestTextsEndWithTheirConnection has a value at the very end of a text that nothing follows: it is found when its connection
// ends.
func TestTextsEndWithTheirConnection(t *testing.T) {
	r := newRig(t)
	c := piece(wire.ContentOut)
	c.RemotePort = 9
	now := int64(c.Head.Time)
	r.send(c, "the key is "+token, 4096)
	r.Settle(now + int64(10*time.Second))
	if len(r.found) != 0 {
		t.Fatalf("found before it is known to be whole: %+v", r.found)
	}
	r.Ended(c.Cookie, now+int64(11*time.Second))
	r.Settle(now + int64(11*time.Second))
	if len(r.found) != 0 {
		t.Error("closed before what it carried can have come")
	}
	r.Settle(now + int64(13*time.Second))
	if len(r.found) != 1 || r.found[0].Detector != "github-token" || r.Stats().Flows != 0 {
		t.Errorf("%+v, %d flows", r.found, r.Stats().Flows)
	}
	for n := range 2 * maxEnded {
		r.Ended(uint64(n), now)
	}
	if len(r.ended.list) != maxEnded {
		t.Errorf("%d wait", len(r.ended.list))
	}
}

// TestNamesAreShownByTheirDomain has a value in the labels of a name, which goes to a server of names.
func TestNamesAreShownByTheirDomain(t *testing.T) {
	r := newRig(t)
	c := piece(wire.ContentOut)
	c.Protocol, c.RemotePort = inspect.ProtocolUDP, 53
	question := []byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, label := range []string{token[:18], token[18:], "drop", "example"} {
		question = append(append(question, byte(len(label))), label...)
	}
	r.Content(&c, append(question, 0, 0, 1, 0, 1))
	if len(r.found) != 1 || r.found[0].Host != "drop.example" || r.found[0].Peer.Host != "drop.example" || r.found[0].Part != inspect.DNSName.String() {
		t.Fatalf("%+v", r.found)
	}
	if all := fmt.Sprintf("%+v", r.found); strings.Contains(all, token[:18]) || strings.Contains(all, token[18:]) {
		t.Error(all)
	}
}

// TestAttacksFoundElsewhereAreShown has the value in all that a finding of another stage tells.
func TestAttacksFoundElsewhereAreShown(t *testing.T) {
	f := Found{
		Finding: dlp.Finding{Reason: dlp.Attack, Path: "/keep/" + token, Masked: []string{"1 or 1=1 -- " + token}, Peer: dlp.Peer{Host: token + ".example"}},
		Method:  token, Host: token + ".example", Name: token,
	}
	got := newRig(t).Shown(f)
	if all := fmt.Sprintf("%+v", got); strings.Contains(all, token[4:20]) {
		t.Error(all)
	}
	if got.Path != "/keep/ghp_********ZP" || !strings.HasPrefix(got.Masked[0], "1 or 1=1") || !strings.HasSuffix(f.Masked[0], token) {
		t.Errorf("%+v of %+v", got, f)
	}
}

// TestExceptionsHoldForAnyPort has values sent to a host that may have them, and to another, each with a port.
func TestExceptionsHoldForAnyPort(t *testing.T) {
	for host, told := range map[string]bool{"API.bank.example:8443": false, "bank.example": true, "[2001:db8::1]:8443": true} {
		r := newRig(t)
		r.counter = dlp.NewCounter(dlp.CounterConfig{Detectors: dlp.Detectors(r.cfg.Matcher), Exceptions: []dlp.Exception{{Host: ".bank.example"}}})
		if err := r.renew(); err != nil {
			t.Fatal(err)
		}
		r.send(piece(wire.ContentOut), strings.ReplaceAll(body("/up", token), "a.example", host), 4096)
		if len(r.found) > 0 != told {
			t.Errorf("%s: %+v", host, r.found)
		}
		for _, f := range r.found {
			if f.Host != host || f.Peer.Host != strings.TrimSuffix(host, ":8443") {
				t.Errorf("%s: host %q, peer %q", host, f.Host, f.Peer.Host)
			}
		}
	}
}
