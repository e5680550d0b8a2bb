// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// Program is a program that Go has built.
type Program struct {
	Name string
	// Content is the file.
	Content []byte
	// Info is what the linker has written into it.
	Info *debug.BuildInfo
}

// Build is what programs of one build have in common.
type Build struct {
	Programs []Program
	// Architecture is Go's name of it, which images and Debian use too: amd64, arm64.
	Architecture string
	// Module is the path of the module, Version its version: that of a tag, one that is made of the commit, or (devel).
	Module, Version string
	// Revision is the commit, or empty where the build did not know it.
	Revision string
	// Time is the commit's. Where the build did not know it, it is the epoch.
	Time time.Time
}

// Read reads the programs of those names in a folder. Programs that are not static, not for Linux, or of different builds
// are refused.
func Read(dir string, names ...string) (*Build, error) {
	var first *Build
	for _, name := range names {
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a program: %w", err)
		}
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read what %s was built from: %w", path, err)
		}
		b, err := newBuild(info)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if first == nil {
			first = b
		} else if b.Architecture != first.Architecture || b.Version != first.Version || b.Revision != first.Revision {
			return nil, fmt.Errorf("%s is %s for %s, %s is %s for %s: build them together",
				path, b.Version, b.Architecture, names[0], first.Version, first.Architecture)
		}
		first.Programs = append(first.Programs, Program{Name: name, Content: content, Info: info})
	}
	if first == nil {
		return nil, errors.New("no program is named")
	}
	return first, nil
}

func newBuild(info *debug.BuildInfo) (*Build, error) {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["GOOS"] != "linux" || settings["CGO_ENABLED"] != "0" {
		return nil, fmt.Errorf("built for %q with cgo %q: wanted is a static program for linux", settings["GOOS"], settings["CGO_ENABLED"])
	}
	b := &Build{
		Architecture: settings["GOARCH"], Module: info.Main.Path, Version: info.Main.Version, Revision: settings["vcs.revision"],
		Time: time.Unix(0, 0).UTC(),
	}
	if b.Version == "" {
		b.Version = devel
	}
	if b.Architecture == "" {
		return nil, errors.New("it does not say for which architecture it is")
	}
	if text := settings["vcs.time"]; text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("time of its commit: %w", err)
		}
		b.Time = at.UTC()
	}
	return b, nil
}

// devel is the version of a build that knows none.
const devel = "(devel)"

// Tag is the version as the tag of an image: devel where there is none.
func (b *Build) Tag() string {
	if b.Version == devel {
		return "devel"
	}
	return strings.ReplaceAll(strings.TrimPrefix(b.Version, "v"), "+", "-")
}

// Debian is the version as Debian orders them: what comes before a release sorts before it.
func (b *Build) Debian() string {
	if b.Version == devel {
		return "0.0.0~devel"
	}
	release, after, _ := strings.Cut(strings.TrimPrefix(b.Version, "v"), "+")
	release = strings.ReplaceAll(strings.Replace(release, "-", "~", 1), "-", ".")
	if after != "" {
		release += "+" + after
	}
	return release
}
