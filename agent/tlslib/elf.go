// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// What is looked at of a file at most. The largest binaries in use have some hundred thousand symbols.
const (
	maxHeaders = 256
	maxTable   = 256 << 20
	chunk      = 64 << 10
)

// file is an ELF file of 64 bits, little-endian, for amd64 or arm64.
type file struct {
	from     io.ReaderAt
	machine  elf.Machine
	segments []elf.Prog64
	sections []section
	soname   string
}

type section struct {
	elf.Section64
	name string
}

// open reads the headers; nil for what is no such file.
func open(from io.ReaderAt) (*file, error) {
	var header elf.Header64
	if err := readAt(from, 0, &header); err != nil {
		return nil, nil
	}
	if !bytes.Equal(header.Ident[:4], []byte(elf.ELFMAG)) || header.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) ||
		header.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return nil, nil
	}
	f := &file{from: from, machine: elf.Machine(header.Machine)}
	if f.machine != elf.EM_X86_64 && f.machine != elf.EM_AARCH64 {
		return nil, nil
	}
	if header.Phnum > maxHeaders || header.Shnum > maxHeaders*16 {
		return nil, fmt.Errorf("%d segments and %d sections: %w", header.Phnum, header.Shnum, errSize)
	}
	f.segments = make([]elf.Prog64, header.Phnum)
	if err := readAt(from, header.Phoff, f.segments); err != nil {
		return nil, fmt.Errorf("read the segments: %w", err)
	}
	raw := make([]elf.Section64, header.Shnum)
	if err := readAt(from, header.Shoff, raw); err != nil {
		// A file runs without them.
		return f, nil
	}
	f.nameSections(raw, int(header.Shstrndx))
	f.soname = f.readSoname()
	return f, nil
}

// readAt reads a value of fixed size.
func readAt(from io.ReaderAt, at uint64, value any) error {
	size := binary.Size(value)
	if size == 0 {
		return nil
	}
	if at > 1<<62 {
		return io.ErrUnexpectedEOF
	}
	raw := make([]byte, size)
	if n, err := from.ReadAt(raw, int64(at)); n < size {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	_, err := binary.Decode(raw, binary.LittleEndian, value)
	return err
}

// nameSections gives the sections their names, as far as they can be read.
func (f *file) nameSections(raw []elf.Section64, names int) {
	for _, s := range raw {
		named := section{Section64: s}
		if names > 0 && names < len(raw) && uint64(s.Name) < raw[names].Size {
			named.name = f.text(raw[names].Off+uint64(s.Name), 32)
		}
		f.sections = append(f.sections, named)
	}
}

// text reads up to a NUL; what is longer is cut.
func (f *file) text(at uint64, most int) string {
	if at > 1<<62 {
		return ""
	}
	raw := make([]byte, most)
	n, _ := f.from.ReadAt(raw, int64(at))
	raw = raw[:n]
	if end := bytes.IndexByte(raw, 0); end >= 0 {
		raw = raw[:end]
	}
	return string(raw)
}

// section gives the first with the name.
func (f *file) section(name string) (section, bool) {
	for _, s := range f.sections {
		if s.name == name && elf.SectionType(s.Type) != elf.SHT_NOBITS {
			return s, true
		}
	}
	return section{}, false
}

// offsetOf gives the offset in the file of an address that the file says is executable.
func (f *file) offsetOf(address uint64) (uint64, bool) {
	for _, s := range f.segments {
		if elf.ProgType(s.Type) != elf.PT_LOAD || elf.ProgFlag(s.Flags)&elf.PF_X == 0 {
			continue
		}
		if address >= s.Vaddr && address-s.Vaddr < s.Filesz && s.Off < 1<<62 {
			return address - s.Vaddr + s.Off, true
		}
	}
	return 0, false
}

// readSoname gives the name that the library is linked by; empty for none.
func (f *file) readSoname() string {
	dynamic, ok := f.section(".dynamic")
	if !ok || dynamic.Size > chunk || int(dynamic.Link) >= len(f.sections) {
		return ""
	}
	entries := make([]elf.Dyn64, dynamic.Size/16)
	if err := readAt(f.from, dynamic.Off, entries); err != nil {
		return ""
	}
	names := f.sections[dynamic.Link]
	for _, e := range entries {
		if elf.DynTag(e.Tag) == elf.DT_SONAME && e.Val < names.Size {
			return f.text(names.Off+e.Val, 64)
		}
	}
	return ""
}
