// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"unsafe"
)

// smtp reads mails on their way (RFC 5321, RFC 3030): the envelope, and the mail through its MIME parts.
type smtp struct {
	f     *flow
	state smtpState
	m     *message
	mail  *text
	// begun says that bytes of the mail have come; lineStart that the next is the first of a line.
	begun, lineStart bool
	// left is what is to come of a chunk, last of a mail with lastChunk.
	left      int64
	lastChunk bool
	startTLS  bool
}

type smtpState uint8

const (
	smtpCommands smtpState = iota
	smtpMail
	smtpChunk
)

const smtpCost = int(unsafe.Sizeof(smtp{}))

func newSMTP(f *flow) parser {
	if !f.in.reserve(smtpCost, f) {
		return f.refused()
	}
	return &smtp{f: f}
}

// feed implements parser.
func (p *smtp) feed(d Dir, data []byte) int {
	if d == p.f.client() {
		switch p.state {
		case smtpMail:
			return p.lines(data)
		case smtpChunk:
			n := int(min(p.left, int64(len(data))))
			p.content(data[:n])
			if p.left -= int64(n); p.left == 0 {
				p.chunkEnd()
			}
			return n
		}
	}
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return 0
	}
	line := bytes.TrimSuffix(data[:i], []byte{'\r'})
	if d == p.f.client() {
		p.command(line)
	} else {
		p.reply(line)
	}
	return i + 1
}

// overflow implements parser.
func (p *smtp) overflow(d Dir, data []byte) int {
	if d == p.f.client() {
		if p.state == smtpMail {
			p.content(data)
		} else {
			p.command(data)
		}
	}
	return len(data)
}

// command takes a line of the client.
func (p *smtp) command(line []byte) {
	verbs := [...]string{"MAIL FROM:", "RCPT TO:", "DATA", "BDAT ", "STARTTLS", "RSET", "AUTH ", "EHLO ", "HELO "}
	verb := ""
	for _, v := range verbs {
		if prefixFold(line, v) == yes {
			verb = v
			break
		}
	}
	rest := line[len(verb):]
	switch verb {
	case "MAIL FROM:", "RCPT TO:":
		if p.envelope() {
			p.m.value(Command, []byte(verb[:len(verb)-1]), bytes.TrimSpace(rest))
		}
	case "DATA":
		p.envelope()
		p.state, p.begun, p.lineStart = smtpMail, false, true
	case "BDAT ":
		size, last, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
		n, ok := number(size, 10)
		if !ok {
			p.f.in.stats.Malformed++
			return
		}
		p.envelope()
		p.state, p.left, p.lastChunk = smtpChunk, n, bytes.EqualFold(last, []byte("LAST"))
		if n == 0 {
			p.chunkEnd()
		}
	case "STARTTLS":
		p.startTLS = true
	case "RSET":
		p.end(false)
	case "AUTH ":
		_, secret, ok := bytes.Cut(rest, []byte(" "))
		if ok && p.envelope() {
			p.m.value(Command, []byte("AUTH"), secret)
		}
	case "":
		if len(line) > 4 && p.envelope() {
			p.m.value(RequestLine, nil, line)
		}
	}
}

// reply takes a line of the server.
func (p *smtp) reply(line []byte) {
	if len(line) < 3 {
		return
	}
	switch {
	case p.startTLS:
		if p.startTLS = false; line[0] == '2' {
			f := p.f
			p.close()
			f.app, f.parser = Unknown, nil
			f.in.again(f, f.client())
		}
	case p.state == smtpMail && !p.begun && (line[0] == '4' || line[0] == '5'):
		p.state = smtpCommands
		p.f.in.again(p.f, p.f.client())
	}
}

// envelope opens the message that commands and the mail belong to. False when there is no memory for it.
func (p *smtp) envelope() bool {
	if p.m == nil {
		p.m = p.f.begin(p.f.client(), SMTP)
	}
	return p.m != nil
}

// lines takes bytes of a mail up to the line with a single dot, and undoes the dots before lines that begin with one.
func (p *smtp) lines(data []byte) int {
	if p.lineStart && data[0] == '.' {
		switch {
		case len(data) < 2, data[1] == '\r' && len(data) < 3:
			return 0
		case data[1] == '\n':
			p.end(true)
			return 2
		case data[1] == '\r' && data[2] == '\n':
			p.end(true)
			return 3
		}
		p.lineStart = false
		return 1
	}
	if i := bytes.Index(data, []byte("\n.")); i >= 0 {
		data = data[:i+1]
	}
	p.lineStart = data[len(data)-1] == '\n'
	p.content(data)
	return len(data)
}

// content takes bytes of a mail.
func (p *smtp) content(b []byte) {
	if len(b) == 0 || p.m == nil {
		return
	}
	if !p.begun {
		p.begun = true
		if p.mail = p.m.open(Body, nil, modeBody); p.mail != nil {
			p.mail.hide()
			if x := p.f.in.newMultipart(p.mail, nil); x != nil {
				p.mail.inner = x
			}
		}
	}
	if b = p.m.take(b); p.mail != nil {
		p.mail.write(b)
	}
}

func (p *smtp) chunkEnd() {
	p.state = smtpCommands
	if p.lastChunk {
		p.end(true)
	}
}

// end closes the mail.
func (p *smtp) end(whole bool) {
	p.state, p.begun = smtpCommands, false
	if p.mail != nil {
		p.mail.close(whole)
	}
	if p.m != nil {
		p.m.end()
	}
	p.mail, p.m = nil, nil
}

// gap implements parser: commands are lines, so the next one is whole again; a mail goes on, but not its parts.
func (p *smtp) gap(d Dir, _ []byte, n int) {
	if d != p.f.client() {
		return
	}
	p.f.in.stats.Resynced++
	if p.state == smtpChunk {
		if n < 0 || int64(n) >= p.left {
			p.end(false)
			return
		}
		p.left -= int64(n)
	}
	if p.mail != nil {
		p.mail.close(false)
		p.mail = p.m.open(Body, nil, modeBody)
	}
	p.lineStart = false
}

// close implements parser.
func (p *smtp) close() {
	p.end(false)
	p.f.in.release(smtpCost)
}
