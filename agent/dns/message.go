// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
)

// dataMax is how many bytes of data without a text form are shown, in hexadecimal.
const dataMax = 64

// Message is a message as a value.
type Message struct {
	ID uint16
	// Answer tells a response from a query.
	Answer bool
	// Question is the first question's name in text form, without the final dot; "." for the root, empty without a
	// question. Upper and lower case are as in the message.
	Question     string
	QuestionType string
	// Questions is how many the message claims; more than one is against all custom.
	Questions    int
	ResponseCode string
	// Records are the first answers, at most 64.
	Records []Resource
	// Cut says that the message ends before its last answer; what was there is given.
	Cut bool
}

// Resource is an answer.
type Resource struct {
	Name string
	Type string
	TTL  uint32
	// Data is an address, a name, or the text form of the type; what has none is shown as RFC 3597 has it, cut after
	// 64 bytes.
	Data string
}

// Parse reads a message. An error says that it is no DNS message as far as it goes; the message that comes with it holds
// what could be read.
func Parse(msg []byte) (Message, error) {
	var w Walker
	c := collector{msg: msg}
	h, err := w.Walk(msg, &c)
	c.to.ID, c.to.Answer, c.to.Questions = h.ID, h.Answer, int(h.Questions)
	c.to.ResponseCode = rcodeText(h.RCode)
	if errors.Is(err, ErrShort) && len(msg) >= headerSize && (c.to.Question != "" || h.Questions == 0) {
		c.to.Cut, err = true, nil
	}
	return c.to, err
}

type collector struct {
	msg []byte
	to  Message
}

// Question implements Visitor.
func (c *collector) Question(name []byte, t Type, _ uint16) {
	if c.to.Question == "" {
		c.to.Question, c.to.QuestionType = string(name), t.String()
	}
}

// Answer implements Visitor.
func (c *collector) Answer(r *Record) {
	c.to.Records = append(c.to.Records, Resource{Name: string(r.Name), Type: r.Type.String(), TTL: r.TTL, Data: dataText(r)})
}

func dataText(r *Record) string {
	if addr, ok := r.Addr(); ok {
		return addr.String()
	}
	if len(r.Target) > 0 {
		return string(r.Target)
	}
	if r.Type == TypeTXT {
		return txtText(r.Data)
	}
	shown := r.Data[:min(len(r.Data), dataMax)]
	return `\# ` + strconv.Itoa(len(r.Data)) + " " + hex.EncodeToString(shown)
}

// Addr gives the address of an A or AAAA record.
func (r *Record) Addr() (netip.Addr, bool) {
	if (r.Type == TypeA && len(r.Data) == 4) || (r.Type == TypeAAAA && len(r.Data) == 16) {
		return netip.AddrFromSlice(r.Data)
	}
	return netip.Addr{}, false
}

// txtText gives the strings of a TXT record in quotes, as far as they go.
func txtText(data []byte) string {
	var text []byte
	for len(data) > 0 {
		n := min(int(data[0]), len(data)-1)
		if len(text) > 0 {
			text = append(text, ' ')
		}
		text = append(text, '"')
		text = appendEscaped(text, data[1:1+n], '"')
		text = append(text, '"')
		data = data[1+n:]
	}
	return string(text)
}

// Type is a record type.
type Type uint16

// Types that are looked at or named (IANA, DNS parameters).
const (
	TypeA     Type = 1
	TypeNS    Type = 2
	TypeCNAME Type = 5
	TypeSOA   Type = 6
	TypeNULL  Type = 10
	TypePTR   Type = 12
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeSRV   Type = 33
	TypeDNAME Type = 39
	TypeOPT   Type = 41
	TypeSVCB  Type = 64
	TypeHTTPS Type = 65
	TypeAXFR  Type = 252
	TypeANY   Type = 255
)

func (t Type) isName() bool {
	return t == TypeCNAME || t == TypeDNAME || t == TypeNS || t == TypePTR
}

// String gives the mnemonic, or TYPE and the number (RFC 3597).
func (t Type) String() string {
	switch t {
	case TypeA:
		return "A"
	case TypeNS:
		return "NS"
	case TypeCNAME:
		return "CNAME"
	case TypeSOA:
		return "SOA"
	case TypeNULL:
		return "NULL"
	case TypePTR:
		return "PTR"
	case TypeMX:
		return "MX"
	case TypeTXT:
		return "TXT"
	case TypeAAAA:
		return "AAAA"
	case TypeSRV:
		return "SRV"
	case TypeDNAME:
		return "DNAME"
	case TypeOPT:
		return "OPT"
	case TypeSVCB:
		return "SVCB"
	case TypeHTTPS:
		return "HTTPS"
	case TypeAXFR:
		return "AXFR"
	case TypeANY:
		return "ANY"
	default:
		return "TYPE" + strconv.Itoa(int(t))
	}
}

// rcodeText names a response code (RFC 1035, RFC 2136), or gives RCODE and the number.
func rcodeText(code uint8) string {
	names := [...]string{
		"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return "RCODE" + strconv.Itoa(int(code))
}

// lengthOf reads the length that stands before a message on TCP.
func lengthOf(prefix []byte) int { return int(binary.BigEndian.Uint16(prefix)) }
