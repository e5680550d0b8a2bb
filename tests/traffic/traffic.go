// SPDX-License-Identifier: Apache-2.0

// Package traffic makes HTTP requests for tests of what looks at requests for attacks: some with attacks, and any number of ordinary
// ones: what applications and people send (searches with quotes, prose with the words of SQL and of shells, posts with code, GraphQL, JSON, forms, uploads,
// base64, cookies with JSON in them, text of many scripts), with all that looks like an attack to somebody who reads words and
// not meaning. For benchmarks it makes text as services send it. It does no input or output.
package traffic

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"

	"github.com/holdfast-project/holdfast/rules/waf"
)

// Generator makes requests. It serves one goroutine.
type Generator struct {
	random *rand.Rand
}

// New makes a generator; the same seed gives the same requests.
func New(seed uint64) *Generator { return &Generator{rand.New(rand.NewPCG(seed, 1))} }

func (g *Generator) pick(s []string) string { return s[g.random.IntN(len(s))] }

func (g *Generator) word() string { return g.pick(words) }

func (g *Generator) words(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(g.word())
	}
	return b.String()
}

func (g *Generator) id() string { return fmt.Sprintf("%d", g.random.IntN(1_000_000_000)) }

func (g *Generator) base64(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.random.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// sentence is prose, with whatever people put in it.
func (g *Generator) sentence() string {
	s := g.words(2 + g.random.IntN(8))
	for range g.random.IntN(3) {
		s += g.pick([]string{" ", ", ", "; ", " - ", " -- ", " & ", " / ", ": ", ". ", " (", "\n"}) + g.pick(phrases) + g.pick([]string{"", "", ".", "!", "?", ")", "\n", " :-)", "…"}) + " " + g.words(1+g.random.IntN(6))
	}
	return s
}

// snippet is code that people put into posts.
func (g *Generator) snippet() string {
	return g.sentence() + "\n\n```" + g.pick([]string{"", "js", "sql", "sh", "go", "python"}) + "\n" + g.pick(snippets) + "\n```\n" + g.sentence()
}

// value is what a parameter of a query has.
func (g *Generator) value() string {
	switch g.random.IntN(14) {
	case 0:
		return g.id()
	case 1:
		return g.pick(names)
	case 2:
		return g.sentence()
	case 3:
		return g.pick(queries)
	case 4:
		return "https://" + g.pick(hosts) + "/" + g.word() + "?next=" + url.QueryEscape("/"+g.word()+"/"+g.id()) + "#" + g.word()
	case 5:
		return g.word() + g.pick([]string{".", "-", "_", " "}) + g.word() + g.pick([]string{".pdf", ".tar.gz", ".min.js", "..doc", ".v1.2.3.zip"})
	case 6:
		return g.base64(8 + g.random.IntN(60))
	case 7:
		return strings.Join([]string{g.word(), g.word(), g.pick([]string{"id", "date", "host", "name", "type"})}, g.pick([]string{",", "|", ";", ":", "+"}))
	case 8:
		return fmt.Sprintf("%d-%02d-%02dT%02d:%02d:00Z", 2020+g.random.IntN(7), 1+g.random.IntN(12), 1+g.random.IntN(28), g.random.IntN(24), g.random.IntN(60))
	case 9:
		return fmt.Sprintf("%.6f,%.6f", g.random.Float64()*180-90, g.random.Float64()*360-180)
	case 10:
		return g.pick(names) + "@" + g.pick(hosts)
	case 11:
		return "/" + g.word() + "/" + g.word() + "/../" + g.word()
	case 12:
		return fmt.Sprintf("%s:%s AND (%s:[%d TO *] OR -%s:\"%s\")", g.word(), g.word(), g.word(), g.random.IntN(100), g.word(), g.words(2))
	default:
		return g.word()
	}
}

func (g *Generator) query() string {
	v := url.Values{}
	for range 1 + g.random.IntN(5) {
		v.Set(g.pick(parameters), g.value())
	}
	return v.Encode()
}

func (g *Generator) path() string {
	segments := []string{}
	for range 1 + g.random.IntN(5) {
		segments = append(segments, url.PathEscape(g.pick([]string{g.word(), g.id(), g.pick(names), g.word() + "." + g.word() + ".js", "v1", "@" + g.word(), g.word() + ";v=" + g.id(), g.word() + "..." + g.word(), g.words(3)})))
	}
	return "/" + strings.Join(segments, "/")
}

// Request makes one of an hour's variety. Nothing of it is shared with the next.
func (g *Generator) Request() *waf.Request {
	r := &waf.Request{Method: []byte("GET"), Target: []byte(g.path()), Host: []byte(g.pick(hosts))}
	head := func(name, value string) {
		r.Headers = append(r.Headers, waf.Pair{Name: []byte(name), Value: []byte(value)})
	}
	head("User-Agent", g.pick(agents))
	head("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8")
	head("Accept-Language", "en-GB,en;q=0.5")
	if g.random.IntN(2) == 0 {
		head("Cookie", "session="+g.base64(24)+"; _ga=GA1.2."+g.id()+"; prefs="+url.QueryEscape(`{"theme":"dark","name":"`+g.pick(names)+`"}`)+"; last="+url.QueryEscape(g.value()))
	}
	if g.random.IntN(2) == 0 {
		head("Referer", "https://"+g.pick(hosts)+g.path()+"?"+g.query())
	}
	if g.random.IntN(4) == 0 {
		head("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9."+g.base64(60)+"."+g.base64(24))
		head("If-None-Match", `W/"`+g.base64(9)+`"`)
	}
	if g.random.IntN(2) == 0 {
		r.Target = append(r.Target, "?"+g.query()...)
		return r
	}
	r.Method = []byte("POST")
	g.body(r)
	head("Content-Type", string(r.ContentType))
	head("Content-Length", fmt.Sprint(len(r.Body)))
	return r
}

func (g *Generator) body(r *waf.Request) {
	set := func(t, body string) { r.ContentType, r.Body = []byte(t), []byte(body) }
	switch g.random.IntN(9) {
	case 0:
		set("application/x-www-form-urlencoded", g.query()+"&comment="+url.QueryEscape(g.snippet()))
	case 1:
		b, _ := json.Marshal(map[string]any{
			"title": g.sentence(), "body": g.snippet(), "tags": []string{g.word(), g.pick(phrases)}, "id": g.random.Uint32(), "author": g.pick(names),
			"links": []string{"https://" + g.pick(hosts) + g.path()}, "when": "2026-11-22T01:02:03Z", "file": "../" + g.word() + "/" + g.word() + ".ts",
		})
		set("application/json", string(b))
	case 2:
		b, _ := json.Marshal(map[string]any{"query": g.pick(graphs), "variables": map[string]any{"input": g.value(), "first": 10, "after": g.base64(12)}})
		set("application/json", string(b))
	case 3:
		set("multipart/form-data; boundary=----WebKitFormBoundaryAbC", "------WebKitFormBoundaryAbC\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n"+g.sentence()+
			"\r\n------WebKitFormBoundaryAbC\r\nContent-Disposition: form-data; name=\"file\"; filename=\""+g.word()+".js\"\r\nContent-Type: text/javascript\r\n\r\n"+g.pick(scripts)+
			"\r\n------WebKitFormBoundaryAbC--\r\n")
	case 4:
		b, _ := json.Marshal(map[string]any{"image": "data:image/png;base64," + g.base64(2000), "alt": g.sentence()})
		set("application/json", string(b))
	case 5:
		set("text/plain", g.snippet()+"\n"+g.sentence()+"\n"+g.snippet())
	case 6:
		set("application/xml", `<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd"><order id="`+
			g.id()+`"><customer>`+g.pick(names)+`</customer><note>`+strings.ReplaceAll(strings.ReplaceAll(g.sentence(), "&", "&amp;"), "<", "&lt;")+`</note></order>`)
	case 7:
		set("application/javascript", g.pick(scripts)+"\n"+g.pick(scripts))
	default:
		set("application/octet-stream", g.base64(500))
	}
}

// Append appends the request as HTTP/1.1 has it.
func Append(dst []byte, r *waf.Request) []byte {
	dst = fmt.Appendf(dst, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Target, r.Host)
	for _, h := range r.Headers {
		dst = fmt.Appendf(dst, "%s: %s\r\n", h.Name, h.Value)
	}
	return append(append(dst, "\r\n"...), r.Body...)
}
