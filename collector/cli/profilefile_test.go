// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
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
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.golden(t, nil, c.name, strings.Fields(c.args)...)
		})
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
