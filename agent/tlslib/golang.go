// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The least versions of Go whose functions take their arguments in registers, by machine.
const (
	registersAMD64 = 17
	registersARM64 = 18
)

// goLibrary gives what a Go binary has of crypto/tls; nil when it is none, or has nothing of it.
func (f *file) goLibrary(found *symbols) (*Library, error) {
	version := f.goVersion()
	table, ok := f.functionTable()
	if version == "" && !ok {
		return nil, nil
	}
	if minor, ok := goMinor(version); ok && !f.inRegisters(minor) {
		return nil, fmt.Errorf("%s passes arguments on the stack", version)
	}
	at := map[string]symbol{}
	for _, name := range []string{goHandshake, goWrite, goRead} {
		if s, ok := found.at[name]; ok && s.size > 0 {
			at[name] = s
		}
	}
	if len(at) < 3 && ok {
		var err error
		if at, err = f.goFunctions(table); err != nil {
			return nil, err
		}
	}
	if len(at) == 0 {
		return nil, nil
	}
	return f.goProbes(version, at)
}

func (f *file) goProbes(version string, at map[string]symbol) (*Library, error) {
	l := &Library{Kind: Go, Version: version}
	for name, function := range map[string]Function{goHandshake: GoHandshake, goWrite: GoWrite, goRead: GoRead} {
		s, ok := at[name]
		if !ok {
			continue
		}
		offset, ok := f.offsetOf(s.address)
		if !ok {
			return nil, fmt.Errorf("%s is at %#x, outside of what is executable", name, s.address)
		}
		at, _ := f.offsetOf(f.cheap(s.address, function))
		l.Probes = append(l.Probes, Probe{function, at})
		if function != GoRead {
			continue
		}
		ends, err := f.ends(offset, s.size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, end := range ends {
			l.Probes = append(l.Probes, Probe{GoReadEnd, end})
		}
	}
	sortProbes(l.Probes)
	return l, nil
}

func (f *file) inRegisters(minor int) bool {
	if f.machine == elf.EM_AARCH64 {
		return minor >= registersARM64
	}
	return minor >= registersAMD64
}

// goMinor reads the second number of "go1.26.1".
func goMinor(version string) (int, bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0, false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	minor, err := strconv.Atoi(rest)
	return minor, err == nil
}

// goVersion reads the version from what the linker leaves in every binary (debug/buildinfo: a header of 32 bytes, then the
// version with its length); empty for what is no Go binary, or one from before 1.18.
func (f *file) goVersion() string {
	const flagInline = 2
	s, ok := f.section(".go.buildinfo")
	if !ok || s.Size < 34 {
		return ""
	}
	raw := make([]byte, min(s.Size, 160))
	if readFull(f.from, raw, s.Off) != nil || !strings.HasPrefix(string(raw), "\xff Go buildinf:") || raw[15]&flagInline == 0 {
		return ""
	}
	length, n := binary.Uvarint(raw[32:])
	if n <= 0 || length > 64 || 32+n+int(length) > len(raw) {
		return ""
	}
	return string(raw[32+n : 32+n+int(length)])
}

// functionTable is the section with the table of functions.
func (f *file) functionTable() (section, bool) {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if s, ok := f.section(name); ok {
			return s, true
		}
	}
	return section{}, false
}

// goTable is the header of the table of functions (runtime.pcHeader); offsets count from the table's begin.
type goTable struct {
	Magic     uint32
	Pad       [2]uint8
	Quantum   uint8
	Pointer   uint8
	Functions uint64
	Files     uint64
	TextStart uint64
	Names     uint64
	Units     uint64
	FileNames uint64
	Values    uint64
	Table     uint64
}

// Magic numbers of the header: from 1.18, and from 1.20 on.
const (
	goMagic118 = 0xfffffff0
	goMagic120 = 0xfffffff1
)

var errNoTable = errors.New("the table of functions is none of Go 1.18 or later")

// goFunctions finds the functions by the table that the runtime itself uses.
func (f *file) goFunctions(table section) (map[string]symbol, error) {
	var header goTable
	if err := readAt(f.from, table.Off, &header); err != nil {
		return nil, err
	}
	if header.Magic != goMagic118 && header.Magic != goMagic120 || header.Pointer != 8 {
		return nil, errNoTable
	}
	if header.Names > header.Units || header.Units > table.Size || header.Table > table.Size || header.Functions > maxTable/8 {
		return nil, fmt.Errorf("the table of functions runs beyond its %d bytes", table.Size)
	}
	names, err := f.find(table.Off+header.Names, header.Units-header.Names, []string{goHandshake, goWrite, goRead})
	if err != nil || len(names) == 0 {
		return nil, err
	}
	text, err := f.textStart(header, table.Addr)
	if err != nil {
		return nil, err
	}
	return f.namedFunctions(table, header, names, text)
}

// namedFunctions goes over the table: an entry is where a function begins, from the begin of all code, and where it is described.
// Functions are described in the order of the table, so this is read through a window.
func (f *file) namedFunctions(table section, header goTable, names map[uint64]string, text uint64) (map[string]symbol, error) {
	at := map[string]symbol{}
	window := &window{from: f.from}
	var last string
	start, size := table.Off+header.Table, min((header.Functions+1)*8, table.Size-header.Table)
	var failed error
	err := f.each(start, size, 8, func(_ uint64, raw []byte) bool {
		entry := text + uint64(binary.LittleEndian.Uint32(raw))
		if last != "" {
			s := at[last]
			s.size = entry - s.address
			at[last] = s
			last = ""
		}
		described := uint64(binary.LittleEndian.Uint32(raw[4:]))
		if described+8 > table.Size-header.Table {
			// The last entry ends the one before it, and is described by nothing.
			return true
		}
		name, err := window.uint32(start + described + 4)
		if err != nil {
			failed = err
			return false
		}
		if known, ok := names[uint64(name)]; ok {
			at[known], last = symbol{address: entry}, known
		}
		return len(at) < 3 || last != ""
	})
	return at, errors.Join(err, failed)
}

// textStart is where all code begins. Linkers from 1.26 on leave it out of the header: it is what the runtime's own description
// of the module says, of which the first word is the address of the table (runtime.moduledata).
func (f *file) textStart(header goTable, table uint64) (uint64, error) {
	if header.TextStart != 0 {
		return header.TextStart, nil
	}
	const textAt = 176
	if s, ok := f.section(".go.module"); ok {
		var words [textAt/8 + 1]uint64
		if err := readAt(f.from, s.Off, &words); err == nil && words[0] == table {
			return words[textAt/8], nil
		}
	}
	if s, ok := f.section(".text"); ok && s.Addr != 0 {
		return s.Addr, nil
	}
	return 0, errors.New("where its code begins is not told")
}

// window reads single words of a file, of which the next is mostly near the last.
type window struct {
	from interface {
		ReadAt([]byte, int64) (int, error)
	}
	at     uint64
	buffer []byte
}

func (w *window) uint32(at uint64) (uint32, error) {
	if at < w.at || at+4 > w.at+uint64(len(w.buffer)) {
		if w.buffer == nil {
			w.buffer = make([]byte, chunk)
		}
		w.buffer = w.buffer[:cap(w.buffer)]
		if at > 1<<62 {
			return 0, errNoTable
		}
		n, err := w.from.ReadAt(w.buffer, int64(at))
		if n < 4 {
			w.buffer = w.buffer[:0]
			return 0, fmt.Errorf("read at %d: %w", at, err)
		}
		w.at, w.buffer = at, w.buffer[:n]
	}
	return binary.LittleEndian.Uint32(w.buffer[at-w.at:]), nil
}
