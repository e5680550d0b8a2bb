// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-project/holdfast/agent/container"
)

// What the kubelet runs in a container, its probes and hooks, is let run from the start, by the pod's specification. Which
// file a command is can be told only in the container's root, once its first process is there; looking may take as long as
// the container's file systems please, so a goroutine of its own looks.

// maxForeseen bounds the containers that wait for that, foreseenFor how long each does.
const (
	maxForeseen = 4096
	foreseenFor = time.Minute
)

// foreseeing is a container whose commands are looked for.
type foreseeing struct {
	container *container.Container
	until     time.Time
}

// foresee has the commands of a container looked for. mu is held.
func (g *Guard) foresee(c *container.Container) {
	if len(c.Commands) == 0 || g.cfg.InitPID == nil {
		return
	}
	if _, known := g.foreseen[c.Cgroup]; known || len(g.foreseen) < maxForeseen {
		g.foreseen[c.Cgroup] = foreseeing{c, g.now().Add(foreseenFor)}
	}
}

// lookForCommands looks until the context ends.
func (g *Guard) lookForCommands(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := g.now()
		g.mu.Lock()
		var list []*container.Container
		for cgroup, f := range g.foreseen {
			if now.After(f.until) || g.members[cgroup] == nil {
				delete(g.foreseen, cgroup)
				continue
			}
			list = append(list, f.container)
		}
		g.mu.Unlock()
		for _, c := range list {
			if pid := g.cfg.InitPID(c.Cgroup); pid != 0 {
				g.foreseeIn(c, pid)
			}
		}
	}
}

// foreseeIn lets the commands of a container run, whose first process is there.
func (g *Guard) foreseeIn(c *container.Container, pid uint32) {
	root, search := fmt.Sprintf("/proc/%d/root", pid), searchPath(pid)
	for _, argv := range c.Commands {
		found, err := findCommand(root, search, argv)
		if err != nil {
			g.log.Debug("a probe or a hook is not known by its file, and is learned when it runs", "container", c.ID, "error", err)
			continue
		}
		g.mu.Lock()
		if g.members[c.Cgroup] != nil {
			g.learner.Foresee(c.Cgroup, found.exe, found.argv, g.now())
		}
		g.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.foreseen[c.Cgroup].container == c {
		delete(g.foreseen, c.Cgroup)
	}
}
