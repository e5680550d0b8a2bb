// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"bytes"
	"debug/elf"
	"iter"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// Most of what a probe costs on x86 is that the kernel has the processor execute the instruction that was replaced by itself, in a
// single step, which traps. Some instructions the kernel emulates instead (arch/x86/kernel/uprobes.c: branch_setup_ops, and since
// Linux 4.17 push_setup_ops). So a probe goes a few instructions further, or into the function that is called, where such an
// instruction stands and all that the probe reads is as it was at the begin: the arguments, and the address to return to, which is what
// the kernel replaces to see a return.

// prologue is how much is looked at of a function, in bytes.
const prologue = 96

// endbr64 marks where indirect calls may lead; x86asm does not know it.
var endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}

// instructions gives those of the code with their places, up to one that cannot be read.
func instructions(code []byte) iter.Seq2[int, x86asm.Inst] {
	return func(yield func(int, x86asm.Inst) bool) {
		for at := 0; at < len(code); {
			if bytes.HasPrefix(code[at:], endbr64) {
				at += len(endbr64)
				continue
			}
			i, err := x86asm.Decode(code[at:], 64)
			if err != nil || !yield(at, i) {
				return
			}
			at += i.Len
		}
	}
}

// emulated reports whether the kernel emulates the instruction that the code begins with.
func emulated(code []byte) bool {
	if len(code) < 2 {
		return false
	}
	switch b := code[0]; {
	case b == 0xe8, b == 0xe9, b == 0xeb, b == 0x90:
		return true
	case b >= 0x50 && b <= 0x57:
		return true
	case b == 0x41:
		return code[1] >= 0x50 && code[1] <= 0x57
	}
	return branches(code)
}

// branches reports whether the code begins with a jump that depends on flags.
func branches(code []byte) bool {
	if len(code) < 2 {
		return false
	}
	return code[0] >= 0x70 && code[0] <= 0x7f || code[0] == 0x0f && code[1] >= 0x80 && code[1] <= 0x8f
}

// whole gives the register of 64 bits that a general one is a part of; 0 for any other.
func whole(r x86asm.Reg) x86asm.Reg {
	switch {
	case r >= x86asm.RAX && r <= x86asm.R15:
		return r
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return r - x86asm.EAX + x86asm.RAX
	}
	return 0
}

// The registers of arguments, in their order, and what else a probe reads.
var (
	registersC  = []x86asm.Reg{x86asm.RDI, x86asm.RSI, x86asm.RDX, x86asm.RCX, x86asm.R8}
	registersGo = []x86asm.Reg{x86asm.RAX, x86asm.RBX, x86asm.RCX, x86asm.R14}
)

// read gives the registers that are read at the begin of a function, with which it is called.
func (f Function) read() []x86asm.Reg {
	switch f {
	case Handshake, Free:
		return registersC[:1]
	case Socket, OpenSSLRead, GnuTLSReceive, NSSRead:
		return registersC[:2]
	case SocketThird, OpenSSLWrite, GnuTLSSend, NSSWrite:
		return registersC[:3]
	case OpenSSLReadEx, OpenSSLWriteEx:
		return registersC[:4]
	case OpenSSLWriteEx2:
		return registersC[:5]
	default:
		return registersGo
	}
}

// spares reports whether an instruction goes on to the next, writes to no memory and to none of the registers.
func spares(i x86asm.Inst, registers []x86asm.Reg) bool {
	switch i.Op {
	case x86asm.NOP, x86asm.TEST, x86asm.CMP:
		return true
	case x86asm.MOV, x86asm.MOVSXD, x86asm.LEA, x86asm.XOR:
	default:
		return false
	}
	to, ok := i.Args[0].(x86asm.Reg)
	if !ok || whole(to) == 0 {
		return false
	}
	for _, r := range registers {
		if whole(to) == r {
			return false
		}
	}
	return true
}

// code reads the begin of a function.
func (f *file) code(address uint64) []byte {
	offset, ok := f.offsetOf(address)
	if !ok {
		return nil
	}
	code := make([]byte, prologue)
	n, _ := f.from.ReadAt(code, int64(offset))
	return code[:n]
}

// cheap gives an address at which a probe of a function costs the least and reads the same as at its begin; the begin, where there
// is no better one, or where it does not matter, as on arm64.
func (f *file) cheap(address uint64, function Function) uint64 {
	if f.machine != elf.EM_X86_64 {
		return address
	}
	further := address + cheapIn(f.code(address), function)
	if _, ok := f.offsetOf(further); !ok {
		return address
	}
	return further
}

// cheapIn gives the place in the code of a function, from its begin.
func cheapIn(code []byte, function Function) uint64 {
	keep := append([]x86asm.Reg{x86asm.RSP}, function.read()...)
	var grows bool
	for at, i := range instructions(code) {
		rest := code[at:]
		switch {
		case grows && branches(rest) && emulated(code[at+i.Len:]):
			// What follows is executed once in each call.
			return uint64(at + i.Len)
		case emulated(rest):
			return uint64(at)
		case !spares(i, keep):
			return 0
		}
		grows = looksForStack(i)
	}
	return 0
}

// looksForStack reports whether an instruction is the one by which a function of Go finds out whether its stack suffices
// (runtime.g.stackguard0). If not, it gets more, and begins again.
func looksForStack(i x86asm.Inst) bool {
	for _, arg := range i.Args[:2] {
		if m, ok := arg.(x86asm.Mem); ok && i.Op == x86asm.CMP && m.Base == x86asm.R14 && m.Disp == 16 {
			return true
		}
	}
	return false
}

// callee follows a function to the first that it calls by its address, or goes on in, while none of the registers is written to. On
// the way it may turn off (turns). 0 for none.
func (f *file) callee(address uint64, registers []x86asm.Reg, turns bool) uint64 {
	code := f.code(address)
	for at, i := range instructions(code) {
		to, relative := i.Args[0].(x86asm.Rel)
		switch {
		case relative && (i.Op == x86asm.CALL || i.Op == x86asm.JMP):
			return address + uint64(at+i.Len) + uint64(int64(to))
		case turns && branches(code[at:]):
		case relative, !passes(i, registers):
			return 0
		}
	}
	return 0
}

// passes reports whether an instruction leaves the registers alone, and leads to the next. It may make room on the stack, save
// registers there and write to it.
func passes(i x86asm.Inst, registers []x86asm.Reg) bool {
	switch i.Op {
	case x86asm.PUSH:
		return true
	case x86asm.SUB:
		return i.Args[0] == x86asm.RSP
	case x86asm.MOV:
		if m, ok := i.Args[0].(x86asm.Mem); ok {
			return m.Base == x86asm.RSP || m.Base == x86asm.RBP
		}
	}
	return spares(i, registers)
}

// alike is a function of OpenSSL that does the same work as others.
type alike struct {
	name     string
	function Function
}

// inner are functions with the same work, of which the last that a file has hands its arguments on as they are to one within the
// library, which the others call too.
var inner = [][]alike{
	{{"SSL_write", OpenSSLWrite}, {"SSL_write_ex", OpenSSLWriteEx}, {"SSL_write_ex2", OpenSSLWriteEx2}},
	{{"SSL_read", OpenSSLRead}, {"SSL_read_ex", OpenSSLReadEx}},
}

// place is a function that is probed, and where.
type place struct {
	function Function
	address  uint64
}

// inward gives for functions of OpenSSL, by name, the one within the library that does their work, where that is cheaper to probe.
func (f *file) inward(found *symbols) map[string]place {
	within := map[string]place{}
	if f.machine != elf.EM_X86_64 {
		return within
	}
	for _, all := range inner {
		there := slices.DeleteFunc(slices.Clone(all), func(a alike) bool { _, ok := found.at[a.name]; return !ok })
		if len(there) == 0 {
			continue
		}
		last := there[len(there)-1]
		from := found.at[last.name].address
		to := f.callee(from, last.function.read(), false)
		cheap := f.cheap(to, last.function)
		// That of LibreSSL calls SSL_write, which has other arguments.
		public := slices.ContainsFunc(there, func(a alike) bool { return found.at[a.name].address == to })
		if public || last.function == all[0].function || !emulated(f.code(cheap)) {
			continue
		}
		for _, a := range there {
			if by := f.callee(found.at[a.name].address, registersC[:2], true); by == to || by == from {
				within[a.name] = place{last.function, cheap}
			}
		}
	}
	return within
}
