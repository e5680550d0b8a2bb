// SPDX-License-Identifier: Apache-2.0

// Package fifo has a table of bounded size, in which the entry that was made first makes room for a new one. It is pure: no
// goroutine, no input or output, and no clock.
package fifo

// Table is such a table. Its zero value is empty. It is for one goroutine.
type Table[K comparable, V any] struct {
	of    map[K]*V
	order []K // by creation
}

// Get gives the value of a key, nil where there is none.
func (t *Table[K, V]) Get(key K) *V { return t.of[key] }

// Put adds the value of a key that has none, with at most so many in all, one or more, and reports whether one had to make room.
func (t *Table[K, V]) Put(key K, v *V, most int) (evicted bool) {
	if t.of == nil {
		t.of = map[K]*V{}
	}
	if evicted = len(t.of) >= most; evicted {
		delete(t.of, t.order[0])
		t.order = t.order[1:]
	}
	t.of[key] = v
	t.order = append(t.order, key)
	return evicted
}

// Forget drops the entries that are old.
func (t *Table[K, V]) Forget(old func(*V) bool) {
	kept := t.order[:0]
	for _, key := range t.order {
		if old(t.of[key]) {
			delete(t.of, key)
			continue
		}
		kept = append(kept, key)
	}
	clear(t.order[len(kept):])
	t.order = kept
}
