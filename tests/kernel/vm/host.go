// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// tool is something of the host that the package uses and the Debian package that
// has it.
type tool struct{ path, debian string }

func tools() []tool {
	return []tool{
		{"qemu-system-x86_64", "qemu-system-x86"},
		{"depmod", "kmod"},
		{"mkfs.ext4", "e2fsprogs"},
		{"xz", "xz-utils"},
		{"apt-get", "apt"},
		{"dpkg", "dpkg"},
		{busybox, "busybox-static"},
		{keyring, "debian-archive-keyring"},
	}
}

const (
	busybox = "/bin/busybox"
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// Require returns an error that names the Debian packages which the host lacks for
// fetching and running kernels, or says that the host cannot run them at all.
func Require() error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("test machines run on linux/amd64 only, this is %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	var missing []string
	for _, tool := range tools() {
		if !present(tool.path) {
			missing = append(missing, tool.debian)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("missing Debian packages; as root: apt-get install %s", strings.Join(slices.Compact(missing), " "))
}

func present(path string) bool {
	if path == busybox {
		// The package busybox installs the same path, linked dynamically.
		return static(path)
	}
	if filepath.IsAbs(path) {
		_, err := os.Stat(path)
		return err == nil
	}
	_, err := lookup(path)
	return err == nil
}

// static reports whether a path is a program without a dynamic linker.
func static(path string) bool {
	linker, err := hasLinker(path)
	return err == nil && !linker
}

// hasLinker reports whether a program asks for a dynamic linker, which a machine
// does not have. What is no ELF file is an error.
func hasLinker(path string) (bool, error) {
	file, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	return slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), nil
}

// lookup finds a program in PATH and in the folders for administrators, which the
// PATH of a user often lacks.
func lookup(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, folder := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, inFolder := exec.LookPath(filepath.Join(folder, name)); inFolder == nil {
			return path, nil
		}
	}
	return "", err
}

// command is a command of the host with untranslated messages.
func command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := lookup(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	return cmd, nil
}

// run runs a command. The error holds the end of what it printed.
func run(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, name, args...)
	return err
}

// output runs a command and returns its standard output.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("%s: %w", name, context.Cause(ctx))
		}
		return "", fmt.Errorf("%s: %w: %s", name, err, tail(out.String()+"\n"+messages.String(), 4))
	}
	return out.String(), nil
}

// tail is the last lines of a text, on one line.
func tail(text string, lines int) string {
	all := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(all[max(0, len(all)-lines):], "; ")
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeFile(to, content, 0o644)
}

// writeFile writes a file and the folders above it.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, mode)
}
