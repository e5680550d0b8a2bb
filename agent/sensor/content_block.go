// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/dlp"
)

// Bounds of the maps, HF_BLOCK_* of bpf/include/wire_content.h.
const (
	blockAccept    = 0x8000
	blockValues    = 8
	blockDetectors = 128
)

// blockDepth is how many bytes of the shortest value of a detector are read before what is sent waits for the rest.
const blockDepth = 4

// automaton is what the kernel decides by.
type automaton struct {
	table     wire.Block
	detectors []wire.BlockDetector
}

// Block gives what must not leave containers whose mode for SignalDlp is enforce, and what would not where it is monitor: of the
// automaton what it is certain of, with the thresholds of the detectors that it names by index. It is called before the first
// Inspect; without it, nothing is looked for.
func (c *Content) Block(in *dlp.Inline, detectors []dlp.Detector) error {
	if in.States > dlp.InlineStates || len(in.Next) != in.States*dlp.InlineClasses || len(in.Accept) != in.States ||
		len(in.Detectors) > blockDetectors {
		return fmt.Errorf("automaton of %d states and %d detectors: the kernel's table has no room for it", in.States, len(in.Detectors))
	}
	a := &automaton{}
	copy(a.table.Classes[:], in.Classes[:])
	for i, to := range in.Next {
		if certain(in, int(to)) != 0 {
			to |= blockAccept
		}
		a.table.Next[i] = to
	}
	for state := range in.States {
		a.table.Accept[state] = certain(in, state)
	}
	for i, id := range in.Detectors {
		a.detectors = append(a.detectors, blocked(&detectors[id]))
		a.begun(in, uint8(i+1))
	}
	c.mu.Lock()
	c.automaton = a
	c.mu.Unlock()
	return nil
}

// certain is the number of the detector and one of which a value has ended in the state without doubt; 0 for none.
func certain(in *dlp.Inline, state int) uint8 {
	if a := in.Accept[state]; a&dlp.InlineSuspect == 0 {
		return a
	}
	return 0
}

func blocked(d *dlp.Detector) wire.BlockDetector {
	var to wire.BlockDetector
	to.NameLen = uint32(copy(to.Name[:], d.ID))
	to.Count = uint32(max(d.Threshold.Count, 1))
	to.Distinct = uint32(min(d.Threshold.Distinct, blockValues))
	to.Window = uint64(d.Threshold.Window)
	return to
}

// begun marks the states in which a value of the detector has begun: from which fewer bytes lead to its end than from the start.
func (a *automaton) begun(in *dlp.Inline, detector uint8) {
	before := make([][]uint16, in.States)
	for i, to := range in.Next {
		before[to] = append(before[to], uint16(i/dlp.InlineClasses))
	}
	left := make([]int, in.States)
	var queue []uint16
	for state := range left {
		left[state] = -1
		if a.table.Accept[state] == detector {
			left[state] = 0
			queue = append(queue, uint16(state))
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, from := range before[queue[0]] {
			if left[from] < 0 {
				left[from] = left[queue[0]] + 1
				queue = append(queue, from)
			}
		}
	}
	for state, n := range left {
		if n > 0 && n <= left[0]-blockDepth && a.table.Partial[state] == 0 {
			a.table.Partial[state] = detector
		}
	}
}

// put writes the maps.
func (a *automaton) put(maps map[string]*ebpf.Map) error {
	if a == nil {
		return nil
	}
	if err := maps["block_table"].Put(uint32(0), &a.table); err != nil {
		return fmt.Errorf("map block_table: %w", err)
	}
	for i := range a.detectors {
		if err := maps["block_detectors"].Put(uint32(i), &a.detectors[i]); err != nil {
			return fmt.Errorf("map block_detectors: %w", err)
		}
	}
	return nil
}
