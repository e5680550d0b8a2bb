// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/deploy/pack"
	"github.com/holdfast-project/holdfast/tests/golden"
)

const help = `Runs the agent.

Usage:
  holdfast-agent run [flags]

Examples:
  holdfast-agent run --collector collector.example:7443 --join-token-file join.token

Flags:
      --config FILE            YAML FILE of settings
      --collector HOST:PORT    collector to report to; without it alerts wait on disk
      --node NAME              NAME of this node (default "this-machine")
      --nri-wait duration      how long a start may be held up (default 500ms)
      --brake-canary duration   how long one replica enforces first
      --promote                let signals rise
  -o, --pin-dir DIR            DIR of a BPF file system where programs and maps outlive the agent, and where the next agent finds them again (default "/sys/fs/bpf/holdfast")
  -h, --help                   help for run

Global Flags:
      --data-dir DIR   DIR for everything (required)
`

func TestSettings(t *testing.T) {
	p := debian{name: "holdfast-x", programs: []string{"x"}, command: "run", active: map[string]string{"data-dir": "/var/lib/x"}}
	got, err := p.write(parseHelp(help, "this-machine"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Settings of holdfast-x, as x run --help tells them. What begins with # is the default;
# <WORD> stands for a value where there is no default. After a change: systemctl restart holdfast-x

# collector to report to; without it alerts wait on disk
#collector: <HOST:PORT>

# NAME of this node
#node: <NAME>

# how long a start may be held up
#nri-wait: 500ms

# how long one replica enforces first
#brake-canary: 0s

# let signals rise
#promote: false

# DIR of a BPF file system where programs and maps outlive the agent, and where the next agent finds
# them again
#pin-dir: /sys/fs/bpf/holdfast

# DIR for everything (required)
data-dir: /var/lib/x
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	p.active["none-such"] = "1"
	if _, err := p.write(parseHelp(help, "")); err == nil {
		t.Error("a setting that the program does not have was set")
	}
}

// TestPackage makes packages of small stand-ins for the programs, twice, and has dpkg-deb read them.
func TestPackage(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("this machine has no dpkg-deb to read packages with")
	}
	t.Chdir("../..")
	b := &pack.Build{Architecture: "arm64", Module: "example.org/holdfast", Version: "v1.2.3-rc.1", Time: time.Unix(1700000000, 0)}
	for _, p := range packages() {
		t.Run(p.name, func(t *testing.T) {
			b.Programs = nil
			for _, name := range p.programs {
				b.Programs = append(b.Programs, pack.Program{Name: name, Content: []byte("program " + name), Info: &debug.BuildInfo{}})
			}
			first, err := p.build(b, "settings\n")
			if err != nil {
				t.Fatal(err)
			}
			second, err := p.build(b, "settings\n")
			if err != nil || !bytes.Equal(first, second) {
				t.Errorf("built twice, not the same (%v)", err)
			}
			file := filepath.Join(t.TempDir(), "x.deb")
			if err := os.WriteFile(file, first, 0o644); err != nil {
				t.Fatal(err)
			}
			text := read(t, "--field", file) + "\n" + read(t, "--info", file, "conffiles") + "\n" + contents(t, file)
			golden.Compare(t, "deploy/deb/testdata/"+p.name+".txt", []byte(text))
		})
	}
}

// contents lists the files of a package.
func contents(t *testing.T, file string) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(read(t, "--contents", file)) {
		fields := strings.Fields(line)
		lines = append(lines, strings.Join(slices.Delete(fields, 2, 5), " "))
	}
	return strings.Join(lines, "\n") + "\n"
}

func read(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "dpkg-deb", args...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg-deb %v: %v: %s", args, err, out)
	}
	return string(out)
}
