// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile, with its lines joined.
type instruction struct{ name, rest string }

// continued is the end of a line of an instruction that goes on.
var continued = regexp.MustCompile(`\\\n\s*`)

// parseDockerfile reads a Dockerfile without here-documents.
func parseDockerfile(text string) []instruction {
	var list []instruction
	for line := range strings.Lines(continued.ReplaceAllString(text, "")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			name, rest, _ := strings.Cut(line, " ")
			list = append(list, instruction{name, strings.TrimSpace(rest)})
		}
	}
	return list
}

// TestDockerfiles: what the Dockerfiles build is what make images writes.
func TestDockerfiles(t *testing.T) {
	t.Chdir("../..")
	for _, c := range components() {
		t.Run(c.name, func(t *testing.T) {
			text, err := os.ReadFile("deploy/docker/" + strings.TrimPrefix(c.name, "holdfast-") + ".Dockerfile")
			must(t, err)
			list := parseDockerfile(string(text))
			last := -1
			for i, in := range list {
				if in.name == "FROM" {
					last = i
				}
			}
			if last < 1 {
				t.Fatalf("no two stages in %v", list)
			}
			checkBuild(t, &c, list[:last])
			checkStage(t, &c, list[last:])
		})
	}
}

// checkBuild checks that the programs are built with this Go, or a later one that is named exactly, and as the Makefile does.
func checkBuild(t *testing.T, c *component, list []instruction) {
	t.Helper()
	from := regexp.MustCompile(`^--platform=\$BUILDPLATFORM golang:(\d+\.\d+)\.\d+-bookworm AS build$`).FindStringSubmatch(list[0].rest)
	if from == nil || !strings.HasPrefix(runtime.Version(), "go"+from[1]+".") {
		t.Errorf("built from %q; this is %s", list[0].rest, runtime.Version())
	}
	i := slices.IndexFunc(list, func(in instruction) bool { return strings.Contains(in.rest, "go build ") })
	if i < 0 {
		t.Fatal("nothing is built")
	}
	build := list[i].rest
	makefile, err := os.ReadFile("Makefile")
	must(t, err)
	for _, flag := range []string{"CGO_ENABLED=0", "-trimpath", "-tags=grpcnotrace", "-ldflags='-s -w'"} {
		if !strings.Contains(build, flag) || !strings.Contains(string(makefile), flag) {
			t.Errorf("%s is not in %q, or not in the Makefile", flag, build)
		}
	}
	var built []string
	for _, word := range strings.Fields(build) {
		if strings.HasPrefix(word, "./") {
			built = append(built, word[strings.LastIndex(word, "/")+1:])
		}
	}
	if !slices.Equal(built, c.programs) {
		t.Errorf("builds %q, want %q", built, c.programs)
	}
}

// checkStage checks the last stage.
func checkStage(t *testing.T, c *component, list []instruction) {
	t.Helper()
	want := map[string]string{
		"FROM": "scratch", "ENV": "PATH=/", "WORKDIR": "/", "USER": fmt.Sprintf("%d:%d", c.user, c.user),
		"ENTRYPOINT": array(t, "/"+c.programs[0]), "CMD": array(t, c.args...),
	}
	for _, in := range list {
		if text, known := want[in.name]; known {
			if got := strings.ReplaceAll(in.rest, ", ", ","); got != text {
				t.Errorf("%s %s, want %s", in.name, got, text)
			}
			delete(want, in.name)
		} else if in.name != "COPY" && in.name != "LABEL" {
			t.Errorf("%s %s: make images has nothing like it", in.name, in.rest)
		}
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
	copies := fmt.Sprint(list)
	if c.user != 0 && !strings.Contains(copies, fmt.Sprintf("--chown=%d:%d", c.user, c.user)) {
		t.Errorf("the data folder is not the user's: %s", copies)
	}
}

func array(t *testing.T, words ...string) string {
	t.Helper()
	text, err := json.Marshal(words)
	must(t, err)
	return string(text)
}
