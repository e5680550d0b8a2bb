// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/agent/dns"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/redact"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Bounds of what is remembered of a container's answers.
const (
	maxAnswers = 256
	// maxNames is how many names an address is known by, as in the kernel.
	maxNames = len(wire.Admitted{}.Name)
	// late is how long an address counts as that of a name after the time that the answer gave it.
	late = int64(time.Hour)
	// grace and least are what the kernel adds to the time of an answer, and gives it at least.
	grace = 2 * int64(time.Second)
	least = 35 * int64(time.Second)
	// longest is the longest time that an answer is believed to have.
	longest = 7 * 24 * int64(time.Hour)
	dnsPort = 53
)

// answers are the addresses that a container was told, with the names they were told for. When there are too many, the
// ones that were not told again lately go first.
type answers struct {
	byAddr map[netip.Addr]*answer
	ring   []*answer
	hand   int
}

// answer is an address and the names that stand for it.
type answer struct {
	addr  netip.Addr
	names [maxNames]standing
	// again says that it was told again since the hand came by.
	again bool
}

// standing is a name and until when it stands for the address, wall clock, nanoseconds.
type standing struct {
	name  string
	until int64
}

// Answer is an address that a container was told, with a name that it was told for and until when it stands for it.
type Answer struct {
	Address netip.Addr
	Name    string
	Until   time.Time
}

// Answers gives what a container was told and still holds, in no order: a name that becomes listed admits the addresses
// that it was answered with before, for the rest of their time.
func (l *Learner) Answers(cgroup uint64, now time.Time) []Answer {
	r := l.replicas[cgroup]
	if r == nil {
		return nil
	}
	var list []Answer
	for addr, known := range r.answers.byAddr {
		for i := range known.names {
			if s := &known.names[i]; s.stands(now.UnixNano()) {
				list = append(list, Answer{addr, s.name, time.Unix(0, s.until)})
			}
		}
	}
	return list
}

// Names gives the names that an address stands for in a container, as far as it was told.
func (l *Learner) Names(cgroup uint64, addr netip.Addr, now time.Time) []string {
	r := l.replicas[cgroup]
	if r == nil || r.answers.byAddr[addr.Unmap()] == nil {
		return nil
	}
	var names []string
	for _, s := range r.answers.byAddr[addr.Unmap()].names {
		if s.stands(now.UnixNano()) {
			names = append(names, s.name)
		}
	}
	return names
}

// stands reports whether the name stood for the address at some time.
func (s *standing) stands(at int64) bool { return s.name != "" && at <= s.until }

func newAnswers() *answers { return &answers{byAddr: map[netip.Addr]*answer{}} }

// put notes that an address was told for a name. It reports whether another address was forgotten for it. It allocates
// nothing for what is known.
func (a *answers) put(addr netip.Addr, name []byte, until int64) (forgot bool) {
	known := a.byAddr[addr]
	if known == nil {
		known, forgot = a.room()
		*known = answer{addr: addr}
		a.byAddr[addr] = known
	} else {
		known.again = true
	}
	known.put(name, until)
	return forgot
}

// room gives a place for an answer: a new one, or that of one that was not told again.
func (a *answers) room() (place *answer, forgot bool) {
	if len(a.ring) < maxAnswers {
		place = new(answer)
		a.ring = append(a.ring, place)
		return place, false
	}
	for {
		place = a.ring[a.hand]
		a.hand = (a.hand + 1) % maxAnswers
		if !place.again {
			delete(a.byAddr, place.addr)
			return place, true
		}
		place.again = false
	}
}

// put notes a name, in the place of the one whose time ends first when there are too many.
func (a *answer) put(name []byte, until int64) {
	first := 0
	for i := range a.names {
		if a.names[i].name == string(name) {
			a.names[i].until = max(a.names[i].until, until)
			return
		}
		if a.names[i].until < a.names[first].until {
			first = i
		}
	}
	a.names[first] = standing{string(name), until}
}

// asked takes the parts of a DNS message. It is kept from message to message, so that a walk allocates nothing.
type asked struct {
	walker dns.Walker
	name   []byte
	// secret says that the name holds one: it must not leave the node.
	secret bool
	// into takes the addresses, told at some time; nil when only the question is wanted.
	into *answers
	at   int64
	// forgot counts the addresses that were forgotten for others.
	forgot uint64
}

// Question implements dns.Visitor. The first question counts.
func (a *asked) Question(name []byte, _ dns.Type, _ uint16) {
	if len(a.name) == 0 {
		a.name = lower(append(a.name, name...))
		a.secret = redact.InName(name)
	}
}

// Answer implements dns.Visitor. The addresses stand for the name that was asked, whatever aliases lead to them.
func (a *asked) Answer(r *dns.Record) {
	addr, ok := r.Addr()
	if !ok || a.into == nil || a.secret || !validName(a.name) {
		return
	}
	until := a.at + max(min(int64(r.TTL)*int64(time.Second), longest)+grace, least)
	if a.into.put(addr.Unmap(), a.name, until) {
		a.forgot++
	}
}

// lower puts ASCII letters into lower case, in place.
func lower(text []byte) []byte {
	for i, b := range text {
		if 'A' <= b && b <= 'Z' {
			text[i] = b + 'a' - 'A'
		}
	}
	return text
}

// question gives the name that a message asks for, in lower case; empty when there is none that a profile can hold. It is
// valid until the next call.
func (a *asked) question(msg []byte) []byte {
	a.name, a.secret, a.into = a.name[:0], false, nil
	// What was visited before an error holds.
	_, _ = a.walker.Walk(msg, a)
	if a.secret || !validName(a.name) {
		return nil
	}
	return a.name
}

// answer notes the addresses of an answer. Which server sent it is checked by the kernel before it admits an address; here
// it has to come from the port of DNS.
func (l *Learner) answer(r *replica, ev *event.Event) {
	if ev.DNS().RemotePort != dnsPort {
		return
	}
	header, err := dns.ReadHeader(ev.Text())
	if err != nil || !header.Answer || header.RCode != 0 {
		return
	}
	a := &l.asked
	a.name, a.secret, a.into, a.at = a.name[:0], false, r.answers, ev.Time
	_, _ = a.walker.Walk(ev.Text(), a)
	a.into = nil
	l.stats.Answers, a.forgot = l.stats.Answers+a.forgot, 0
}

// validName reports whether a profile can hold the name: labels of letters, digits, hyphens and underscores, and no
// address.
func validName(name []byte) bool {
	const most, mostLabel = 253, 63
	if len(name) == 0 || len(name) > most {
		return false
	}
	label := 0
	for _, b := range name {
		switch {
		case b == '.' && label > 0:
			label = 0
		case b == '-' || b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z':
			if label++; label > mostLabel {
				return false
			}
		default:
			return false
		}
	}
	return label > 0 && !address(name)
}

// address reports whether a text could be an address.
func address(name []byte) bool {
	return bytes.IndexFunc(name, func(r rune) bool { return !strings.ContainsRune("0123456789.", r) }) < 0
}
