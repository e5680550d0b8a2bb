// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/holdfast-project/holdfast/agent/probe"
)

// The functions that programs are put into. What they give is used, and differs, so that they are there, and are two.
//
//go:noinline
func probedFirst(n int) int { return n + 1 }

//go:noinline
func probedSecond(n int) int { return n * 3 }

// TestUprobes puts a program into two functions of the test by each way, and calls them: it runs while it is there, and no longer.
func TestUprobes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, way := range []probe.Uprobes{probe.UprobesPerf, probe.UprobesMulti} {
		t.Run(way.String(), func(t *testing.T) {
			if way == probe.UprobesMulti && !multi(t) {
				t.Skip(&probe.Unsupported{Feature: "uprobe_multi", Since: "Linux 6.6"})
			}
			testUprobes(t, way)
		})
	}
}

func testUprobes(t *testing.T, way probe.Uprobes) {
	calls, program := counting(t, way)
	file, err := link.OpenExecutable("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	places := probe.Places{Offsets: []uint64{offsetOf(t, probedFirst), offsetOf(t, probedSecond)}}
	links, err := way.Attach(file, program, places)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[probe.Uprobes]int{probe.UprobesPerf: 2, probe.UprobesMulti: 1}[way]; len(links) != want {
		t.Errorf("%d links for two places, want %d", len(links), want)
	}
	_ = probedFirst(1) + probedSecond(2) + probedSecond(3)
	if got := count(t, calls); got != 3 {
		t.Errorf("the program ran %d times in 3 calls", got)
	}
	for _, l := range links {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	_ = probedFirst(1) + probedSecond(2)
	if got := count(t, calls); got != 3 {
		t.Errorf("the program ran %d times after it was taken out", got-3)
	}
	// At the return of a function that nothing calls: Go's stacks bear no other address.
	links, err = way.Attach(file, program, probe.Places{Offsets: []uint64{offsetOf(t, neverCalled)}, Return: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if links, err := way.Attach(file, program, probe.Places{Offsets: []uint64{places.Offsets[0], 1 << 40}}); err == nil {
		t.Errorf("%d links to a place beyond the file", len(links))
	}
	_ = probedFirst(1)
	if got := count(t, calls); got != 3 {
		t.Error("after a place was refused, the program is in another")
	}
}

//go:noinline
func neverCalled(n int) int { return n - 7 }

// counting is a program that counts its runs.
func counting(t *testing.T, way probe.Uprobes) (*ebpf.Map, *ebpf.Program) {
	t.Helper()
	calls, err := ebpf.NewMap(&ebpf.MapSpec{Name: "test_calls", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { calls.Close() })
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "test_count", Type: ebpf.Kprobe, AttachType: way.AttachType(), License: "GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, calls.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return calls, program
}

func count(t *testing.T, calls *ebpf.Map) uint64 {
	t.Helper()
	var n uint64
	if err := calls.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// offsetOf gives where a function of the test begins in its file, by what is mapped.
func offsetOf(t *testing.T, function func(int) int) uint64 {
	t.Helper()
	at := uint64(reflect.ValueOf(function).Pointer())
	file, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var begin, end, offset uint64
		var rights string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s %x", &begin, &end, &rights, &offset); err != nil {
			t.Fatalf("/proc/self/maps: %v in %q", err, lines.Text())
		}
		if at >= begin && at < end {
			return at - begin + offset
		}
	}
	t.Fatal("the function is not mapped")
	return 0
}
