// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"os"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// TestGraceWaits runs a program that counts when it begins and when it ends. After a wait, as many have ended as had begun
// before it; without one, that is not so.
func TestGraceWaits(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer counts.Close()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "exit"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		// Some hundred microseconds.
		asm.Mov.Imm(asm.R3, 0),
		asm.Add.Imm(asm.R3, 1).WithSymbol("again"),
		asm.JLT.Imm(asm.R3, 200000, "again"),
		asm.Add.Imm(asm.R0, 8),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("exit"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer program.Close()
	g, err := newGrace()
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()

	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := program.Run(&ebpf.RunOptions{Data: make([]byte, 14), Repeat: 1000}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	read := func() (n [2]uint64) {
		if err := counts.Lookup(uint32(0), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	running := 0
	for try := 0; running < 5 && try < 2000; try++ {
		before := read()
		if read()[1] < before[0] {
			running++
		}
		if err := g.wait(); err != nil {
			t.Fatal(err)
		}
		if after := read(); after[1] < before[0] {
			t.Fatalf("%d programs had begun before the wait, and %d have ended after it", before[0], after[1])
		}
	}
	close(stop)
	group.Wait()
	if running == 0 {
		t.Error("no program was running at any wait")
	}
}
