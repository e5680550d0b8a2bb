// SPDX-License-Identifier: Apache-2.0

package waf_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/rules/waf"
)

// traffic makes ordinary requests: what applications and people send, with all that looks like an attack to somebody
// who reads words and not meaning.
type traffic struct {
	*rand.Rand
}

func newTraffic(seed uint64) *traffic { return &traffic{rand.New(rand.NewPCG(seed, 1))} }

func (g *traffic) pick(s []string) string { return s[g.IntN(len(s))] }

func (g *traffic) word() string { return g.pick(words) }

func (g *traffic) words(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(g.word())
	}
	return b.String()
}

func (g *traffic) id() string { return fmt.Sprintf("%d", g.IntN(1_000_000_000)) }

func (g *traffic) base64(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// sentence is prose, with whatever people put in it.
func (g *traffic) sentence() string {
	s := g.words(2 + g.IntN(8))
	for range g.IntN(3) {
		s += g.pick([]string{" ", ", ", "; ", " - ", " -- ", " & ", " / ", ": ", ". ", " (", "\n"}) + g.pick(phrases) + g.pick([]string{"", "", ".", "!", "?", ")", "\n", " :-)", "…"}) + " " + g.words(1+g.IntN(6))
	}
	return s
}

// snippet is code that people put into posts.
func (g *traffic) snippet() string {
	return g.sentence() + "\n\n```" + g.pick([]string{"", "js", "sql", "sh", "go", "python"}) + "\n" + g.pick(snippets) + "\n```\n" + g.sentence()
}

// value is what a parameter of a query has.
func (g *traffic) value() string {
	switch g.IntN(14) {
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
		return g.base64(8 + g.IntN(60))
	case 7:
		return strings.Join([]string{g.word(), g.word(), g.pick([]string{"id", "date", "host", "name", "type"})}, g.pick([]string{",", "|", ";", ":", "+"}))
	case 8:
		return fmt.Sprintf("%d-%02d-%02dT%02d:%02d:00Z", 2020+g.IntN(7), 1+g.IntN(12), 1+g.IntN(28), g.IntN(24), g.IntN(60))
	case 9:
		return fmt.Sprintf("%.6f,%.6f", g.Float64()*180-90, g.Float64()*360-180)
	case 10:
		return g.pick(names) + "@" + g.pick(hosts)
	case 11:
		return "/" + g.word() + "/" + g.word() + "/../" + g.word()
	case 12:
		return fmt.Sprintf("%s:%s AND (%s:[%d TO *] OR -%s:\"%s\")", g.word(), g.word(), g.word(), g.IntN(100), g.word(), g.words(2))
	default:
		return g.word()
	}
}

func (g *traffic) query() string {
	v := url.Values{}
	for range 1 + g.IntN(5) {
		v.Set(g.pick(parameters), g.value())
	}
	return v.Encode()
}

func (g *traffic) path() string {
	segments := []string{}
	for range 1 + g.IntN(5) {
		segments = append(segments, url.PathEscape(g.pick([]string{g.word(), g.id(), g.pick(names), g.word() + "." + g.word() + ".js", "v1", "@" + g.word(), g.word() + ";v=" + g.id(), g.word() + "..." + g.word(), g.words(3)})))
	}
	return "/" + strings.Join(segments, "/")
}

// request is one of an hour's variety.
func (g *traffic) request() *waf.Request {
	r := &waf.Request{Method: []byte("GET"), Target: []byte(g.path()), Host: []byte(g.pick(hosts))}
	head := func(name, value string) {
		r.Headers = append(r.Headers, waf.Pair{Name: []byte(name), Value: []byte(value)})
	}
	head("User-Agent", g.pick(agents))
	head("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8")
	head("Accept-Language", "en-GB,en;q=0.5")
	if g.IntN(2) == 0 {
		head("Cookie", "session="+g.base64(24)+"; _ga=GA1.2."+g.id()+"; prefs="+url.QueryEscape(`{"theme":"dark","name":"`+g.pick(names)+`"}`)+"; last="+url.QueryEscape(g.value()))
	}
	if g.IntN(2) == 0 {
		head("Referer", "https://"+g.pick(hosts)+g.path()+"?"+g.query())
	}
	if g.IntN(4) == 0 {
		head("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9."+g.base64(60)+"."+g.base64(24))
		head("If-None-Match", `W/"`+g.base64(9)+`"`)
	}
	if g.IntN(2) == 0 {
		r.Target = append(r.Target, "?"+g.query()...)
		return r
	}
	r.Method = []byte("POST")
	g.body(r)
	head("Content-Type", string(r.ContentType))
	head("Content-Length", fmt.Sprint(len(r.Body)))
	return r
}

func (g *traffic) body(r *waf.Request) {
	set := func(t, body string) { r.ContentType, r.Body = []byte(t), []byte(body) }
	switch g.IntN(9) {
	case 0:
		set("application/x-www-form-urlencoded", g.query()+"&comment="+url.QueryEscape(g.snippet()))
	case 1:
		b, _ := json.Marshal(map[string]any{
			"title": g.sentence(), "body": g.snippet(), "tags": []string{g.word(), g.pick(phrases)}, "id": g.Uint32(), "author": g.pick(names),
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

var names = []string{
	"O'Brien", "D'Angelo", "Jean-Luc", "Mary-Ann O'Neill", "l'Oréal", "Ünal", "Rock 'n' Roll", "N'Djamena", "Xi'an", "McDonald's", "Sean O'Connor & Sons",
	"王小明", "Ångström", "d'Artagnan", "Hawai'i", "T'Pol", "Null", "Mr. Select", "Union Jack", "Andy & Orla", "Conan O'Brien -- live",
}

var hosts = []string{"shop.example.com", "api.example.org", "blog.example.net", "cdn.example.com", "accounts.example.com", "localhost:3000", "metadata.example.com"}

var parameters = []string{"q", "id", "page", "sort", "fields", "redirect_uri", "filter", "name", "lang", "utm_source", "callback", "url", "from", "order", "group", "select", "where", "cmd_id", "type", "path", "run"}

var agents = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
	"curl/8.5.0", "python-requests/2.32.3", "Go-http-client/2.0", "kube-probe/1.34", "Prometheus/3.0.0", "okhttp/4.12.0", "Googlebot/2.1 (+http://www.google.com/bot.html)",
}

var words = strings.Fields(`the a order select from where union group by having or and not like in is null insert update delete drop table
	index value values into set all any some case when then else end join left right inner outer on create alter exec declare shutdown cat dog head tail more less
	sort type find grep echo ping host curl whisper nice time sleep kill cut paste print join split id who date set env top bash shell root admin user
	password login script alert document window cookie eval system file http https get post put java runtime python ruby perl php node template
	config self request class module loader module import export function return var let const new this that it's don't won't I'm you're we'll they'd
	rock'n'roll '90s 5'10" 12" 3/4 50% 100%25 $5 $10.99 €20 #1 #hashtag @mention C++ C# .NET AT&T R&D Q&A A/B 24/7 and/or yes/no w/o c/o b2b
	coffee table chair garden summer winter holiday recipe bread butter honey market street city london paris berlin tokyo music film book letter
	hello world quick brown fox jumps over lazy dog lorem ipsum dolor sit amet consectetur union's workers' students' James' boss's`)

var phrases = []string{
	"select the best option from the list", "union select committee", "drop the table off at 5 or 6", "1 or 2 of them", "either 'yes' or 'no'", "it's 5 or 6, I'd say",
	"'tis the season", "the boys' -- and girls' -- team", "drop table tennis", "update your profile and set a password", "insert coin; select game", "delete from cart",
	"order by phone or email", "group by age", "having fun and 1=1 is true", "x = 1 and y = 2", "if a=1 or b=2 then c", "5 > 3 and 2 < 4", "a && b || c",
	"rm -rf is dangerous", "use cat to read a file", "run `ls -la` first", "then `npm install && npm start`", "pipe it | grep foo", "see /etc/passwd for users",
	"the ../ prefix means the parent", "use ${name} in templates", "costs ${price} or $5", "{{ user.name }} is replaced", "see http://localhost:8080/ for it", "email me at a@b.c; thanks",
	"SELECT * FROM users WHERE id = 1", "select name, age from people", "he said \"or\" and 'and'", "\"quoted\" or \"unquoted\"", "<b>bold</b> & <i>italic</i>", "C:\\Users\\me\\Documents",
	"50% off -- today only", "# heading", "/* comment */", "-- dash", "a;b;c", "sleep(8) hours a day", "eval is evil", "exec summary", "system design", "log4j's jndi lookups",
	"O:8 p.m.", "ratio 3:2", "http://169.254.169.254 is the metadata address", "like '%foo%'", "char(10)", "count(*)", "wait for delay", "don't; can't; won't",
	"James' -- my brother", "fish 'n' chips or 'mash'='good'", "x'='y", "Ben & Jerry's", "1; 2; 3", "10 and 20 are numbers", "null and void", "true or false?", "not 'x' or y",
}

var queries = []string{
	"how to select from two tables", "what's a union select", "o'reilly sql cookbook 'second edition'", "difference between 'and' and '&&'", "best 1 or 2 bedroom flats", "5' or 6' ladder",
	"6' 2\" or taller", "\"exact phrase\" or other", "'single quoted'", "c++ -- or ++", "rock & roll", "10 or 20", "price>10 and price<20", "name='x'", "a or b", "id:5 OR id:6", "it's", "what's on; tonight",
	"$(document).ready", "`backtick`", "regex a|b|c", "{{mustache}}", "${variable}", "#{ruby}", "1+1=2", "2*3", "7 * 7", "who|what|where", "cat & dog", "cats;dogs", "sort by date; newest", "tail -f log",
	"ping pong", "curl hair", "host family", "php eval tutorial", "java runtime exec", "<script>", "xml <!doctype html>", "order by name", "union jack", "where's wally", "select * from", "drop table if exists",
	"100% cotton -- blue", "dad's army", "l'hôtel", "men's shoes size 9 or 10", "women's & men's", "5 or more", "1 and 2 samuel", "1=1", "a=b or c=d", "'90s or '80s", "\"a\" or \"b\"",
}

var graphs = []string{
	"query($first: Int!) { users(first: $first, where: {name: {_like: \"%o'b%\"}, _or: [{id: {_eq: 1}}]}, order_by: {id: desc}) { id name } }",
	"mutation { insert_users(objects: [{name: \"select\"}]) { affected_rows } }",
	"{ search(query: \"select from where\") { edges { node { ... on User { id } } } } }",
	"query { __typename __schema { types { name } } }",
}

var snippets = []string{
	"SELECT u.name, COUNT(*) FROM users u JOIN orders o ON o.user_id = u.id WHERE o.total > 10 OR u.vip = 1 GROUP BY u.name ORDER BY 2 DESC;",
	"SELECT a FROM t1 UNION ALL SELECT b FROM t2 WHERE x = 'y' -- comment",
	"INSERT INTO users (name) VALUES ('O''Brien'); DELETE FROM sessions WHERE id = 5;",
	"const s = `Hello ${user.name}, you owe ${(price * 1.2).toFixed(2)}`; if (a || b && c) { sleep(100); }",
	"for f in *.txt; do cat \"$f\" | grep -i foo >> out.txt; done; echo $(date) && ls -la /tmp",
	"curl -s https://example.com/install.sh | bash -s -- --yes",
	"kubectl get pods -n default | awk '{print $1}' | xargs -I{} kubectl logs {}",
	"import os\nprint(os.path.join('..', '..', 'etc', 'hosts'))\nopen('/etc/hosts').read()",
	"func main() { fmt.Println(\"a\" + `b`); x := a[1:2]; go func() { <-ch }() }",
	"<template><div v-if=\"a || b\">{{ item.name }} {{ 60 * 60 }}</div></template>",
	"<?php echo htmlspecialchars($name); foreach ($rows as $r) { print $r['id']; } ?>",
	"export PATH=${HOME:-/root}/bin:$PATH; source ~/.bashrc; cd /tmp && make install",
	"<!DOCTYPE html><html><head><title>a & b</title></head><body onload=\"x()\"></body></html>",
	"a = {'x': 1, \"y\": 'or', 'z': [1, 2]} # dict; print(a or {})", "git log --oneline | head -5; git push origin HEAD", "#!/bin/bash\nset -e\nid=$(whoami)\necho \"$id\"; sleep 5",
	"{% for item in items %}{{ item.title|escape }}{% endfor %}", "image: ${REGISTRY:-docker.io}/app:${TAG}\nurl: ${env:API_URL}", "x = y if y == 1 or z == 2 else 0; assert(x)",
}

var scripts = []string{
	"const tpl = `${a}/${b.c}?x=${encodeURIComponent(d)}`; fetch(`https://api.example.com/${id}`).then(r => r.json()); let t = 60*60*24; eval('1+1');",
	"!function(e,t){\"object\"==typeof exports?module.exports=t():e.lib=t()}(this,function(){return a||b&&c|d;var s='or 1=1';exec(s)});",
	"document.cookie='a=b';window.location='../../index.html';if(x=='1'||y==\"2\"){system.log('sleep(5)')}",
	"import x from '../../lib/x.js'; export default { data() { return { q: \"select * from t where a='b'\" } } }; const re=/\\/\\.\\.\\//g; // <% not asp %> {{ ng }} #{pug}",
}

// ordinary is how many requests the replay has.
const ordinary = 200_000

func TestOrdinaryTraffic(t *testing.T) {
	f := filter(t, waf.Config{})
	g := newTraffic(7)
	n := ordinary
	if testing.Short() {
		n /= 10
	}
	var hits []waf.Hit
	found, size := 0, 0
	for range n {
		r := g.request()
		size += len(r.Target) + len(r.Body)
		for _, h := range r.Headers {
			size += len(h.Name) + len(h.Value)
		}
		if hits = f.Request(hits[:0], r); len(hits) > 0 {
			if found++; found <= 20 {
				t.Errorf("%s\n  %s %s\n  %.300s", list(hits), r.Method, r.Target, r.Body)
			}
		}
	}
	t.Logf("%d requests, %d MB: %d with hits", n, size>>20, found)
}
