// SPDX-License-Identifier: Apache-2.0

package learn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/learn"
	"github.com/holdfast-project/holdfast/agent/wire"
)

func BenchmarkObserveKnown(b *testing.B) {
	n := newNode(new(testing.T), learn.Config{})
	for _, line := range []string{"container 77 shop Deployment web app sha256:aa", "task 1 0 0 0 /usr/bin/runc runc", "fork 1 20 77"} {
		n.run(strings.Fields(line))
	}
	e := n.event("exec", strings.Fields("20 5 32 /usr/bin/app app --listen 8080"))
	e.Head.Flags |= uint16(wire.FlagLearn)
	for b.Loop() {
		n.learner.Observe(e)
	}
}

func BenchmarkProfile(b *testing.B) {
	n := newNode(new(testing.T), learn.Config{})
	for _, line := range []string{"container 77 shop Deployment web app sha256:aa", "task 1 0 0 0 /usr/bin/runc runc", "fork 1 20 77", "exec 20 5 32 /usr/bin/app app"} {
		n.run(strings.Fields(line))
	}
	for i := range 10_000 {
		n.run([]string{"create", "20", fmt.Sprintf("/data/%c%c/%c%c", 'g'+i%17, 'g'+i/17%17, 'g'+i/289%17, 'g'+i/4913%17)})
	}
	for b.Loop() {
		n.run([]string{"create", "20", "/data/gg/gg"})
		n.learner.Profile(n.learner.Keys()[0])
	}
}
