// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/holdfast-project/holdfast/tests/kernel/vm"
)

// build compiles what is to be compiled and returns what the machines run.
func build(ctx context.Context, opts options, folder string) (vm.Payload, error) {
	payload, err := vm.Compile(ctx, vm.Build{
		Packages: opts.packages, Run: opts.run, Tags: opts.tags, Commands: opts.builds, Timeout: opts.timeout,
	}, folder)
	if err != nil {
		return vm.Payload{}, err
	}
	payload.Files = append(payload.Files, opts.files...)
	payload.Env = append(payload.Env, opts.env...)
	if len(opts.command) > 0 {
		name := filepath.Base(opts.command[0])
		payload.Programs = []vm.Program{{Name: name, Path: opts.command[0], Args: opts.command[1:], Dir: "/vm"}}
	}
	return payload, nil
}

// logs are where machines write to: the terminal and, if asked for, files.
type logs struct {
	folder   string // empty for none
	quiet    bool
	printing sync.Mutex
	files    []*os.File
}

// connect gives a machine its outputs.
func (l *logs) connect(machine *vm.Machine) error {
	var outputs []io.Writer
	if !l.quiet {
		outputs = append(outputs, &prefixer{to: os.Stdout, prefix: machine.Name(), mutex: &l.printing})
	}
	if l.folder != "" {
		console, err := l.create(machine.Name() + ".console")
		if err != nil {
			return err
		}
		output, err := l.create(machine.Name() + ".output")
		if err != nil {
			return err
		}
		machine.Console = console
		outputs = append(outputs, output)
	}
	machine.Output = io.MultiWriter(outputs...)
	return nil
}

func (l *logs) create(name string) (*os.File, error) {
	if err := os.MkdirAll(l.folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of logs: %w", err)
	}
	file, err := os.Create(filepath.Join(l.folder, strings.ReplaceAll(name, " ", "-")))
	if err != nil {
		return nil, fmt.Errorf("make a log: %w", err)
	}
	l.files = append(l.files, file)
	return file, nil
}

// close ends the files.
func (l *logs) close() error {
	var errs []error
	for _, file := range l.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// prefixer writes whole lines with the name of their machine; machines that run at
// once share the mutex.
type prefixer struct {
	to     io.Writer
	prefix string
	mutex  *sync.Mutex
}

func (p *prefixer) Write(line []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if _, err := fmt.Fprintf(p.to, "%-10s | %s", p.prefix, line); err != nil {
		return 0, err
	}
	return len(line), nil
}
