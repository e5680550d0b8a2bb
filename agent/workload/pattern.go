// SPDX-License-Identifier: Apache-2.0

// Package workload holds the patterns by which people name workloads: shell patterns over namespace/workload/container.
// docs/workloads.md describes them. The package is pure, and a Pattern may be used concurrently.
package workload

import (
	"fmt"
	"path"
	"strings"

	"github.com/holdfast-project/holdfast/agent/container"
)

// parts is namespace, workload and container.
const parts = 3

// maxPattern is the longest pattern that is taken, in bytes.
const maxPattern = 1024

// Pattern is a compiled pattern. The zero value matches everything.
type Pattern struct {
	part  [parts]string
	given int
}

// Compile reads a pattern. Parts that it leaves out at the end match everything, the empty pattern matches every
// workload and the host. The error says what is wrong with which pattern.
func Compile(text string) (Pattern, error) {
	if text == "" {
		return Pattern{}, nil
	}
	if len(text) > maxPattern {
		return Pattern{}, fmt.Errorf("workload pattern of %d bytes: at most %d are allowed", len(text), maxPattern)
	}
	list := strings.Split(text, "/")
	if len(list) > parts {
		return Pattern{}, fmt.Errorf("workload pattern %q has more parts than namespace/workload/container", text)
	}
	p := Pattern{given: len(list)}
	for i, part := range list {
		if _, err := path.Match(part, ""); err != nil {
			return Pattern{}, fmt.Errorf("workload pattern %q: %w", text, err)
		}
		if part != "*" {
			p.part[i] = part
			continue
		}
		// The commonest part needs no work: everything matches. An empty part, in contrast, is one that is empty.
		p.part[i] = anything
	}
	return p, nil
}

// anything stands for a part that matches everything. No compiled pattern holds it otherwise: it is malformed.
const anything = "["

// Everything reports whether the pattern matches every workload, the host too.
func (p Pattern) Everything() bool {
	for _, part := range p.part[:p.given] {
		if part != anything {
			return false
		}
	}
	return true
}

// Match reports whether a container, or the host, matches. It allocates nothing, unless a name holds a slash.
func (p Pattern) Match(c *container.Container) bool {
	if p.given == 0 {
		return true
	}
	workload, name := c.Workload, c.Name
	if workload == "" {
		workload = c.Pod
	}
	if name == "" {
		name = c.ID
	}
	subject := [parts]string{c.Namespace, workload, name}
	for i, part := range p.part[:p.given] {
		if part != anything && !match(part, subject[i]) {
			return false
		}
	}
	return true
}

// match compares one part. A slash in a name, which whoever makes the container may have put there, is a character like
// any other: it must not let the name slip through a *.
func match(pattern, name string) bool {
	if strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, "/", "\x00")
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
