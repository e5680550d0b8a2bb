// SPDX-License-Identifier: Apache-2.0

package event_test

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// record gives the bytes of a record body with texts behind it.
func record[T any](body *T, texts ...string) []byte {
	size := unsafe.Sizeof(*body)
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(body)), size)...)
	return append(raw, strings.Join(texts, "")...)
}

func TestDecodeExec(t *testing.T) {
	body := &wire.Exec{Head: wire.Head{Type: uint16(wire.TypeExec), Tgid: 7, Start: 9}}
	texts := []string{"/bin/dash", "./x.sh", "/bin/sh", "/", "sh\x00-c\x00ls\x00"}
	for i, length := range []*uint16{&body.ExeLen, &body.FilenameLen, &body.InterpLen, &body.CwdLen, &body.ArgvLen} {
		*length = uint16(len(texts[i]))
	}
	var ev event.Event
	if err := ev.Decode(record(body, texts...)); err != nil {
		t.Fatal(err)
	}
	for i, got := range [][]byte{ev.Exe(), ev.Filename(), ev.Interpreter(), ev.Cwd(), ev.Argv()} {
		if string(got) != texts[i] {
			t.Errorf("text %d: %q, want %q", i, got, texts[i])
		}
	}
	if ev.Exec() == nil || ev.Exec().Head.Tgid != 7 || ev.File() != nil || ev.Net() != nil || ev.Security() != nil {
		t.Error("wrong body")
	}
}

func TestDecodeRefuses(t *testing.T) {
	fork := &wire.Fork{Head: wire.Head{Type: uint16(wire.TypeFork)}}
	open := &wire.FileOp{Head: wire.Head{Type: uint16(wire.TypeOpen)}, PathLen: 5}
	unknown := &wire.Fork{Head: wire.Head{Type: 63}}
	for name, raw := range map[string][]byte{
		"shorter than its head": record(fork)[:20],
		"at least 96 expected":  record(fork)[:80],
		"unknown type 63":       record(unknown),
		"text 0 runs to 149":    record(open, "/et"),
		"texts end at 149":      record(open, "/etc/passwd"),
		"is not aligned":        append([]byte{0}, record(fork)...)[1:],
	} {
		var ev event.Event
		if err := ev.Decode(raw); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	raw := record(&wire.FileOp{Head: wire.Head{Type: uint16(wire.TypeOpen)}, PathLen: 11}, "/etc/passwd")
	var ev event.Event
	if n := testing.AllocsPerRun(1000, func() {
		if err := ev.Decode(raw); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func TestEveryTypeHasANameAndAShape(t *testing.T) {
	for _, name := range event.Names() {
		typ, ok := event.Parse(name)
		if !ok || event.Name(typ) != name {
			t.Errorf("%s does not come back: %d", name, typ)
		}
		head := &wire.Head{Type: uint16(typ)}
		var ev event.Event
		if err := ev.Decode(record(head)); err == nil || strings.Contains(err.Error(), "unknown type") {
			t.Errorf("%s has no shape: %v", name, err)
		}
	}
}

func TestHashArgvIsTheKernels(t *testing.T) {
	// The words 0x6867666564636261 and 0x6a69 by hand.
	seed, prime := uint64(14695981039346656037), uint64(1099511628211)
	want := (((seed ^ 0x6867666564636261) * prime) ^ 0x6a69) * prime
	if got := event.HashArgv([]byte("abcdefghij")); got != want {
		t.Errorf("%x, want %x", got, want)
	}
	if event.HashArgv(nil) != seed {
		t.Error("the hash of nothing is not the seed")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(record(&wire.Fork{Head: wire.Head{Type: uint16(wire.TypeFork)}}))
	f.Add(record(&wire.FileOp{Head: wire.Head{Type: uint16(wire.TypeOpen)}, PathLen: 1}, "/"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// A fresh slice is aligned as a ring's buffer is.
		var ev event.Event
		if err := ev.Decode(append(make([]byte, 0, len(raw)+8), raw...)); err != nil {
			return
		}
		total := len(ev.Exe()) + len(ev.Filename()) + len(ev.Interpreter()) + len(ev.Cwd()) + len(ev.Argv())
		if total > len(raw) {
			t.Errorf("texts of %d bytes in a record of %d", total, len(raw))
		}
	})
}
