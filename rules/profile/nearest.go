// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"net/netip"
	"slices"
	"strings"
)

// nearest is the entry of a kind that is most like what was done, by points; nil if none has any. Entries of the executable
// that acts, and of every one, come before those of others, and of equals the first.
func (m *Matcher) nearest(d Deed, kind EntryKind, points func(Entry) int) *Entry {
	var best *Entry
	most := 0
	for i := range m.entries {
		e := &m.entries[i]
		if e.Kind != kind {
			continue
		}
		n := 2 * points(*e)
		if n > 0 && (e.part.Path == d.Executable || e.part.Path == Any) {
			n++
		}
		if n > most {
			best, most = e, n
		}
	}
	return best
}

// nearestExec is the nearest entry for what an exec lacks.
func (m *Matcher) nearestExec(d Deed, reason Reason) *Entry {
	own := func(e Entry) int { return btoi(e.part.Path == d.Executable) }
	switch reason {
	case ReasonArguments:
		return m.nearest(d, ArgumentEntry, func(e Entry) int {
			return own(e) * (1 + likeArguments(e.part.Arguments[0].Shape, d.Arguments))
		})
	case ReasonParent:
		return m.nearest(d, ParentEntry, func(e Entry) int {
			return own(e) * (1 + likePath(e.part.Parents[0].Path, d.Parent))
		})
	default:
		return m.nearest(d, ProcessEntry, func(e Entry) int { return likePath(e.part.Path, d.Executable) })
	}
}

// likePath gives points for how alike two paths are: most for the same name, then for the folders that they share.
func likePath(a, b string) int {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	points := 0
	for points+1 < min(len(as), len(bs)) && as[points+1] == bs[points+1] {
		points++
	}
	if as[len(as)-1] == bs[len(bs)-1] {
		points += 4
	}
	return points
}

// likeArguments gives points for arguments in common, in place or anywhere.
func likeArguments(a, b []string) int {
	points := 0
	for i, text := range a {
		switch {
		case i < len(b) && b[i] == text:
			points += 2
		case slices.Contains(b, text):
			points++
		}
	}
	return points
}

// likePeer gives points for how near an entry comes to whom was contacted: the same one at another port, a domain in
// common, an address nearby.
func likePeer(e, want Egress, address netip.Addr) int {
	points := 0
	switch {
	case e.peer() == want.peer():
		points = 40
	case e.Name != "" && want.Name != "":
		points = sharedLabels(e.Name, want.Name) * 4
	case e.CIDR != "" && address.IsValid():
		prefix, err := netip.ParsePrefix(e.CIDR)
		if err == nil && prefix.Contains(address) {
			points = 1 + prefix.Bits()/4
		} else if err == nil {
			points = sharedBits(prefix.Addr(), address) / 8
		}
	}
	if points > 0 {
		points += btoi(e.Port == want.Port) + btoi(e.Protocol == want.Protocol)
	}
	return points
}

// sharedLabels counts the labels that two names end in, beyond the last one.
func sharedLabels(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	n := 0
	for n < min(len(as), len(bs)) && as[len(as)-1-n] == bs[len(bs)-1-n] {
		n++
	}
	return max(n-1, 0)
}

// sharedBits counts the bits that two addresses begin with.
func sharedBits(a, b netip.Addr) int {
	if a.Is4() != b.Is4() {
		return 0
	}
	as, bs := a.AsSlice(), b.AsSlice()
	for i := range as {
		if x := as[i] ^ bs[i]; x != 0 {
			n := i * 8
			for ; x&0x80 == 0; x <<= 1 {
				n++
			}
			return n
		}
	}
	return len(as) * 8
}
