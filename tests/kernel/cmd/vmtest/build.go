// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/tests/kernel/vm"
)

// testMargin is how much earlier than the machine a test binary gives up, so that
// it can still print the stacks of its goroutines.
const testMargin = 15 * time.Second

// build compiles what is to be compiled and returns what the machines run.
func build(ctx context.Context, opts options, folder string) (vm.Payload, error) {
	payload := vm.Payload{Files: opts.files, Env: append([]string{"HOLDFAST_VM=1"}, opts.env...)}
	for i, text := range opts.builds {
		goarch, pkg, to, err := splitBuild(text)
		if err != nil {
			return vm.Payload{}, err
		}
		binary := filepath.Join(folder, fmt.Sprintf("build%d", i))
		if err := goBuild(ctx, goarch, "build", "-tags", opts.tags, "-o", binary, pkg); err != nil {
			return vm.Payload{}, err
		}
		payload.Files = append(payload.Files, vm.File{From: binary, To: to})
	}
	if len(opts.command) > 0 {
		name := filepath.Base(opts.command[0])
		payload.Programs = []vm.Program{{Name: name, Path: opts.command[0], Args: opts.command[1:], Dir: "/vm"}}
		return payload, nil
	}
	packages, err := resolve(ctx, opts)
	if err != nil {
		return vm.Payload{}, err
	}
	for i, pkg := range packages {
		binary := filepath.Join(folder, fmt.Sprintf("%d", i), pkg.Name+".test")
		if err := goBuild(ctx, "amd64", "test", "-c", "-tags", opts.tags, "-o", binary, pkg.ImportPath); err != nil {
			return vm.Payload{}, err
		}
		payload.Programs = append(payload.Programs, vm.Program{
			Name: pkg.title(), Path: binary, Args: testFlags(opts), Dir: "/src/" + pkg.title(),
		})
		if data := filepath.Join(pkg.Dir, "testdata"); isFolder(data) {
			payload.Files = append(payload.Files, vm.File{From: data, To: "/src/" + pkg.title() + "/testdata"})
		}
	}
	return payload, nil
}

// testFlags are the arguments of a test binary.
func testFlags(opts options) []string {
	flags := []string{"-test.v=test2json", "-test.timeout=" + (opts.timeout - testMargin).String()}
	if opts.run != "" {
		flags = append(flags, "-test.run="+opts.run)
	}
	return flags
}

// goPackage is what go list tells of a package.
type goPackage struct {
	Name, ImportPath, Dir     string
	TestGoFiles, XTestGoFiles []string
	Module                    struct{ Path string }
}

// title is the path of a package inside its module.
func (p goPackage) title() string {
	return strings.Trim(strings.TrimPrefix(p.ImportPath, p.Module.Path), "/")
}

// resolve expands patterns to the packages that have tests.
func resolve(ctx context.Context, opts options) ([]goPackage, error) {
	cmd := goCommand(ctx, "amd64", append([]string{"list", "-json=Name,ImportPath,Dir,TestGoFiles,XTestGoFiles,Module",
		"-tags", opts.tags}, opts.packages...)...)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("find the packages: %w: %s", err, strings.TrimSpace(messages.String()))
	}
	var packages []goPackage
	decoder := json.NewDecoder(bytes.NewReader(listed))
	for {
		var pkg goPackage
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		if len(pkg.TestGoFiles)+len(pkg.XTestGoFiles) > 0 {
			packages = append(packages, pkg)
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(opts.packages, " "))
	}
	return packages, nil
}

func goCommand(ctx context.Context, goarch string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch)
	return cmd
}

// goBuild runs go build or go test -c.
func goBuild(ctx context.Context, goarch string, args ...string) error {
	printed, err := goCommand(ctx, goarch, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, printed)
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// arrange makes the machines, and the function that ends their logs.
func arrange(opts options, images []vm.Image, payload vm.Payload) ([]vm.Machine, func() error, error) {
	var machines []vm.Machine
	var files []*os.File
	closeAll := func() error {
		var errs []error
		for _, file := range files {
			errs = append(errs, file.Close())
		}
		return errors.Join(errs...)
	}
	create := func(name string) (io.Writer, error) {
		file, err := os.Create(filepath.Join(opts.logs, strings.ReplaceAll(name, " ", "-")))
		files = append(files, file)
		return file, err
	}
	if opts.logs != "" {
		if err := os.MkdirAll(opts.logs, 0o755); err != nil {
			return nil, nil, fmt.Errorf("make the folder of logs: %w", err)
		}
	}
	printing := new(sync.Mutex)
	for _, image := range images {
		for _, lsm := range opts.lsms {
			machine := vm.Machine{Image: image, LSM: lsm, Payload: payload, BootTimeout: opts.boot, Timeout: opts.timeout}
			var outputs []io.Writer
			if !opts.quiet {
				outputs = append(outputs, &prefixer{to: os.Stdout, prefix: machine.Name(), mutex: printing})
			}
			if opts.logs != "" {
				var err error
				if machine.Console, err = create(machine.Name() + ".console"); err != nil {
					return nil, nil, errors.Join(err, closeAll())
				}
				output, err := create(machine.Name() + ".output")
				if err != nil {
					return nil, nil, errors.Join(err, closeAll())
				}
				outputs = append(outputs, output)
			}
			machine.Output = io.MultiWriter(outputs...)
			machines = append(machines, machine)
		}
	}
	return machines, closeAll, nil
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
