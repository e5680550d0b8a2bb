// SPDX-License-Identifier: Apache-2.0

package mode

import (
	"time"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Expected gives the modes that a container would have if it started now: one that was announced and has no cgroup yet. It
// is no canary, whatever its workload has. Annotations that mean nothing are in the error, and the rest holds.
func (c *Controller) Expected(one Container, now time.Time) (profile.Modes, error) {
	annotated, err := annotations(one)
	r := &running{subject: c.rules.subject(one, annotated), started: now}
	modes := profile.Modes{}
	for _, signal := range profile.Signals() {
		modes[signal] = c.decide(r, signal, now).Mode
	}
	return modes, err
}
