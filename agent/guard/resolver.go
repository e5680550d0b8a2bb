// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"slices"
)

// maxResolvers is how many DNS servers of the containers of a workload are believed.
const maxResolvers = 16

// resolve notes which DNS servers the containers of a workload have, and has its policy made anew if they are others than
// before. more are of a container that is announced. mu is held.
//
// The servers are of containers, a policy is of a workload: where its containers differ, each believes those of all. That is
// safe as far as they go: all of them were given by the runtime to replicas of one workload, none by a container, and an
// answer is believed only by the socket that asked the server.
func (g *Guard) resolve(w *workload, more ...netip.Addr) {
	all := slices.Clone(more)
	for _, m := range g.members {
		if m.workload == w {
			all = append(all, m.container.Resolvers...)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	all = all[:min(len(all), maxResolvers)]
	if !slices.Equal(all, w.resolvers) {
		w.resolvers, w.stale = all, true
	}
}
