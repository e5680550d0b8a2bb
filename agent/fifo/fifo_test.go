// SPDX-License-Identifier: Apache-2.0

package fifo_test

import (
	"testing"

	"github.com/holdfast-project/holdfast/agent/fifo"
)

// TestTable has more entries than there is room for, and forgets some: the oldest goes each time, and none twice.
func TestTable(t *testing.T) {
	var table fifo.Table[int, int]
	keys := func() (all []int) {
		for key := range 40 {
			if v := table.Get(key); v != nil && *v == 2*key {
				all = append(all, key)
			}
		}
		return all
	}
	evicted := 0
	put := func(from, to int) {
		for key := from; key < to; key++ {
			v := 2 * key
			if table.Put(key, &v, 10) {
				evicted++
			}
		}
	}
	put(0, 25)
	if all := keys(); len(all) != 10 || all[0] != 15 || evicted != 15 {
		t.Errorf("%v, %d evicted", all, evicted)
	}
	table.Forget(func(v *int) bool { return *v%4 == 0 })
	if all := keys(); len(all) != 5 || all[0] != 15 || all[4] != 23 {
		t.Errorf("%v", all)
	}
	put(25, 31)
	if all := keys(); len(all) != 10 || all[0] != 17 || evicted != 16 {
		t.Errorf("%v, %d evicted", all, evicted)
	}
}
