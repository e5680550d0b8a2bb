// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
)

// TestDemoSaysWhatIsMissing runs into everything that can be wrong before a demo makes anything. How it goes on is tested in a
// cluster (tests/cluster).
func TestDemoSaysWhatIsMissing(t *testing.T) {
	full, _ := filled(t)
	empty := querytest.Start(t, query.Config{})
	nobody := fmt.Sprintf("--kubeconfig=%s", write(t, "kubeconfig", `
apiVersion: v1
kind: Config
current-context: away
contexts: [{name: away, context: {cluster: away, user: me}}]
clusters: [{name: away, cluster: {server: "https://`+closedPort(t)+`"}}]
users: [{name: me, user: {token: secret}}]
`))
	for _, c := range []struct {
		name  string
		world world
		args  []string
		code  int
		want  []string
	}{
		{"where", of(full), nil, cli.ExitUsage, []string{"--kubernetes", "make demo"}},
		{"too short", of(full), []string{"--kubernetes", "--learn", "1s"}, cli.ExitUsage, []string{"--learn 1s", "10s"}},
		{"no collector", world{}, []string{"--kubernetes"}, cli.ExitUsage, []string{"HOLDFAST_ADDRESS"}},
		{"no agent", of(empty), []string{"--kubernetes"}, cli.ExitFailure, []string{"no node runs an agent", "daemonset/holdfast-agent"}},
		{"no such node", of(full), []string{"--kubernetes", "--node", "node-2"}, cli.ExitNotFound, []string{`"node-2"`, "holdfast nodes"}},
		{"no kubeconfig", of(full), []string{"--kubernetes", "--kubeconfig", "/nowhere"}, cli.ExitUsage, []string{"/nowhere", "KUBECONFIG"}},
		{"no such context", of(full), []string{"--kubernetes", nobody, "--context", "other"}, cli.ExitUsage, []string{`"other"`}},
		{"cluster is away", of(full), []string{"--kubernetes", nobody}, cli.ExitUnreachable, []string{"connection refused", "--context"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := c.world.run(t, append([]string{"demo"}, c.args...)...)
			if code != c.code || stdout != "" {
				t.Errorf("exit %d, stdout %q; want %d and nothing", code, stdout, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("it does not say %q:\n%s", want, stderr)
				}
			}
			if strings.Contains(stderr, "removing") {
				t.Errorf("something was made:\n%s", stderr)
			}
		})
	}
}
