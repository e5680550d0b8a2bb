// SPDX-License-Identifier: Apache-2.0

package traffic

import "strings"

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
