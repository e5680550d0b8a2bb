// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-project/holdfast/agent/container"
)

// errEnded tells those who wait that Run has returned.
var errEnded = errors.New("nothing is put in force any more")

// Await has Run give a container its policy and modes, as Container does for one that has its cgroup and Expect for one that
// does not, and returns when they are in force. When the context ends before, its error is returned, and Run goes on with
// it. A container for which there is no policy (the host's, those that hold pods' namespaces) is ready at once.
func (g *Guard) Await(ctx context.Context, c *container.Container) error {
	give := g.expect
	if c.Cgroup != 0 {
		give = g.arrived
	}
	done := make(chan error, 1)
	select {
	case g.news <- func() error {
		err := give(c)
		done <- err
		return err
	}:
	case <-g.ended:
		return errEnded
	case <-ctx.Done():
		return fmt.Errorf("wait for what is to be put in force before: %w", ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-g.ended:
		return errEnded
	case <-ctx.Done():
		return fmt.Errorf("wait until a policy is in force: %w", ctx.Err())
	}
}
