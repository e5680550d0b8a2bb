// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// symbols are the functions that are looked for, as far as they were found.
type symbols struct {
	wanted []string
	at     map[string]symbol
}

type symbol struct {
	address, size uint64
}

func newSymbols() *symbols {
	s := &symbols{at: map[string]symbol{}, wanted: append([]string{goHandshake, goWrite, goRead}, boring...)}
	for _, family := range families {
		for name := range family.functions {
			s.wanted = append(s.wanted, name)
		}
	}
	return s
}

// symbolTables are those of what is exported, and of all.
func (f *file) symbolTables() []section {
	var list []section
	for _, s := range f.sections {
		if t := elf.SectionType(s.Type); (t == elf.SHT_DYNSYM || t == elf.SHT_SYMTAB) && len(list) < 2 {
			list = append(list, s)
		}
	}
	return list
}

// readSymbols goes over the names of a table, to know which places of it matter, then over its symbols.
func (f *file) readSymbols(table section, found *symbols) error {
	if int(table.Link) >= len(f.sections) {
		return fmt.Errorf("section %q has its names in section %d of %d", table.name, table.Link, len(f.sections))
	}
	names, err := f.places(f.sections[table.Link], found.wanted)
	if err != nil || len(names) == 0 {
		return err
	}
	return f.each(table.Off, table.Size, elf.Sym64Size, func(_ uint64, raw []byte) bool {
		name, ok := names[uint64(binary.LittleEndian.Uint32(raw))]
		if !ok || elf.ST_TYPE(raw[4]) != elf.STT_FUNC || binary.LittleEndian.Uint16(raw[6:]) == uint16(elf.SHN_UNDEF) {
			return true
		}
		if _, known := found.at[name]; !known {
			found.at[name] = symbol{binary.LittleEndian.Uint64(raw[8:]), binary.LittleEndian.Uint64(raw[16:])}
		}
		return true
	})
}

// places finds where in a table of texts, each ended by a NUL, the wanted ones are, by offset. One may be the end of another.
func (f *file) places(table section, wanted []string) (map[uint64]string, error) {
	if elf.SectionType(table.Type) == elf.SHT_NOBITS {
		return nil, nil
	}
	return f.find(table.Off, table.Size, wanted)
}

func (f *file) find(offset, size uint64, wanted []string) (map[uint64]string, error) {
	found := map[uint64]string{}
	var longest int
	for _, name := range wanted {
		longest = max(longest, len(name)+1)
	}
	err := f.windows(offset, size, longest, func(at uint64, window []byte) {
		for _, name := range wanted {
			for from := 0; ; {
				i := bytes.Index(window[from:], []byte(name))
				if i < 0 {
					break
				}
				from += i + len(name)
				if from < len(window) && window[from] == 0 && len(found) < 4096 {
					found[at+uint64(from-len(name))] = name
				}
			}
		}
	})
	return found, err
}

// windows reads a part of the file piece by piece, each with the last bytes of the one before it.
func (f *file) windows(offset, size uint64, overlap int, do func(at uint64, window []byte)) error {
	if size > maxTable || offset > 1<<62 {
		return fmt.Errorf("a table of %d bytes: %w", size, errSize)
	}
	buffer := make([]byte, overlap+chunk)
	kept := 0
	for at := uint64(0); at < size; {
		n := int(min(size-at, chunk))
		if err := readFull(f.from, buffer[kept:kept+n], offset+at); err != nil {
			return err
		}
		do(at-uint64(kept), buffer[:kept+n])
		at += uint64(n)
		whole := kept + n
		keep := min(overlap, whole)
		copy(buffer, buffer[whole-keep:whole])
		kept = keep
	}
	return nil
}

// each calls do for each entry of a table until it gives false; what is left over at its end is no entry.
func (f *file) each(offset, size, entry uint64, do func(at uint64, raw []byte) bool) error {
	if size > maxTable || offset > 1<<62 {
		return fmt.Errorf("a table of %d bytes: %w", size, errSize)
	}
	buffer := make([]byte, chunk/entry*entry)
	for at := uint64(0); at+entry <= size; {
		n := min(size-at, uint64(len(buffer))) / entry * entry
		if err := readFull(f.from, buffer[:n], offset+at); err != nil {
			return err
		}
		for i := uint64(0); i < n; i += entry {
			if !do(at+i, buffer[i:i+entry]) {
				return nil
			}
		}
		at += n
	}
	return nil
}

func readFull(from io.ReaderAt, to []byte, at uint64) error {
	if at > 1<<62 {
		return io.ErrUnexpectedEOF
	}
	n, err := from.ReadAt(to, int64(at))
	if n == len(to) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(to), at, err)
}
