// SPDX-License-Identifier: Apache-2.0

// Command manifests writes deploy/manifests from the chart of the source tree that it is run in.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/holdfast-project/holdfast/tests/chart"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func write() error {
	root, err := chart.Root()
	if err != nil {
		return err
	}
	c, err := chart.Load(root)
	if err != nil {
		return err
	}
	files, err := chart.Manifests(c)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "deploy", "manifests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
