// SPDX-License-Identifier: Apache-2.0

//go:build vm

package cost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/enforce"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/sensor"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

const (
	cgroups = "/sys/fs/cgroup"
	// rounds of which the median is taken.
	rounds = 5
)

// worker is set in the environment of the process that is measured: this program, which then does the deeds.
const worker = "HOLDFAST_COST_WORKER"

// TestCost prints what the programs add, in instructions. It fails where something cannot be measured, not on figures.
func TestCost(t *testing.T) {
	if os.Getenv(worker) != "" {
		must(t, json.NewEncoder(os.NewFile(3, "figures")).Encode(measure(t)))
		return
	}
	must(t, os.WriteFile("/etc/cost", []byte("known\n"), 0o644))
	root := overlay(t)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	must(t, err)
	defer stats.Close()
	var columns []column
	add := func(name, cgroup string) {
		columns = append(columns, column{name, work(t, root, cgroup)})
	}
	add("without", cgroups)
	kernel, err := probe.Run()
	must(t, err)
	s, err := sensor.New(sensor.Config{CgroupRoot: cgroups}, kernel)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Start(func() error { return nil }))
	watches := detect.Watch()
	must(t, s.SetDefaultInterest(watches.Host, watches.Containers))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, nobody{}) }()
	defer func() {
		cancel()
		must(t, <-ended)
	}()
	add("host", cgroups)
	container := filepath.Join(cgroups, strings.Repeat("c0", 32))
	must(t, os.Mkdir(container, 0o755))
	add("container", container)
	learned := filepath.Join(cgroups, strings.Repeat("c1", 32))
	must(t, os.Mkdir(learned, 0o755))
	keep(t, s, learned)
	add("learned", learned)
	show(columns)
}

// overlay makes a root as containers have one, with what the machine's has in it.
func overlay(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "cost-")
	must(t, err)
	for _, name := range []string{"upper", "work", "root"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	root := filepath.Join(dir, "root")
	must(t, unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+dir+"/upper,workdir="+dir+"/work"))
	t.Cleanup(func() { must(t, unix.Unmount(root, unix.MNT_DETACH)) })
	return root
}

// work has a process in the cgroup, with a root and mounts of its own, do the deeds, and gives its figures.
func work(t *testing.T, root, cgroup string) []figure {
	t.Helper()
	dir, err := os.Open(cgroup)
	must(t, err)
	defer dir.Close()
	from, to, err := os.Pipe()
	must(t, err)
	defer from.Close()
	self, err := os.Readlink("/proc/self/exe")
	must(t, err)
	cmd := exec.Command(self, "-test.run=^TestCost$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), worker+"=1")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stderr, os.Stderr, []*os.File{to}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(dir.Fd()), Cloneflags: unix.CLONE_NEWNS, Chroot: root,
	}
	must(t, cmd.Start())
	must(t, to.Close())
	var figures []figure
	decoded := json.NewDecoder(from).Decode(&figures)
	must(t, errors.Join(cmd.Wait(), decoded))
	return figures
}

// keep has a container enforce a profile that lists what the worker does.
func keep(t *testing.T, s *sensor.Sensor, dir string) {
	t.Helper()
	enforcer, err := enforce.New(enforce.Config{Maps: s.Policies()})
	must(t, err)
	t.Cleanup(func() { must(t, enforcer.Close()) })
	self, err := os.Readlink("/proc/self/exe")
	must(t, err)
	known := &profile.Profile{Key: profile.Key{Namespace: "bench", Kind: "Pod", Name: "cost", Container: "cost"}}
	for _, path := range []string{self, program} {
		known.Processes = append(known.Processes, profile.Process{
			Path: path, Sources: []profile.Source{profile.FromImage, profile.FromVolume}, AnyArguments: true,
			Parents: []profile.Parent{{Path: profile.Any}},
			Listen:  []profile.Port{{Protocol: "tcp"}, {Protocol: "udp"}},
		})
	}
	set, err := policy.Compile(known, policy.Options{Hasher: enforcer.Hasher()})
	must(t, err)
	id, err := enforcer.Create()
	must(t, err)
	must(t, enforcer.Apply(id, set))
	modes, err := enforce.ModesOf(profile.Modes{
		profile.SignalProcess: profile.ModeEnforce, profile.SignalFile: profile.ModeEnforce,
		profile.SignalEgress: profile.ModeEnforce, profile.SignalProtect: profile.ModeEnforce,
	})
	must(t, err)
	var info unix.Stat_t
	must(t, unix.Stat(dir, &info))
	must(t, enforcer.Assign(enforce.Container{Cgroup: info.Ino}, id, modes))
}

// nobody takes records and does nothing with them, but for those of what was refused: then nothing is measured.
type nobody struct{}

func (nobody) Record(raw []byte) {
	var ev event.Event
	if err := ev.Decode(raw); err != nil || !ev.Has(wire.FlagBlocked) && !ev.Has(wire.FlagKilled) {
		return
	}
	fmt.Printf("refused: %s, signal %d, reason %d: %+v\n", event.Name(ev.Type), ev.Head.Signal, ev.Head.Reason, ev.Net())
}
func (nobody) Settle() {}

// programsTime is what all programs in the kernel have run so far, in instructions.
func programsTime(t *testing.T) int64 {
	t.Helper()
	var sum time.Duration
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return sum.Nanoseconds()
		}
		must(t, err)
		id = next
		program, err := ebpf.NewProgramFromID(id)
		must(t, err)
		stats, err := program.Stats()
		must(t, errors.Join(err, program.Close()))
		sum += stats.Runtime
	}
}

// figure is what one deed of a kind costs, in instructions.
type figure struct {
	Deed string
	Cost float64
	// Programs is the part of it that the programs ran; the rest of what they add is the way to them.
	Programs float64
}

type column struct {
	name    string
	figures []figure
}

// measure does the deeds in rounds that take turns, and gives the medians.
func measure(t *testing.T) []figure {
	t.Helper()
	debug.SetGCPercent(-1)
	list := deeds(t)
	costs, programs := make([][]float64, len(list)), make([][]float64, len(list))
	for range rounds {
		for i, d := range list {
			ran, before := programsTime(t), spent(t)
			for range d.times {
				must(t, d.do())
			}
			costs[i] = append(costs[i], float64(spent(t)-before)/float64(d.times))
			programs[i] = append(programs[i], float64(programsTime(t)-ran)/float64(d.times))
		}
	}
	figures := make([]figure, len(list))
	for i, d := range list {
		figures[i] = figure{d.name, median(costs[i]), median(programs[i])}
	}
	return figures
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// spent is the time of this process and of the children that it has waited for, nanoseconds: instructions, here.
func spent(t *testing.T) int64 {
	t.Helper()
	var own unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &own))
	var children unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_CHILDREN, &children))
	return own.Nano() + children.Utime.Nano() + children.Stime.Nano()
}

// show prints the first column as it is, and of the others what they add to it, altogether and in the programs alone.
func show(columns []column) {
	header := fmt.Sprintf("%-12s", "instructions")
	for i, c := range columns {
		if i == 0 {
			header += fmt.Sprintf("  %10s", c.name)
			continue
		}
		header += fmt.Sprintf("  %10s  %10s", "+"+c.name, "programs")
	}
	fmt.Println(header)
	for i, f := range columns[0].figures {
		line := fmt.Sprintf("%-12s  %10.0f", f.Deed, f.Cost)
		for _, c := range columns[1:] {
			line += fmt.Sprintf("  %10.0f  %10.0f", c.figures[i].Cost-f.Cost, c.figures[i].Programs)
		}
		fmt.Println(line)
	}
}
