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
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// observed is a profile of testdata, as a node would observe it: nobody has written anything.
func observed(t *testing.T, name string) *profile.Profile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "profiles", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.DecodeOne(name, text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Processes {
		q := &p.Processes[i]
		q.Files = slices.DeleteFunc(q.Files, func(f profile.File) bool { return f.Seen.Origin == profile.Written })
		q.Egress = slices.DeleteFunc(q.Egress, func(e profile.Egress) bool { return e.Seen.Origin == profile.Written })
		if q.Path == profile.Any {
			q.Seen.Origin = profile.Context
		}
	}
	return p
}

// admin is of, for an admin.
func admin(api *querytest.API) world {
	return of(api).with("HOLDFAST_TOKEN", api.Admin)
}

// learned starts an API with two nodes of which one runs shop's web, and says what modes it has.
func learned(t *testing.T) (*querytest.API, *querytest.Agent) {
	t.Helper()
	api := querytest.Start(t, query.Config{})
	key := &apiv1.ProfileKey{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}
	seen := querytest.Now()
	agent := api.Join(t, &apiv1.Hello{Node: "node-1"}, &apiv1.Health{
		TimeNs: seen.UnixNano(),
		Workloads: []*apiv1.WorkloadState{{
			Key: key, ProfileVersion: 1, Containers: 3, Known: 123456, Learned: 12, WouldBlock: 3, Blocked: 1, LastBlockNs: seen.Add(-5 * time.Minute).UnixNano(),
			Signals: []*apiv1.SignalState{
				{Signal: "process", Mode: "enforce", Source: "collector: setting 2 by ann", State: "stable"},
				{Signal: "file", Mode: "monitor", Source: "annotation holdfast.dev/mode", State: "stabilising"},
				{Signal: "egress", Mode: "learn", Source: "default", State: "partial"},
				{Signal: "protect", Mode: "off", Source: "file", State: ""},
			},
		}},
		Switches: []*apiv1.ModeSwitch{
			{TimeNs: seen.Add(-time.Hour).UnixNano(), Key: key, Signal: "process", From: "monitor", To: "enforce", Author: "ann", Reason: "ready"},
			{TimeNs: seen.Add(-time.Minute).UnixNano(), Key: key, Signal: "process", From: "enforce", To: "monitor", Author: "brake", Reason: "it restarts"},
		},
	})
	agent.Observe(t, 7, observed(t, "web"))
	wait.True(t, 30*time.Second, "what the collector was told is there", func() bool { return strings.Contains(of(api).must(t, "profile", "list", "-o", "json"), `"version":1`) })
	return api, agent
}

// candidate is the id of the candidate that a text tells from the others.
func candidate(t *testing.T, api *querytest.API, text string) string {
	t.Helper()
	for line := range strings.Lines(of(api).must(t, "profile", "candidates", "shop/web")) {
		if strings.Contains(line, text) {
			return strings.Fields(line)[0]
		}
	}
	t.Fatalf("no candidate has %q", text)
	return ""
}

// TestProfileOutput goes through the life of a profile.
func TestProfileOutput(t *testing.T) {
	api, _ := learned(t)
	viewer, admin := of(api), admin(api)
	narrow := viewer
	narrow.terminal, narrow.columns = true, 110
	shell, key := candidate(t, api, "/usr/bin/dash"), candidate(t, api, "/etc/app.key")
	for _, c := range []struct {
		name  string
		world world
		args  string
	}{
		{"profile-list", viewer, "profile list"},
		{"profile-list-none", viewer, "profile list -w bank"},
		{"profile-show", viewer, "profile show shop/web"},
		{"profile-show-merged", narrow, "profile show shop/Deployment/web/app --layer merged"},
		{"profile-show-node", viewer, "profile show shop --node node-1 -o yaml"},
		{"profile-show-overlay-none", viewer, "profile show shop/web --layer overlay"},
		{"profile-candidates", viewer, "profile candidates shop/web"},
		{"profile-candidates-json", viewer, "profile candidates shop/web -o json"},
		{"profile-history-none", viewer, "profile history shop/web"},
		{"profile-approve", admin, "profile approve shop/web " + key + " --reason backup"},
		{"profile-reject", admin, "profile reject shop/web " + shell + " --reason attack"},
		{"profile-candidates-none", viewer, "profile candidates shop/web"},
		{"profile-history", viewer, "profile history shop/web"},
		{"profile-diff", viewer, "profile diff shop/web"},
		{"profile-diff-layers", narrow, "profile diff shop/web --from merged --to effective"},
		{"profile-diff-same", viewer, "profile diff shop/web --from 1 --to 1"},
		{"profile-diff-json", viewer, "profile diff shop/web -o json"},
		{"profile-show-overlay", viewer, "profile show shop/web --layer overlay --version 1 -o yaml"},
		{"profile-import", admin, "profile import testdata/profiles-import.yaml --reason release"},
		{"profile-list-wide", viewer, "profile list -o wide"},
		{"profile-show-ambiguous", viewer, "profile show shop"},
		{"profile-export", viewer, "profile export --layer overlay"},
		{"profile-export-json", viewer, "profile export -w shop/backup -o json"},
		{"profile-export-as-collector", viewer, "profile export --as networkpolicy -w shop/web --objects testdata/objects.yaml"},
		{"profile-export-crd", viewer, "profile export --as crd --layer overlay"},
		{"profile-export-none", viewer, "profile export -w bank"},
		{"profile-remove-running", admin, "profile remove shop/web --reason gone"},
		{"profile-remove", admin, "profile remove shop/backup --reason gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.golden(t, api, c.name, strings.Fields(c.args)...)
		})
	}
}

// TestModeOutput sets and clears modes.
func TestModeOutput(t *testing.T) {
	api, _ := learned(t)
	viewer, admin := of(api), admin(api)
	for _, c := range []struct {
		name  string
		world world
		args  []string
	}{
		{"mode-none", viewer, []string{"mode"}},
		{"mode-set", admin, []string{"mode", "set", "shop/web", "enforce", "--signal", "process,egress", "--reason", "stable since May"}},
		{"mode-set-pattern", admin, []string{"mode", "set", "shop/*", "learn", "--reason", "release"}},
		{"mode-set-again", admin, []string{"mode", "set", "shop/web", "monitor", "--reason", "too early"}},
		{"mode-set-json", admin, []string{"mode", "set", "", "off", "-s", "file", "--reason", "noise", "-o", "json"}},
		{"mode-list", viewer, []string{"mode", "list"}},
		{"mode-list-workload", viewer, []string{"mode", "list", "--workload", "shop/web/app"}},
		{"mode-list-wide", viewer, []string{"mode", "list", "-o", "wide"}},
		{"mode-list-json", viewer, []string{"mode", "list", "-o", "json"}},
		{"mode-show", viewer, []string{"mode", "show", "shop/web"}},
		{"mode-show-wide", viewer, []string{"mode", "show", "-o", "wide"}},
		{"mode-show-none", viewer, []string{"mode", "show", "bank", "--node", "node-1"}},
		{"workloads", viewer, []string{"workloads", "shop/web"}},
		{"workloads-wide", viewer, []string{"workloads", "-o", "wide"}},
		{"workloads-json", viewer, []string{"workloads", "-o", "json"}},
		{"workloads-none", viewer, []string{"workloads", "bank", "--node", "node-1"}},
		{"mode-switches", viewer, []string{"mode", "switches", "-w", "shop/web"}},
		{"mode-clear", admin, []string{"mode", "clear", "shop/web", "--reason", "back"}},
		{"mode-clear-none", admin, []string{"mode", "clear", "shop/web", "--reason", "back"}},
		{"mode-clear-id", admin, []string{"mode", "clear", "--id", "4", "--reason", "it is over", "-o", "json"}},
		{"mode-history", viewer, []string{"mode", "history"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.golden(t, api, c.name, c.args...)
		})
	}
}

// TestConflictOutput shows what Kubernetes objects say and what is not in force.
func TestConflictOutput(t *testing.T) {
	api, _ := learned(t)
	web := profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}
	api.Fleet.SetObjectConflicts([]fleet.ObjectConflict{
		{Object: "HoldfastProfile shop/web", Key: web, Message: "ann wrote version 4 of the overlay (INC-17), which stays in force"},
		{Object: "HoldfastPolicy shop/careful", Workload: "shop/w*", Message: "ann set process of shop/w* to monitor, as setting 4 (too early), which stays in force"},
		{Object: "HoldfastPolicy bank/careful", Workload: "bank", Message: "of another namespace"},
	})
	viewer := of(api)
	viewer.golden(t, api, "profile-show-conflict", "profile", "show", "shop/web")
	viewer.golden(t, api, "mode-show-conflict", "mode", "show", "shop/web")
	object := &profile.Profile{Key: web, Processes: []profile.Process{{Path: "/bin/a", AnyArguments: true, Seen: profile.Provenance{Origin: profile.Written}}}}
	by := fleet.Author{Name: fleet.ObjectAuthor("shop", "web", "argocd"), Reason: "from Git"}
	if _, err := api.Fleet.PutObject(t.Context(), web, object, by); err != nil {
		t.Fatal(err)
	}
	admin(api).golden(t, api, "profile-approve-object", "profile", "approve", "shop/web", "--all", "--reason", "INC-17")
}

// TestModesForATime sets modes that end by themselves.
func TestModesForATime(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	for _, args := range [][]string{
		{"mode", "break-glass", "--for", "30m", "--reason", "INC-17: payments are down"},
		{"mode", "break-glass", "shop/*", "--for", "30m", "--reason", "INC-18"},
		{"mode", "set", "shop/web", "learn", "--for", "2h", "--reason", "release"},
	} {
		stdout := admin(api).must(t, args...)
		if !strings.Contains(stdout, "\nuntil ") || !strings.Contains(stdout, "what held before holds again") {
			t.Errorf("%v says %q", args, stdout)
		}
	}
	var modes []string
	for line := range strings.Lines(of(api).must(t, "mode", "list", "-o", "json")) {
		var setting view.ModeSetting
		if err := json.Unmarshal([]byte(line), &setting); err != nil {
			t.Fatal(err)
		}
		if setting.Until.IsZero() || len(setting.Signals) > 0 {
			t.Errorf("setting is %s", line)
		}
		modes = append(modes, setting.Workload+" "+setting.Mode)
	}
	if got := strings.Join(modes, ", "); got != "shop/web learn, shop/* monitor,  monitor" {
		t.Errorf("modes are %q", got)
	}
}

// TestExportImportsBack exports overlays into a folder, and imports that into another collector.
func TestExportImportsBack(t *testing.T) {
	api, _ := learned(t)
	admin(api).must(t, "profile", "import", "testdata/profiles-import.yaml", "--reason", "release")
	admin(api).must(t, "profile", "approve", "shop/web", "--all", "--reason", "all of it")
	dir := t.TempDir()
	of(api).must(t, "profile", "export", "--layer", "overlay", "--dir", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*", "*.yaml"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files are %v, %v", files, err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), "apiVersion: ") {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
	other := querytest.Start(t, query.Config{})
	admin(other).must(t, "profile", "import", dir, "--reason", "restored")
	again := t.TempDir()
	of(other).must(t, "profile", "export", "--layer", "overlay", "--dir", again)
	for _, file := range files {
		name, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(again, name)); err != nil || string(got) != string(want) {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

// editor writes a script that stands for a person's editor.
func editor(t *testing.T, script string) string {
	t.Helper()
	path := write(t, "editor", "#!/bin/sh\nset -e\n"+script+"\n")
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// typed is what a person types, as a file that the editor can be given, too.
func typed(t *testing.T, text string) *os.File {
	t.Helper()
	file, err := os.Open(write(t, "typed", text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// TestEdit edits overlays as a person would, and as a person should not.
func TestEdit(t *testing.T) {
	api, _ := learned(t)
	t.Setenv("TMPDIR", t.TempDir())
	edit := func(w world, script string) (int, string, string) {
		return w.with("EDITOR", editor(t, script)).run(t, "profile", "edit", "shop/web", "--reason", "by hand")
	}
	const add = `printf 'processes:\n  - path: /usr/bin/%s\n    anyArguments: true\n' `
	temporary := func() int {
		files, err := filepath.Glob(filepath.Join(os.TempDir(), "holdfast-*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}

	if code, _, stderr := edit(admin(api), "true"); code != cli.ExitOK || !strings.Contains(stderr, "nothing was changed") {
		t.Errorf("an edit that changes nothing: exit %d, %s", code, stderr)
	}
	code, stdout, stderr := edit(admin(api), `grep -q '^#: The overlay of shop/Deployment/web/app' "$1"; `+add+`backup >> "$1"`)
	if code != cli.ExitOK || !strings.Contains(stdout, "overlay version 1") || !strings.Contains(stdout, "+ process     /usr/bin/backup") {
		t.Errorf("an edit: exit %d, %s%s", code, stdout, stderr)
	}
	if n := temporary(); n != 0 {
		t.Errorf("%d files are left", n)
	}
	text := of(api).must(t, "profile", "show", "shop/web", "--layer", "overlay", "-o", "yaml")
	if strings.Contains(text, "#:") || !strings.Contains(text, "/usr/bin/backup") {
		t.Errorf("the overlay is %s", text)
	}

	code, stdout, stderr = edit(admin(api), `sed -i s,/usr/bin/backup,usr/bin/backup, "$1"`)
	if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, "not an absolute path") || !strings.Contains(stderr, "Your text is kept in") {
		t.Errorf("an edit with an error: exit %d, %s%s", code, stdout, stderr)
	}
	if n := temporary(); n != 1 {
		t.Errorf("%d files are kept", n)
	}
	code, _, stderr = edit(admin(api), `sed -i 's,name: web,name: db,' "$1"`)
	if code != cli.ExitUsage || !strings.Contains(stderr, "this is the profile of shop/Deployment/db/app, not of shop/Deployment/web/app") {
		t.Errorf("an edit of the name: exit %d, %s", code, stderr)
	}
	code, _, stderr = edit(of(api), add+`other > /dev/null; sed -i 's,/usr/bin/backup,/usr/bin/other,' "$1"`)
	if code != cli.ExitRefused || !strings.Contains(stderr, "needs admin") || !strings.Contains(stderr, "Your text is kept in") {
		t.Errorf("a viewer's edit: exit %d, %s", code, stderr)
	}
	if code, _, stderr = edit(admin(api), "exit 7"); code != cli.ExitFailure || !strings.Contains(stderr, "exit status 7") {
		t.Errorf("an editor that fails: exit %d, %s", code, stderr)
	}

	// A person corrects the error when asked.
	person := admin(api)
	person.typed = typed(t, "y\n")
	code, stdout, stderr = edit(person, `if grep -q usr/bin/second "$1"; then sed -i 's,path: usr,path: /usr,' "$1"; else sed -i 's,/usr/bin/backup,usr/bin/second,' "$1"; fi`)
	if code != cli.ExitOK || !strings.Contains(stderr, "Edit it again? [y/N]") || !strings.Contains(stdout, "/usr/bin/second") {
		t.Errorf("a corrected edit: exit %d, %s%s", code, stdout, stderr)
	}
	person.typed = typed(t, "\n")
	if code, _, stderr = edit(person, `sed -i 's,/usr/bin/second,usr/bin/third,' "$1"`); code != cli.ExitUsage || !strings.Contains(stderr, "is kept in") {
		t.Errorf("an edit given up: exit %d, %s", code, stderr)
	}
	if code, stdout, stderr = edit(admin(api), `: > "$1"`); code != cli.ExitOK || !strings.Contains(stdout, "- process     /usr/bin/second") {
		t.Errorf("an emptied overlay: exit %d, %s%s", code, stdout, stderr)
	}
}

// TestEditOverwritesNobody has the overlay change while it is edited.
func TestEditOverwritesNobody(t *testing.T) {
	api, _ := learned(t)
	t.Setenv("TMPDIR", t.TempDir())
	started, proceed := filepath.Join(t.TempDir(), "started"), filepath.Join(t.TempDir(), "go-on")
	script := editor(t, fmt.Sprintf(`printf 'processes:\n  - path: /usr/bin/mine\n' >> "$1"; touch %s; until test -e %s; do sleep 0.01; done`, started, proceed))
	person := admin(api).with("EDITOR", script).start(t, "profile", "edit", "shop/web", "--reason", "mine")
	wait.True(t, 30*time.Second, "what the collector was told is there", func() bool { _, err := os.Stat(started); return err == nil })
	admin(api).must(t, "profile", "approve", "shop/web", "--all", "--reason", "theirs")
	if err := os.WriteFile(proceed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	person.stderr.next(t, "version 1")
	person.stderr.next(t, "Somebody changed it in the meantime")
	person.stderr.next(t, "Your text is kept in")
	if code := <-person.code; code != cli.ExitFailure {
		t.Errorf("exit %d", code)
	}
}

// TestImportRefusesWhole imports a good and a bad file.
func TestImportRefusesWhole(t *testing.T) {
	api, _ := learned(t)
	for name, c := range map[string]struct{ files, want string }{
		"error":  {"testdata/profiles-import.yaml testdata/profiles-bad.yaml", "testdata/profiles-bad.yaml:8:"},
		"twice":  {"testdata/profiles-import.yaml testdata/profiles-import.yaml", "stands twice"},
		"modes":  {"testdata/profiles-import.yaml testdata/profiles-two.yaml", "stands twice"},
		"modes2": {"testdata/profiles-two.yaml", "modes are not imported"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"profile", "import", "--reason", "x"}, strings.Fields(c.files)...)
			code, stdout, stderr := admin(api).run(t, args...)
			if code != cli.ExitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d: %s%s", code, stdout, stderr)
			}
		})
	}
	if stdout := of(api).must(t, "profile", "export", "--layer", "overlay"); stdout != "" {
		t.Errorf("overlays are %s", stdout)
	}
}

func TestWorkloadsComplete(t *testing.T) {
	api, _ := learned(t)
	w := of(api)
	for _, args := range [][]string{
		{"profile", "show"}, {"profile", "edit"}, {"profile", "approve"}, {"mode", "set"}, {"mode", "show"}, {"mode", "clear"},
	} {
		if stdout := w.must(t, append(append([]string{"__complete"}, args...), "")...); !strings.HasPrefix(stdout, "shop/web/app\n:") {
			t.Errorf("%v gives %q", args, stdout)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"mode set shop/web", "learn\nmonitor\nenforce\noff\n"}, {"mode set --signal", "process\nfile\negress\nprotect\n"},
		{"profile show --layer", "effective\nmerged\nobserved\noverlay\n"}, {"profile diff x --from", "overlay\neffective\nmerged\n"},
	} {
		if stdout := w.must(t, append(append([]string{"__complete"}, strings.Fields(c.args)...), "")...); !strings.HasPrefix(stdout, c.want) {
			t.Errorf("%s gives %q", c.args, stdout)
		}
	}
	if stdout := w.must(t, "__complete", "profile", "approve", "shop/web", ""); !strings.Contains(stdout, candidate(t, api, "/usr/bin/dash")+"\t") {
		t.Errorf("candidates are %q", stdout)
	}
}
