// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

const card = "4111 1111 1111 1111"

// conversations are one or more for each protocol.
func conversations(t testing.TB) []conversation {
	all := httpConversations(t)
	all = append(all, bodyConversations(t)...)
	all = append(all, http2Conversations(t)...)
	all = append(all, databaseConversations()...)
	return append(all, otherConversations(t)...)
}

func httpConversations(t testing.TB) []conversation {
	post := func(head, body string) string {
		return "POST /up?id=a%20b&x=1 HTTP/1.1\r\nHost: shop.example\r\n" + head + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body
	}
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	return []conversation{
		{name: "http1-pipelined", port: 80, steps: []step{
			say(Out, "GET /a?q=%34%31 HTTP/1.1\r\nHost: one.example\r\nCookie: s=abc\r\nX-Fold: a\r\n  b\r\n\r\nHEAD /b HTTP/1.1\r\nhost:two.example\r\n\r\n"),
			say(Out, "GET /c HTTP/1.0\r\n\r\n"),
			say(In, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 19\r\n\r\n"+card),
			say(In, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nSet-Cookie: t=1\r\n\r\nHTTP/1.0 404 Not Found\r\n\r\nuntil the end"),
		}},
		{name: "http1-chunked", port: 8080, inbound: true, steps: []step{
			say(In, "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"),
			say(Out, "HTTP/1.1 100 Continue\r\n\r\n"),
			say(In, "5\r\n4111 \r\nA;ext=1\r\n1111 1111 \r\n4\r\n1111\r\n0\r\nX-Trailer: last\r\n\r\n"),
			say(Out, "HTTP/1.1 204 No Content\r\n\r\n"),
		}},
		{name: "http1-early-answer", port: 80, steps: []step{
			say(Out, "PUT /big HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345"),
			say(In, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
			say(Out, "67890GET /next HTTP/1.1\r\nHost: h\r\n\r\n"), say(In, ok),
		}},
		{name: "http1-gaps", port: 80, steps: []step{
			{Out, post("", card+" first half")[:90], 10},
			{Out, "restGET /x HTTP/1.1\r\nX-Cut: here", 5},
			say(Out, "lost\r\n\r\nGET /y HTTP/1.1\r\nHost: after.example\r\n\r\n"), say(In, ok),
		}},
		{name: "http1-connect", port: 3128, steps: []step{
			say(Out, "CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n"),
			say(In, "HTTP/1.1 200 Connection established\r\n\r\n"),
			say(Out, clientHello("inner.example", "h2")), say(In, "\x16\x03\x03\x00\x04\x02\x00\x00\x00"),
		}},
		{name: "http1-malformed", port: 80, inbound: true, steps: []step{
			say(In, "GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 5\r\nno colon\r\nA : b\r\n\r\nabc\x00\x01garbage line\r\nX: y\r\n\r\n"),
			say(Out, ok),
		}},
		{name: "http1-authorization", port: 80, steps: []step{
			say(Out, "GET / HTTP/1.1\r\nAuthorization: Basic "+base64.StdEncoding.EncodeToString([]byte("user:hunter2 hunter2"))+
				"\r\nX-Hex: "+hex.EncodeToString([]byte(card))+"\r\nX-Hash: d41d8cd98f00b204e9800998ecf8427e\r\n\r\n"), say(In, ok),
		}},
		{name: "http1-form", port: 80, inbound: true, steps: []step{
			say(In, post("Content-Type: application/x-www-form-urlencoded\r\n", "card=4111+1111%201111+1111&n%61me=J%C3%B6rg&twice=%2534%2531%20x&bad=%zz%4&empty=&alone")),
			say(Out, ok),
		}},
		{name: "http1-multipart", port: 80, inbound: true, steps: []step{
			say(In, post("Content-Type: multipart/form-data; boundary=\"b1 x\"\r\n", "preamble\r\n--b1 x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n"+card+
				"\r\n--b1 x\r\nContent-Disposition: form-data; name=f; filename=\"a;b.json\"\r\nContent-Type: application/json\r\n\r\n{\"k\":\"\\u0034111\"}\r\n--b1\r\n\r\r\n\r\n--b1 x\r\n\r\n\r\n--b1 x--\r\nepilogue\r\n")),
			say(Out, ok),
		}},
		{name: "http1-websocket", port: 80, steps: []step{
			say(Out, "GET /ws HTTP/1.1\r\nHost: ws.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
			say(In, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
			say(Out, wsFrame(0x81, true, "{\"card\":\""+card+"\"}")),
			say(In, wsFrame(0x01, false, "one ")+wsFrame(0x89, false, "ping body")+wsFrame(0x80, false, "two")),
			say(Out, wsDeflated(t, card, "again "+card)),
			say(In, wsFrame(0x82, false, strings.Repeat("x", 300))+wsFrame(0x88, false, "\x03\xe8")),
		}},
		{name: "http1-path", port: 80, steps: []step{
			say(Out, "GET /in/"+base64.RawURLEncoding.EncodeToString([]byte(card+" in the path"))+"/d41d8cd98f00b204e9800998ecf8427e/"+hex.EncodeToString([]byte(card))+" HTTP/1.1\r\nHost: h\r\n\r\n"),
		}},
		{name: "http1-unanswered-upgrade", port: 80, steps: []step{
			say(Out, "GET /ws HTTP/1.1\r\nHost: ws.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
			say(Out, wsFrame(0x81, true, "{\"card\":\""+card+"\"}")), say(Out, wsDeflated(t, card, "again "+card)),
		}},
		{name: "http1-unanswered-refusal", port: 80, steps: []step{
			say(Out, "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"), say(Out, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n"),
		}},
		{name: "http1-unanswered-connect", port: 3128, steps: []step{
			say(Out, "CONNECT shop.example:80 HTTP/1.1\r\nHost: shop.example:80\r\n\r\n"),
			say(Out, "CONNECT shop.example:80 HTTP/1.1\r\nHost: shop.example:80\r\nProxy-Authorization: Basic YTpi\r\n\r\n"),
			say(Out, "POST /in HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 16\r\n\r\n"+card[:16]),
		}},
		{name: "http1-refused-upgrade", port: 80, steps: []step{
			say(Out, "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"), say(In, ok),
			say(Out, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n"), say(In, ok),
		}},
	}
}

func bodyConversations(t testing.TB) []conversation {
	text := "the number is " + card + ", and some more text so that it is longer than what decides. " + strings.Repeat("filler ", 20)
	b64 := base64.StdEncoding.EncodeToString([]byte(text))
	get := func(encoding, kind, body string) []step {
		return []step{
			say(Out, "GET /r HTTP/1.1\r\nHost: h\r\n\r\n"),
			say(In, "HTTP/1.1 200 OK\r\nContent-Encoding: "+encoding+"\r\nContent-Type: "+kind+"\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body),
		}
	}
	chunks := func(s string) string { return itoa16(len(s)) + "\r\n" + s + "\r\n0\r\n\r\n" }
	js := `{"id": 12345678901234567890, "plain": "` + card + `", "esc": "4111\u00201111\n\"q\" \ud83d\ude00 \ud83d x", "list": ["` + b64 + `", "` +
		base64.URLEncoding.EncodeToString([]byte("short secret")) + `"], "long": "` + strings.Repeat("y", 100) + `\u0041 tail", "url": "data:text/plain;base64,` + b64 +
		`", "pct": "4111%201111%2b", "hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`
	return []conversation{
		{name: "body-gzip", port: 80, steps: get("gzip", "text/plain", gz(t, text))},
		{name: "body-zlib", port: 80, steps: get("deflate", "text/plain", zlibbed(t, text))},
		{name: "body-deflate", port: 80, steps: get("deflate", "text/plain", deflated(t, text))},
		{name: "body-brotli", port: 80, steps: get("br", "text/plain", brotlied(t, text))},
		{name: "body-zstd", port: 80, steps: get("zstd", "text/plain", zstded(t, text))},
		{name: "body-nested", port: 80, steps: get("gzip, br", "application/json", brotlied(t, gz(t, `{"a":"`+b64+`"}`)))},
		{name: "body-unannounced", port: 80, steps: get("identity", "application/octet-stream", gz(t, gz(t, b64)))},
		{name: "body-too-deep", port: 80, steps: get("identity", "text/plain", gz(t, gz(t, gz(t, gz(t, gz(t, text))))))},
		{name: "body-unknown-encoding", port: 80, steps: get("lzma", "text/plain", text)},
		{name: "body-damaged", port: 80, steps: get("gzip", "text/plain", gz(t, text)[:80]+"damage")},
		{name: "body-truncated", port: 80, steps: []step{
			say(Out, "POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n"+gz(t, strings.Repeat(text, 5))[:90]),
		}},
		{name: "body-chunked-gzip", port: 80, steps: []step{
			say(Out, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"+chunks(gz(t, text))),
		}},
		{name: "body-json", port: 80, steps: get("identity", "application/json", js)},
		{name: "body-json-values", port: 80, values: true, steps: get("identity", "application/vnd.api+json", js)},
		{name: "body-base64", port: 80, steps: get("identity", "text/plain", wrap(b64, 76))},
		{name: "body-hex", port: 80, steps: get("identity", "text/plain", hex.EncodeToString([]byte(text)))},
		{name: "body-xml", port: 80, steps: get("identity", "application/xml", "<a><card>"+card+"</card></a>")},
	}
}

func otherConversations(t testing.TB) []conversation {
	mail := "From: a@example\r\nSubject: hello\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=outer\r\n\r\n" +
		"--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n--inner\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
		"the card =\r\n4111=201111 1111 1111 =3D ok\r\n..dot\r\n--inner--\r\n--outer\r\nContent-Type: text/csv; name=list.csv\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		wrap(base64.StdEncoding.EncodeToString([]byte("name,card\nJ,"+card+"\n")), 20) + "\r\n--outer--\r\n.\r\n"
	return []conversation{
		{name: "smtp", port: 25, steps: []step{
			say(In, "220 mx.example ESMTP\r\n"), say(Out, "EHLO me\r\n"), say(In, "250-mx\r\n250 PIPELINING\r\n"),
			say(Out, "MAIL FROM:<a@example>\r\nRCPT TO:<b@example>\r\nDATA\r\n"), say(In, "250 ok\r\n250 ok\r\n354 go\r\n"),
			say(Out, mail), say(In, "250 queued\r\n"),
			say(Out, "MAIL FROM:<a@example>\r\nDATA\r\n"), say(In, "250 ok\r\n554 no\r\n"), say(Out, "QUIT\r\n"),
		}},
		{name: "smtp-chunks", port: 587, inbound: true, steps: []step{
			say(Out, "220 mx ESMTP\r\n"), say(In, "EHLO me\r\nMAIL FROM:<a@example>\r\nBDAT 20\r\nSubject: x\r\n\r\n4111 1BDAT 14 LAST\r\n111 1111 1111\n"),
		}},
		{name: "smtp-starttls", port: 25, steps: []step{
			say(In, "220 mx.example ESMTP\r\n"), say(Out, "EHLO me\r\nSTARTTLS\r\n"), say(In, "220 go\r\n"), say(Out, clientHello("mx.example", "")),
		}},
		{name: "tls", port: 443, steps: []step{say(Out, clientHello("secret.example", "h2")), say(In, "\x16\x03\x03\x00\x04\x02\x00\x00\x00more")}},
		{name: "ssh", port: 22, steps: []step{say(In, "SSH-2.0-x\r\n"), say(Out, "SSH-2.0-y\r\nbytes")}},
		{name: "unknown", port: 9999, steps: []step{say(Out, "LOGIN "+card+"\n"), say(In, "welcome"), {Out, "more", 5}, say(Out, "after")}},
		{name: "dns-query", port: 53, udp: true, steps: []step{
			say(Out, dnsMessage(t, false, hex.EncodeToString([]byte(card))+".data.evil.example.")),
			say(Out, dnsMessage(t, false, "41111111.11111111.evil.example.")),
			say(Out, dnsMessage(t, false, base32Labels("the number "+card)+".t.evil.example.")),
			say(In, dnsMessage(t, true, "www.example.com.")),
			say(Out, "\x00\x01no dns at all "+card),
		}},
		{name: "dns-tcp", port: 53, steps: []step{
			say(Out, dnsFramed(dnsMessage(t, false, "a.example."))+dnsFramed(dnsMessage(t, false, "b.example."))),
			say(In, dnsFramed(dnsMessage(t, true, "a.example."))),
		}},
		{name: "udp", port: 514, udp: true, steps: []step{say(Out, "<13>log "+card), say(Out, gz(t, card))}},
		{name: "quic", port: 443, udp: true, steps: []step{say(Out, "\xc3\x00\x00\x00\x01\x08xxxxxxxx"), say(In, "\x43zzz")}},
	}
}

func databaseConversations() []conversation {
	long := strings.Repeat("v", 700)
	return []conversation{
		{name: "redis", port: 6379, steps: []step{
			say(Out, resp("set", "user:1", card)+resp("HGETALL", "user:1")+"PING hello\r\n"),
			say(In, "+OK\r\n%2\r\n$4\r\ncard\r\n$19\r\n"+card+"\r\n+n\r\n*2\r\n:17\r\n$-1\r\n+PONG\r\n*0\r\n$0\r\n\r\n"),
			say(Out, resp("set", "json", `{"a":"\u0034"}`)),
			say(In, "-ERR wrong\r\n"),
		}},
		{name: "redis-other-port", port: 7000, inbound: true, steps: []step{say(In, resp("set", "k", long))}},
		{name: "postgres", port: 5432, steps: []step{
			say(Out, pgStart(80877103, "")), say(In, "N"), say(Out, pgStart(196608, "user\x00u\x00\x00")),
			say(In, pg('R', "\x00\x00\x00\x00")+pg('Z', "I")),
			say(Out, pg('Q', "select * from cards where n = '"+card+"'\x00")),
			say(In, pg('T', "\x00\x01card\x00"+strings.Repeat("\x00", 18))+pg('D', pgValuesOf(card, "", long))+pg('D', pgValuesOf("second"))+pg('C', "SELECT 2\x00")+pg('Z', "I")),
			say(Out, pg('P', "stmt\x00insert into t values ($1, $2)\x00\x00\x00")+pg('B', "\x00stmt\x00\x00\x01\x00\x00"+pgValuesOf(card, "two")+"\x00\x00")+pg('S', "")),
			say(Out, pg('Q', "copy t from stdin\x00")+pg('d', "1\t"+card+"\n")+pg('d', "2\tx\n")+pg('c', "")),
			say(Out, pg('X', "")),
		}},
		{name: "postgres-tls", port: 6000, steps: []step{say(Out, pgStart(80877103, "")), say(In, "S"), say(Out, clientHello("db.example", "postgresql"))}},
		{name: "mysql", port: 3306, steps: []step{
			say(In, my(0, "\x0a8.0.36\x00"+strings.Repeat("a", 40))),
			say(Out, my(1, "\x85\xa6\x03\x00"+strings.Repeat("\x00", 40)+"user")), say(In, my(2, "\x00\x00\x00\x02\x00\x00\x00")),
			say(Out, my(0, "\x03select card from t")),
			say(In, my(1, "\x01")+my(2, "\x03def\x04shop\x01t\x01t\x04card\x04card\x0c\x3f\x00")+my(3, "\x13"+card+"\xfb\x02ab")+my(4, "\xfc\xbc\x02"+long)+my(5, "\xfe\x00\x00\x02\x00")),
			say(Out, my(0, "\x16insert into t values (?)")), say(Out, my(0, "\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01\xfe\x00\x13"+card)),
			say(In, my(1, "\x00\x00\x00\x00"+"\x13"+card)),
			say(Out, my(0, "\x03load data local infile 'x'")), say(In, my(1, "\xfbx")), say(Out, my(2, "a,"+card+"\n")+my(3, "b,2\n")+my(4, "")),
			say(Out, my(0, "\x01")),
		}},
		{name: "mysql-tls", port: 3306, inbound: true, steps: []step{
			say(Out, my(0, "\x0a8.0.36\x00"+strings.Repeat("a", 40))),
			say(In, my(1, "\x85\xae\x03\x00"+strings.Repeat("\x00", 28))+clientHello("my.example", "")),
		}},
	}
}
