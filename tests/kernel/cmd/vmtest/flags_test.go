// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/tests/kernel/vm"
)

func TestParse(t *testing.T) {
	opts, err := parse(strings.Fields("--kernels 6.1,7 --lsm both --build 386/./x:/bin/x --build example.test/y:/bin/y " +
		"--file a:/b --env K=V=W --tags one,two --pkg ./a --pkg ./b --run ^TestX$ --cache /tmp/kernels"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]any{
		{len(opts.kernels), 2},
		{opts.lsms, []vm.LSM{vm.LSMBPF, vm.LSMNo}},
		{opts.builds, []vm.Command{{Package: "./x", Arch: "386", To: "/bin/x"}, {Package: "example.test/y", Arch: "amd64", To: "/bin/y"}}},
		{opts.files, []vm.File{{From: "a", To: "/b"}}},
		{opts.env, []string{"K=V=W"}},
		{opts.tags, []string{"one", "two"}},
		{opts.packages, []string{"./a", "./b"}},
		{opts.run, "^TestX$"},
		{opts.cache, "/tmp/kernels"},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("got %#v, want %#v", pair[0], pair[1])
		}
	}
	opts, err = parse([]string{"--", "/bin/true", "--run", "x"})
	if err != nil || !reflect.DeepEqual(opts.command, []string{"/bin/true", "--run", "x"}) {
		t.Errorf("command %q, error %v", opts.command, err)
	}
}

// TestParseMistakes checks that each mistake is named, and that they come together.
func TestParseMistakes(t *testing.T) {
	for args, want := range map[string][]string{
		"":                               {"either --pkg or a binary"},
		"--pkg ./a -- b":                 {"either --pkg or a binary"},
		"--run X -- b":                   {"--run works with --pkg only"},
		"--kernels 4.19 --pkg a":         {`kernel "4.19"`, "5.10, 6.1, 6.12, 7"},
		"--lsm none --parallel 0 -- b":   {`security modules "none"`, "--parallel 0"},
		"--file a:b --env =x -- b":       {`--file "a:b"`, `--env "=x"`},
		"--env A;B=x -- b":               {`--env "A;B=x"`},
		"--build x --timeout 1s -- b":    {`--build "x"`, "--timeout 1s"},
		"--boot-timeout 0s --pkg ./a":    {"--boot-timeout 0s"},
		"--build 386/x:relative --pkg a": {`--build "386/x:relative"`},
	} {
		_, err := parse(strings.Fields(args))
		for _, text := range want {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%q: error %v, want %q in it", args, err, text)
			}
		}
	}
}
