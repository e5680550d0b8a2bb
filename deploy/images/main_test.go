// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
)

// TestImages puts stand-ins for the programs, of two architectures, into images twice, and reads those as a registry and a
// runtime would. The programs themselves are tests/install's matter.
func TestImages(t *testing.T) {
	architectures := []string{"amd64", "arm64"}
	dirs := standIns(t, architectures)
	t.Chdir("../..")
	first, second := t.TempDir(), t.TempDir()
	for _, out := range []string{first, second} {
		run(t, append([]string{"--tag", "test", "--prefix", "registry.example/holdfast", "--out", out}, dirs...)...)
	}
	compare(t, first, second)
	// Once more over what is there.
	run(t, append([]string{"--tag", "test", "--prefix", "registry.example/holdfast", "--out", second}, dirs...)...)
	compare(t, first, second)
	for _, c := range components() {
		t.Run(c.name, func(t *testing.T) {
			checkLayout(t, &c, layout(t, os.DirFS(filepath.Join(first, c.name))), architectures)
			for i, arch := range architectures {
				checkArchive(t, &c, filepath.Join(first, c.name+"-"+arch), dirs[i])
			}
		})
	}
}

// standIns builds a small program under the names of ours, for each architecture into a folder of its name.
func standIns(t *testing.T, architectures []string) []string {
	t.Helper()
	src := t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "go.mod"), []byte("module example.org/small\n\ngo 1.26\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(src, "main.go"), []byte("package main\n\nfunc main() { println(\"small\") }\n"), 0o644))
	var dirs []string
	for _, arch := range architectures {
		dir := filepath.Join(t.TempDir(), arch)
		for _, c := range components() {
			for _, name := range c.programs {
				cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(dir, name), ".")
				cmd.Dir = src
				cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

// files are what an archive or a folder holds, by name.
type files map[string][]byte

// checkLayout checks the layout of all architectures.
func checkLayout(t *testing.T, c *component, f files, architectures []string) {
	t.Helper()
	var outer, index v1.Index
	f.json(t, "index.json", &outer)
	if got, want := outer.Manifests[0].Annotations[containerdName], "registry.example/holdfast/"+c.name+":test"; got != want {
		t.Errorf("named %q, want %q", got, want)
	}
	f.blob(t, outer.Manifests[0], &index)
	if index.Annotations[v1.AnnotationTitle] != c.name {
		t.Errorf("annotated %v", index.Annotations)
	}
	var got []string
	bills := map[digest.Digest]bool{}
	for _, attached := range outer.Manifests[1:] {
		var m v1.Manifest
		f.blob(t, attached, &m)
		if m.ArtifactType != billType || attached.ArtifactType != billType || m.Subject == nil || m.Layers[0].MediaType != billType {
			t.Fatalf("no bill of materials: %+v", m)
		}
		bills[m.Subject.Digest] = len(f.content(t, m.Layers[0])) > 0
	}
	for _, entry := range index.Manifests {
		var m v1.Manifest
		f.blob(t, entry, &m)
		got = append(got, entry.Platform.Architecture)
		if !bills[entry.Digest] {
			t.Errorf("no bill of materials refers to the image for %s", entry.Platform.Architecture)
		}
	}
	if !slices.Equal(got, architectures) {
		t.Errorf("for %q, want %q", got, architectures)
	}
}

// checkArchive checks the archive of one architecture, and that docker's list says the same as the index.
func checkArchive(t *testing.T, c *component, base, dir string) {
	t.Helper()
	file, err := os.Open(base + ".tar")
	must(t, err)
	defer file.Close()
	f, _ := untar(t, file)
	var index v1.Index
	var m v1.Manifest
	var config v1.Image
	f.json(t, "index.json", &index)
	f.blob(t, index.Manifests[0], &m)
	f.blob(t, m.Config, &config)
	if got, want := config.Config.Entrypoint, "/"+c.programs[0]; !slices.Equal(got, []string{want}) {
		t.Errorf("entry point %q, want %q", got, want)
	}
	if got, want := config.Config.User, fmt.Sprintf("%d:%d", c.user, c.user); got != want {
		t.Errorf("user %q, want %q", got, want)
	}
	if config.Architecture != filepath.Base(dir) || config.OS != "linux" || !strings.HasPrefix(config.Config.Labels[v1.AnnotationSource], "https://") {
		t.Errorf("for %s/%s, labels %v", config.OS, config.Architecture, config.Config.Labels)
	}
	checkLayer(t, c, f.content(t, m.Layers[0]), config.RootFS.DiffIDs[0], dir)
	var list []struct {
		Config           string
		RepoTags, Layers []string
	}
	f.json(t, "manifest.json", &list)
	l := list[0]
	if "/"+l.Config != blobPath(m.Config.Digest) || "/"+l.Layers[0] != blobPath(m.Layers[0].Digest) || l.RepoTags[0] != index.Manifests[0].Annotations[containerdName] {
		t.Errorf("docker's list %+v says otherwise than the index", l)
	}
	bill, err := os.ReadFile(base + ".cdx.json")
	must(t, err)
	for _, name := range []string{`"stdlib"`, c.programs[0]} {
		if !bytes.Contains(bill, []byte(name)) {
			t.Errorf("the bill of materials lacks %s", name)
		}
	}
}

// checkLayer checks that an image holds its programs and the few other files, and nothing that somebody could run.
func checkLayer(t *testing.T, c *component, layer []byte, diff digest.Digest, dir string) {
	t.Helper()
	open, err := gzip.NewReader(bytes.NewReader(layer))
	must(t, err)
	text, err := io.ReadAll(open)
	must(t, err)
	if digest.FromBytes(text) != diff {
		t.Error("the layer is not the one of the configuration")
	}
	inside, modes := untar(t, bytes.NewReader(text))
	var run []string
	for name, h := range modes {
		if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 {
			run = append(run, name)
		}
	}
	slices.Sort(run)
	if want := slices.Sorted(slices.Values(c.programs)); !slices.Equal(run, want) {
		t.Errorf("programs %q, want %q", run, want)
	}
	for _, name := range c.programs {
		built, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if !bytes.Equal(inside[name], built) {
			t.Errorf("%s is not the one that was built", name)
		}
	}
	if data := modes[c.data[1:]+"/"]; data == nil || data.Uid != c.user || data.Mode != 0o700 {
		t.Errorf("data folder: %+v", data)
	}
	if len(inside["usr/share/doc/holdfast/LICENSE"]) == 0 {
		t.Error("no licence")
	}
}

// TestRefuse: nothing is left where there is nothing to make an image of, or a tag that no registry takes.
func TestRefuse(t *testing.T) {
	t.Chdir("../..")
	script := t.TempDir()
	must(t, os.WriteFile(filepath.Join(script, "holdfast-agent"), []byte("#!/bin/sh\n"), 0o755))
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no folder": {[]string{filepath.Join(script, "none")}, "no such file"},
		"not of Go": {[]string{script}, "was built from"},
		"no DIR":    {nil, "at least 1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			cmd := command()
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			cmd.SetArgs(append([]string{"--out", out}, c.args...))
			if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s was left: %v", out, err)
			}
		})
	}
	for tag, want := range map[string]bool{"1.0.0": true, "v1_a-b": true, "-a": false, "a+b": false, "a/b": false, strings.Repeat("a", 129): false} {
		if tags.MatchString(tag) != want {
			t.Errorf("tag %q: want %t", tag, want)
		}
	}
}

func TestReference(t *testing.T) {
	for prefix, want := range map[string]string{
		"":                    "docker.io/library/holdfast-agent:1",
		"holdfast-project":    "docker.io/holdfast-project/holdfast-agent:1",
		"registry.example/a/": "registry.example/a/holdfast-agent:1",
		"localhost":           "localhost/holdfast-agent:1",
		"host:5000":           "host:5000/holdfast-agent:1",
	} {
		if got := reference(prefix, "holdfast-agent", "1"); got != want {
			t.Errorf("%q: %s, want %s", prefix, got, want)
		}
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	cmd := command()
	cmd.SetOut(t.Output())
	cmd.SetArgs(args)
	must(t, cmd.ExecuteContext(t.Context()))
}

// compare compares two folders, byte for byte.
func compare(t *testing.T, first, second string) {
	t.Helper()
	a, b := layout(t, os.DirFS(first)), layout(t, os.DirFS(second))
	for name, text := range a {
		if !bytes.Equal(text, b[name]) {
			t.Errorf("%s differs: %d and %d bytes", name, len(text), len(b[name]))
		}
	}
	if len(a) != len(b) || len(a) == 0 {
		t.Errorf("%d files and %d", len(a), len(b))
	}
}

func layout(t *testing.T, root fs.FS) files {
	t.Helper()
	f := files{}
	must(t, fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		f[name], err = fs.ReadFile(root, name)
		return err
	}))
	return f
}

func untar(t *testing.T, from io.Reader) (files, map[string]*tar.Header) {
	t.Helper()
	f, headers := files{}, map[string]*tar.Header{}
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return f, headers
		}
		must(t, err)
		headers[h.Name] = h
		if h.Typeflag == tar.TypeReg {
			f[h.Name], err = io.ReadAll(r)
			must(t, err)
		}
	}
}

// content is a blob, checked against its descriptor.
func (f files) content(t *testing.T, d v1.Descriptor) []byte {
	t.Helper()
	text := f[blobPath(d.Digest)[1:]]
	if digest.FromBytes(text) != d.Digest || int64(len(text)) != d.Size {
		t.Fatalf("%s: %d bytes of %s, want %d", d.Digest, len(text), digest.FromBytes(text), d.Size)
	}
	return text
}

func (f files) blob(t *testing.T, d v1.Descriptor, to any) {
	t.Helper()
	must(t, json.Unmarshal(f.content(t, d), to))
}

func (f files) json(t *testing.T, name string, to any) {
	t.Helper()
	must(t, json.Unmarshal(f[name], to))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
