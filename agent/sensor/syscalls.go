// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// enableCalls makes the program of system calls report the class, on a machine by its Go name.
func (s *Sensor) enableCalls(machine string, class wire.Type) error {
	numbers, ok := callNumbers[machine]
	if !ok {
		return fmt.Errorf("system calls of %s: no table of their numbers", machine)
	}
	table := s.loader.maps["syscalls"]
	for name, call := range calls {
		if wire.Type(call.Type) != class {
			continue
		}
		if n, ok := numbers.native[name]; ok {
			if err := setCall(table, n, func(row *wire.SyscallRow) { row.Native = call }); err != nil {
				return err
			}
			s.own.note("syscalls native", n, true)
		}
		if n, ok := numbers.compat[name]; ok {
			if err := setCall(table, n, func(row *wire.SyscallRow) { row.Compat = call }); err != nil {
				return err
			}
			s.own.note("syscalls compat", n, true)
		}
	}
	return nil
}

func setCall(table *ebpf.Map, number uint32, set func(*wire.SyscallRow)) error {
	var row wire.SyscallRow
	if err := table.Lookup(number, &row); err != nil {
		return fmt.Errorf("map syscalls: number %d: %w", number, err)
	}
	set(&row)
	if err := table.Put(number, row); err != nil {
		return fmt.Errorf("map syscalls: number %d: %w", number, err)
	}
	return nil
}

const (
	result       = uint8(wire.ArgResult)
	flagsPointer = uint8(wire.HowFlagsPointer)
	directory    = uint8(wire.HowDirectory)
	creat        = uint8(wire.HowCreat)
	ids16        = uint8(wire.HowIds16)
	lengthPair   = uint8(wire.HowLengthPair)
	byCall       = uint8(wire.AccessCall)
	byVM         = uint8(wire.AccessVm)
)

// calls says how each system call is read; a table of constants. Where the entries of a machine differ in the arguments
// of a call, it has a name for each form.
var calls = map[string]wire.Syscall{
	"open":              {Type: uint8(wire.TypeOpen), Fd: result, Flags: 2},
	"openat":            {Type: uint8(wire.TypeOpen), Fd: result, Flags: 3},
	"openat2":           {Type: uint8(wire.TypeOpen), Fd: result, Flags: 3, How: flagsPointer},
	"creat":             {Type: uint8(wire.TypeOpen), Fd: result, How: creat},
	"open_by_handle_at": {Type: uint8(wire.TypeOpen), Fd: result, Flags: 3},
	"mknod":             {Type: uint8(wire.TypeCreate), Path: 1, Mode: 2},
	"mknodat":           {Type: uint8(wire.TypeCreate), Dir: 1, Path: 2, Mode: 3},
	"mkdir":             {Type: uint8(wire.TypeCreate), Path: 1, Mode: 2, How: directory},
	"mkdirat":           {Type: uint8(wire.TypeCreate), Dir: 1, Path: 2, Mode: 3, How: directory},
	"unlink":            {Type: uint8(wire.TypeUnlink), Path: 1},
	"rmdir":             {Type: uint8(wire.TypeUnlink), Path: 1},
	"unlinkat":          {Type: uint8(wire.TypeUnlink), Dir: 1, Path: 2},
	"rename":            {Type: uint8(wire.TypeRename), Path: 1, Target: 2},
	"renameat":          {Type: uint8(wire.TypeRename), Dir: 1, Path: 2, TargetDir: 3, Target: 4},
	"renameat2":         {Type: uint8(wire.TypeRename), Dir: 1, Path: 2, TargetDir: 3, Target: 4, Flags: 5},
	"link":              {Type: uint8(wire.TypeLink), Path: 1, Target: 2},
	"linkat":            {Type: uint8(wire.TypeLink), Dir: 1, Path: 2, TargetDir: 3, Target: 4},
	"symlink":           {Type: uint8(wire.TypeSymlink), Path: 2, Target: 1},
	"symlinkat":         {Type: uint8(wire.TypeSymlink), Dir: 2, Path: 3, Target: 1},
	"chmod":             {Type: uint8(wire.TypeChmod), Path: 1, Mode: 2},
	"fchmod":            {Type: uint8(wire.TypeChmod), Fd: 1, Mode: 2},
	"fchmodat":          {Type: uint8(wire.TypeChmod), Dir: 1, Path: 2, Mode: 3},
	"fchmodat2":         {Type: uint8(wire.TypeChmod), Dir: 1, Path: 2, Mode: 3},
	"chown":             {Type: uint8(wire.TypeChown), Path: 1, Uid: 2},
	"lchown":            {Type: uint8(wire.TypeChown), Path: 1, Uid: 2},
	"fchown":            {Type: uint8(wire.TypeChown), Fd: 1, Uid: 2},
	"fchownat":          {Type: uint8(wire.TypeChown), Dir: 1, Path: 2, Uid: 3},
	"chown16":           {Type: uint8(wire.TypeChown), Path: 1, Uid: 2, How: ids16},
	"lchown16":          {Type: uint8(wire.TypeChown), Path: 1, Uid: 2, How: ids16},
	"fchown16":          {Type: uint8(wire.TypeChown), Fd: 1, Uid: 2, How: ids16},
	"truncate":          {Type: uint8(wire.TypeTruncate), Path: 1, Length: 2},
	"ftruncate":         {Type: uint8(wire.TypeTruncate), Fd: 1, Length: 2},
	"truncate64":        {Type: uint8(wire.TypeTruncate), Path: 1, Length: 2, How: lengthPair},
	"ftruncate64":       {Type: uint8(wire.TypeTruncate), Fd: 1, Length: 2, How: lengthPair},
	"truncate64arm":     {Type: uint8(wire.TypeTruncate), Path: 1, Length: 3, How: lengthPair},
	"ftruncate64arm":    {Type: uint8(wire.TypeTruncate), Fd: 1, Length: 3, How: lengthPair},
	"mount":             {Type: uint8(wire.TypeMount), Path: 2, Target: 1, Kind: 3, Flags: 4},
	"move_mount":        {Type: uint8(wire.TypeMount), Dir: 3, Path: 4, TargetDir: 1, Target: 2},
	"mmap":              {Type: uint8(wire.TypeMmapExec), Fd: 5, Flags: 3},
	"ptrace":            {Type: uint8(wire.TypePtrace), Flags: 1, Op: byCall},
	"process_vm_readv":  {Type: uint8(wire.TypePtrace), Op: byVM},
	"process_vm_writev": {Type: uint8(wire.TypePtrace), Op: byVM},
	"setns":             {Type: uint8(wire.TypeSetns), Flags: 2},
	"unshare":           {Type: uint8(wire.TypeUnshare), Flags: 1},
	"bpf":               {Type: uint8(wire.TypeBpf)},
	"memfd_create":      {Type: uint8(wire.TypeMemfd), Flags: 2},
	"setuid":            {Type: uint8(wire.TypeCred)},
	"setgid":            {Type: uint8(wire.TypeCred)},
	"setreuid":          {Type: uint8(wire.TypeCred)},
	"setregid":          {Type: uint8(wire.TypeCred)},
	"setresuid":         {Type: uint8(wire.TypeCred)},
	"setresgid":         {Type: uint8(wire.TypeCred)},
	"setfsuid":          {Type: uint8(wire.TypeCred)},
	"setfsgid":          {Type: uint8(wire.TypeCred)},
	"capset":            {Type: uint8(wire.TypeCred)},
	"setuid32":          {Type: uint8(wire.TypeCred)},
	"setgid32":          {Type: uint8(wire.TypeCred)},
	"setreuid32":        {Type: uint8(wire.TypeCred)},
	"setregid32":        {Type: uint8(wire.TypeCred)},
	"setresuid32":       {Type: uint8(wire.TypeCred)},
	"setresgid32":       {Type: uint8(wire.TypeCred)},
	"setfsuid32":        {Type: uint8(wire.TypeCred)},
	"setfsgid32":        {Type: uint8(wire.TypeCred)},
}

// entryNumbers are the numbers of a machine's native calls and of those of its 32-bit entry, as in the kernel's tables
// (arch/*/entry/syscalls/*.tbl, include/uapi/asm-generic/unistd.h).
type entryNumbers struct{ native, compat map[string]uint32 }

var callNumbers = map[string]entryNumbers{
	"amd64": {native: numbersAMD64, compat: numbersIA32},
	"arm64": {native: numbersARM64, compat: numbersARM},
}

var numbersAMD64 = map[string]uint32{
	"open": 2, "mmap": 9, "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85,
	"link": 86, "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93,
	"lchown": 94, "ptrace": 101, "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114,
	"setresuid": 117, "setresgid": 119, "setfsuid": 122, "setfsgid": 123, "capset": 126, "mknod": 133,
	"mount": 165, "openat": 257, "mkdirat": 258, "mknodat": 259, "fchownat": 260, "unlinkat": 263,
	"renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268, "unshare": 272,
	"open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
	"renameat2": 316, "memfd_create": 319, "bpf": 321, "move_mount": 429, "openat2": 437, "fchmodat2": 452,
}

var numbersIA32 = map[string]uint32{
	"open": 5, "creat": 8, "link": 9, "unlink": 10, "mknod": 14, "chmod": 15, "lchown16": 16, "mount": 21,
	"setuid": 23, "ptrace": 26, "rename": 38, "mkdir": 39, "rmdir": 40, "setgid": 46, "setreuid": 70,
	"setregid": 71, "symlink": 83, "truncate": 92, "ftruncate": 93, "fchmod": 94, "fchown16": 95,
	"setfsuid": 138, "setfsgid": 139, "setresuid": 164, "setresgid": 170, "chown16": 182, "capset": 185,
	"mmap": 192, "lchown": 198, "setreuid32": 203, "setregid32": 204, "fchown": 207, "setresuid32": 208,
	"setresgid32": 210, "chown": 212, "setuid32": 213, "setgid32": 214, "setfsuid32": 215, "setfsgid32": 216,
	"truncate64": 193, "ftruncate64": 194, "openat": 295, "mkdirat": 296, "mknodat": 297, "fchownat": 298,
	"unlinkat": 301, "renameat": 302, "linkat": 303, "symlinkat": 304, "fchmodat": 306, "unshare": 310,
	"open_by_handle_at": 342, "setns": 346, "process_vm_readv": 347, "process_vm_writev": 348,
	"renameat2": 353, "memfd_create": 356, "bpf": 357, "move_mount": 429, "openat2": 437, "fchmodat2": 452,
}

var numbersARM64 = map[string]uint32{
	"mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "mount": 40,
	"truncate": 45, "ftruncate": 46, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "openat": 56,
	"capset": 91, "unshare": 97, "ptrace": 117, "setregid": 143, "setgid": 144, "setreuid": 145, "setuid": 146,
	"setresuid": 147, "setresgid": 149, "setfsuid": 151, "setfsgid": 152, "mmap": 222,
	"open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
	"renameat2": 276, "memfd_create": 279, "bpf": 280, "move_mount": 429, "openat2": 437, "fchmodat2": 452,
}

var numbersARM = map[string]uint32{
	"open": 5, "creat": 8, "link": 9, "unlink": 10, "mknod": 14, "chmod": 15, "lchown16": 16, "mount": 21,
	"setuid": 23, "ptrace": 26, "rename": 38, "mkdir": 39, "rmdir": 40, "setgid": 46, "setreuid": 70,
	"setregid": 71, "symlink": 83, "truncate": 92, "ftruncate": 93, "fchmod": 94, "fchown16": 95,
	"setfsuid": 138, "setfsgid": 139, "setresuid": 164, "setresgid": 170, "chown16": 182, "capset": 185,
	"mmap": 192, "lchown": 198, "setreuid32": 203, "setregid32": 204, "fchown": 207, "setresuid32": 208,
	"setresgid32": 210, "chown": 212, "setuid32": 213, "setgid32": 214, "setfsuid32": 215, "setfsgid32": 216,
	"truncate64arm": 193, "ftruncate64arm": 194, "openat": 322, "mkdirat": 323, "mknodat": 324,
	"fchownat": 325, "unlinkat": 328, "renameat": 329, "linkat": 330, "symlinkat": 331, "fchmodat": 333,
	"unshare": 337, "open_by_handle_at": 371, "setns": 375, "process_vm_readv": 376, "process_vm_writev": 377,
	"renameat2": 382, "memfd_create": 385, "bpf": 386, "move_mount": 429, "openat2": 437, "fchmodat2": 452,
}
