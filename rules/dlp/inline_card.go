// SPDX-License-Identifier: Apache-2.0

package dlp

// The lanes of card numbers: the state holds how many digits were read and their sum by Luhn. From the issuer the length
// is known, from the length which digits count twice, so that the sum is known at each digit.

// lane is a place in a card number. What was read before matters only by the sum, and which digits count twice only by
// how many are left, so that numbers of all lengths share their ends.
type lane struct {
	prefix string // while the length is not known yet
	length int    // until the fourth digit is followed by a digit or a separator
	left   int    // digits to come
	sum    int
	bare   bool
	gaps   string // for how many digits left separators are to come
	begun  bool
	solo   bool // not in groups: it stands in a row of numbers already
}

// addCards adds the lanes of the numbers of 14, 15 and 16 digits, bare and in groups of 4-4-4-4, 4-6-5 and 4-6-4.
func (b *inlineBuilder) addCards(id uint8) {
	known := make(map[lane]int32)
	queue := []lane{{}, {solo: true}}
	for _, l := range queue {
		known[l] = b.node()
	}
	b.numbers, b.solos = append(b.numbers, known[queue[0]]), append(b.solos, known[queue[1]])
	for len(queue) > 0 {
		l := queue[0]
		queue = queue[1:]
		for c := range 256 {
			to, ok := l.step(byte(c))
			if !ok {
				continue
			}
			n, seen := known[to]
			if !seen {
				n = b.node()
				b.nodes[n].lane = true
				if known[to] = n; to.prefix == "" && to.left == 0 {
					b.nodes[n].accept = id
					if to.bare {
						b.nodes[n].accept |= InlineSuspect
					}
				} else {
					queue = append(queue, to)
				}
			}
			b.nodes[known[l]].edges[c] = n
		}
	}
	b.row(known)
}

// row adds the two nodes of numbers that are no card's: one for their digits, one for the separator behind them, which
// lanes that a separator ends lead to as well. Behind that a card may stand as bare digits, while groups would rather be
// more of the row.
func (b *inlineBuilder) row(lanes map[lane]int32) {
	b.digits, b.gap = b.node(), b.node()
	for _, c := range []byte(" -.") {
		b.nodes[b.digits].edges[c] = b.gap
		for l, n := range lanes {
			if l.begun && b.nodes[n].edges[c] < 0 {
				b.nodes[n].edges[c] = b.gap
			}
		}
	}
}

// step is where a byte leads, if anywhere.
func (l lane) step(c byte) (lane, bool) {
	boundary := l.gaps != "" && l.left == int(l.gaps[0]-'0')
	if c == ' ' || c == '-' {
		switch {
		case boundary:
			l.gaps = l.gaps[1:]
			return l, true
		case !l.solo && l.length > 0 && l.left == l.length-4:
			l.gaps = map[int]string{16: "84", 15: "5", 14: "4"}[l.length]
			l.length = 0
			return l, true
		}
		return l, false
	}
	if !isDigit(c) || boundary {
		return l, false
	}
	if l.left == 0 {
		return resolve(l.prefix+string(rune(c)), l.solo)
	}
	if l.length > 0 && l.left == l.length-4 {
		l.length, l.bare, l.solo = 0, true, false
	}
	l.add(c)
	return l, l.left > 0 || l.sum == 0
}

// add counts a digit.
func (l *lane) add(c byte) {
	d := int(c - '0')
	if l.left%2 == 0 {
		if d *= 2; d > 9 {
			d -= 9
		}
	}
	l.sum = (l.sum + d) % 10
	l.left--
}

// resolve is the lane of the first digits of a number: with the length, once all numbers that begin so have the same.
func resolve(prefix string, solo bool) (lane, bool) {
	var lengths [17]int
	tail := 1
	for range 4 - len(prefix) {
		tail *= 10
	}
	var number [16]byte
	copy(number[:], prefix)
	for n := range tail {
		for i, rest := 3, n; i >= len(prefix); i-- {
			number[i] = byte('0' + rest%10)
			rest /= 10
		}
		for length := 14; length <= 16; length++ {
			if issuer(number[:length]) && !maestro(number[:4]) {
				lengths[length]++
			}
		}
	}
	for length, n := range lengths {
		if n == tail {
			l := lane{length: length, left: length, begun: true, solo: solo}
			for _, c := range []byte(prefix) {
				l.add(c)
			}
			return l, true
		}
	}
	return lane{prefix: prefix, begun: true, solo: solo}, len(prefix) < 4 && lengths[14]+lengths[15]+lengths[16] > 0
}

// maestro reports whether numbers that begin so are of many lengths.
func maestro(v []byte) bool {
	var twelve [12]byte
	copy(twelve[:], v)
	return issuer(twelve[:])
}
