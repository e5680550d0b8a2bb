// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"debug/elf"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// self is the file of this process.
const self = "/proc/self/exe"

// Uprobes is a way to put programs into functions of files. A program is loaded for one way and goes by no other.
type Uprobes uint8

const (
	// UprobesPerf has an event of perf for each place. It takes CAP_SYS_ADMIN (perf_uprobe_event_init in kernel/events/core.c since
	// Linux 6.16, and in the stable kernels since 5.10.240, 5.15.189, 6.1.146, 6.6.99 and 6.12.39); before, from 5.8 on,
	// CAP_PERFMON. Seccomp filters may forbid perf_event_open(2) besides.
	UprobesPerf Uprobes = iota
	// UprobesMulti has one link for all places of a program in a file, from Linux 6.6 on. It takes what the program takes that is
	// linked, CAP_BPF and CAP_PERFMON (kernel/trace/bpf_trace.c, bpf_uprobe_multi_link_attach).
	UprobesMulti
)

// String gives the name used in capability tables.
func (u Uprobes) String() string {
	if u == UprobesMulti {
		return "uprobe_multi"
	}
	return "perf uprobes"
}

// AttachType is what programs of type Kprobe are loaded with, for Attach.
func (u Uprobes) AttachType() ebpf.AttachType {
	if u == UprobesMulti {
		return ebpf.AttachTraceUprobeMulti
	}
	return ebpf.AttachNone
}

// Places are where a program goes in a file.
type Places struct {
	// Offsets in the file, in bytes; none is 0, and none comes twice.
	Offsets []uint64
	// Return: it runs when a function returns that begins at an offset, not when the instruction there is executed.
	Return bool
}

// Attach puts a program into a file, at all places or at none. The program is there until the links are closed, which must be kept
// until then.
func (u Uprobes) Attach(file *link.Executable, program *ebpf.Program, at Places) ([]link.Link, error) {
	if u == UprobesMulti {
		attach := file.UprobeMulti
		if at.Return {
			attach = file.UretprobeMulti
		}
		l, err := attach(nil, program, &link.UprobeMultiOptions{Addresses: at.Offsets})
		if err != nil {
			return nil, err
		}
		return []link.Link{l}, nil
	}
	attach := file.Uprobe
	if at.Return {
		attach = file.Uretprobe
	}
	var links []link.Link
	for _, offset := range at.Offsets {
		// The name counts where there is no perf_uprobe, and tracefs takes its place.
		l, err := attach("holdfast", program, &link.UprobeOptions{Address: offset})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("at %#x: %w", offset, err), closeLinks(links))
		}
		links = append(links, l)
	}
	return links, nil
}

func closeLinks(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Uprobes gives the way in which programs go into functions on this kernel and with the rights of this thread, by trying: one is
// put for an instant where this process began. If there is none, the finding says why, with the right that is missing.
func (k *Kernel) Uprobes() (Uprobes, Finding) {
	entry, err := entryOffset(self)
	if err != nil {
		return UprobesPerf, Finding{Unknown, err.Error()}
	}
	var reasons []string
	err = tryUprobes(UprobesMulti, entry)
	if err == nil {
		return UprobesMulti, Finding{Support: Yes}
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		reasons = append(reasons, "uprobe_multi: "+k.Explain(err, Needs(ebpf.Kprobe)...).Error())
	}
	err = tryUprobes(UprobesPerf, entry)
	if err == nil {
		return UprobesPerf, Finding{Support: Yes}
	}
	reasons = append(reasons, k.explainPerf(err))
	return UprobesPerf, Finding{No, strings.Join(reasons, "; ")}
}

// explainPerf says why a perf uprobe was refused: perf says EACCES of a right that is missing, and not EPERM.
func (k *Kernel) explainPerf(err error) string {
	if reason := k.Rights.Lacks(SysAdmin); reason != "" && errors.Is(err, unix.EACCES) {
		return reason + ": this kernel's uprobes need it; uprobe_multi of Linux 6.6 does not"
	}
	return "perf uprobes: " + k.Explain(err, Needs(ebpf.Kprobe)...).Error()
}

// tryUprobes puts a program by one way at an offset of this program's file, and takes it out.
func tryUprobes(u Uprobes, offset uint64) error {
	if u == UprobesMulti {
		if err := features.HaveBPFLinkUprobeMulti(); err != nil {
			return err
		}
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe_uprobe", Type: ebpf.Kprobe, AttachType: u.AttachType(), License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load a program for functions: %w", err)
	}
	defer program.Close()
	file, err := link.OpenExecutable(self)
	if err != nil {
		return err
	}
	links, err := u.Attach(file, program, Places{Offsets: []uint64{offset}})
	if err != nil {
		return fmt.Errorf("put a program into a function: %w", err)
	}
	return closeLinks(links)
}

// entryOffset gives the offset in the file at which a program begins.
func entryOffset(path string) (uint64, error) {
	file, err := elf.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && file.Entry >= p.Vaddr && file.Entry-p.Vaddr < p.Filesz {
			return file.Entry - p.Vaddr + p.Off, nil
		}
	}
	return 0, errors.New(path + " has no entry point")
}
