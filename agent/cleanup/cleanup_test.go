// SPDX-License-Identifier: Apache-2.0

package cleanup

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/spool"
)

// dataDir makes a data directory with both spools, open.
func dataDir(t *testing.T) (dir string, closeAll func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "agent")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var open []*spool.Spool
	for _, name := range []string{"alerts", "records"} {
		s, err := spool.Open(spool.Config{Dir: filepath.Join(dir, name), MaxBytes: 16 << 20, Policy: spool.DropOldest, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	return dir, func() {
		for _, s := range open {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestRemoveData(t *testing.T) {
	dir, closeAll := dataDir(t)
	if err := os.WriteFile(filepath.Join(dir, "identity"), []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RemoveData(dir); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("with an agent that runs: error %v, want %v", err, spool.ErrLocked)
	}
	closeAll()
	if removed, err := RemoveData(dir); err != nil || !removed {
		t.Fatalf("removed %v, error %v", removed, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if removed, err := RemoveData(dir); err != nil || removed {
		t.Errorf("again: removed %v, error %v", removed, err)
	}
}

func TestRemoveDataLeavesWhatIsNoAgents(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "payroll")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RemoveData(dir); err == nil || !strings.Contains(err.Error(), "it is no agent's") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	empty := t.TempDir()
	if removed, err := RemoveData(empty); err != nil || !removed {
		t.Errorf("an empty folder: removed %v, error %v", removed, err)
	}
}

func TestState(t *testing.T) {
	const notYet = "the DaemonSet has not been looked at by its controller yet"
	for _, test := range []struct {
		name, set, pods string
		done            bool
		missing         string
	}{
		{name: "new", set: `{"metadata":{"generation":1},"status":{}}`, missing: notYet},
		{name: "changed", set: `{"metadata":{"generation":2},"status":{"observedGeneration":1,"desiredNumberScheduled":1,"numberReady":1,"updatedNumberScheduled":1}}`, missing: notYet},
		{name: "all", set: `{"metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":3,"numberReady":3,"updatedNumberScheduled":3}}`, done: true},
		{name: "no node", set: `{"metadata":{"generation":1},"status":{"observedGeneration":1}}`, done: true},
		{
			name: "one refuses", set: `{"metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":3,"numberReady":1,"updatedNumberScheduled":3}}`,
			pods: `[{"metadata":{"name":"a"},"spec":{"nodeName":"n1"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}},
				{"metadata":{"name":"b"},"spec":{"nodeName":"n2"},"status":{"phase":"Pending","conditions":[{"type":"Ready","status":"False"}],
				 "initContainerStatuses":[{"state":{"waiting":{"reason":"CrashLoopBackOff"}}}],"containerStatuses":[{"state":{"waiting":{"reason":"PodInitializing"}}}]}},
				{"metadata":{"name":"c"},"spec":{},"status":{"phase":"Pending"}}]`,
			missing: "1 of 3 nodes are clean; not: a node not chosen yet (pod c: Pending), n2 (pod b: CrashLoopBackOff)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s state
			if err := json.Unmarshal([]byte(test.set), &s.set); err != nil {
				t.Fatal(err)
			}
			if test.pods != "" {
				if err := json.Unmarshal([]byte(test.pods), &s.pods); err != nil {
					t.Fatal(err)
				}
			}
			if s.done() != test.done {
				t.Errorf("done is %v", s.done())
			}
			if got := s.missing(); !test.done && got != test.missing {
				t.Errorf("missing:\n%s\nwant:\n%s", got, test.missing)
			}
		})
	}
}

func TestWaitOutsideAClusterSaysSo(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if err := Wait(t.Context(), "ns", "set", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "this is for a pod") {
		t.Errorf("error %v", err)
	}
}
