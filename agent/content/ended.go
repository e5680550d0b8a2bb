// SPDX-License-Identifier: Apache-2.0

package content

import (
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/agent/inspect"
)

const (
	// maxEnded is how many connections that have ended may wait to be closed; one beyond is closed when it has been idle.
	maxEnded = 4096
	// endedAfter is how long they wait: what they carried comes another way, and may come later.
	endedAfter = int64(time.Second)
)

// ended are connections that have ended, by the goroutine that is told, until the goroutine of the texts closes them: what
// stands at the very end of a text is decided then, and what they take of memory is free.
type ended struct {
	mu   sync.Mutex
	list []end
}

type end struct {
	cookie uint64
	at     int64
}

// Ended says that the connection of a socket has ended, by its cookie, and when by the clock of the pieces. It may be called
// from any goroutine.
func (r *Reader) Ended(cookie uint64, at int64) {
	e := &r.ended
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) < maxEnded {
		e.list = append(e.list, end{cookie, at})
	}
}

// close closes the connections that have waited long enough.
func (e *ended) close(now int64, in *inspect.Inspector) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(e.list) && now-e.list[n].at >= endedAfter {
		in.Closed(inspect.Key{Cookie: e.list[n].cookie})
		n++
	}
	e.list = append(e.list[:0], e.list[n:]...)
}
