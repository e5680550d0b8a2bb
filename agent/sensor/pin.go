// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"
	"os"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// agentState has what the programs know of the agent.
const agentState = "agent_state"

// introduce tells the programs who the agent is.
func (s *Sensor) introduce() error {
	state := wire.Agent{Tgid: uint32(os.Getpid()), Alive: bootNow()}
	if err := s.loader.maps[agentState].Put(uint32(0), state); err != nil {
		return fmt.Errorf("map %s: %w", agentState, err)
	}
	return nil
}
