// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/holdfast-project/holdfast/agent/config"
)

func load(t *testing.T, yaml string, args ...string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	var c config.Config
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	c.Bind(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := config.Read(path, flags); err != nil {
		return nil, err
	}
	return &c, c.Validate()
}

func TestFlagWinsOverFile(t *testing.T) {
	c, err := load(t, "node: from-file\ncollector: c:1\nrecord: [exec, open]\npending-timeout: 5s\n", "--node", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if c.Node != "from-flag" || c.Collector != "c:1" || strings.Join(c.Record, " ") != "exec open" || c.PendingTimeout.Seconds() != 5 {
		t.Errorf("%+v", c)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for _, test := range []struct {
		name, yaml string
		want       []string
	}{
		{"unknown key", "node: a\nnodes: b\n", []string{"agent.yaml:2", `unknown setting "nodes"`, "known:"}},
		{"all at once", "nodes: b\nrings: 1\n", []string{"agent.yaml:1", "agent.yaml:2"}},
		{"twice", "node: a\nnode: b\n", []string{"node"}},
		{"wrong type", "max-processes: many\n", []string{"agent.yaml:1", "max-processes", `"many"`}},
		{"not a mapping", "- a\n", []string{"agent.yaml:1", "mapping"}},
		{"bad yaml", "node: [\n", []string{"agent.yaml"}},
		{"bad class", "record: exec,nothing\n", []string{`"nothing" is no event class`}},
		{"bad size", "ring-bytes: 100000\n", []string{"ring-bytes", "power of two"}},
		{"bad rate", "content-rate: 1000\n", []string{"content-rate", "between 65536 and"}},
		{"relative pins", "pin-dir: holdfast\n", []string{"pin-dir", "absolute"}},
		{"bad end", "when-dead: forget\n", []string{"when-dead", "keep, monitor, release"}},
		{"nothing to keep", "when-dead: release\nno-pin: true\n", []string{"when-dead", "no-pin"}},
		{"dead at once", "dead-after: 1s\n", []string{"dead-after", "10s"}},
		{"two tokens", "join-token-file: a\nservice-account-token-file: b\ncollector-ca-file: c\n", []string{"exclude each other"}},
		{"a token without an authority", "service-account-token-file: b\n", []string{"collector-ca-file", "belong together"}},
		{"an authority without a token", "join-token-file: a\ncollector-ca-file: c\n", []string{"belong together"}},
		{"bad address", "collector: nowhere\n", []string{"collector", "HOST:PORT"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, test.yaml)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}
