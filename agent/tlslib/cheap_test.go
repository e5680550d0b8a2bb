// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machineCode reads hexadecimal digits with blanks.
func machineCode(t *testing.T, text string) []byte {
	t.Helper()
	code, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestCheap has begins of functions as compilers make them.
func TestCheap(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		function   Function
		want       uint64
	}{
		{"push", "41 56 41 55", OpenSSLWriteEx, 0},
		{"endbr64, push", "f30f1efa 55 4889e5", OpenSSLWrite, 4},
		{"sub of the stack pointer", "4883ec18 55", OpenSSLWrite, 0},
		{"sub of the stack pointer, endbr64", "f30f1efa 4883ec18 55", OpenSSLWrite, 0},
		{"arguments that are not read", "4531c0 31c9 e9669cffff", GnuTLSSend, 5},
		{"an argument that is read", "4989c8 4889d1 4889f2 be17000000 e9b6edffff", GnuTLSReceive, 0},
		{"a test, and a jump", "4885ff 0f8497030000 4155", Free, 3},
		{"a load, and a jump by address", "488b07 ff6010", NSSRead, 0},
		{"a store", "48893c25 00000000 55", Free, 0},
		{"of 8 bits", "40b701 55", Free, 0},
		{"Go", "493b6610 0f86a0000000 55 4889e5", GoWrite, 10},
		{"Go, a large frame", "4c8d6424c8 4d3b6610 0f8629020000 55 4889e5", GoRead, 15},
		{"Go before 1.21", "493b6610 0f86a0000000 4883ec50", GoWrite, 4},
		{"another comparison", "483b4610 0f86a0000000 55", Free, 4},
		{"nothing that is known", "ffff", Free, 0},
		{"its end", "4885ff", Free, 0},
		{"empty", "", Free, 0},
	} {
		if got := cheapIn(machineCode(t, tt.code), tt.function); got != tt.want {
			t.Errorf("%s: at %d, want %d", tt.name, got, tt.want)
		}
	}
}

// laidOut is a file whose code is at addresses from 0x1000 on, each function 0x100 after the one before.
func laidOut(t *testing.T, machine elf.Machine, functions ...string) *file {
	t.Helper()
	code := make([]byte, 0x1000+0x100*len(functions))
	for i, text := range functions {
		copy(code[0x1000+0x100*i:], machineCode(t, text))
	}
	return &file{from: bytes.NewReader(code), machine: machine, segments: []elf.Prog64{{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X | elf.PF_R), Off: 0x1000, Vaddr: 0x1000, Filesz: uint64(len(code) - 0x1000),
	}}}
}

// TestInward has the functions that write, and the one within the library, at 0x1000 the first.
func TestInward(t *testing.T) {
	const (
		// At 0x1000.
		work      = "f30f1efa 4156 4155"
		workAlone = "f30f1efa 4883ec18"
		// At 0x1100: SSL_write and, next, SSL_write_ex of OpenSSL 3.0.
		write   = "4883ec18 64488b042528000000 4889442408 31c0 85d2 782f 4889e1 4863d2 e8ddfeffff"
		writeEx = "4883ec08 e8f7fdffff 31d2"
		// SSL_write_ex that sets another argument, and SSL_write_ex2, of 3.3.
		shifted = "4883ec08 4989c8 31c9 e8f2fdffff"
		last    = "f30f1efa 4883ec08 e8f3fcffff"
		// SSL_write_ex that calls SSL_write.
		other = "4883ec08 e8f7feffff"
	)
	all := []string{"SSL_write", "SSL_write_ex", "SSL_write_ex2"}
	for _, tt := range []struct {
		name      string
		functions []string
		want      map[string]Function
	}{
		{"3.0", []string{work, write, writeEx}, map[string]Function{"SSL_write": OpenSSLWriteEx, "SSL_write_ex": OpenSSLWriteEx}},
		{"3.3", []string{work, write, shifted, last}, map[string]Function{
			"SSL_write": OpenSSLWriteEx2, "SSL_write_ex": OpenSSLWriteEx2, "SSL_write_ex2": OpenSSLWriteEx2,
		}},
		{"the arguments are others", []string{work, write, shifted}, nil},
		{"no better within", []string{workAlone, write, writeEx}, nil},
		{"one calls the other", []string{work, "4156 90", other}, nil},
		{"one alone", []string{work, write}, nil},
		{"another does not", []string{work, "4156 90", writeEx}, map[string]Function{"SSL_write_ex": OpenSSLWriteEx}},
	} {
		f, found := laidOut(t, elf.EM_X86_64, tt.functions...), newSymbols()
		for i := range tt.functions[1:] {
			found.at[all[i]] = symbol{address: 0x1100 + 0x100*uint64(i)}
		}
		within := f.inward(found)
		if len(within) != len(tt.want) {
			t.Errorf("%s: %+v, want %v", tt.name, within, tt.want)
		}
		for name, function := range tt.want {
			if within[name] != (place{function, 0x1004}) {
				t.Errorf("%s: %s: %+v, want function %d at 0x1004", tt.name, name, within[name], function)
			}
		}
		f.machine = elf.EM_AARCH64
		if within := f.inward(found); len(within) > 0 {
			t.Errorf("%s: on arm64: %+v", tt.name, within)
		}
	}
}

// TestCheapLibraries looks what instructions the probes of Debian's OpenSSL, and of Go, are at.
func TestCheapLibraries(t *testing.T) {
	files, err := filepath.Glob("/usr/lib/x86_64-linux-gnu/libssl.so.3")
	if err != nil {
		t.Fatal(err)
	}
	raw := map[Kind][]byte{Go: buildGo(t, "amd64", "-s -w")}
	for _, name := range files {
		if raw[OpenSSL], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	for kind, file := range raw {
		for _, p := range one(t, file, kind).Probes {
			if at := file[p.Offset:]; p.Function != GoReadEnd && !emulated(at) {
				t.Errorf("%s: function %d: the instruction % x is not emulated", kind, p.Function, at[:8])
			}
		}
	}
}
