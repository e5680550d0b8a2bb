// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// programs are the three, built from the source tree, by name.
func programs(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-tags=grpcnotrace", "-ldflags=-s -w", "-o", bin+string(os.PathSeparator),
		"./agent/cmd/holdfast-agent", "./collector/cmd/holdfast-collector", "./collector/cmd/holdfast")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	return func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, args[0]), append(args[1:], "--help")...).CombinedOutput()
		return string(out), err
	}
}

var (
	// call is a program of ours in a line of a page, with what follows up to a pipe or the like.
	call = regexp.MustCompile("(?:^|[ /(`])(holdfast(?:-agent|-collector)?) ([a-z][^|<>&;)`]*)")
	// word is a subcommand.
	word = regexp.MustCompile(`^[a-z][a-z-]*$`)
	// flagName is a flag of ours.
	flagName = regexp.MustCompile(`^--[a-z][a-z-]*`)
)

// TestPrograms asks the programs for help on what the chart and its documentation have them do.
func TestPrograms(t *testing.T) {
	help := programs(t)
	t.Run("documentation", func(t *testing.T) { testCommandsExist(t, help) })
	t.Run("settings", func(t *testing.T) { testEverySettingIsAValue(t, help) })
	t.Run("pods", func(t *testing.T) { testPodsRunWhatExists(t, help) })
}

// testCommandsExist takes every command that the pages and the notes name.
func testCommandsExist(t *testing.T, help func(...string) (string, error)) {
	texts := map[string]string{}
	for _, page := range []string{"install.md", "operations.md"} {
		texts[page] = read(t, filepath.Join("..", "..", "docs", page))
	}
	r, err := load(t).Render(nil)
	if err != nil {
		t.Fatal(err)
	}
	texts["NOTES.txt"] = r.Notes
	seen := 0
	for page, text := range texts {
		for line := range strings.Lines(text) {
			// helm and kubectl name releases and pods as our programs are named.
			if strings.Contains(line, "helm ") || !strings.Contains(line, " -- ") && strings.Contains(line, "kubectl ") {
				continue
			}
			if indented := strings.HasPrefix(line, "    "); !indented && !strings.Contains(line, "`") {
				continue
			}
			for _, m := range call.FindAllStringSubmatch(line, -1) {
				seen++
				if wrong := unknown(help, m[1], strings.Fields(m[2])); wrong != "" {
					t.Errorf("%s: %s: %s", page, strings.TrimSpace(line), wrong)
				}
			}
		}
	}
	if seen < 15 {
		t.Errorf("%d commands seen", seen)
	}
}

// unknown says what of a command does not exist.
func unknown(help func(...string) (string, error), program string, args []string) string {
	path := []string{program}
	text, err := help(path...)
	for i := 0; err == nil && i < len(args) && word.MatchString(args[i]) && strings.Contains(text, "\n  "+args[i]+" "); i++ {
		path = append(path, args[i])
		text, err = help(path...)
	}
	if err != nil {
		return fmt.Sprintf("%s --help: %v", strings.Join(path, " "), err)
	}
	if len(path) == 1 && strings.HasPrefix(args[0], "holdfast") {
		// The first was a user's name, as after sudo -u.
		return unknown(help, args[0], args[1:])
	}
	if len(path) == 1 {
		return program + " has no command " + args[0]
	}
	for _, arg := range args {
		if f := flagName.FindString(arg); f != "" && !strings.Contains(text, f+" ") {
			return strings.Join(path, " ") + " has no flag " + f
		}
	}
	return ""
}

// testPodsRunWhatExists takes every flag that the chart gives, and every setting that its schema takes.
func testPodsRunWhatExists(t *testing.T, help func(...string) (string, error)) {
	s := valuesSchema(t)
	for program, settings := range map[string][]string{"holdfast-agent run": nil, "holdfast-collector serve": nil} {
		component := strings.TrimPrefix(strings.Fields(program)[0], "holdfast-")
		for name := range s.Properties[component].Properties["settings"].Properties {
			settings = append(settings, "--"+name)
		}
		if len(settings) == 0 {
			t.Errorf("%s has no settings", component)
		}
		if wrong := unknown(help, strings.Fields(program)[0], append(strings.Fields(program)[1:], settings...)); wrong != "" {
			t.Errorf("agent.settings or collector.settings: %s", wrong)
		}
	}
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, w := range workloads(t, r) {
			for _, c := range w.containers() {
				if wrong := unknown(help, strings.TrimPrefix(c.Command[0], "/"), c.Args); wrong != "" {
					t.Errorf("%s, container %s: %s", w.name, c.Name, wrong)
				}
			}
		}
	})
}

// settingLine is a setting in a program's help.
var settingLine = regexp.MustCompile(`(?m)^ +(?:-[a-z], )?--([a-z][a-z0-9-]*)`)

// noValue are the settings that no value of the chart reaches, and why.
var noValue = map[string]map[string]string{
	"agent": {
		"config":      "every setting is an argument of the pod",
		"help":        "is none",
		"kubeconfig":  "a pod has its ServiceAccount",
		"policy-file": "profiles and modes come from the collector, from annotations and from objects",
	},
	"collector": {
		"config":     "every setting is an argument of the pod",
		"help":       "is none",
		"http-cert":  "clients are given the authority's certificate (ca show); what ends TLS for others stands before the Service",
		"http-key":   "goes with http-cert",
		"kubeconfig": "a pod has its ServiceAccount",
	},
}

// testEverySettingIsAValue takes every setting that the programs have: some value of the chart has to give it, or it stands in
// noValue.
func testEverySettingIsAValue(t *testing.T, help func(...string) (string, error)) {
	given := map[string]bool{}
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, w := range workloads(t, r) {
			for _, c := range w.containers() {
				for _, arg := range c.Args {
					given[filepath.Base(c.Command[0])+" "+flagName.FindString(arg)] = true
				}
			}
		}
	})
	s := valuesSchema(t)
	for component, command := range map[string]string{"agent": "run", "collector": "serve"} {
		program := "holdfast-" + component
		text, err := help(program, command)
		if err != nil {
			t.Fatalf("%s %s --help: %v", program, command, err)
		}
		free := s.Properties[component].Properties["settings"].Properties
		all := settingLine.FindAllStringSubmatch(text, -1)
		if len(all) < 15 {
			t.Errorf("%s %s has %d settings", program, command, len(all))
		}
		seen := map[string]bool{}
		for _, m := range all {
			name := m[1]
			seen[name] = true
			_, free := free[name]
			reached := free || given[program+" --"+name]
			switch why, excused := noValue[component][name]; {
			case reached && excused:
				t.Errorf("%s: a value gives --%s, of which it is said that none does: %s", program, name, why)
			case !reached && !excused:
				t.Errorf("%s: no value of the chart gives --%s: put it into %s.settings of values.schema.json", program, name, component)
			}
		}
		for name := range noValue[component] {
			if !seen[name] {
				t.Errorf("%s has no setting %s", program, name)
			}
		}
	}
}
