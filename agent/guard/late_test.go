// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestKill ends a process that is the one that was judged, and no other.
func TestKill(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	pid := uint32(cmd.Process.Pid)
	ticks, err := startTicks(pid)
	if err != nil {
		t.Fatal(err)
	}
	const nanosecondsPerTick = 1e9 / userHz
	u := enforce.Unlisted{PID: pid, Start: ticks*nanosecondsPerTick + 5}
	is, isNot := func(enforce.Unlisted) bool { return true }, func(enforce.Unlisted) bool { return false }
	other := u
	other.Start -= nanosecondsPerTick
	for what, try := range map[string]func() (bool, error){
		"one that started before":     func() (bool, error) { return kill(other, is) },
		"one that runs another image": func() (bool, error) { return kill(u, isNot) },
	} {
		if killed, err := try(); killed || err != nil {
			t.Errorf("%s: %t, %v", what, killed, err)
		}
	}
	for _, never := range []uint32{0, 1, uint32(os.Getpid())} {
		if killed, err := kill(enforce.Unlisted{PID: never}, is); killed || err == nil {
			t.Errorf("process %d: %t, %v", never, killed, err)
		}
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatalf("it was ended: %v", err)
	}
	var exe, arguments string
	// Start returns when the exec has closed what is to be closed, a little before the new arguments are in place.
	wait.True(t, time.Minute, "it has arguments", func() bool {
		exe, arguments = describe(pid)
		return arguments != ""
	})
	if exe == "" || arguments != "sleep\x001000\x00" {
		t.Errorf("it is described as %q, %q", exe, arguments)
	}
	if killed, err := kill(u, is); !killed || err != nil {
		t.Fatalf("the one that was judged: %t, %v", killed, err)
	}
	<-ended
	if killed, err := kill(u, is); killed || err != nil {
		t.Errorf("one that is gone: %t, %v", killed, err)
	}
}

func TestLateSignal(t *testing.T) {
	const monitor, enforced = profile.ModeMonitor, profile.ModeEnforce
	for _, c := range []struct {
		reason           wire.Reason
		process, protect profile.Mode
		want             wire.Signal
	}{
		{wire.ReasonExecutable, monitor, enforced, wire.SignalProcess},
		{wire.ReasonDrift, monitor, enforced, wire.SignalProtect},
		{wire.ReasonFileless, enforced, enforced, wire.SignalProcess},
		{wire.ReasonDrift, enforced, monitor, wire.SignalProcess},
	} {
		modes := profile.Modes{profile.SignalProcess: c.process, profile.SignalProtect: c.protect}
		if got := lateSignal(c.reason, modes); got != c.want {
			t.Errorf("reason %d, process %s, protect %s: signal %d, want %d", c.reason, c.process, c.protect, got, c.want)
		}
	}
}

func TestWindows(t *testing.T) {
	var w Windows
	for _, length := range []time.Duration{0, 3 * time.Millisecond, 40 * time.Millisecond, time.Minute} {
		w.note(length)
	}
	if w.Count != 4 || w.Sum != time.Minute+43*time.Millisecond {
		t.Errorf("%d windows of %s", w.Count, w.Sum)
	}
	for bound, want := range map[time.Duration]uint64{
		0: 1, time.Millisecond: 1, 5 * time.Millisecond: 2, 50 * time.Millisecond: 3, 10 * time.Second: 3,
	} {
		if got, ok := w.AtMost[bound]; !ok || got != want {
			t.Errorf("at most %s: %d, want %d", bound, got, want)
		}
	}
	if len(w.AtMost) != len(windowBounds()) {
		t.Errorf("%d bounds", len(w.AtMost))
	}
}
