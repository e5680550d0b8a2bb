// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"time"
)

// Config is the bounds of an Inspector. A zero value means the default.
type Config struct {
	// FlowBytes is how many bytes of one direction of a flow wait for bytes before them or for the end of a line or
	// field; default 16 KiB, at least 1 KiB, at most 1 MiB.
	FlowBytes int
	// MemoryBytes bounds all state together; default 32 MiB, at least 1 MiB.
	MemoryBytes int
	// Flows is how many connections are followed; default 10,000.
	Flows int
	// MessageBytes is how much of a message's body is inspected, before decompression; default 1 MiB.
	MessageBytes int
	// HeaderBytes is how much of a message's header is inspected; default 64 KiB.
	HeaderBytes int
	// Depth is how many layers are undone one within the other; default 4, at most 6.
	Depth int
	// ExpansionBytes is what decompression may give in one message, all layers together; default 4 MiB.
	ExpansionBytes int
	// ExpansionRatio is how many times its input a decompressor may give, beyond a first 64 KiB; default 64.
	ExpansionRatio int
	// Idle is when a flow without a piece is forgotten; default 2 minutes.
	Idle time.Duration
	// GapWait is how long bytes wait for missing ones before them; default 500 ms.
	GapWait time.Duration
	// Values gives every string of a JSON text as a text of its own, not only the ones that are encoded.
	Values bool
}

const (
	depthMax = 6
	// layersMax leaves room for chunked and labels, which are no depth.
	layersMax = depthMax + 2
)

// withDefaults fills in what is zero and checks the rest.
func (c Config) withDefaults() (Config, error) {
	ints := []struct {
		name         string
		value        *int
		def, min, at int
	}{
		{"flow bytes", &c.FlowBytes, 16 << 10, 1 << 10, 1 << 20},
		{"memory bytes", &c.MemoryBytes, 32 << 20, 1 << 20, 1 << 40},
		{"flows", &c.Flows, 10_000, 1, 1 << 24},
		{"message bytes", &c.MessageBytes, 1 << 20, 1, 1 << 30},
		{"header bytes", &c.HeaderBytes, 64 << 10, 1 << 10, 1 << 24},
		{"depth", &c.Depth, 4, 1, depthMax},
		{"expansion bytes", &c.ExpansionBytes, 4 << 20, 1 << 10, 1 << 30},
		{"expansion ratio", &c.ExpansionRatio, 64, 2, 1 << 10},
	}
	for _, f := range ints {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < f.min || *f.value > f.at {
			return c, fmt.Errorf("inspect: %s %d is not within %d and %d", f.name, *f.value, f.min, f.at)
		}
	}
	times := []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{{"idle", &c.Idle, 2 * time.Minute}, {"gap wait", &c.GapWait, 500 * time.Millisecond}}
	for _, f := range times {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < 0 {
			return c, fmt.Errorf("inspect: %s of %s is negative", f.name, *f.value)
		}
	}
	return c, nil
}
