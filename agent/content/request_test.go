// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/waf"
)

// wanting makes a rig that takes whole requests of container 7.
func wanting(t *testing.T) (*rig, *[]*Request) {
	t.Helper()
	r, taken := newRig(t), &[]*Request{}
	r.requests.cfg = RequestsConfig{
		Wanted: func(cgroup uint64) bool { return cgroup == 7 }, Take: func(q *Request) { *taken = append(*taken, q) },
	}
	return r, taken
}

func headersOf(q *waf.Request) string {
	var b strings.Builder
	for _, h := range q.Headers {
		fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
	}
	return b.String()
}

// TestRequestsAsAWhole has requests in pieces of several sizes put together as they were.
func TestRequestsAsAWhole(t *testing.T) {
	const form = "--x1\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA \"tea\"\r\n--x1\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n" +
		"Content-Type: text/plain\r\n\r\ncontent\r\n--x1--\r\n"
	for _, c := range []struct{ name, request, headers, body string }{
		{"url", "GET /a%20b?q=1%27&r=%3C HTTP/1.1\r\nHost: shop\r\nCookie: a=b; c=d\r\nX-Data: eyJhIjoiYiJ9eyJhIjoiYiJ9\r\n\r\n",
			"Host: shop\nCookie: a=b; c=d\nX-Data: eyJhIjoiYiJ9eyJhIjoiYiJ9\n", ""},
		{"json", "POST /a%20b?q=1%27&r=%3C HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"a\":\"x\\u0027 <b>\"}",
			"Host: shop\nContent-Type: application/json\nContent-Length: 19\n", "{\"a\":\"x\\u0027 <b>\"}"},
		{"chunked form", "POST /a%20b?q=1%27&r=%3C HTTP/1.1\r\nHost: shop\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na=%2\r\n5\r\n7&b=c\r\n0\r\n\r\n",
			"Host: shop\nContent-Type: application/x-www-form-urlencoded\nTransfer-Encoding: chunked\n", "a=%27&b=c"},
		{"parts", fmt.Sprintf("POST /a%%20b?q=1%%27&r=%%3C HTTP/1.1\r\nHost: shop\r\nContent-Type: multipart/form-data; boundary=x1\r\nContent-Length: %d\r\n\r\n%s", len(form), form),
			fmt.Sprintf("Host: shop\nContent-Type: multipart/form-data; boundary=%s\nContent-Length: %d\n", boundary, len(form)),
			"--holdfast-part\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA \"tea\"\r\n--holdfast-part\r\n" +
				"Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n\r\n--holdfast-part--\r\n"},
	} {
		for _, size := range []int{1, 13, 4096} {
			r, taken := wanting(t)
			p := piece(wire.ContentInbound)
			r.send(p, c.request, size)
			if len(*taken) != 1 {
				t.Fatalf("%s in pieces of %d: %d requests", c.name, size, len(*taken))
			}
			q := (*taken)[0]
			if string(q.Target) != "/a%20b?q=1%27&r=%3C" || string(q.Host) != "shop" || headersOf(&q.Request) != c.headers || string(q.Body) != c.body ||
				q.Cut || q.Piece.Head.Tgid != 20 || q.Lineage != 7 || q.Peer.Addr.String() != "203.0.113.9:80" {
				t.Errorf("%s in pieces of %d: %s %s\n%s\n%q\n%+v", c.name, size, q.Method, q.Target, headersOf(&q.Request), q.Body, q)
			}
		}
	}
}

// TestRequestsThatAreNotWanted has those of another container, answers, and those in which the filter has hits.
func TestRequestsThatAreNotWanted(t *testing.T) {
	r, taken := wanting(t)
	other := piece(wire.ContentInbound)
	other.Head.Origin = 8
	r.send(other, "GET /other HTTP/1.1\r\nHost: a\r\n\r\n", 4096)
	out := piece(wire.ContentOut)
	out.Cookie = 6
	r.send(out, "GET /out HTTP/1.1\r\nHost: a\r\n\r\n", 4096)
	for n := range 2 {
		// The second is not told of, as the first was just now.
		hit := piece(wire.ContentInbound)
		hit.Cookie = uint64(10 + n)
		r.send(hit, "GET /?q=1%27+or+%271%27=%271 HTTP/1.1\r\nHost: a\r\n\r\n", 4096)
	}
	if len(*taken) != 0 || len(r.found) != 1 || r.Stats().RequestsStruck != 2 || len(r.requests.open) != 0 {
		t.Errorf("%d taken, %d findings, %+v", len(*taken), len(r.found), r.Stats())
	}
}

// TestRequestsAreBounded has one that is too long, and more at a time than are put together.
func TestRequestsAreBounded(t *testing.T) {
	r, taken := wanting(t)
	r.send(piece(wire.ContentInbound), post(strings.Repeat("long ", 10_000)), 4096)
	if len(*taken) != 1 || !(*taken)[0].Cut || len((*taken)[0].Body) > maxRequestBytes {
		t.Errorf("%d taken: %+v", len(*taken), *taken)
	}
	for n := range maxRequests + 5 {
		c := piece(wire.ContentInbound)
		c.Cookie = uint64(100 + n)
		r.send(c, "GET / HTTP/1.1\r\nHost: a\r\n", 4096)
	}
	if len(r.requests.open) != maxRequests || r.Stats().RequestsFull != 5 {
		t.Errorf("%d requests are put together, %d found no room", len(r.requests.open), r.Stats().RequestsFull)
	}
}
