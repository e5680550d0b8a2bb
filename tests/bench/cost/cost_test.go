// SPDX-License-Identifier: Apache-2.0

//go:build vm

package cost

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

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
	rounds = 3
)

// worker is set in the environment of the process that is measured: this program, which then does the deeds.
const worker = "HOLDFAST_COST_WORKER"

// besides is set there too: the program that only the reading of the figures runs.
const besides = "HOLDFAST_COST_BESIDES"

// each asks for the figures of each program too; it comes from the command line of vmtest.
const each = "HOLDFAST_COST_PROGRAMS"

// TestCost prints what the programs add, in instructions. It fails where something cannot be measured, not on figures.
func TestCost(t *testing.T) {
	if os.Getenv(worker) != "" {
		must(t, json.NewEncoder(os.NewFile(3, "figures")).Encode(measure(t)))
		return
	}
	must(t, os.WriteFile("/etc/cost", []byte("known\n"), 0o644))
	must(t, exec.Command(program, "ip", "addr", "add", outside.String()+"/32", "dev", "lo").Run())
	root := overlay(t)
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
	watch(t, s, watches)
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
	if os.Getenv(each) != "" {
		for _, c := range columns[1:] {
			detail(t, c)
		}
	}
}

// watch has the sensor watch what the agent does.
func watch(t *testing.T, s *sensor.Sensor, watches detect.Watches) {
	t.Helper()
	for _, name := range watches.ReadNames {
		must(t, s.WatchName(name, wire.WatchRead|wire.WatchProtect))
	}
	for _, path := range watches.WritePaths {
		must(t, s.WatchPath(path, wire.WatchWrite))
	}
	for _, address := range watches.Addresses {
		must(t, s.WatchAddress(netip.PrefixFrom(address, address.BitLen())))
	}
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
	cmd.Env = append(os.Environ(), worker+"=1", fmt.Sprint(besides, "=", idOf(t, "on_bpf")))
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
			Listen:  []profile.Port{{Protocol: "tcp", Port: port}, {Protocol: "udp", Port: port}},
			Egress:  contacts(),
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

// contacts lists what the worker contacts, among others.
func contacts() []profile.Egress {
	whole := netip.PrefixFrom(outside, outside.BitLen()).String()
	list := []profile.Egress{
		{CIDR: whole, Protocol: "tcp", Port: port}, {CIDR: whole, Protocol: "udp", Port: port},
	}
	for i := range byte(100) {
		other := netip.AddrFrom4([4]byte{198, 51, 100, i})
		list = append(list, profile.Egress{
			CIDR: netip.PrefixFrom(other, other.BitLen()).String(), Protocol: "tcp", Port: 443,
		})
	}
	return list
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

// ran is what a program has run: how often, and how many instructions.
type ran struct {
	Times, Instructions float64
}

// eachProgram calls do for every program in the kernel.
func eachProgram(t *testing.T, do func(id ebpf.ProgramID, program *ebpf.Program)) {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		must(t, err)
		id = next
		program, err := ebpf.NewProgramFromID(id)
		must(t, err)
		do(id, program)
		must(t, program.Close())
	}
}

// programs gives what the programs in the kernel have run so far, but for the one that this runs itself. Their names are
// for who can see /proc.
func programs(t *testing.T) map[ebpf.ProgramID]ran {
	t.Helper()
	all := map[ebpf.ProgramID]ran{}
	eachProgram(t, func(id ebpf.ProgramID, program *ebpf.Program) {
		stats, err := program.Stats()
		must(t, err)
		if fmt.Sprint(id) != os.Getenv(besides) {
			all[id] = ran{float64(stats.RunCount), float64(stats.Runtime.Nanoseconds())}
		}
	})
	return all
}

// idOf gives the program of the name, 0 when it is not there.
func idOf(t *testing.T, name string) ebpf.ProgramID {
	t.Helper()
	found := ebpf.ProgramID(0)
	eachProgram(t, func(id ebpf.ProgramID, program *ebpf.Program) {
		info, err := program.Info()
		must(t, err)
		if info.Name == name {
			found = id
		}
	})
	return found
}

func nameOf(t *testing.T, id ebpf.ProgramID) string {
	t.Helper()
	program, err := ebpf.NewProgramFromID(id)
	must(t, err)
	defer program.Close()
	info, err := program.Info()
	must(t, err)
	return info.Name
}

// figure is what one deed of a kind costs, in instructions.
type figure struct {
	Deed string
	Cost float64
	// Programs is the part of it that the programs ran; the rest of what they add is the way to them.
	Programs float64
	// By is that part by program: the mean of all rounds.
	By map[ebpf.ProgramID]ran
}

type column struct {
	name    string
	figures []figure
}

// measure does the deeds in rounds that take turns, and gives the medians: of what they cost while the kernel counts
// nothing itself, since that costs more than some programs, and then of what the programs run.
func measure(t *testing.T) []figure {
	t.Helper()
	debug.SetGCPercent(-1)
	list := deeds(t)
	figures := make([]figure, len(list))
	costs, sums := make([][]float64, len(list)), make([][]float64, len(list))
	for range rounds {
		for i, d := range list {
			before := spent(t)
			for range d.times {
				must(t, d.do())
			}
			costs[i] = append(costs[i], float64(spent(t)-before)/float64(d.times))
		}
	}
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	must(t, err)
	defer stats.Close()
	for range rounds {
		for i, d := range list {
			earlier := programs(t)
			for range d.times {
				must(t, d.do())
			}
			sums[i] = append(sums[i], figures[i].add(earlier, programs(t), d.times))
		}
	}
	for i, d := range list {
		figures[i].Deed, figures[i].Cost, figures[i].Programs = d.name, median(costs[i]), median(sums[i])
	}
	return figures
}

// add adds a round's part of what each program ran for a deed, and gives what all of them did in this round.
func (f *figure) add(earlier, later map[ebpf.ProgramID]ran, times int) float64 {
	if f.By == nil {
		f.By = map[ebpf.ProgramID]ran{}
	}
	sum := 0.0
	for id, now := range later {
		instructions := (now.Instructions - earlier[id].Instructions) / float64(times)
		by := f.By[id]
		by.Times += (now.Times - earlier[id].Times) / float64(times) / rounds
		by.Instructions += instructions / rounds
		f.By[id] = by
		sum += instructions
	}
	return sum
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

// show prints the first column as it is, and of the others what they add to it, altogether and in the programs alone; below,
// what is known of others.
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
	fmt.Print(peers)
}

// detail prints which programs ran for the deeds of a column: how often for one deed, and for how many instructions.
func detail(t *testing.T, c column) {
	fmt.Printf("\n%-12s  %-16s  %6s  %12s\n", c.name, "program", "runs", "instructions")
	for _, f := range c.figures {
		ids := slices.SortedFunc(maps.Keys(f.By), func(a, b ebpf.ProgramID) int {
			return cmp.Compare(f.By[b].Instructions, f.By[a].Instructions)
		})
		for _, id := range ids {
			if by := f.By[id]; by.Times >= 0.1 {
				fmt.Printf("%-12s  %-16s  %6.1f  %12.0f\n", f.Deed, nameOf(t, id), by.Times, by.Instructions)
			}
		}
	}
}
