// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// TestLocalProfiles holds what the commands that ask nobody say against files.
func TestLocalProfiles(t *testing.T) {
	narrow := world{terminal: true, columns: 100}
	for _, c := range []struct {
		name  string
		world world
		args  string
	}{
		{"profile-check", world{}, "profile check testdata/profiles testdata/profiles-two.yaml"},
		{"profile-check-json", world{}, "profile check testdata/profiles testdata/profiles-two.yaml -o json"},
		{"profile-check-bad", world{}, "profile check testdata/profiles-bad.yaml testdata/profiles testdata/profiles/web.yaml"},
		{"profile-check-missing", world{}, "profile check testdata/nothing.yaml"},
		{"profile-show-file", world{}, "profile show --file testdata/profiles/web.yaml"},
		{"profile-show-file-terminal", narrow, "profile show --file testdata/profiles/web.yaml"},
		{"profile-show-file-wide", world{}, "profile show --file testdata/profiles-two.yaml -o wide"},
		{"profile-show-file-json", world{}, "profile show --file testdata/profiles-two.yaml -o json"},
		{"profile-show-file-yaml", world{}, "profile show --file testdata/profiles-two.yaml -o yaml"},
		{"profile-export-as", world{}, "profile export --as networkpolicy --file testdata/profiles/web.yaml --objects testdata/objects.yaml"},
		{"profile-export-as-strict", world{}, "profile export --as cilium --strict --file testdata/profiles/web.yaml --objects testdata/objects.yaml"},
		{"profile-export-as-json", world{}, "profile export --as seccomp --file testdata/profiles/web.yaml --objects testdata/objects.yaml -o json"},
		{"profile-export-as-labels", world{}, "profile export --as networkpolicy --file testdata/profiles-two.yaml"},
		{"profile-export-as-many", world{}, "profile export --as seccomp --file testdata/profiles-two.yaml"},
		{"profile-export-as-what", world{}, "profile export --as helm"},
		{"profile-export-as-layer", world{}, "profile export --as cilium --layer overlay"},
		{"profile-export-as-nothing", world{}, "profile export --strict"},
		{"profile-export-file-alone", world{}, "profile export --file testdata/profiles/web.yaml"},
		{"profile-export-file-workload", world{}, "profile export --as cilium --file testdata/profiles/web.yaml -w shop"},
		{"profile-export-objects-none", world{}, "profile export --as cilium --file testdata/profiles/web.yaml --objects testdata/profiles"},
		{"profile-export-objects-bad", world{}, "profile export --as cilium --file testdata/profiles/web.yaml --objects testdata/nothing.yaml"},
		{"profile-test", world{}, "profile test testdata/profiles/web.yaml --events testdata/events.ndjson --all"},
		{"profile-test-terminal", narrow, "profile test testdata/profiles/web.yaml --events testdata/events.ndjson"},
		{"profile-test-wide", world{}, "profile test testdata/profiles/web.yaml --events testdata/events.ndjson -o wide"},
		{"profile-test-alert", world{}, "profile test testdata/profiles/web.yaml --events testdata/alert.ndjson"},
		{"profile-test-others", world{}, "profile test testdata/profiles-two.yaml --events testdata/events.ndjson"},
		{"profile-test-bad", world{}, "profile test testdata/profiles-bad.yaml --events testdata/events.ndjson"},
		{"profile-test-missing", world{}, "profile test testdata/profiles-two.yaml --events testdata/nothing.ndjson"},
		{"profile-test-no-events", world{}, "profile test testdata/profiles-two.yaml --events testdata/profiles-two.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.golden(t, nil, c.name, strings.Fields(c.args)...)
		})
	}
}

// TestExportAsFiles writes files in other forms: what one workload lacks does not keep the others from being written.
func TestExportAsFiles(t *testing.T) {
	dir := t.TempDir()
	args := []string{"profile", "export", "--file", "testdata/profiles-two.yaml", "--file", "testdata/profiles/web.yaml",
		"--objects", "testdata/objects.yaml", "--dir", dir, "--as"}
	code, _, stderr := world{}.run(t, append(args, "networkpolicy")...)
	if code != cli.ExitFailure || !strings.Contains(stderr, "1 file written") || !strings.Contains(stderr, "labels of its pods are not known") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if stderr := (world{}).must(t, append(args, "seccomp")...); stderr != "" {
		t.Errorf("stdout is %q", stderr)
	}
	for _, name := range []string{"shop/Deployment/web.networkpolicy.yaml", "shop/Deployment/web/app.seccomp.json"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(text), "shop/Deployment/web/app") {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// TestProfilesOnStdin reads what is piped in.
func TestProfilesOnStdin(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "profiles", "web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	good, bad := world{stdin: string(text)}, world{stdin: string(text) + "colour: red\n"}
	if stdout := good.must(t, "profile", "check", "-"); !strings.Contains(stdout, "stdin:2") {
		t.Errorf("check says %q", stdout)
	}
	code, _, stderr := bad.run(t, "profile", "check", "-")
	if code != cli.ExitUsage || !strings.Contains(stderr, `stdin:`) || !strings.Contains(stderr, `unknown key "colour"`) {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := (world{}).run(t, "profile", "check", "-"); code != cli.ExitUsage || !strings.Contains(stderr, "no profile") {
		t.Errorf("nothing: exit %d: %s", code, stderr)
	}
}

// TestVerdictsAsJSON reads what programs are told of each event, and applies what would allow the first one.
func TestVerdictsAsJSON(t *testing.T) {
	code, stdout, _ := world{}.run(t, "profile", "test", "testdata/profiles/web.yaml", "--events", "testdata/events.ndjson", "-o", "json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var got []string
	for _, line := range lines[:len(lines)-1] {
		var v struct {
			Line                                     int
			Allowed                                  bool
			Type, What, Signal, Reason, Why, Missing string
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		if v.Allowed || v.What == "" || v.Why == "" {
			t.Errorf("verdict is %s", line)
		}
		missing, err := profile.DecodeOne("missing", []byte(v.Missing))
		if err != nil || missing.Key.Name != "web" {
			t.Errorf("line %d: missing is %q: %v", v.Line, v.Missing, err)
		}
		got = append(got, fmt.Sprintf("%d %s %s %s", v.Line, v.Type, v.Signal, v.Reason))
	}
	want := []string{
		"3 exec process arguments", "8 connect egress address", "12 connect egress address", "16 rename file file",
		"18 exec process executable", "19 exec process drift", "20 exec process arguments", "21 connect egress metadata",
		"22 dns egress domain", "23 socket egress raw_socket", "24 socket egress socket", "25 listen egress listen",
		"26 mmap_exec process library", "27 execute process executable",
	}
	if !slices.Equal(got, want) || code != cli.ExitFailure {
		t.Errorf("exit %d, verdicts are\n%s\nwant\n%s", code, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := `{"summary":{"events":29,"allowed":8,"blocked":14,"others":1,"undecided":6}}`; lines[len(lines)-1] != want {
		t.Errorf("the summary is %s", lines[len(lines)-1])
	}
}

// TestEventsOnStdin tests a profile against what is piped in.
func TestEventsOnStdin(t *testing.T) {
	const event = `{"time":"2026-11-18T11:06:01Z","type":"exec","process":{"pid":1,"ns_pid":1,"exe":"/usr/bin/python3.12",` +
		`"args":["python3","/app/%s.py"]},"workload":{"namespace":"shop","kind":"Deployment","name":"web","container":"app"}}` + "\n"
	good := world{stdin: "\n" + fmt.Sprintf(event, "server")}
	stdout := good.must(t, "profile", "test", "testdata/profiles/web.yaml", "--events", "-", "-o", "json")
	if want := `{"summary":{"events":1,"allowed":1,"blocked":0,"others":0,"undecided":0}}` + "\n"; stdout != want {
		t.Errorf("the summary is %s", stdout)
	}
	bad := world{stdin: fmt.Sprintf(event, "other")}
	if code, _, stderr := bad.run(t, "profile", "test", "testdata/profiles/web.yaml", "--events", "-"); code != cli.ExitFailure {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for _, text := range []string{"{}", "[]", "{", `{"type":"exec"}`, `{"type":"exec","time":"yesterday"}`} {
		w := world{stdin: text}
		code, stdout, stderr := w.run(t, "profile", "test", "testdata/profiles/web.yaml", "--events", "-")
		if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, "stdin:1: not an event") {
			t.Errorf("%s: exit %d: %s%s", text, code, stdout, stderr)
		}
	}
}

// TestShownProfilesAreSafe shows a profile whose texts are as hostile as its format lets them be.
func TestShownProfilesAreSafe(t *testing.T) {
	nasty := "\x1b]0;owned\x07\u202e\n"
	p := &profile.Profile{
		Key:    profile.Key{Namespace: "shop", Kind: "Pod", Name: "x", Container: "y"},
		Images: []profile.Image{{Digest: "sha256:aa", Reference: "r"}},
		Processes: []profile.Process{{
			Path: "/bin/" + nasty, AnyArguments: true, Parents: []profile.Parent{{Path: "/" + nasty}},
			Files: []profile.File{{Path: profile.ExactTemplate([]byte("/tmp/" + nasty)), Access: profile.Read}},
			Seen:  profile.Provenance{Origin: profile.Learned},
		}},
	}
	file := write(t, "p.yaml", string(profile.Encode(p)))
	for _, format := range []string{"table", "wide", "json", "yaml"} {
		for _, terminal := range []bool{true, false} {
			stdout := world{terminal: terminal, columns: 200}.must(t, "profile", "show", "--file", file, "-o", format, "--color", "never")
			if at := strings.IndexAny(stdout, "\x1b\x07\u202e"); at >= 0 || !strings.Contains(stdout, "owned") {
				t.Errorf("-o %s shows %q", format, stdout)
			}
		}
	}
	again := world{}.must(t, "profile", "show", "--file", file, "-o", "yaml")
	if want := string(profile.Encode(p)); again != want {
		t.Errorf("yaml is\n%s\nwant\n%s", again, want)
	}
}
