// SPDX-License-Identifier: Apache-2.0

package content

import (
	"strconv"

	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// maxPeople is how many connections have their owner remembered; the oldest makes room.
const maxPeople = 16384

// people remembers who is at a connection, by the tags that go with its pieces. A tag is a place and how often that was
// given anew, so that a tag of before names nobody.
type people struct {
	places []person
	byKey  map[inspect.Key]uint32
	next   uint32
	// forgotten made room for others.
	forgotten uint64
}

type person struct {
	key   inspect.Key
	round uint32
	piece wire.Content
	// seen are the directions of which a piece was seen.
	seen [2]bool
	// container names the container of the piece, by its cgroup.
	container string
}

func newPeople() people { return people{byKey: map[inspect.Key]uint32{}} }

// tag gives the tag of a piece's connection, and remembers the piece as its newest. began says that a TLS object that is
// known begins a direction again: it is another connection.
func (p *people) tag(key inspect.Key, dir inspect.Dir, c *wire.Content) (tag uint64, began bool) {
	at, known := p.byKey[key]
	if !known {
		at = p.place()
		p.byKey[key] = at
		p.places[at].key, p.places[at].seen = key, [2]bool{}
	}
	w := &p.places[at]
	if key.TLS != 0 && c.Sequence == 0 && c.At == 0 && w.seen[dir] {
		w.seen, began = [2]bool{}, true
	}
	w.seen[dir] = true
	if w.container == "" || w.piece.Head.Origin != c.Head.Origin {
		w.container = strconv.FormatUint(c.Head.Origin, 10)
	}
	w.piece = *c
	return uint64(w.round)<<32 | uint64(at), began
}

// place gives a free place, or that which was taken first.
func (p *people) place() uint32 {
	if len(p.places) < maxPeople {
		p.places = append(p.places, person{})
		return uint32(len(p.places) - 1)
	}
	at := p.next
	p.next = (p.next + 1) % maxPeople
	delete(p.byKey, p.places[at].key)
	p.places[at].round++
	p.forgotten++
	return at
}

// container names the container of a tag that stands for somebody.
func (p *people) container(tag uint64) string { return p.places[uint32(tag)].container }

// of gives the newest piece of a tag's connection; nil when it was forgotten.
func (p *people) of(tag uint64) *wire.Content {
	at := uint32(tag)
	if int(at) >= len(p.places) || p.places[at].round != uint32(tag>>32) {
		return nil
	}
	return &p.places[at].piece
}
