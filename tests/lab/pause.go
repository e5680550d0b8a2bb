// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"runtime"
)

// PauseImage is the name of the image that holds a pod's namespaces. Start
// imports it.
const PauseImage = "holdfast.lab/pause:1"

// pauseImage holds one program, which waits for ever.
func pauseImage() Image {
	return Image{
		Name:       PauseImage,
		Entrypoint: []string{"/pause"},
		Layers:     []Layer{{Files: []File{{Path: "/pause", Mode: 0o755, Content: pauseProgram(runtime.GOARCH)}}}},
	}
}

// pauseProgram returns a static executable, assembled here so that no compiler
// is needed: it calls pause(2), or ppoll(2) without descriptors where there is
// no pause, for ever.
func pauseProgram(arch string) []byte {
	machine, code := elf.EM_X86_64, []byte{
		0xb8, 0x22, 0, 0, 0, // mov eax, SYS_pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to the start
	}
	if arch == "arm64" {
		machine, code = elf.EM_AARCH64, words(
			0xd2800000, // mov x0, #0
			0xd2800001, // mov x1, #0
			0xd2800002, // mov x2, #0
			0xd2800003, // mov x3, #0
			0xd2800928, // mov x8, #SYS_ppoll
			0xd4000001, // svc #0
			0x17fffffa, // b to the start
		)
	}
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(code))
	header := elf.Header64{
		Ident:     [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(machine),
		Version:   uint32(elf.EV_CURRENT),
		Entry:     base + headers,
		Phoff:     64,
		Ehsize:    64,
		Phentsize: 56,
		Phnum:     1,
	}
	segment := elf.Prog64{
		Type:   uint32(elf.PT_LOAD),
		Flags:  uint32(elf.PF_R | elf.PF_X),
		Vaddr:  base,
		Paddr:  base,
		Filesz: size,
		Memsz:  size,
		Align:  0x10000,
	}
	var out bytes.Buffer
	// Writing fixed-size values to a buffer cannot fail.
	_ = binary.Write(&out, binary.LittleEndian, header)
	_ = binary.Write(&out, binary.LittleEndian, segment)
	out.Write(code)
	return out.Bytes()
}

// words encodes instructions of four bytes.
func words(instructions ...uint32) []byte {
	var code []byte
	for _, i := range instructions {
		code = binary.LittleEndian.AppendUint32(code, i)
	}
	return code
}
