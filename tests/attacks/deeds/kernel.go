// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func kernelDeeds() []deed {
	return []deed{
		{"module", "FILE", 1, 1, "load the kernel module FILE", loadModule},
	}
}

func loadModule(args []string) error {
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", args[0], err)
	}
	defer unix.Close(fd)
	return outcome("finit_module", unix.FinitModule(fd, "", 0))
}
