// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
)

// violation is the alert about an exec of package view's testdata, as one that goes against web's profile.
func violation(t *testing.T, v *apiv1.Violation) *apiv1.Record {
	t.Helper()
	alert := querytest.Alert(t, "exec")
	v.Key = &apiv1.ProfileKey{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}
	v.Mode, v.ModeSource, v.ProfileVersion = "enforce", "collector: setting 1 by ann", 1
	alert.Rule, alert.Action, alert.Violation = "Program not in profile", apiv1.Action_ACTION_BLOCKED, v
	alert.Output = "Blocked running /usr/bin/dash (sh -i): the program is not in the profile, by /usr/bin/python3.12"
	return &apiv1.Record{Record: &apiv1.Record_Alert{Alert: alert}}
}

func TestExplainAndAllow(t *testing.T) {
	api, _ := learned(t)
	const python = "/usr/bin/python3.12"
	api.Append(t, alertsLane, "node-1", 1, 1,
		violation(t, &apiv1.Violation{Signal: "process", Reason: "executable", Executable: "/usr/bin/date", Parent: python, Source: "image", Shape: []string{"date", "-u"}}),
		violation(t, &apiv1.Violation{Signal: "egress", Reason: "address", Executable: python, Address: "192.0.2.7", Protocol: "tcp", Port: 443}),
		violation(t, &apiv1.Violation{Signal: "process", Reason: "mount", Executable: python}),
		querytest.AlertRecords(t)[0],
	)
	viewer, admin := of(api), admin(api)
	asked := func(answer string) world {
		w := admin
		w.typed = typed(t, answer)
		return w
	}
	for _, c := range []struct {
		name  string
		world world
		args  []string
	}{
		{"explain", viewer, []string{"explain", "node-1:1:1"}},
		{"explain-address", viewer, []string{"explain", "node-1:1:2"}},
		{"explain-json", viewer, []string{"explain", "node-1:1:2", "-o", "json"}},
		{"explain-cannot", viewer, []string{"explain", "node-1:1:3"}},
		{"explain-rule", viewer, []string{"explain", "node-1:1:4"}},
		{"allow-no", asked("n\n"), []string{"allow", "node-1:1:1", "--reason", "the clock"}},
		{"allow-nobody", asked(""), []string{"allow", "node-1:1:1", "--reason", "the clock"}},
		{"allow-yes", asked("yes\n"), []string{"allow", "node-1:1:1", "--reason", "the clock"}},
		{"allow-again", admin, []string{"allow", "node-1:1:1", "--yes"}},
		{"explain-allowed", viewer, []string{"explain", "node-1:1:1"}},
		{"allow-json", admin, []string{"allow", "node-1:1:2", "--yes", "-o", "json"}},
		{"allow-cannot", admin, []string{"allow", "node-1:1:3", "--yes"}},
		{"allow-overlay", viewer, []string{"profile", "show", "shop/web", "--layer", "overlay", "-o", "yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.golden(t, api, c.name, c.args...)
		})
	}
}

// TestViewersAllowNothing has a viewer agree to what only an admin may.
func TestViewersAllowNothing(t *testing.T) {
	api, _ := learned(t)
	api.Append(t, alertsLane, "node-1", 1, 1, violation(t, &apiv1.Violation{
		Signal: "egress", Reason: "listen", Executable: "/usr/bin/python3.12", Protocol: "tcp", Port: 9000,
	}))
	code, stdout, stderr := of(api).run(t, "allow", "node-1:1:1", "--yes")
	if code != cli.ExitRefused || !strings.Contains(stderr, "--role admin") || !strings.Contains(stdout, "port: 9000") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	if stdout := of(api).must(t, "profile", "export", "--layer", "overlay"); stdout != "" {
		t.Errorf("the overlay is %s", stdout)
	}
}

// TestAllowedIsAllowed tests what a node did against a profile before and after its alert was allowed.
func TestAllowedIsAllowed(t *testing.T) {
	api, _ := learned(t)
	api.Append(t, alertsLane, "node-1", 1, 1, violation(t, &apiv1.Violation{
		Signal: "process", Reason: "executable", Executable: "/usr/bin/dash", Parent: "/usr/bin/python3.12", Source: "upper", Shape: []string{"sh", "-i"},
	}))
	events := write(t, "alerts.ndjson", of(api).must(t, "alerts", "-o", "json"))
	test := func() (int, string) {
		file := write(t, "web.yaml", of(api).must(t, "profile", "show", "shop/web", "-o", "yaml"))
		code, stdout, _ := world{}.run(t, "profile", "test", file, "--events", events)
		return code, stdout
	}
	if code, stdout := test(); code != cli.ExitFailure || !strings.Contains(stdout, "what the container has written itself") {
		t.Errorf("before: exit %d, %s", code, stdout)
	}
	admin(api).must(t, "allow", "node-1:1:1", "--yes")
	if code, stdout := test(); code != cli.ExitOK || stdout != "" {
		t.Errorf("after: exit %d, %s", code, stdout)
	}
}
