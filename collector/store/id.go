// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strconv"
	"strings"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// FormatID is the ID of a record: node, epoch in hexadecimal and sequence in decimal, with colons between. Node names
// hold no colon.
func FormatID(node string, epoch, sequence uint64) string {
	return node + ":" + strconv.FormatUint(epoch, 16) + ":" + strconv.FormatUint(sequence, 10)
}

// ParseID takes an ID apart. An ID that FormatID does not give is ErrNotFound, for no row has it.
func ParseID(id string) (node string, epoch, sequence uint64, err error) {
	head, seq, ok := cutLast(id)
	if !ok {
		return "", 0, 0, fmt.Errorf("id %q: %w", id, ErrNotFound)
	}
	node, ep, ok := cutLast(head)
	if !ok {
		return "", 0, 0, fmt.Errorf("id %q: %w", id, ErrNotFound)
	}
	if epoch, err = strconv.ParseUint(ep, 16, 64); err == nil {
		sequence, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil || FormatID(node, epoch, sequence) != id {
		return "", 0, 0, fmt.Errorf("id %q: %w", id, ErrNotFound)
	}
	return node, epoch, sequence, nil
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// Subject is what Filter.Workload is matched with: namespace/workload/container. Parts that are not known are empty, so
// the host's is "//".
func Subject(c *apiv1.Container) string {
	workload := c.GetWorkload()
	if workload == "" {
		workload = c.GetPod()
	}
	name := c.GetName()
	if name == "" {
		name = c.GetId()
	}
	return c.GetNamespace() + "/" + workload + "/" + name
}

// EventOf returns the event of a record: the recorded one, or the one that an alert is about; nil when it has none.
func EventOf(r *apiv1.Record) *apiv1.Event {
	if a := r.GetAlert(); a != nil {
		return a.GetEvent()
	}
	return r.GetEvent()
}
