// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// CacheVariable names the environment variable with the folder of caches.
const CacheVariable = "HOLDFAST_CACHE"

// Cache keeps kernels in a folder. Several processes may use one folder: a lock
// file keeps them apart while one of them fetches.
type Cache struct {
	// Folder holds the kernels; it is made when needed.
	Folder string
	// Refresh fetches the newest release even where one is kept.
	Refresh bool
	// Log says what is fetched.
	Log *slog.Logger
}

// Image is a kernel that can be booted.
type Image struct {
	Kernel  Kernel
	Release string // as uname -r prints it
	kernel  string // path of the compressed image
	modules string // folder with lib/modules/Release, ready for the guest
	loaded  []string
}

// Ensure returns the images of the kernels, in order, and fetches those that the
// cache does not hold, one after the other.
func (c Cache) Ensure(ctx context.Context, kernels []Kernel) ([]Image, error) {
	if err := os.MkdirAll(c.Folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the kernel cache: %w", err)
	}
	unlock, err := lock(filepath.Join(c.Folder, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock the kernel cache: %w", err)
	}
	defer unlock()
	images := make([]Image, len(kernels))
	for i, kernel := range kernels {
		images[i], err = c.ensure(ctx, kernel)
		if err != nil {
			return nil, fmt.Errorf("kernel %s: %w", kernel.Name, err)
		}
	}
	return images, nil
}

// ensure does the two steps that are kept apart: the packages, which cost the
// network, and what is unpacked of them, which follows the list of modules.
func (c Cache) ensure(ctx context.Context, kernel Kernel) (Image, error) {
	packages := filepath.Join(c.Folder, kernel.Name, "packages")
	if c.Refresh || !exists(packages) {
		if err := c.fetch(ctx, kernel, packages); err != nil {
			return Image{}, err
		}
	}
	release, err := os.ReadFile(filepath.Join(packages, "release"))
	if err != nil {
		return Image{}, fmt.Errorf("read the kept release: %w", err)
	}
	image := Image{Kernel: kernel, Release: strings.TrimSpace(string(release))}
	unpacked := filepath.Join(c.Folder, kernel.Name, "image-"+layout(image.Release))
	if !exists(unpacked) {
		c.Log.Info("unpacking kernel", "kernel", kernel.Name, "release", image.Release)
		if err := unpack(ctx, packages, unpacked, image.Release); err != nil {
			return Image{}, err
		}
	}
	image.kernel = filepath.Join(unpacked, "vmlinuz")
	image.modules = filepath.Join(unpacked, "root")
	loaded, err := os.ReadFile(filepath.Join(unpacked, "loaded"))
	if err != nil {
		return Image{}, fmt.Errorf("read the modules to load: %w", err)
	}
	image.loaded = strings.Fields(string(loaded))
	return image, nil
}

// layout names what is unpacked of a release: another list of modules is another
// name.
func layout(release string) string {
	loaded, available := Modules()
	sum := sha256.Sum256([]byte(strings.Join(append(append([]string{release}, loaded...), available...), " ")))
	return hex.EncodeToString(sum[:6])
}

// fetch downloads the packages of the newest release into a folder, which appears
// whole or not at all.
func (c Cache) fetch(ctx context.Context, kernel Kernel, packages string) error {
	mirror, err := findMirror(ctx)
	if err != nil {
		return err
	}
	aside, err := os.MkdirTemp(c.Folder, "fetch-")
	if err != nil {
		return fmt.Errorf("make a folder to download to: %w", err)
	}
	defer os.RemoveAll(aside)
	downloaded := filepath.Join(aside, "packages")
	if err := os.Mkdir(downloaded, 0o755); err != nil {
		return fmt.Errorf("make a folder to download to: %w", err)
	}
	release, err := c.download(ctx, apt{filepath.Join(aside, "apt"), mirror}, kernel, downloaded)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(downloaded, "release"), []byte(release+"\n"), 0o644); err != nil {
		return fmt.Errorf("keep the release: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(packages), 0o755); err != nil {
		return fmt.Errorf("make the kernel's folder: %w", err)
	}
	if err := os.RemoveAll(packages); err != nil {
		return fmt.Errorf("remove the release kept before: %w", err)
	}
	return os.Rename(downloaded, packages)
}

// download tries the suites in order and returns the release that it found.
func (c Cache) download(ctx context.Context, apt apt, kernel Kernel, folder string) (string, error) {
	for _, suite := range kernel.Suites {
		if err := apt.update(ctx, suite, keyring); err != nil {
			return "", err
		}
		release, packages, err := apt.packagesOf(ctx, kernel.Name)
		if errors.Is(err, errNoKernel) {
			continue
		}
		if err != nil {
			return "", err
		}
		c.Log.Info("downloading kernel", "kernel", kernel.Name, "release", release, "suite", suite)
		return release, apt.download(ctx, folder, packages)
	}
	return "", fmt.Errorf("%w in %s", errNoKernel, strings.Join(kernel.Suites, ", "))
}

// unpack extracts the packages, keeps the image and the wanted modules in target,
// which appears whole or not at all, and removes what was unpacked before.
func unpack(ctx context.Context, packages, target, release string) error {
	aside, err := os.MkdirTemp(filepath.Dir(target), "unpack-")
	if err != nil {
		return fmt.Errorf("make a folder to unpack to: %w", err)
	}
	defer os.RemoveAll(aside)
	tree, stage := filepath.Join(aside, "tree"), filepath.Join(aside, "stage")
	files, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := run(ctx, "dpkg", "-x", file, tree); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(file), err)
		}
	}
	if err := stageImage(tree, stage, release); err != nil {
		return err
	}
	loaded, err := stageModules(ctx, tree, filepath.Join(stage, "root"), release)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(stage, "loaded"), []byte(strings.Join(loaded, "\n")), 0o644); err != nil {
		return fmt.Errorf("keep the list of modules: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(filepath.Dir(target), "image-*"))
	if err != nil {
		return err
	}
	for _, folder := range old {
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("remove what was unpacked before: %w", err)
		}
	}
	return os.Rename(stage, target)
}

// stageImage copies the kernel image, and moves the modules to /lib in packages
// made for a merged /usr.
func stageImage(tree, stage, release string) error {
	merged := filepath.Join(tree, "usr/lib/modules", release)
	if exists(merged) {
		if err := os.MkdirAll(filepath.Join(tree, "lib/modules"), 0o755); err != nil {
			return err
		}
		if err := os.Rename(merged, filepath.Join(tree, "lib/modules", release)); err != nil {
			return err
		}
	}
	for _, path := range []string{"boot/vmlinuz-" + release, "lib/modules/" + release + "/vmlinuz"} {
		err := copyFile(filepath.Join(tree, path), filepath.Join(stage, "vmlinuz"))
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("the packages of %s hold no kernel image", release)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lock takes an exclusive lock on a file and waits for it.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// DefaultCache is the folder for kernels of the environment, or of the module that
// the current folder belongs to.
func DefaultCache() (string, error) { return CacheFolder("kernels") }

// CacheFolder is the folder for what is kept of a kind, of the environment or of the
// module that the current folder belongs to.
func CacheFolder(kind string) (string, error) {
	if folder := os.Getenv(CacheVariable); folder != "" {
		return filepath.Join(folder, kind), nil
	}
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	for folder := start; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return filepath.Join(folder, ".cache", kind), nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("no go.mod in or above %s; set %s", start, CacheVariable)
		}
	}
}
