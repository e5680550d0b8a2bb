// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"go/ast"
	"strings"
)

const module = "github.com/holdfast-project/holdfast/"

// importRule forbids imports. Patterns are paths; "/..." takes in all below.
// Paths of this module are written without the module's name.
type importRule struct {
	why string
	// in are the packages that the rule is about, but for the ones in not.
	in, not []string
	// never are the imports forbidden there, but for the ones in but.
	never, but []string
	// tests says that the rule holds for test files too.
	tests bool
}

// importRules is who may import whom. agent/wire generates the Go side of the
// contract with the programs from their BTF, hence its place beside the sensor.
var importRules = []importRule{
	{
		why:   "agent and collector share collector/api/v1 and nothing else",
		in:    []string{"agent/..."},
		never: []string{"collector/..."}, but: []string{"collector/api/v1"},
		tests: true,
	},
	{
		why:   "agent and collector share collector/api/v1 and nothing else",
		in:    []string{"collector/..."},
		never: []string{"agent/..."},
		tests: true,
	},
	{
		why:   "rules serves both sides and depends on neither",
		in:    []string{"rules/..."},
		never: []string{"agent/...", "collector/..."},
		tests: true,
	},
	{
		why:   "product code does not depend on test code",
		in:    []string{"agent/...", "collector/...", "rules/..."},
		never: []string{"tests/..."},
	},
	{
		why:   "only these touch BPF",
		in:    []string{"agent/...", "collector/...", "rules/..."},
		not:   []string{"agent/probe/...", "agent/sensor/...", "agent/enforce/...", "agent/wire/..."},
		never: []string{"github.com/cilium/ebpf/..."},
	},
	{
		why: "only these touch the container runtime, the network's configuration and Kubernetes",
		in:  []string{"agent/..."},
		not: []string{"agent/container/..."},
		never: []string{
			"github.com/containerd/containerd/...", "github.com/containerd/nri/...",
			"github.com/vishvananda/netlink/...", "k8s.io/cri-api/...", "k8s.io/client-go/...",
		},
	},
	{
		why:   "on the agent only the uplink and the runtime's clients speak gRPC",
		in:    []string{"agent/..."},
		not:   []string{"agent/uplink", "agent/container/..."},
		never: []string{"google.golang.org/grpc/..."},
	},
	{
		why:   "only these know which database holds the data",
		in:    []string{"collector/..."},
		not:   []string{"collector/store/..."},
		never: []string{"database/sql/...", "modernc.org/...", "github.com/pressly/goose/..."},
	},
	{
		why:   "templates call methods by name, so that the linker keeps every method of every type: megabytes on every node",
		in:    []string{"agent/...", "rules/..."},
		never: []string{"text/template/...", "html/template/..."},
	},
	{
		why: "a pure package does no input or output",
		in:  pure,
		never: []string{
			"os/...", "net", "net/http/...", "syscall", "golang.org/x/sys/...", "log/...", "io/ioutil",
		},
	},
}

// pure are the packages without goroutines, input, output, or a clock.
var pure = []string{
	"agent/event", "agent/proc", "agent/dns", "agent/detect", "agent/redact", "agent/report", "agent/record",
	"agent/workload", "agent/learn", "agent/mode", "agent/policy", "agent/content", "agent/dlp", "agent/exfil", "agent/fifo",
	"agent/inspect", "rules/...",
}

// imports checks importRules.
func imports(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if f.AST == nil {
			continue
		}
		f.imports(func(spec *ast.ImportSpec, importPath string) {
			for _, r := range importRules {
				if r.breaks(f, strings.TrimPrefix(importPath, module)) {
					found = append(found, f.at(spec, "%s imports %s: %s", f.Dir(), importPath, r.why))
				}
			}
		})
	}
	return found
}

func (r importRule) breaks(f *File, importPath string) bool {
	return (r.tests || !f.Test()) &&
		within(f.Dir(), r.in...) && !within(f.Dir(), r.not...) &&
		within(importPath, r.never...) && !within(importPath, r.but...)
}

// clocks are the functions of package time that read the clock or wait.
var clocks = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"NewTimer": true, "NewTicker": true, "Tick": true,
}

// pureCode checks that pure packages read no clock and start no goroutine.
func pureCode(t *Tree) []string {
	var found []string
	for _, f := range t.Files {
		if f.AST == nil || f.Test() || !within(f.Dir(), pure...) {
			continue
		}
		f.calls("time", func(n ast.Node, name string) {
			if clocks[name] {
				found = append(found, f.at(n, "time.%s in a pure package: take the time as an argument", name))
			}
		})
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				found = append(found, f.at(g, "go statement in a pure package"))
			}
			return true
		})
	}
	return found
}
