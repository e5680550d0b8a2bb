// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// ourRule is a rule of runtimedefault.json.
type ourRule struct {
	Names   []string                `json:"names"`
	Errno   uint                    `json:"errno,omitempty"`
	Args    []specs.LinuxSeccompArg `json:"args,omitempty"`
	With    string                  `json:"with,omitempty"`
	Without string                  `json:"without,omitempty"`
}

// TestRuntimeDefault compares runtimedefault.json with the profile that it is made of; -update makes it anew.
func TestRuntimeDefault(t *testing.T) {
	given := seccomp.DefaultProfile()
	if given.DefaultAction != specs.ActErrno || given.DefaultErrnoRet == nil || *given.DefaultErrnoRet != 1 {
		t.Fatalf("the default refuses calls by %s", given.DefaultAction)
	}
	var rules []ourRule
	for _, s := range given.Syscalls {
		if rule, ok := ours(t, s); ok {
			rules = append(rules, rule)
		}
	}
	var want bytes.Buffer
	want.WriteString("[\n")
	for i, rule := range rules {
		line, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		want.Write(line)
		if i < len(rules)-1 {
			want.WriteString(",")
		}
		want.WriteString("\n")
	}
	want.WriteString("]\n")
	if *update {
		if err := os.WriteFile("runtimedefault.json", want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("runtimedefault.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("runtimedefault.json is not what the default is now: run the test with -update")
	}
}

// ours is a rule of the default as this package keeps it; false for one that is not for kernels and architectures that
// Holdfast runs on, or says how sockets are made.
func ours(t *testing.T, s *seccomp.Syscall) (ourRule, bool) {
	t.Helper()
	rule := ourRule{Args: s.Args}
	for _, name := range s.Names {
		if name != "socket" && name != "socketpair" && name != "socketcall" {
			rule.Names = append(rule.Names, name)
		}
	}
	switch {
	case s.Action == specs.ActErrno && s.ErrnoRet != nil:
		rule.Errno = *s.ErrnoRet
	case s.Action != specs.ActAllow:
		t.Fatalf("%v: %s", s.Names, s.Action)
	}
	if f := s.Includes; f != nil {
		runs := len(f.Arches) == 0 || slices.ContainsFunc(f.Arches, func(a string) bool {
			return slices.Contains([]string{"amd64", "x86", "x32", "arm64", "arm"}, a)
		})
		if k := f.MinKernel; k != nil && (k.Kernel > 5 || k.Kernel == 5 && k.Major > 10) {
			t.Fatalf("%v: wants the kernel %s", s.Names, k)
		}
		if !runs {
			return ourRule{}, false
		}
		rule.With = capability(t, f.Caps)
	}
	if f := s.Excludes; f != nil {
		if f.MinKernel != nil {
			t.Fatalf("%v: wants an older kernel than %s", s.Names, f.MinKernel)
		}
		rule.Without = capability(t, f.Caps)
	}
	return rule, len(rule.Names) > 0
}

// capability is the one capability of a condition, as profiles name it; empty if there is none.
func capability(t *testing.T, names []string) string {
	t.Helper()
	switch len(names) {
	case 0:
		return ""
	case 1:
		return strings.ToLower(strings.TrimPrefix(names[0], "CAP_"))
	}
	t.Fatalf("%v: one capability was expected", names)
	return ""
}
