// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"slices"
	"strings"
	"testing"
)

const spdx = "// SPDX-License-Identifier: Apache-2.0\n\n"

// sample is a tree in memory, with what the findings about it must hold.
type sample struct {
	files map[string]string
	want  []string
	root  string
}

// one is a sample of one file.
func one(path, src string, want ...string) sample {
	return sample{files: map[string]string{path: src}, want: want}
}

// samples has trees for every rule: the ones with something to find show that
// the rule can fail, the ones without that it does not fail on what is right.
var samples = map[string][]sample{
	"imports": {
		one("agent/spool/a.go", goFile("spool", module+"collector/store"), "agent and collector share"),
		one("agent/spool/a_test.go", goFile("spool", module+"collector/store"), "agent and collector share"),
		one("collector/fleet/a.go", goFile("fleet", module+"agent/event"), "agent and collector share"),
		one("rules/engine/a.go", goFile("engine", module+"agent/event"), "depends on neither"),
		one("agent/agent.go", goFile("agent", module+"tests/lab"), "test code"),
		one("agent/proc/a.go", goFile("proc", "github.com/cilium/ebpf/link"), "touch BPF"),
		one("agent/proc/a.go", goFile("proc", "k8s.io/cri-api/pkg/apis/runtime/v1"), "container runtime"),
		one("agent/proc/a.go", goFile("proc", "github.com/vishvananda/netlink"), "container runtime"),
		one("agent/spool/a.go", goFile("spool", "google.golang.org/grpc/codes"), "speak gRPC"),
		one("collector/query/a.go", goFile("query", "database/sql"), "which database"),
		one("agent/learn/a.go", goFile("learn", "os"), "no input or output"),
		one("rules/engine/a.go", goFile("engine", "net"), "no input or output"),
		one("agent/report/a.go", goFile("report", "text/template"), "templates call methods"),
		one("collector/web/a.go", goFile("web", "html/template")),
		one("agent/uplink/a.go", goFile("uplink", module+"collector/api/v1")),
		one("agent/sensor/a.go", goFile("sensor", "github.com/cilium/ebpf/ringbuf")),
		one("agent/container/cri/a.go", goFile("cri", "google.golang.org/grpc")),
		one("agent/learn/a_test.go", goFile("learn", "os")),
		one("agent/learn/a.go", goFile("learn", "net/netip")),
		one("collector/store/sqlite/a.go", goFile("sqlite", "database/sql")),
	},
	"packages in the architecture": {
		one("agent/spool/a.go", spdx+"package spool\n", "has no `spool`"),
		{files: map[string]string{"rules/dlp/a.go": spdx + "package dlp\n", architecture: "`dlp`"}, want: []string{"has no `rules/dlp`"}},
		{files: map[string]string{
			"agent/spool/a.go": spdx + "package spool\n", "agent/cmd/holdfast-agent/main.go": spdx + "package main\n", "rules/waf/crs/a.go": spdx + "package crs\n",
			"collector/api/v1/a.go": spdx + "package v1\n", "tests/lab/a.go": spdx + "package lab\n", architecture: "| `spool` |\n| `api` |\n`rules/waf`",
		}},
	},
	"pure packages": {
		one("agent/learn/a.go", spdx+"package learn\n\nimport \"time\"\n\nvar t = time.Now()\n", "a.go:7: time.Now"),
		one("agent/learn/a.go", spdx+"package learn\n\nimport t \"time\"\n\nvar c = t.After(1)\n", "time.After"),
		one("rules/x/a.go", spdx+"package x\n\nfunc f() {\n\tgo f()\n}\n", "a.go:6: go statement"),
		one("agent/learn/a.go", spdx+"package learn\n\nimport \"time\"\n\nvar d = time.Unix(1, 0)\n"),
		one("agent/spool/a.go", spdx+"package spool\n\nfunc f() {\n\tgo f()\n}\n"),
	},
	"no exit outside main": {
		one("agent/a.go", spdx+"package agent\n\nfunc f() { panic(1) }\n", "panic"),
		one("agent/a.go", spdx+"package agent\n\nimport \"log\"\n\nfunc f() { log.Fatalf(\"\") }\n", "log.Fatalf"),
		one("agent/a.go", spdx+"package agent\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n", "os.Exit"),
		one("agent/cmd/x/main.go", spdx+"package main\n\nimport \"os\"\n\nfunc main() { os.Exit(1) }\n"),
		one("agent/a_test.go", spdx+"package agent\n\nfunc f() { panic(1) }\n"),
	},
	"contexts come from main": {
		one("agent/a.go", spdx+"package agent\n\nimport \"context\"\n\nvar c = context.Background()\n", "context.Background"),
		one("agent/cmd/x/main.go", spdx+"package main\n\nimport \"context\"\n\nvar c = context.Background()\n"),
		one("agent/a.go", spdx+"package agent\n\nimport \"context\"\n\nvar c context.Context\n"),
	},
	"no sleep in product code": {
		one("agent/a.go", spdx+"package agent\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", "time.Sleep"),
		one("tests/e2e/a.go", spdx+"package e2e\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"),
	},
	"no init": {
		one("agent/a.go", spdx+"package agent\n\nfunc init() {}\n", "func init"),
		one("agent/a.go", spdx+"package agent\n\ntype t int\n\nfunc (t) init() {}\n"),
	},
	"package docs": {
		one("agent/a.go", spdx+"package agent\n", "agent: package without"),
		{files: map[string]string{
			"agent/a.go": spdx + "package agent\n",
			"agent/b.go": spdx + "// Package agent is one.\npackage agent\n",
		}},
	},
	"exported names documented": {
		one("agent/a.go", spdx+"package agent\n\nfunc F() {}\n", "F is exported"),
		one("agent/a.go", spdx+"package agent\n\ntype T int\n", "T is exported"),
		one("agent/a.go", spdx+"package agent\n\nvar a, B int\n", "B is exported"),
		one("agent/a.go", spdx+"package agent\n\n// T is.\ntype T[X any] int\n\nfunc (*T[X]) M() {}\n", "M is exported"),
		one("agent/a.go", spdx+"package agent\n\n// All of them.\nconst (\n\tA = 1\n\tB = 2\n)\n"),
		one("agent/a.go", spdx+"package agent\n\ntype t int\n\nfunc (t) M() {}\n"),
	},
	"nothing unfinished": {
		one("agent/a.go", spdx+"package agent // "+marks[0]+": more\n", "a.go:3"),
		one("bpf/a.c", "/* "+marks[1]+" */\n", "a.c:1"),
		one("agent/a.go", spdx+"package agent\n\nconst s = \""+marks[0]+"\"\n"),
	},
	"file length": {
		one("agent/a.go", spdx+"package agent\n"+strings.Repeat("\n", maxFileLines), "703 lines"),
		one("bpf/a.c", strings.Repeat("\n", maxFileLines+1), "701 lines"),
		one("agent/a.go", spdx+"// Code generated by x. DO NOT EDIT.\n\npackage agent\n"+strings.Repeat("\n", maxFileLines)),
		one("docs/a.md", strings.Repeat("\n", maxFileLines+1)),
	},
	"function length": {
		one("agent/a.go", spdx+"package agent\n\nfunc f() {\n"+strings.Repeat("\n", 79)+"}\n", "f has 81 lines"),
		one("bpf/a.c", "int f(void)\n{\n"+strings.Repeat("\tx();\n", 80)+"}\n", "a.c:2: function has 81"),
		one("agent/a.go", spdx+"package agent\n\nfunc f() {\n"+strings.Repeat("\n", 78)+"}\n"),
		one("bpf/a.c", "int f(void)\n{\n"+strings.Repeat("\tx();\n", 79)+"}\n"),
	},
	"licence headers": {
		one("agent/a.go", "package agent\n", "lack"),
		one("bpf/a.c", "// SPDX-License-Identifier: GPL-2.0-only\n", "lack"),
		one("bpf/a.c", spdx, "GPL-2.0-only OR BSD-2-Clause"),
		one("deploy/x", "#!/bin/sh\necho\n", "lack"),
		one("agent/a.go", "\n\n"+spdx+"package agent\n", "lack"),
		one("agent/a.go", spdx+"package agent\n"),
		one("bpf/a.h", "/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */\n"),
		one("deploy/x", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n"),
		one("docs/a.md", "text\n"),
	},
	"no path of a machine": {
		{root: "/place/tree", files: map[string]string{"a.md": "run /place/tree/x"}, want: []string{"a.md"}},
		{root: "/place/tree", files: map[string]string{"a.md": "in /place/other/x"}, want: []string{"a.md"}},
		{root: "/place/tree", files: map[string]string{"a.o": "\x00/place/tree/bpf\x00"}, want: []string{"a.o"}},
		{root: "/place/tree", files: map[string]string{"a.md": "in lower/place/tree/x, or ${d}/place/tree/x"}},
		{root: "/home/tree", files: map[string]string{"a.md": "/home/ is everywhere"}},
	},
	"Makefile help": {
		one("Makefile", ".PHONY: a\na:\n\tx\n", "target a has no"),
		one("Makefile", "a: b ## Do\n\tx\n", "target a is not in .PHONY"),
		one("Makefile", ".PHONY: a\nX := a\nb=1\na: b ## Do\n\tx:\n"),
	},
	"documentation links": {
		one("docs/a.md", "see [b](b.md) or [c](../c.md#d)", "b.md", "../c.md"),
		one("docs/a.md", "see [a](a.md#x), [docs](../docs) and [out](https://example.com/x)"),
	},
	"dependencies explained": {
		{files: dependency("nothing"), want: []string{"no row for b.org/m v1.2.0"}},
		{files: dependency("| `b.org/m` | v1.1.0 | x |"), want: []string{`b.org/m v1.1.0: go.mod has "v1.2.0"`}},
		{
			files: dependency("| `b.org/m` | v1.2.0 | x |\n| `d.org/n` | v1.0.0 | x |"),
			want:  []string{`d.org/n v1.0.0: go.mod has ""`},
		},
		{files: dependency("| `b.org/m` | v1.2.0 | x |")},
		{files: map[string]string{
			"go.mod": "module x\n\nrequire b.org/m v1.2.0 // indirect\n", "tests/y/go.mod": "module x/tests/y\n",
			"tests/y/y.go": goFile("y", "b.org/m/p"), "docs/dependencies.md": "",
		}},
	},
}

// dependency is a tree that imports the package b.org/m/p, with a go.mod and a
// table of dependencies.
func dependency(table string) map[string]string {
	return map[string]string{
		"agent/a.go":           goFile("agent", "b.org/m/p"),
		"go.mod":               "module x\n\nrequire (\n\tb.org/m v1.2.0\n\tc.org/n v1.0.0 // indirect\n)\n",
		"docs/dependencies.md": table,
	}
}

// goFile is a file of a package that imports one other.
func goFile(pkg, imported string) string {
	return spdx + "package " + pkg + "\n\nimport _ \"" + imported + "\"\n"
}

func TestRulesFindWhatIsWrongAndNothingElse(t *testing.T) {
	for _, rule := range Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			var bad, good int
			for i, s := range samples[rule.Name] {
				tree, err := NewTree(s.files)
				if err != nil {
					t.Fatal(err)
				}
				tree.Root = s.root
				if found := rule.Check(tree); !matches(found, s.want) {
					t.Errorf("sample %d: found %q, want %q", i, found, s.want)
				}
				if len(s.want) > 0 {
					bad++
				} else {
					good++
				}
			}
			if bad == 0 || good == 0 {
				t.Errorf("%d samples break the rule and %d keep it: at least one of each is needed", bad, good)
			}
		})
	}
}

// matches reports whether there is one finding for each wanted part, in order.
func matches(found, want []string) bool {
	return slices.EqualFunc(found, want, strings.Contains)
}

func TestEverySampleHasARule(t *testing.T) {
	names := make(map[string]bool)
	for _, r := range Rules() {
		names[r.Name] = true
	}
	for name := range samples {
		if !names[name] {
			t.Errorf("samples for %q, which is no rule", name)
		}
	}
}
