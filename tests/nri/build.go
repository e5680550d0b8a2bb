// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/holdfast-project/holdfast/tests/kernel/vm"
)

// ErrNotBuilt is returned where containerd is not in the cache and must not be built.
var ErrNotBuilt = errors.New("no containerd with NRI in the cache: make test-nri builds it, which takes some minutes")

// moduleFile names the versions that containerd is built from, below the root of the source tree.
const moduleFile = "tests/nri/containerd.mod"

// programs are containerd and the shim that belongs to it.
var programs = [...]string{
	"github.com/containerd/containerd/v2/cmd/containerd", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
}

// tags leave out what needs C libraries or is not used here.
const tags = "no_btrfs no_devmapper no_zfs no_systemd no_tracing"

// Containerd is the path of a containerd with NRI, with its shim beside it. It is built once and kept in the cache folder
// of the kernels' tests; build says whether it may be built now.
func Containerd(ctx context.Context, build bool) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	tree := strings.TrimSpace(string(root))
	versions, err := os.ReadFile(filepath.Join(tree, moduleFile))
	if err != nil {
		return "", fmt.Errorf("read what containerd is built from: %w", err)
	}
	cache, err := vm.CacheFolder("containerd")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(string(versions) + tags + runtime.Version()))
	dir := filepath.Join(cache, hex.EncodeToString(sum[:6]))
	path := filepath.Join(dir, "containerd")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if !build {
		return "", ErrNotBuilt
	}
	return path, compile(ctx, tree, dir)
}

// compile builds the programs into a folder, which appears whole or not at all.
func compile(ctx context.Context, tree, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return fmt.Errorf("make a folder to build to: %w", err)
	}
	defer os.RemoveAll(aside)
	if err := os.Chmod(aside, 0o755); err != nil {
		return fmt.Errorf("make a folder to build to: %w", err)
	}
	args := []string{
		"build", "-modfile=" + moduleFile, "-trimpath", "-buildvcs=false", "-tags", tags, "-ldflags=-s -w",
		"-o", aside + string(filepath.Separator),
	}
	cmd := exec.CommandContext(ctx, "go", append(args, programs[:]...)...)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build containerd: %w\n%s", err, out)
	}
	if err := os.Rename(aside, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep what was built: %w", err)
	}
	return nil
}
