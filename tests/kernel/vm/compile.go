// SPDX-License-Identifier: Apache-2.0

package vm

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
	"time"
)

// Tag is the build tag that everything is compiled with: test files which make
// sense only in a test machine carry it.
const Tag = "vm"

// TestMargin is how much earlier than its machine a test binary gives up, so that it
// can still print the stacks of its goroutines.
const TestMargin = 15 * time.Second

// Build is what to compile, with the go command of the host and for the machine:
// statically, without cgo.
type Build struct {
	Packages []string      // packages whose tests to run, patterns too
	Run      string        // regular expression of the tests to run; empty for all
	Tags     []string      // build tags beside Tag
	Commands []Command     // programs that tests need
	Timeout  time.Duration // of the machine
}

// Command is a Go program to place in the machine.
type Command struct {
	Package string // import path, or path that begins with a dot
	Arch    string // GOARCH: amd64 or 386
	To      string // absolute path in the machine
}

// Compile compiles into a folder of the host, which must stay until the machines
// have been booted. A package's testdata goes along; its tests run beside it.
func Compile(ctx context.Context, build Build, folder string) (Payload, error) {
	payload := Payload{Env: []string{"HOLDFAST_VM=1"}}
	tags := strings.Join(append([]string{Tag}, build.Tags...), ",")
	for i, command := range build.Commands {
		binary := filepath.Join(folder, fmt.Sprintf("command%d", i))
		if err := goBuild(ctx, command.Arch, "build", "-tags", tags, "-o", binary, command.Package); err != nil {
			return Payload{}, err
		}
		payload.Files = append(payload.Files, File{From: binary, To: command.To})
	}
	if len(build.Packages) == 0 {
		return payload, nil
	}
	packages, err := resolve(ctx, build.Packages, tags)
	if err != nil {
		return Payload{}, err
	}
	for i, pkg := range packages {
		binary := filepath.Join(folder, fmt.Sprintf("test%d", i), pkg.Name+".test")
		if err := goBuild(ctx, "amd64", "test", "-c", "-tags", tags, "-o", binary, pkg.ImportPath); err != nil {
			return Payload{}, err
		}
		payload.Programs = append(payload.Programs, Program{
			Name: pkg.title(), Path: binary, Args: testFlags(build), Dir: "/src/" + pkg.title(),
		})
		if data := filepath.Join(pkg.Dir, "testdata"); exists(data) {
			payload.Files = append(payload.Files, File{From: data, To: "/src/" + pkg.title() + "/testdata"})
		}
	}
	return payload, nil
}

// testFlags are the arguments of a test binary.
func testFlags(build Build) []string {
	flags := []string{"-test.v=test2json", "-test.timeout=" + (build.Timeout - TestMargin).String()}
	if build.Run != "" {
		flags = append(flags, "-test.run="+build.Run)
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
func resolve(ctx context.Context, patterns []string, tags string) ([]goPackage, error) {
	cmd := goCommand(ctx, "amd64", append([]string{"list", "-json=Name,ImportPath,Dir,TestGoFiles,XTestGoFiles,Module",
		"-tags", tags}, patterns...)...)
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
		return nil, fmt.Errorf("no tests in %s", strings.Join(patterns, " "))
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
