// SPDX-License-Identifier: Apache-2.0

package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// What is built. The go.mod files in the folders kubernetes, coredns and helm
// say the same, and a test compares.
const (
	KubernetesVersion = "v1.34.4"
	DNSVersion        = "v1.13.1"
	HelmVersion       = "v4.3.1"
)

// The programs that can be had.
const (
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	Kubectl           = "kubectl"
	DNS               = "coredns"
	Helm              = "helm"
)

// ErrNotBuilt is returned by [Path] for a program that is not in the cache.
var ErrNotBuilt = errors.New("not in the cache: make test-cluster builds it, which takes a quarter of an hour")

// Programs are the names of all of them, in the order in which they are built:
// what others wait for first.
func Programs() []string {
	return []string{APIServer, Kubelet, ControllerManager, Scheduler, Proxy, DNS, Kubectl, Helm}
}

// source is where a program comes from.
type source struct {
	// folder is that of the go.mod, below the root of the source tree.
	folder string
	// pkg is the package that is compiled.
	pkg string
	// cache is the folder in the cache.
	cache string
	// flags are those of the linker.
	flags string
}

// sourceOf describes a program.
func sourceOf(name string) source {
	flags := "-s -w"
	switch name {
	case DNS:
		return source{folder: "tests/cluster/build/coredns", pkg: ".", cache: "coredns/" + DNSVersion, flags: flags}
	case Helm:
		return source{folder: "tests/cluster/build/helm", pkg: "helm.sh/helm/v4/cmd/helm", cache: "helm/" + HelmVersion, flags: flags}
	}
	// Without a version, charts that ask for one would refuse the cluster.
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		major, minor, _ := strings.Cut(strings.TrimPrefix(KubernetesVersion, "v"), ".")
		minor, _, _ = strings.Cut(minor, ".")
		flags += fmt.Sprintf(" -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s",
			pkg, KubernetesVersion, major, minor)
	}
	return source{
		folder: "tests/cluster/build/kubernetes", pkg: path.Join("k8s.io/kubernetes/cmd", name),
		cache: "kubernetes/" + KubernetesVersion, flags: flags,
	}
}

// Variable is the environment variable that names a program of one's own in
// the place of the cache's: HOLDFAST_KUBE_APISERVER for kube-apiserver.
func Variable(name string) string {
	return "HOLDFAST_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Path is where a program is: as the environment says, or in the cache. The
// error of one that has to be built first is [ErrNotBuilt].
func Path(name string) (string, error) {
	if own := os.Getenv(Variable(name)); own != "" {
		return own, nil
	}
	file, err := cached(name)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", name, ErrNotBuilt)
	} else if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	return file, nil
}

// cached is a program's path in the cache.
func cached(name string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache of %s: %w", name, err)
	}
	return filepath.Join(dir, "holdfast", filepath.FromSlash(sourceOf(name).cache), name), nil
}

// Ensure builds a program unless it is there, and returns its path. The
// current directory has to be in Holdfast's source tree.
func Ensure(ctx context.Context, name string) (string, error) {
	file, err := Path(name)
	if !errors.Is(err, ErrNotBuilt) {
		return file, err
	}
	if file, err = cached(name); err != nil {
		return "", err
	}
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	return file, compile(ctx, root, sourceOf(name), file)
}

// Root is the root of Holdfast's source tree, which the current directory is
// in.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/holdfast-project/holdfast").Output()
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// compile builds a program into a file, which appears whole or not at all.
func compile(ctx context.Context, root string, from source, file string) error {
	name := filepath.Base(file)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("build %s: make the cache: %w", name, err)
	}
	aside, err := os.MkdirTemp(filepath.Dir(file), ".build-")
	if err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	defer os.RemoveAll(aside)
	built := filepath.Join(aside, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", from.flags, "-o", built, from.pkg)
	cmd.Dir = filepath.Join(root, filepath.FromSlash(from.folder))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	if err := os.Rename(built, file); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	return nil
}
