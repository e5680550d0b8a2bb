// SPDX-License-Identifier: Apache-2.0

// Package probe finds out what the running kernel can do, by trying: it loads a small program, attaches it, performs
// the deed and looks whether the program ran. Kernel versions are never compared, since distributions backport and
// disable. A finding is a value (yes, no with the reason, or unknown), which chooses a family of hooks and is reported
// as a capability. The package starts no goroutines and leaves nothing attached.
package probe

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Support is the answer to "can this kernel do it?".
type Support uint8

// Unknown means that the probe itself could not tell.
const (
	Unknown Support = iota
	Yes
	No
)

// String gives the word that people read: yes, no, unknown.
func (s Support) String() string {
	switch s {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "unknown"
	}
}

// Capability is what the agent can do for one signal on this kernel.
type Capability struct {
	// Signal as in docs/events.md.
	Signal string
	See    Support
	Block  Support
	// Mechanism names the hooks in use.
	Mechanism string
	// Reason says why not, or what remains unseen.
	Reason string
}

// Unsupported is the error for a feature that this kernel lacks. Tests skip on it and on nothing else.
type Unsupported struct {
	// Feature in the field's terms, and the first kernel that has it.
	Feature string
	Since   string
}

// Error says what is missing and since when kernels have it.
func (u *Unsupported) Error() string {
	return fmt.Sprintf("unsupported: %s needs %s", u.Feature, u.Since)
}

// Family is a way to hook the kernel's security decisions.
type Family uint8

// From the weakest to the best. FamilyModifyReturn attaches to the security_* functions through a BPF trampoline and
// has the effect of an LSM program without needing bpf in the LSM list.
const (
	FamilySyscalls Family = iota
	FamilyModifyReturn
	FamilyLSM
)

// String gives the name used in capability tables.
func (f Family) String() string {
	switch f {
	case FamilyLSM:
		return "lsm"
	case FamilyModifyReturn:
		return "fmod_ret"
	default:
		return "syscalls"
	}
}

// Finding is the outcome of one probe: Support with the reason when it is not yes.
type Finding struct {
	Support Support
	Reason  string
}

// Kernel is what the probes found.
type Kernel struct {
	// Rights are those that the process had in effect.
	Rights Rights
	// BTF must be there for any program to load.
	BTF          Finding
	LSM          Finding
	ModifyReturn Finding
	// limit is why RLIMIT_MEMLOCK, which counts before 5.11, could not be raised; nil when it was, or does not count.
	limit error
}

// Explain says of the kernel's refusal (EPERM) of a program or a map which of the rights that it needs are missing, or what
// else may be in the way. Other errors are returned as they are.
func (k *Kernel) Explain(err error, needed ...Right) error {
	explained := k.Rights.Explain(err, needed...)
	if k.limit != nil && errors.Is(err, unix.EPERM) && len(k.Rights.Missing(needed...)) == 0 {
		return fmt.Errorf("%w; or, before Linux 5.11, by RLIMIT_MEMLOCK: %w", explained, k.limit)
	}
	return explained
}

// Best is the strongest family that works.
func (k *Kernel) Best() Family {
	switch {
	case k.LSM.Support == Yes:
		return FamilyLSM
	case k.ModifyReturn.Support == Yes:
		return FamilyModifyReturn
	default:
		return FamilySyscalls
	}
}

// Reason says why a family is not in use; empty if it works.
func (k *Kernel) Reason(f Family) string {
	switch f {
	case FamilyLSM:
		return k.LSM.Reason
	case FamilyModifyReturn:
		return k.ModifyReturn.Reason
	default:
		return ""
	}
}

// Run probes the running kernel. It needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN) and some milliseconds. An error
// means that no program can run at all and says what to do about it.
//
// Before 5.11 the kernel charges BPF memory to RLIMIT_MEMLOCK; Run raises it. A limit that cannot be raised is no error
// here: Kernel.Explain names it when a program or map is refused.
func Run() (*Kernel, error) {
	rights, err := ReadRights()
	if err != nil {
		return nil, err
	}
	k := &Kernel{Rights: rights, BTF: Finding{Support: Yes}}
	if err := rlimit.RemoveMemlock(); err != nil {
		k.limit = fmt.Errorf("raise it: %w", rights.Explain(err, SysResource))
	}
	if _, err := btf.LoadKernelSpec(); err != nil {
		return nil, fmt.Errorf("read the kernel's type information (BTF): %w: "+
			"Holdfast needs a kernel of 5.10 or later built with CONFIG_DEBUG_INFO_BTF=y, as all large distributions ship", err)
	}
	if err := k.loadsAtAll(); err != nil {
		return nil, err
	}
	k.LSM = fires(&ebpf.ProgramSpec{
		Name: "probe_lsm", Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open", License: "GPL",
	}, "attached, but never called: bpf is not in the kernel's LSM list (boot parameter lsm=…,bpf)")
	k.ModifyReturn = fires(&ebpf.ProgramSpec{
		Name: "probe_fmod_ret", Type: ebpf.Tracing, AttachType: ebpf.AttachModifyReturn,
		AttachTo: "security_file_open", License: "GPL",
	}, "attached, but never called")
	return k, nil
}

// loadsAtAll tells a missing privilege from a missing feature.
func (k *Kernel) loadsAtAll() error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe_load", Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("load a kernel program: %w; the agent runs as root, or with CAP_BPF and CAP_PERFMON at least",
			k.Explain(err, Needs(ebpf.RawTracepoint)...))
	}
	if err != nil {
		return fmt.Errorf("load a kernel program: %w", err)
	}
	return prog.Close()
}

// fires attaches a program that notes when this process passes it, opens a file, and looks.
func fires(spec *ebpf.ProgramSpec, silent string) Finding {
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Name: "probe_seen", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	defer seen.Close()
	spec.Instructions = noteSelf(seen.FD(), int32(os.Getpid()))
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		return Finding{No, oneLine(err)}
	}
	defer prog.Close()
	at, err := attach(spec, prog)
	if err != nil {
		return Finding{No, oneLine(err)}
	}
	defer at.Close()
	file, err := os.Open("/proc/self/comm")
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	file.Close()
	var value uint32
	if err := seen.Lookup(uint32(0), &value); err != nil {
		return Finding{Unknown, err.Error()}
	}
	if value == 0 {
		return Finding{No, silent}
	}
	return Finding{Support: Yes}
}

func attach(spec *ebpf.ProgramSpec, prog *ebpf.Program) (link.Link, error) {
	if spec.Type == ebpf.LSM {
		return link.AttachLSM(link.LSMOptions{Program: prog})
	}
	return link.AttachTracing(link.TracingOptions{Program: prog})
}

// noteSelf sets the first value of the map when the current process is pid, and lets everything pass.
func noteSelf(fd int, pid int32) asm.Instructions {
	return asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.JNE.Imm(asm.R0, pid, "out"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, fd),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreImm(asm.R0, 0, 1, asm.Word),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}

// oneLine keeps a verifier's log out of a capability table. A refusal is not for want of privilege, which loadsAtAll
// has ruled out.
func oneLine(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return "the kernel refuses programs that need a BPF trampoline"
	}
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) && verifier.Cause != nil {
		return verifier.Cause.Error()
	}
	return err.Error()
}
