// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/collector/store"
)

// place is what a cursor says: the time of a row's event, and where the row is.
type place struct {
	time int64
	file fileNumber
	id   int64
}

func (p place) cursor() store.Cursor {
	return store.Cursor(fmt.Sprintf("%d.%d.%d", p.time, int64(p.file), p.id))
}

func parseCursor(c store.Cursor) (place, error) {
	parts := strings.Split(string(c), ".")
	if len(parts) != 3 {
		return place{}, fmt.Errorf("cursor %.80q: %w", string(c), store.ErrCursor)
	}
	var n [3]int64
	for i, part := range parts {
		var err error
		if n[i], err = strconv.ParseInt(part, 10, 64); err != nil {
			return place{}, fmt.Errorf("cursor %.80q: %w", string(c), store.ErrCursor)
		}
	}
	return place{time: n[0], file: fileNumber(n[1]), id: n[2]}, nil
}

// before says whether p comes before q in the order of time.
func (p place) before(q place) bool {
	switch {
	case p.time != q.time:
		return p.time < q.time
	case p.file != q.file:
		return p.file < q.file
	}
	return p.id < q.id
}
