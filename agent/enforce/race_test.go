// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// reader is a program that, as the programs of bpf/ do, reads what holds for a container, once, then looks elements up, one
// after the other, and puts down what all of them together allow: four bits for each, in one number, with the modes on top.
type reader struct {
	rig     *rig
	program *ebpf.Program
	seen    *ebpf.Map
	asked   []string
}

func newReader(r *rig, container uint64, asked ...string) *reader {
	r.t.Helper()
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 4096})
	r.must(err)
	r.t.Cleanup(func() { seen.Close() })
	questions, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 128, MaxEntries: 16})
	r.must(err)
	r.t.Cleanup(func() { questions.Close() })
	code := policyOf(r.maps.ByContainer, container)
	for i, text := range asked {
		m, key := r.question(text)
		r.must(questions.Put(uint32(i), append(key, make([]byte, 128-len(key))...)))
		code = append(code, ask(i, questions, m)...)
	}
	code = append(code, putDown(seen)...)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: code, License: "GPL"})
	if err != nil {
		r.t.Fatalf("%+v", err)
	}
	r.t.Cleanup(func() { program.Close() })
	return &reader{r, program, seen, asked}
}

// question gives the map and the key, without the policy, of what a text asks for.
func (r *rig) question(text string) (*ebpf.Map, []byte) {
	kind, what, _ := strings.Cut(text, " ")
	switch kind {
	case "exec":
		key := policy.Key{Class: wire.AllowExec, Object: r.Hasher().HashString(what)}.Wire(0)
		return r.maps.Allow, bytesOf(&key)
	case "tree":
		key := policy.Tree{Folder: what}.Wire(0)
		return r.maps.Tree, bytesOf(&key)
	default:
		key := policy.Contact{Port: 443, Protocol: 6, Prefix: netip.MustParsePrefix(what)}.Wire(0)
		return r.maps.Egress, bytesOf(&key)
	}
}

// policyOf reads the policy: id and generation into r6 and r7, modes as the begin of the answer in r9.
func policyOf(m *ebpf.Map, container uint64) asm.Instructions {
	return asm.Instructions{
		asm.LoadImm(asm.R1, int64(container), asm.DWord),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "exit"),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
		asm.LoadMem(asm.R9, asm.R0, 8, asm.DWord),
		asm.Mov.Reg32(asm.R6, asm.R7),
		asm.RSh.Imm(asm.R7, 32),
		// The mode of process, the first signal.
		asm.RSh.Imm(asm.R9, 8),
		asm.And.Imm(asm.R9, 15),
	}
}

// ask looks a question up, with the id of the policy put into a copy of it, and appends the answer to r9.
func ask(i int, questions, m *ebpf.Map) asm.Instructions {
	at := func(step string) string { return fmt.Sprintf("%s%d", step, i) }
	where := int16(0) // of the policy in the key
	if m.Type() == ebpf.LPMTrie {
		where = 4
	}
	code := asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(i)),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, questions.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "exit"),
	}
	for word := range int16(16) {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R0, word*8, asm.DWord),
			asm.StoreMem(asm.RFP, -136+word*8, asm.R1, asm.DWord))
	}
	return append(code,
		asm.StoreMem(asm.RFP, -136+where, asm.R6, asm.Word),
		asm.LSh.Imm(asm.R9, 4),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -136),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, at("next")),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		// generation - since, as a signed number of 32 bits
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Sub.Reg(asm.R2, asm.R1),
		asm.LSh.Imm(asm.R2, 32),
		asm.RSh.Imm(asm.R1, 32),
		asm.JSLT.Imm(asm.R2, 0, at("was")),
		asm.RSh.Imm(asm.R1, 16),
		asm.And.Imm(asm.R1, 15).WithSymbol(at("was")),
		asm.Or.Reg(asm.R9, asm.R1),
		asm.Mov.Reg(asm.R9, asm.R9).WithSymbol(at("next")),
	)
}

// putDown counts the answer in r9.
func putDown(seen *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(asm.RFP, -8, asm.R9, asm.DWord),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, -16, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, seen.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "first"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Ja.Label("exit"),
		asm.LoadMapPtr(asm.R1, seen.FD()).WithSymbol("first"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, -16),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("exit"),
		asm.Return(),
	}
}

// read has the programs run by turns until stop is closed.
func read(stop <-chan struct{}, readers ...*reader) {
	for {
		for _, d := range readers {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := d.program.Run(&ebpf.RunOptions{Data: make([]byte, 14), Repeat: 500}); err != nil {
				d.rig.t.Error(err)
				return
			}
		}
	}
}

// answer is what is put down for modes and bits.
func answer(mode wire.Mode, bits ...uint64) uint64 {
	sum := uint64(mode)
	for _, b := range bits {
		sum = sum<<4 | b
	}
	return sum
}

// answers gives what was put down, and how often.
func (d *reader) answers() map[uint64]uint64 {
	all := map[uint64]uint64{}
	d.rig.must(each(d.seen, func(answer, n uint64) { all[answer] = n }))
	return all
}

var asked = []string{
	"exec /a", "exec /only-1", "tree /t/u/x/", "egress ::ffff:10.1.1.1/128", "exec /only-2", "tree /t/v/", "exec /b", "exec /a",
}

const (
	first  = "exec /a 1, exec /b 2, exec /only-1 1, tree /t/ 1, egress ::ffff:10.0.0.0/104 1, exec /c 1"
	second = "exec /a 2, exec /b 1, exec /only-2 1, tree /t/ 1, tree /t/u/ 3, egress ::ffff:10.1.0.0/112 3, exec /d 1"
)

// TestReloadsAreSeenWhole reloads a policy and switches modes 1,000 times while a program judges by them without a pause.
// It must never see what neither the old nor the new set says. Another policy stays as it is.
func TestReloadsAreSeenWhole(t *testing.T) {
	reloads := 1000
	// An emulated machine takes its time for each.
	if testing.Short() || os.Getenv("HOLDFAST_VM") != "" {
		reloads = 100
	}
	r := newRig(t, nil)
	id, other := r.create(), r.create()
	sets := []*policy.Set{r.setOf(first), r.setOf(second)}
	r.must(r.Apply(id, sets[0]))
	r.must(r.Apply(other, r.setOf("exec /a 3, tree /t/u/ 2")))
	r.must(r.Assign(Container{Cgroup: 1}, id, modes(wire.ModeEnforce)))
	r.must(r.Assign(Container{Cgroup: 2}, id, modes(wire.ModeEnforce)))
	r.must(r.Assign(Container{Cgroup: 3}, other, modes(wire.ModeLearn)))
	readers := []*reader{newReader(r, 1, asked...), newReader(r, 3, asked...)}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { read(stop, readers...) })
	for i := range reloads {
		r.must(r.Apply(id, sets[(i+1)%2]))
		mode := wire.ModeEnforce
		if i%3 == 0 {
			mode = wire.ModeMonitor
		}
		r.must(r.Assign(Container{Cgroup: 1}, id, modes(mode)))
		if i%10 == 0 {
			r.must(r.Tidy())
		}
	}
	close(stop)
	group.Wait()
	want := map[uint64]bool{}
	for _, mode := range []wire.Mode{wire.ModeEnforce, wire.ModeMonitor} {
		want[answer(mode, 1, 1, 1, 1, 0, 1, 2, 1)] = true
		want[answer(mode, 2, 0, 3, 3, 1, 1, 1, 2)] = true
	}
	seen := readers[0].answers()
	for got, n := range seen {
		if !want[got] {
			t.Errorf("%d deeds were judged by neither set: %x", n, got)
		}
		delete(want, got)
	}
	for missing := range want {
		t.Errorf("no deed was judged by %x", missing)
	}
	if got := readers[1].answers(); len(got) != 1 || got[answer(wire.ModeLearn, 3, 0, 2, 0, 0, 0, 0, 3)] == 0 {
		t.Errorf("the policy that stayed was seen as %x", got)
	}
	t.Logf("%d reloads, verdicts %v", reloads, seen)
}

// TestReaderSeesMixtures shows that the reader would see one: entries are put into the map as they come.
func TestReaderSeesMixtures(t *testing.T) {
	r := newRig(t, nil)
	id := r.create()
	r.must(r.Assign(Container{Cgroup: 1}, id, modes(wire.ModeEnforce)))
	reader := newReader(r, 1, "exec /a", "exec /b")
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { read(stop, reader) })
	for i := range 20000 {
		for j, path := range []string{"/a", "/b"} {
			bits := uint16(1 + (i+j)%2)
			key := policy.Key{Class: wire.AllowExec, Object: r.Hasher().HashString(path)}.Wire(id)
			r.must(r.maps.Allow.Put(&key, &wire.Allow{Was: bits, Now: bits}))
		}
	}
	close(stop)
	group.Wait()
	seen := reader.answers()
	if seen[answer(wire.ModeEnforce, 1, 1)]+seen[answer(wire.ModeEnforce, 2, 2)] == 0 {
		t.Errorf("no mixture was seen: %x", seen)
	}
}
