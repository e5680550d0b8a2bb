// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
)

// Where the collector listens, on the lab's loopback device.
const (
	GRPCAddress = "127.0.0.1:7443"
	HTTPAddress = "127.0.0.1:7480"
)

// NodeName is the name that the agent goes by.
const NodeName = "node-1"

// Config says what a rig is made of.
type Config struct {
	// Bin holds holdfast-agent, holdfast-collector and holdfast.
	Bin string
	// Lab is the lab that Start makes.
	Lab lab.Config
	// Record are the event classes that the agent records of every workload.
	Record []string
	// AgentArgs and CollectorArgs come behind the rig's own.
	AgentArgs, CollectorArgs []string
	// Progress, if it is not nil, is told what is being done.
	Progress func(step string)
}

// Rig is a running node with its collector.
type Rig struct {
	Lab *lab.Lab
	// Dir holds the data of collector and agent, the tokens and the logs.
	Dir string
	// Collector and Agent are the running programs, nil until they have been started. They are the rig's to change.
	Collector, Agent *Program
	// Without are the capabilities that agents do not have which are started from now on, by their numbers (unix.CAP_KILL).
	Without []uintptr
	// Asker asks the rig's collector.
	Asker

	cfg   Config
	token string
}

// Programs are the packages of the programs that make a Holdfast, for Build.
func Programs() []string {
	return []string{"./agent/cmd/holdfast-agent", "./collector/cmd/holdfast-collector", "./collector/cmd/holdfast"}
}

// Build compiles programs into dir as make build does. Packages are named by their path in this module, from whatever
// module of the source tree it is called.
func Build(ctx context.Context, dir string, packages ...string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/holdfast-project/holdfast").Output()
	if err != nil {
		return fmt.Errorf("find the source tree: %w", err)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags=grpcnotrace", "-ldflags=-s -w", "-o", dir + string(filepath.Separator)}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Dir = strings.TrimSpace(string(root))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// BuildTemp compiles Programs into a folder of its own, which everybody may enter and the caller removes; the folder's name is
// empty when there is an error.
func BuildTemp(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-bin-")
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod(dir, 0o755), Build(ctx, dir, Programs()...)); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// New starts a lab and prepares the rest, without collector and agent. Close has to be called, unless it fails.
func New(ctx context.Context, cfg Config) (*Rig, error) {
	bin, err := filepath.Abs(cfg.Bin)
	if err != nil {
		return nil, err
	}
	cfg.Bin = bin
	l, err := lab.New(cfg.Lab)
	if err != nil {
		return nil, err
	}
	r := &Rig{Lab: l, cfg: cfg}
	r.Asker = Asker{Holdfast: r.Holdfast}
	r.progress("starting containerd in namespaces of its own")
	if err := l.Start(ctx); err != nil {
		return nil, err
	}
	r.Dir = filepath.Join(l.Dir(), "holdfast")
	if err := os.Mkdir(r.Dir, 0o700); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return r, nil
}

// Start starts a lab, a collector, and an agent that has enrolled and is connected. On an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Rig, error) {
	r, err := New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{r.StartCollector, r.StartAgent} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// Close ends all of it, the agent and the collector in an orderly way, and reports what did not end well and what was
// left behind.
func (r *Rig) Close() error {
	var errs []error
	for _, p := range []*Program{r.Agent, r.Collector} {
		if p == nil {
			continue
		}
		if err := p.Stop(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, r.Lab.Close())...)
}

func (r *Rig) progress(step string) {
	if r.cfg.Progress != nil {
		r.cfg.Progress(step)
	}
}

// CollectorDir is the collector's data directory, AgentDir the agent's.
func (r *Rig) CollectorDir() string { return filepath.Join(r.Dir, "collector") }

// AgentDir is the agent's data directory.
func (r *Rig) AgentDir() string { return filepath.Join(r.Dir, "agent") }

// Program is the path of one of the programs.
func (r *Rig) Program(name string) string { return filepath.Join(r.cfg.Bin, name) }

// StartCollector starts the collector and waits until it answers. At the first start it also makes a token to ask with.
func (r *Rig) StartCollector(ctx context.Context) error {
	r.progress("starting the collector")
	args := append([]string{
		"serve", "--data-dir", r.CollectorDir(), "--grpc-listen", GRPCAddress, "--http-listen", HTTPAddress, "--min-free", "0",
	}, r.cfg.CollectorArgs...)
	var err error
	if r.Collector, err = r.Launch("collector", nil, r.Program("holdfast-collector"), args...); err != nil {
		return err
	}
	if r.token == "" {
		if r.token, err = r.Token(ctx, "--role", "admin"); err != nil {
			return err
		}
	}
	return r.await(ctx, r.Collector, "the collector answers", func() error {
		_, err := r.Holdfast(ctx, "nodes", "-o", "json").Output()
		return err
	})
}

// Token makes a token; args are those of holdfast-collector token create.
func (r *Rig) Token(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"token", "create", "--data-dir", r.CollectorDir()}, args...)
	out, err := r.Lab.Command(ctx, r.Program("holdfast-collector"), args...).Output()
	if err != nil {
		return "", fmt.Errorf("create a token: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// JoinTokenFile makes a join token, writes it into a file and returns the file's path; args are those of
// holdfast-collector token create.
func (r *Rig) JoinTokenFile(ctx context.Context, args ...string) (string, error) {
	token, err := r.Token(ctx, args...)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(r.Dir, "join-token-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(token + "\n")
	return f.Name(), errors.Join(err, f.Close())
}

// AgentArgs are the arguments that StartAgent gives to holdfast-agent, but for the join token.
func (r *Rig) AgentArgs() []string {
	args := []string{
		"run", "--collector", GRPCAddress, "--data-dir", r.AgentDir(), "--containerd-socket", r.Lab.Socket(), "--node", NodeName,
		"--nri-socket", r.Lab.NRISocket(), "--no-pin",
	}
	if len(r.cfg.Record) > 0 {
		args = append(args, "--record", strings.Join(r.cfg.Record, ","))
	}
	return append(args, r.cfg.AgentArgs...)
}

// LaunchAgent starts the agent and waits for nothing. At the first start it makes a join token.
func (r *Rig) LaunchAgent(ctx context.Context) error {
	args := r.AgentArgs()
	if r.Agent == nil {
		file, err := r.JoinTokenFile(ctx)
		if err != nil {
			return err
		}
		args = append(args, "--join-token-file", file)
	}
	var err error
	r.Agent, err = r.Launch("agent", func(c *lab.Cmd) { c.Without = r.Without }, r.Program("holdfast-agent"), args...)
	return err
}

// StartAgent starts the agent and waits until it is connected: from then on it sees everything.
func (r *Rig) StartAgent(ctx context.Context) error {
	r.progress("starting the agent")
	since := time.Now()
	if err := r.LaunchAgent(ctx); err != nil {
		return err
	}
	return r.await(ctx, r.Agent, "the agent is connected", func() error {
		n, err := r.Node(ctx)
		if err != nil {
			return err
		}
		if !n.Connected || n.Health == nil || n.Health.Started.Before(since) {
			return fmt.Errorf("%s is not connected yet", NodeName)
		}
		return nil
	})
}

// patience is how long a condition may take to come true.
const patience = 30 * time.Second

// await waits for a condition, unless the program that has to bring it about ends.
func (r *Rig) await(ctx context.Context, p *Program, what string, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("wait until %s: %s ended with code %d\n%s", what, p.Name, p.Code(), p.Log(10))
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w: %w\n%s", what, ctx.Err(), err, p.Log(20))
		case <-tick.C:
		}
	}
}
