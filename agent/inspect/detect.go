// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/binary"
)

// guess is what first bytes look like: an App, or one of these.
type guess uint8

const (
	guessMore      = guess(apps) + iota // more bytes are needed
	guessEncrypted                      // SSH
)

// detectMax is how many bytes are enough to tell every protocol.
const detectMax = 24

const (
	portSMTP       = 25
	portSubmission = 587
	portSMTPS      = 465
	portDNS        = 53
	portMDNS       = 5353
	portMySQL      = 3306
	portPostgres   = 5432
	portRedis      = 6379
)

const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// guess looks at the first bytes of a direction. With final it must decide.
func (in *Inspector) guess(f *flow, d Dir, data []byte, final bool) guess {
	final = final || len(data) >= detectMax
	if d == f.client() {
		return guessClient(f, data, final)
	}
	return guessServer(f, data, final)
}

// candidate is a protocol, and whether bytes are its beginning.
type candidate struct {
	app  guess
	seen match
}

// first is the first candidate that is certain, once none before it is possible, or with final whatever is certain.
func first(candidates []candidate, final bool) guess {
	g := guess(Unknown)
	for _, c := range candidates {
		switch {
		case c.seen == maybe && !final:
			g = guessMore
		case c.seen == yes && g != guessMore:
			return c.app
		}
	}
	return g
}

// decide gives the flow the parser for a guess. False when there is none yet.
func (in *Inspector) decide(f *flow, g guess) bool {
	switch g {
	case guessMore:
		return false
	case guessEncrypted:
		in.setOpaque(f, Unknown, ReasonEncrypted)
	case guess(OpaqueTLS):
		in.setOpaque(f, OpaqueTLS, ReasonTLS)
	case guess(HTTP1):
		f.setParser(HTTP1, newHTTP1(f))
	case guess(HTTP2):
		f.setParser(HTTP2, newHTTP2(f, true))
	case guess(SMTP):
		f.setParser(SMTP, newSMTP(f))
	case guess(Redis):
		f.setParser(Redis, newRedis(f))
	case guess(Postgres):
		f.setParser(Postgres, newPostgres(f))
	case guess(MySQL):
		f.setParser(MySQL, newMySQL(f))
	case guess(DNS):
		f.setParser(DNS, newDNSStream(f))
	default:
		f.setParser(Unknown, newPlain(f))
	}
	return true
}

// guessClient looks at what the connecting side says first.
func guessClient(f *flow, data []byte, final bool) guess {
	port := f.serverPort()
	if port == portDNS && f.key.TLS == 0 {
		return guess(DNS)
	}
	candidates := [...]candidate{
		{guess(OpaqueTLS), tlsHello(data)},
		{guess(HTTP2), prefix(data, http2Preface)},
		{guess(HTTP1), httpRequest(data)},
		{guess(SMTP), max(prefixFold(data, "EHLO "), prefixFold(data, "HELO "), prefixFold(data, "MAIL FROM:"))},
		{guess(Redis), redisRequest(data, port)},
		{guess(Postgres), postgresStart(data, port)},
		{guess(MySQL), mysqlClient(data, port)},
		{guessEncrypted, prefix(data, "SSH-")},
	}
	return first(candidates[:], final)
}

// guessServer looks at what the accepting side says first, which few protocols have, or at an answer to a request that
// was before our time.
func guessServer(f *flow, data []byte, final bool) guess {
	port := f.serverPort()
	candidates := [...]candidate{
		{guess(OpaqueTLS), tlsHello(data)},
		{guess(HTTP1), prefix(data, "HTTP/1.")},
		{guess(SMTP), smtpBanner(data, port)},
		{guess(MySQL), mysqlGreeting(data)},
		{guessEncrypted, prefix(data, "SSH-")},
	}
	g := first(candidates[:], final)
	if g != guess(Unknown) {
		return g
	}
	switch port {
	case portPostgres:
		return guess(Postgres)
	case portRedis:
		return guess(Redis)
	case portDNS:
		return guess(DNS)
	}
	return g
}

// match says whether bytes are the beginning of something.
type match uint8

const (
	no match = iota
	maybe
	yes
)

func prefix(data []byte, want string) match {
	n := min(len(data), len(want))
	switch {
	case string(data[:n]) != want[:n]:
		return no
	case n < len(want):
		return maybe
	}
	return yes
}

func prefixFold(data []byte, want string) match {
	n := min(len(data), len(want))
	switch {
	case !bytes.EqualFold(data[:n], []byte(want[:n])):
		return no
	case n < len(want):
		return maybe
	}
	return yes
}

// tlsHello is a record of a handshake (RFC 8446, 5.1) that holds a hello.
func tlsHello(data []byte) match {
	for i, want := range [...]byte{22, 3} {
		if len(data) > i && data[i] != want {
			return no
		}
	}
	switch {
	case len(data) > 2 && data[2] > 4:
		return no
	case len(data) > 5 && data[5] != 1 && data[5] != 2:
		return no
	case len(data) < 6:
		return maybe
	}
	return yes
}

// httpRequest is a method of letters and '-', a space, and a target that begins as targets do (RFC 9112, 3).
func httpRequest(data []byte) match {
	for i, c := range data {
		switch {
		case c >= 'A' && c <= 'Z' || c == '-' && i > 0:
			if i >= methodMax {
				return no
			}
		case c == ' ' && i >= 3:
			if i+1 == len(data) {
				return maybe
			}
			return httpTarget(data[:i], data[i+1:])
		default:
			return no
		}
	}
	return maybe
}

func httpTarget(method, rest []byte) match {
	switch {
	case rest[0] == '/':
		return yes
	case string(method) == "CONNECT":
		return yes
	case rest[0] == '*':
		if string(method) == "OPTIONS" {
			return yes
		}
		return no
	}
	return max(prefixFold(rest, "http://"), prefixFold(rest, "https://"))
}

// redisRequest is an array of bulk strings, or on Redis's port a line.
func redisRequest(data []byte, port uint16) match {
	if port == portRedis && len(data) > 0 {
		return yes
	}
	if data[0] != '*' {
		return no
	}
	for i, c := range data[1:] {
		switch {
		case c >= '0' && c <= '9' && i < 7:
		case c == '\r' && i > 0:
			if len(data) <= i+3 {
				return maybe
			}
			if data[i+2] == '\n' && data[i+3] == '$' {
				return yes
			}
			return no
		default:
			return no
		}
	}
	return maybe
}

// postgresStart is a start-up message of protocol 3, or a request for TLS, encryption or cancellation; on its port
// also a message of a session that began before our time.
func postgresStart(data []byte, port uint16) match {
	if data[0] != 0 {
		if port == portPostgres && bytes.IndexByte([]byte("QPBEDSCFHXpdcf"), data[0]) >= 0 {
			return yes
		}
		return no
	}
	if len(data) < 8 {
		return maybe
	}
	size, code := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
	if size < 8 || size > 10_000 {
		return no
	}
	if code>>16 == 3 || code>>16 == 1234 && code&0xffff >= 5678 && code&0xffff <= 5680 {
		return yes
	}
	return no
}

// mysqlClient is a command, or the answer to a greeting that was not seen, on MySQL's port.
func mysqlClient(data []byte, port uint16) match {
	if port != portMySQL {
		return no
	}
	if len(data) < 5 {
		return maybe
	}
	if data[3] <= 3 {
		return yes
	}
	return no
}

// mysqlGreeting is packet 0 with protocol version 10 and a version that begins with a digit.
func mysqlGreeting(data []byte) match {
	if len(data) < 6 {
		if len(data) > 3 && data[3] != 0 || len(data) > 2 && data[2] != 0 || len(data) > 4 && data[4] != 10 {
			return no
		}
		return maybe
	}
	if data[2] == 0 && data[3] == 0 && data[4] == 10 && data[5] >= '0' && data[5] <= '9' {
		return yes
	}
	return no
}

// smtpBanner is a line with code 220; FTP has it too, so that the port or the text must agree.
func smtpBanner(data []byte, port uint16) match {
	m := max(prefix(data, "220 "), prefix(data, "220-"))
	if m != yes {
		return m
	}
	switch port {
	case portSMTP, portSubmission, portSMTPS, 2525, 1025:
		return yes
	}
	if bytes.Contains(data, []byte("SMTP")) {
		return yes
	}
	return maybe
}
