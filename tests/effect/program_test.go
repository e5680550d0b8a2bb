// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// The programs that deeds try to run are a page long and do one thing: their first act is to make a mark. So a mark that
// is not there says that no instruction of them ran.

const (
	// ranMark is made by what must not run, usualMark by what may.
	ranMark   = "/marks/ran"
	usualMark = "/marks/usual"

	// loader is the dynamic loader, which the machines are given.
	loader = "/lib64/ld-linux-x86-64.so.2"
)

const (
	pageSize = 0x1000
	codeAt   = 0x400
	textAt   = 0x600
	// The second page of a linked program: what its loader reads and may write.
	dynamicAt = pageSize
	tablesAt  = pageSize + 0x200
	fileSize  = 2 * pageSize
)

// code makes the mark whose name stands at textAt, and then ends the process or returns. It needs no stack and changes no
// register that a caller keeps, so that it may be called from Go, too.
func code(returns bool) []byte {
	var b bytes.Buffer
	b.Write([]byte{0xb8, 85, 0, 0, 0}) // mov eax, SYS_creat
	b.Write([]byte{0x48, 0x8d, 0x3d})  // lea rdi, [rip+...]
	must0(binary.Write(&b, binary.LittleEndian, int32(textAt-(codeAt+b.Len()+4))))
	b.Write([]byte{0xbe, 0xa4, 1, 0, 0}) // mov esi, 0644
	b.Write([]byte{0x0f, 0x05})          // syscall
	if returns {
		b.WriteByte(0xc3)
		return b.Bytes()
	}
	b.Write([]byte{0xb8, 60, 0, 0, 0}) // mov eax, SYS_exit
	b.Write([]byte{0x31, 0xff})        // xor edi, edi
	b.Write([]byte{0x0f, 0x05})
	return b.Bytes()
}

// program is a static executable that makes the mark.
func program(mark string) []byte {
	return image(elf.ET_DYN, mark, false, []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: pageSize, Memsz: pageSize, Align: pageSize},
	})
}

// linked is an executable that the dynamic loader loads.
func linked(mark string) []byte {
	return image(elf.ET_DYN, mark, false, append([]elf.Prog64{
		{Type: uint32(elf.PT_PHDR), Flags: uint32(elf.PF_R), Off: 64, Vaddr: 64, Filesz: 6 * 56, Memsz: 6 * 56, Align: 8},
		{Type: uint32(elf.PT_INTERP), Flags: uint32(elf.PF_R), Off: interpAt, Vaddr: interpAt,
			Filesz: uint64(len(loader) + 1), Memsz: uint64(len(loader) + 1), Align: 1},
	}, segments()...))
}

// library makes the mark as it is loaded.
func library(mark string) []byte { return image(elf.ET_DYN, mark, true, segments()) }

const interpAt = 0x700

// segments are those of what is linked dynamically.
func segments() []elf.Prog64 {
	return []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: pageSize, Memsz: pageSize, Align: pageSize},
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: dynamicAt, Vaddr: dynamicAt,
			Filesz: pageSize, Memsz: pageSize, Align: pageSize},
		{Type: uint32(elf.PT_DYNAMIC), Flags: uint32(elf.PF_R | elf.PF_W), Off: dynamicAt, Vaddr: dynamicAt,
			Filesz: 0x200, Memsz: 0x200, Align: 8},
		{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16},
	}
}

// image lays a file out: header and segments, code, the name of the mark, and what a loader wants to know.
func image(kind elf.Type, mark string, returns bool, progs []elf.Prog64) []byte {
	file := make([]byte, fileSize)
	header := elf.Header64{
		Type: uint16(kind), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: codeAt, Phoff: 64,
		Ehsize: 64, Phentsize: 56, Phnum: uint16(len(progs)), Shentsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = 2, 1, 1
	put(file, 0, header)
	put(file, 64, progs)
	copy(file[codeAt:], code(returns))
	copy(file[textAt:], mark)
	copy(file[interpAt:], loader)
	// Tables of strings, symbols and hashes, all of them empty: one bucket, one symbol that is none.
	put(file, tablesAt+0x40, []uint32{1, 1, 0, 0})
	dynamic := []elf.Dyn64{
		{Tag: int64(elf.DT_STRTAB), Val: tablesAt}, {Tag: int64(elf.DT_STRSZ), Val: 1},
		{Tag: int64(elf.DT_SYMTAB), Val: tablesAt + 0x10}, {Tag: int64(elf.DT_SYMENT), Val: 24},
		{Tag: int64(elf.DT_HASH), Val: tablesAt + 0x40},
	}
	if returns {
		dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_INIT), Val: codeAt})
	}
	put(file, dynamicAt, dynamic)
	return file
}

func put(file []byte, at int, value any) {
	var b bytes.Buffer
	must0(binary.Write(&b, binary.LittleEndian, value))
	copy(file[at:], b.Bytes())
}

// must0 is for what cannot go wrong but by a mistake in this file.
func must0(err error) {
	if err != nil {
		panic(err)
	}
}
