// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"debug/elf"
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// maxFunction bounds the functions that are read instruction by instruction; those that are asked for have about a kilobyte.
const maxFunction = 64 << 10

// ends gives the offsets at which a function returns. An instruction that is not known is an error: what follows it might be
// read wrongly, and a probe within an instruction breaks the program.
func (f *file) ends(offset, size uint64) ([]uint64, error) {
	if size == 0 || size > maxFunction {
		return nil, fmt.Errorf("a function of %d bytes: %w", size, errSize)
	}
	code := make([]byte, size)
	if err := readFull(f.from, code, offset); err != nil {
		return nil, err
	}
	find := x86Returns
	if f.machine == elf.EM_AARCH64 {
		find = arm64Returns
	}
	at, err := find(code)
	if err != nil {
		return nil, err
	}
	if len(at) == 0 {
		return nil, fmt.Errorf("no instruction of its %d bytes returns", size)
	}
	for i := range at {
		at[i] += offset
	}
	return at, nil
}

func x86Returns(code []byte) ([]uint64, error) {
	var at []uint64
	for i := 0; i < len(code); {
		instruction, err := x86asm.Decode(code[i:], 64)
		if err != nil {
			return nil, fmt.Errorf("instruction at %d: %w", i, err)
		}
		if instruction.Op == x86asm.RET {
			at = append(at, uint64(i))
		}
		i += instruction.Len
	}
	return at, nil
}

func arm64Returns(code []byte) ([]uint64, error) {
	var at []uint64
	for i := 0; i+4 <= len(code); i += 4 {
		// All are four bytes long: one that is not known hides nothing.
		instruction, err := arm64asm.Decode(code[i:])
		if err == nil && instruction.Op == arm64asm.RET {
			at = append(at, uint64(i))
		}
	}
	return at, nil
}
