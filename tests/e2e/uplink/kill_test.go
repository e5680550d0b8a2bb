// SPDX-License-Identifier: Apache-2.0

package uplink_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestKilled kills the collector with SIGKILL again and again, and restarts the agent, while alerts come. In the end
// every alert is stored exactly once.
func TestKilled(t *testing.T) {
	program := filepath.Join(t.TempDir(), "holdfast-collector")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../../collector/cmd/holdfast-collector")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the collector: %v\n%s", err, out)
	}
	data, agentData := t.TempDir(), t.TempDir()
	created, err := exec.CommandContext(t.Context(), program, "token", "create", "--data-dir", data).Output()
	if err != nil {
		t.Fatalf("make a token: %v", err)
	}
	token := writeFile(t, string(created))
	listener := listen(t, "")
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}

	// The agent is there before the collector.
	a := startAgent(t, agentData, node, address, token)
	sent, kills, restarts := 0, 0, 0
	for range 5 {
		serving := serve(t, program, data, address)
		a.connected(t)
		before := a.Stats().Alerts.Acked
		wait.Until(t, 30*time.Second, func() error {
			for range 20 {
				a.alert(t, sent)
				sent++
			}
			if n := a.Stats().Alerts.Acked - before; n < 200 {
				return fmt.Errorf("%d alerts are acknowledged", n)
			}
			return nil
		})
		if err := serving.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		kills++
		_ = serving.Wait() // it was killed
		for range 100 {
			a.alert(t, sent)
			sent++
		}
		if kills%2 == 0 {
			a.stop()
			a = startAgent(t, agentData, node, address, token)
			restarts++
		}
	}
	serving := serve(t, program, data, address)
	a.connected(t)
	a.delivered(t)
	if err := serving.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serving.Wait(); err != nil {
		t.Errorf("the collector ended with %v", err)
	}
	s, err := sqlite.Open(t.Context(), sqlite.Config{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	exactlyOnce(t, s, sent)
	t.Logf("%d alerts over %d kills of the collector and %d restarts of the agent: each stored once", sent, kills, restarts)
}

// serve runs the collector and waits until it serves.
func serve(t *testing.T, program, data, address string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "serve", "--data-dir", data, "--grpc-listen", address, "--http-listen", "127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // the test has failed
			_ = cmd.Wait()
		}
	})
	said := &logs{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the collector said:\n%s", said)
		}
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		fmt.Fprintln(said, lines.Text())
		var line struct{ Msg string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			go func() {
				for lines.Scan() {
					fmt.Fprintln(said, lines.Text())
				}
			}()
			return cmd
		}
	}
	t.Fatal("the collector does not serve")
	return nil
}
