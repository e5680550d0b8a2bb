// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func fileDeeds() []deed {
	const token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	return []deed{
		{"open", "FILE [TAG]", 1, 2, "open FILE for reading", func(args []string) error { return read(args[0]) }},
		{"read-shadow", "", 0, 0, "read /etc/shadow", func([]string) error { return read("/etc/shadow") }},
		{"read-token", "[FILE]", 0, 1, "read the service-account token", func(args []string) error {
			return read(arg(args, 0, token))
		}},
		{"write-bin", "[FILE]", 0, 1, "write a file below /usr/bin (/usr/bin/planted)", func(args []string) error {
			return plant(arg(args, 0, "/usr/bin/planted"))
		}},
		{"rename-bin", "FROM TO", 2, 2, "write FROM and rename it to TO", renameInto},
	}
}

func read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return outcome("open "+path, err)
	}
	n, err := io.Copy(io.Discard, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	fmt.Println("read", n, "bytes of", path)
	return nil
}

// plant makes a program that a later visit would find.
func plant(path string) error {
	err := os.WriteFile(path, []byte("#!/bin/sh\nexit 0\n"), 0o755)
	return outcome("write "+path, err)
}

func renameInto(args []string) error {
	if err := plant(args[0]); err != nil {
		return err
	}
	return outcome("rename "+args[0], os.Rename(args[0], args[1]))
}
