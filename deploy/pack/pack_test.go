// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

func TestVersions(t *testing.T) {
	for _, c := range []struct{ version, tag, debian string }{
		{"(devel)", "devel", "0.0.0~devel"},
		{"v1.4.2", "1.4.2", "1.4.2"},
		{"v1.5.0-rc.1", "1.5.0-rc.1", "1.5.0~rc.1"},
		{"v1.4.3-0.20261121215005-1b86dc1a2b3c", "1.4.3-0.20261121215005-1b86dc1a2b3c", "1.4.3~0.20261121215005.1b86dc1a2b3c"},
		{"v1.4.2+dirty", "1.4.2-dirty", "1.4.2+dirty"},
	} {
		b := Build{Version: c.version}
		if got := b.Tag(); got != c.tag {
			t.Errorf("%s: tag %s, want %s", c.version, got, c.tag)
		}
		if got := b.Debian(); got != c.debian {
			t.Errorf("%s: Debian's %s, want %s", c.version, got, c.debian)
		}
	}
}

func TestNewBuild(t *testing.T) {
	at := time.Date(2026, 11, 21, 21, 50, 5, 0, time.UTC)
	info := func(settings ...string) *debug.BuildInfo {
		made := &debug.BuildInfo{Main: debug.Module{Path: "example.org/m", Version: "v1.0.0"}}
		for i := 0; i < len(settings); i += 2 {
			made.Settings = append(made.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return made
	}
	b, err := newBuild(info("GOOS", "linux", "GOARCH", "arm64", "CGO_ENABLED", "0", "vcs.revision", "abc", "vcs.time", "2026-11-21T23:50:05+02:00"))
	if err != nil || b.Architecture != "arm64" || b.Revision != "abc" || !b.Time.Equal(at) || b.Module != "example.org/m" {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err = newBuild(info("GOOS", "linux", "GOARCH", "amd64", "CGO_ENABLED", "0")); err != nil || b.Time.Unix() != 0 {
		t.Errorf("without a commit: %+v, %v", b, err)
	}
	for want, settings := range map[string][]string{
		"static program":     {"GOOS", "linux", "GOARCH", "amd64", "CGO_ENABLED", "1"},
		"for linux":          {"GOOS", "darwin", "GOARCH", "arm64", "CGO_ENABLED", "0"},
		"which architecture": {"GOOS", "linux", "CGO_ENABLED", "0"},
		"time of its commit": {"GOOS", "linux", "GOARCH", "amd64", "CGO_ENABLED", "0", "vcs.time", "yesterday"},
	} {
		if _, err := newBuild(info(settings...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", settings, err, want)
		}
	}
}

// TestRead builds small programs and reads them as well as what is none.
func TestRead(t *testing.T) {
	src := t.TempDir()
	write(t, filepath.Join(src, "go.mod"), "module example.org/small\n\ngo 1.26\n")
	write(t, filepath.Join(src, "main.go"), "package main\n\nfunc main() { println(\"small\") }\n")
	compile := func(dir, name, arch string) {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-o", filepath.Join(dir, name), ".")
		cmd.Dir = src
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	dir := t.TempDir()
	compile(dir, "one", "amd64")
	compile(dir, "two", "amd64")
	compile(dir, "other", "arm64")
	write(t, filepath.Join(dir, "script"), "#!/bin/sh\n")

	b, err := Read(dir, "one", "two")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Programs) != 2 || b.Architecture != "amd64" || b.Programs[1].Name != "two" || len(b.Programs[1].Content) == 0 {
		t.Errorf("read %d programs for %s", len(b.Programs), b.Architecture)
	}
	for want, names := range map[string][]string{
		"build them together": {"one", "other"},
		"was built from":      {"script"},
		"no such file":        {"none"},
		"no program is named": {},
	} {
		if _, err := Read(dir, names...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", names, err, want)
		}
	}
}

func TestTar(t *testing.T) {
	at := time.Unix(1700000000, 0)
	files := []File{
		{Path: "/var/data", Mode: fs.ModeDir | 0o700, Owner: 65532},
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "/bin/program", Content: []byte("text"), Mode: 0o755},
	}
	first, err := Tar(files, "./", at)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(files)
	second, err := Tar(files, "./", at)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the order of the files shows in the archive (%v)", err)
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(first)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(at) || h.Uname != "" {
			t.Errorf("%s: of %v, by %q", h.Name, h.ModTime, h.Uname)
		}
		got = append(got, fmt.Sprintf("%c %s %o %d %d", h.Typeflag, h.Name, h.Mode, h.Uid, h.Size))
	}
	want := []string{"5 ./bin/ 755 0 0", "0 ./bin/program 755 0 4", "5 ./tmp/ 1777 0 0", "5 ./var/ 755 0 0", "5 ./var/data/ 700 65532 0"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, bad := range [][]File{{{Path: "a"}}, {{Path: "/a/../b"}}, {{Path: "/"}}, {{Path: "/a"}, {Path: "/a"}}} {
		if _, err := Tar(bad, "", at); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestBill(t *testing.T) {
	replaced := &debug.Module{Path: "example.org/fork", Version: "v2.0.0", Sum: "h1:fork"}
	b := &Build{Version: "v1.0.0", Time: time.Unix(1700000000, 0).UTC(), Programs: []Program{
		{Name: "one", Content: []byte("x"), Info: &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
			{Path: "example.org/b", Version: "v1.1.0", Sum: "h1:b"}, {Path: "example.org/a", Version: "v1.0.0", Replace: replaced},
		}}},
		{Name: "two", Content: []byte("y"), Info: &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
			{Path: "example.org/b", Version: "v1.1.0", Sum: "h1:b"},
		}}},
	}}
	text, err := Bill("holdfast-x", b)
	if err != nil {
		t.Fatal(err)
	}
	var bom cyclonedx.BOM
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range *bom.Components {
		got = append(got, c.Name+" "+c.Version)
	}
	want := []string{"one v1.0.0", "two v1.0.0", "example.org/b v1.1.0", "example.org/fork v2.0.0", "stdlib 1.26.8"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// Of one byte, x.
	const sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	if hash := (*(*bom.Components)[0].Hashes)[0]; hash.Value != sum || hash.Algorithm != cyclonedx.HashAlgoSHA256 {
		t.Errorf("digest of the first program: %+v", hash)
	}
	if bom.Metadata.Timestamp != "2023-11-14T22:13:20Z" {
		t.Errorf("of %s", bom.Metadata.Timestamp)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
