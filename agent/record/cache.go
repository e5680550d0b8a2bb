// SPDX-License-Identifier: Apache-2.0

package record

import (
	"sync"
	"weak"

	"github.com/holdfast-project/holdfast/agent/container"
)

// maxCached bounds the answers that are kept, at 24 bytes each.
const maxCached = 16384

// cache keeps answers by the container's cgroup. It does not keep containers alive: an answer is good for the very
// Container that it was worked out for, and the registry makes a new one when a name changes.
type cache struct {
	mu      sync.RWMutex
	answers map[uint64]answer
}

type answer struct {
	of   weak.Pointer[container.Container]
	bits uint64
}

func (c *cache) get(of *container.Container) (uint64, bool) {
	c.mu.RLock()
	a, ok := c.answers[of.Cgroup]
	c.mu.RUnlock()
	return a.bits, ok && a.of.Value() == of
}

func (c *cache) put(of *container.Container, bits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = make(map[uint64]answer)
	}
	if len(c.answers) >= maxCached {
		c.sweep()
	}
	c.answers[of.Cgroup] = answer{of: weak.Make(of), bits: bits}
}

// sweep drops the answers of containers that nobody holds any more; if few are such, all. mu is held.
func (c *cache) sweep() {
	for cgroup, a := range c.answers {
		if a.of.Value() == nil {
			delete(c.answers, cgroup)
		}
	}
	if len(c.answers) > maxCached/2 {
		clear(c.answers)
	}
}
