// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
)

// Program is a process of the rig with its log.
type Program struct {
	// Name is the program's, LogFile where its output goes.
	Name, LogFile string

	cmd  *lab.Cmd
	done chan struct{}
	err  error
}

// Launch starts a program in the rig's lab, with its log in the rig's directory.
func (r *Rig) Launch(name string, prepare func(*lab.Cmd), path string, args ...string) (*Program, error) {
	return Launch(r.Lab, r.Dir, name, prepare, path, args...)
}

// Launch starts a program in a lab. Its output is appended to name.log in dir. It runs until it ends by itself, is ended,
// or the lab is closed. prepare, if it is not nil, may change the command before it starts.
func Launch(l *lab.Lab, dir, name string, prepare func(*lab.Cmd), path string, args ...string) (*Program, error) {
	p := &Program{Name: name, LogFile: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = l.Command(context.Background(), path, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Ctrl-C is for who started the rig, which then ends its programs in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process's id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Code is the exit code of a program that has ended, 128 and the signal's number if a signal did it.
func (p *Program) Code() int {
	<-p.done
	state := p.cmd.ProcessState
	if state == nil {
		return -1
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// Kill ends the program with SIGKILL and waits for its end.
func (p *Program) Kill() error {
	return p.end(syscall.SIGKILL)
}

// Stop ends the program with SIGTERM, waits for its end, and reports a program that does not end well, or not within ten
// seconds, after which it is killed.
func (p *Program) Stop() error {
	if err := p.end(syscall.SIGTERM); err != nil {
		return err
	}
	if p.err != nil {
		return fmt.Errorf("%s ended badly: %w\n%s", p.Name, p.err, p.Log(10))
	}
	return nil
}

func (p *Program) end(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		<-p.done
		return fmt.Errorf("%s had ended already (%w)\n%s", p.Name, errors.Join(err, p.err), p.Log(10))
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		err := fmt.Errorf("%s did not end within ten seconds of %s\n%s", p.Name, sig, p.Log(10))
		err = errors.Join(err, p.cmd.Process.Kill())
		<-p.done
		return err
	}
}

// Log is the last n lines that the program has written.
func (p *Program) Log(n int) string {
	text, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
