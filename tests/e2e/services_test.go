// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestServicesAreKept learns six services that need each other while they are used, nginx, PostgreSQL, Redis, one in
// Python, one in Java and one in Go, and then keeps them in all signals to what was learned, under the same load: nothing
// that they do may be blocked, and nobody may get an error. Then each is attacked: the attack is blocked, is reported, has
// no effect, and the service goes on answering.
func TestServicesAreKept(t *testing.T) {
	// Blocks in six workloads within a minute would have them fall back to monitor; what is attacked here is no accident.
	r := startRig(t, rig.Config{AgentArgs: []string{"--brake-workloads", "0"}})
	began := time.Now()
	f := startField(t, r)
	t.Logf("six services started in %s", time.Since(began).Round(time.Millisecond))
	for _, round := range []string{"first", "second"} {
		// The first round differs from the others: it finds empty databases.
		f.underLoad(t, round, lasting(13*time.Second, 3*time.Minute))
	}
	if t.Failed() {
		t.Fatal("the load does not work")
	}
	setMode(t, r, "field/*", "enforce")
	kept := time.Now()
	f.underLoad(t, "kept", lasting(15*time.Second, 10*time.Minute))
	noDeeds(t, r, began)
	n := node(t, r)
	t.Logf("kept for %s; lost %d, %v", time.Since(kept).Round(time.Second), n.Lost, n.Health.Losses)
	if t.Failed() {
		t.FailNow()
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) { f.attack(t, &a) })
	}
}

// noDeeds fails the test for each alert of namespace field, and for what was counted as blocked there.
func noDeeds(t *testing.T, r *rig.Rig, began time.Time) {
	t.Helper()
	quiesce(t, r, 30*time.Second)
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "field/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts[:min(20, len(alerts))] {
		t.Errorf("%s: %s %d times: %s", a.Time.Format(time.TimeOnly), a.Rule, a.Count, a.Output)
	}
	if len(alerts) > 0 {
		t.Errorf("%d alerts", len(alerts))
	}
	for _, w := range workloads(t, r, "field/*") {
		t.Logf("%s: %d deeds in the profile, %d learned, %d blocked, %d would be", w.Workload.Name, w.Known, w.Learned, w.Blocked, w.WouldBlock)
		if w.Blocked > 0 || w.WouldBlock > 0 {
			t.Errorf("%s: %d deeds were blocked, %d would have been", w.Workload.Name, w.Blocked, w.WouldBlock)
		}
	}
}

// attack does something to a service that its mistakes allow, and checks what came of it.
func (f *field) attack(t *testing.T, a *attack) {
	began := time.Now()
	if err := a.do(t, f); err != nil {
		t.Error(err)
	}
	for _, path := range a.absent {
		if err := f.absent(t, a.service, path, a.signal == "file"); err != nil {
			t.Error(err)
		}
	}
	err := wait.For(t.Context(), 20*time.Second, func() error {
		alerts, err := f.r.Alerts(t.Context(), "--since", since(began), "--workload", "field/"+a.service)
		if err != nil {
			return err
		}
		var seen []string
		for _, alert := range alerts {
			if (alert.Action == "blocked" || alert.Action == "killed") && alert.Violation != nil && alert.Violation.Signal == a.signal {
				t.Logf("%s, %s: %s", alert.Action, alert.Violation.Reason, alert.Output)
				return nil
			}
			seen = append(seen, alert.Output)
		}
		return fmt.Errorf("no alert tells that %s was kept from it: %q", a.service, seen)
	})
	if err != nil {
		t.Error(err)
	}
	if a.repair != nil {
		a.repair(t, f)
	}
	f.goesOn(t, a.service)
}

// absent returns an error if a file is there in a service's container. It may be there without content where it was to be
// written by who is killed for it: on kernels without a hook that refuses, the system call that makes it is still carried
// out.
func (f *field) absent(t *testing.T, name, path string, empty bool) error {
	t.Helper()
	status, err := f.running[name].Status(t.Context())
	if err != nil {
		return err
	}
	info, err := os.Lstat(filepath.Join("/proc", fmt.Sprint(status.PID), "root", path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case empty && info.Size() == 0:
		return nil
	}
	return fmt.Errorf("%s of %s is there, with %d bytes", path, name, info.Size())
}

// goesOn checks that a service is the one that it was and answers.
func (f *field) goesOn(t *testing.T, name string) {
	t.Helper()
	err := wait.For(t.Context(), 20*time.Second, func() error {
		status, err := f.running[name].Status(t.Context())
		if err != nil {
			return err
		}
		if !status.Running {
			return errors.New("it does not run any more")
		}
		for _, s := range services {
			if s.name != name {
				continue
			}
			if res, err := f.running[name].Exec(t.Context(), s.probe...); err != nil || res.Code != 0 {
				return fmt.Errorf("its probe: %+v: %w", res, err)
			}
		}
		for _, c := range f.clients() {
			if strings.HasSuffix(c.name, " "+name) {
				if err := c.round(t.Context(), 7); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("after the attack on %s: %v", name, err)
	}
}

// failedExec is the error of a program that ran in a container and should not have.
func failedExec(res lab.ExecResult, err error) error {
	if err == nil && (res.Code == 0 || res.Stdout != "") {
		return fmt.Errorf("it ran: %+v", res)
	}
	return nil
}
