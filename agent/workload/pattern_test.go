// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/container"
)

var (
	host  = &container.Container{Kind: container.KindHost, Name: "node-1", Workload: "node-1", WorkloadKind: "Host"}
	nginx = &container.Container{Kind: container.KindContainer, Namespace: "shop", Workload: "web", Pod: "web-1", Name: "nginx", ID: "0123"}
	bare  = &container.Container{Kind: container.KindContainer, ID: "abcd"}
	alone = &container.Container{Kind: container.KindContainer, Namespace: "shop", Pod: "debug", Name: "sh"}
	slash = &container.Container{Kind: container.KindContainer, Namespace: "shop", Workload: "web", Name: "a/../b"}
)

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern string
		matches []*container.Container
	}{
		{"", []*container.Container{host, nginx, bare, alone, slash}},
		{"*", []*container.Container{host, nginx, bare, alone, slash}},
		{"*/*/*", []*container.Container{host, nginx, bare, alone, slash}},
		{"shop", []*container.Container{nginx, alone, slash}},
		{"shop/*", []*container.Container{nginx, alone, slash}},
		{"shop/web", []*container.Container{nginx, slash}},
		{"shop/web/*", []*container.Container{nginx, slash}},
		{"shop/w?b/ngin[x-z]", []*container.Container{nginx}},
		{"shop/debug", []*container.Container{alone}},
		{"s*p/*/sh", []*container.Container{alone}},
		{"*/*/nginx", []*container.Container{nginx}},
		{"/*/abcd", []*container.Container{bare}},
		{"/node-1", []*container.Container{host}},
		{"/*", []*container.Container{host, bare}},
		{"/", []*container.Container{bare}},
		{"//", nil},
		{"Shop", nil},
		{"web", nil},
		{"shop/", nil},
	} {
		t.Run(test.pattern, func(t *testing.T) {
			p, err := Compile(test.pattern)
			if err != nil {
				t.Fatal(err)
			}
			all := true
			for _, c := range []*container.Container{host, nginx, bare, alone, slash} {
				want := false
				for _, m := range test.matches {
					want = want || m == c
				}
				all = all && want
				if got := p.Match(c); got != want {
					t.Errorf("%q matches %+v: %v, expected %v", test.pattern, c, got, want)
				}
			}
			if p.Everything() != all {
				t.Errorf("%q matches everything: %v, expected %v", test.pattern, p.Everything(), all)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	for pattern, says := range map[string]string{
		"a/b/c/d":                           "more parts",
		"shop/[a":                           "syntax error",
		`shop/\`:                            "syntax error",
		strings.Repeat("a", maxPattern+1):   "1025 bytes",
		"[":                                 "syntax error",
		"a[/]b":                             "syntax error",
		"\x00/" + strings.Repeat("/", 1000): "more parts",
	} {
		if _, err := Compile(pattern); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v, expected an error that says %q", pattern, err, says)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	p, err := Compile("shop/w*/n?inx")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { p.Match(nginx) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzMatch checks that a pattern that compiles never fails, and that what a name holds cannot make it miss the pattern
// for everything in its namespace.
func FuzzMatch(f *testing.F) {
	f.Add("shop/*/[a-z]*", "shop", "web", "nginx")
	f.Add("*/a/b", "", "a/b", "\xff")
	f.Fuzz(func(t *testing.T, pattern, namespace, workload, name string) {
		c := &container.Container{Namespace: namespace, Workload: workload, Name: name}
		if p, err := Compile(pattern); err == nil {
			if got := p.Match(c); p.Everything() && !got {
				t.Errorf("%q matches everything but %+v", pattern, c)
			}
		}
		// A name is a pattern for itself unless it holds what patterns give a meaning.
		if strings.ContainsAny(namespace, `*?[\/`) || namespace == "" {
			return
		}
		p, err := Compile(namespace)
		if err != nil {
			return
		}
		if !p.Match(c) {
			t.Errorf("%q does not match its own container %q %q", namespace, workload, name)
		}
	})
}
