// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"log/slog"
	"sync"
)

// Arrange makes a machine for each image and each choice of security modules.
func Arrange(images []Image, lsms []LSM, template Machine) []Machine {
	var machines []Machine
	for _, image := range images {
		for _, lsm := range lsms {
			machine := template
			machine.Image, machine.LSM = image, lsm
			machines = append(machines, machine)
		}
	}
	return machines
}

// BootAll boots machines, so many at once, and returns when all have ended. What a
// person should know at once is logged: a machine's end, its warnings, its errors.
func BootAll(ctx context.Context, machines []Machine, parallel int, log *slog.Logger) Report {
	outcomes := make([]Outcome, len(machines))
	slots := make(chan struct{}, parallel)
	var running sync.WaitGroup
	for i, machine := range machines {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			result, err := Boot(ctx, machine)
			result.Machine = machine.Name()
			outcomes[i] = Outcome{Result: result, Err: err}
			for _, warning := range result.Warnings {
				log.Warn("machine", "machine", machine.Name(), "warning", warning)
			}
			if err != nil {
				log.Error("machine", "machine", machine.Name(), "err", err)
				return
			}
			log.Info("machine done", "machine", machine.Name(), "tests", len(result.Tests), "seconds", int(result.Took.Seconds()))
		})
	}
	running.Wait()
	return Report{Outcomes: outcomes}
}
