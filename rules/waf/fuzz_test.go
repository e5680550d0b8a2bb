// SPDX-License-Identifier: Apache-2.0

package waf_test

import (
	"testing"

	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/tests/traffic"
)

// every is all attacks of the tables.
func every() []attack {
	var all []attack
	for _, set := range [][]attack{
		log4shell, traversal, sqlInjection, commandInjection, requestForgery, deserialisation, webShell, templateInjection, externalEntity, others,
	} {
		all = append(all, set...)
	}
	return all
}

func checkHits(t *testing.T, hits []waf.Hit) {
	t.Helper()
	if len(hits) > waf.DefaultMaxHits {
		t.Fatalf("%d hits", len(hits))
	}
	for _, h := range hits {
		if len(h.Evidence) > 120 || len(h.Name) > 64 {
			t.Fatalf("%s: evidence of %d bytes, name of %d", h.Rule.ID, len(h.Evidence), len(h.Name))
		}
		for _, c := range []byte(h.Evidence + h.Name) {
			if c < ' ' || c > '~' {
				t.Fatalf("%s: %q is not printable", h.Rule.ID, h.Evidence)
			}
		}
	}
}

// FuzzRequest looks for requests that the filter does not survive, or whose hits cannot be shown.
func FuzzRequest(f *testing.F) {
	for _, a := range every() {
		r := request(a)
		h := r.Headers[len(r.Headers)-1]
		f.Add(r.Target, h.Name, h.Value, r.ContentType, r.Body)
	}
	w := filter(f, waf.Config{Level: 2})
	f.Fuzz(func(t *testing.T, target, name, value, contentType, body []byte) {
		checkHits(t, w.Request(nil, &waf.Request{
			Target: target, Headers: []waf.Pair{{Name: name, Value: value}}, ContentType: contentType, Body: body,
		}))
	})
}

// FuzzText does the same for single texts of all kinds.
func FuzzText(f *testing.F) {
	for i, a := range every() {
		f.Add(uint8(i), []byte("q"), []byte(a.value))
	}
	w := filter(f, waf.Config{Level: 2})
	f.Fuzz(func(t *testing.T, kind uint8, name, text []byte) {
		checkHits(t, w.Text(nil, waf.Kind(kind%10), name, text))
	})
}

// TestTextKinds checks that a caller who takes requests apart finds what the whole request shows.
func TestTextKinds(t *testing.T) {
	w := filter(t, waf.Config{})
	for _, c := range []struct {
		kind waf.Kind
		name string
		text string
		rule string
	}{
		{waf.Param, "q", "1' or '1'='1", "sql-condition"},
		{waf.Field, "cmd", "whoami", "webshell-command"},
		{waf.Value, "url", "http://169.254.169.254/", "ssrf-metadata"},
		{waf.Path, "", "/a/..%2f..%2f..%2fetc/passwd", "traversal-path"},
		{waf.Query, "", "/a?x=%24%7Bjndi:ldap://e/a%7D", "log4shell-jndi"},
		{waf.Header, "User-Agent", "() { :;}; id", "shellshock"},
		{waf.Header, "Cookie", "a=b; c=${jndi:ldap://e/a}", "log4shell-jndi"},
		{waf.Cookie, "c", "${jndi:ldap://e/a}", "log4shell-jndi"},
		{waf.Body, "", `<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>`, "xml-entity"},
		{waf.File, "a.php", "<?php system($_GET['c']); ?>", "webshell-upload"},
		{waf.ParamName, "", "class.module.classLoader.x", "spring-class-loader"},
	} {
		hits := w.Text(nil, c.kind, []byte(c.name), []byte(c.text))
		if !met(hits, "", c.rule) {
			t.Errorf("%v %s=%q: %s not found, but %s", c.kind, c.name, c.text, c.rule, list(hits))
		}
	}
}

// TestCleanAllocates checks that ordinary requests take no memory.
func TestCleanAllocates(t *testing.T) {
	w := filter(t, waf.Config{})
	g := traffic.New(11)
	requests := make([]*waf.Request, 300)
	for i := range requests {
		requests[i] = g.Request()
	}
	dst := make([]waf.Hit, 0, 4)
	all := func() {
		for _, r := range requests {
			dst = w.Request(dst[:0], r)
		}
	}
	all()
	if n := testing.AllocsPerRun(5, all); n > 0 {
		t.Errorf("%.0f allocations for %d ordinary requests", n, len(requests))
	}
}

// TestHostile checks that texts made to be dear take time in proportion to their length: the dear ones are compared with
// ordinary text by the number of hits alone, and the fuzzers by their deadline.
func TestHostile(t *testing.T) {
	w := filter(t, waf.Config{Level: 2})
	for _, unit := range []string{"${", "${${::-", "../", "' or ", "((((", "`", ";", "{{", "<!ENTITY ", "/*", "O:1:", "$(", "%25", "rO0AB", "\\u00", "a=b&", "\""} {
		text := make([]byte, 0, 1<<20)
		for len(text) < 1<<19 {
			text = append(text, unit...)
		}
		for kind := range waf.Kind(10) {
			checkHits(t, w.Text(nil, kind, nil, text))
		}
		checkHits(t, w.Request(nil, &waf.Request{Target: append([]byte("/?q="), text...), ContentType: []byte("application/json"), Body: text}))
	}
}
