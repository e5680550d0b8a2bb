// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is one of the programs. Its output is appended to its name with .log in the directory.
type process struct {
	dir, path string
	cmd       *exec.Cmd
	done      chan struct{}
	err       error
}

// stopTimeout is how long a program has to end by itself.
const stopTimeout = 20 * time.Second

// start starts a program, which ends with this process whatever ends it.
func start(dir, path string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile(dir, path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", path, err)
	}
	defer log.Close()
	p := &process{dir: dir, path: path, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The signal at the parent's death comes when the thread ends that started the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// await asks until the answer is no error.
func (p *process) await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended (%w) before it was ready:\n%s", p.path, p.err, logTail(p.dir, p.path, 20))
		case <-ctx.Done():
			return fmt.Errorf("wait until %s is ready: %w: %w\n%s", p.path, ctx.Err(), err, logTail(p.dir, p.path, 20))
		case <-tick.C:
		}
	}
}

// stop ends the program, by force if it does not end by itself, and waits for its end. One that ended before is an error.
func (p *process) stop(ctx context.Context) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s had ended by itself (%w):\n%s", p.path, p.err, logTail(p.dir, p.path, 20))
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	err := p.cmd.Process.Kill()
	<-p.done
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.path, err)
	}
	return nil
}

func logFile(dir, path string) string { return filepath.Join(dir, filepath.Base(path)+".log") }

// logTail is the last n lines that a program has written.
func logTail(dir, path string, n int) string {
	text, err := os.ReadFile(logFile(dir, path))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
