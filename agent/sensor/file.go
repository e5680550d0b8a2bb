// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// fileObject has the maps of what is watched.
const fileObject = "file_lsm"

// syscallProgram reports the calls that are in its table, filled as the ways are taken that need it.
const (
	syscallProgram   = "syscall/on_sys_exit"
	syscallMechanism = "tp_btf sys_exit"
)

// What no program of a way can show, said once for the ways that share it.
const (
	unseenText = "files are named as the caller wrote it, symbolic links and dots not followed; what is done through io_uring; " +
		"policies only report"
	unseenUringTable = "opens through io_uring into the ring's own table; who opens is killed when the file is created or cut"
	unseenUringOpen  = "opens through io_uring; who opens is killed when the file is created or cut"
	unseenExecMaps   = "mappings that an exec makes (the exec is seen), and those that become executable later"
)

// lsmWay is the way of programs at the security hooks, where the deed is refused too, as the policy says.
func lsmWay(mechanism string, programs ...string) way {
	for i, name := range programs {
		programs[i] = fileObject + "/" + name
	}
	return way{programs: programs, mechanism: mechanism, block: probe.Yes}
}

// callWay is the way of the program of system calls.
func callWay(unseen string, class wire.Type) way {
	return way{
		programs: []string{syscallProgram}, mechanism: syscallMechanism, unseen: unseen, block: probe.No,
		calls: class,
	}
}

// fileSignals are attached in this order.
var fileSignals = []signal{
	{"open", []way{
		lsmWay("lsm file_open", "on_open"),
		{
			needs:     uringNamesRequests,
			programs:  []string{syscallProgram, "syscall/on_uring_done"},
			mechanism: "tp_btf sys_exit, io_uring_complete, SIGKILL", unseen: unseenUringTable, block: probe.Yes,
			calls: wire.TypeOpen,
		},
		{
			programs: []string{syscallProgram}, mechanism: "tp_btf sys_exit, SIGKILL", unseen: unseenUringOpen,
			block: probe.Yes, calls: wire.TypeOpen,
		},
	}},
	{"create", []way{
		lsmWay("lsm path_mknod, path_mkdir", "on_mknod", "on_mkdir"), callWay(unseenText, wire.TypeCreate),
	}},
	{"unlink", []way{
		lsmWay("lsm path_unlink, path_rmdir", "on_unlink", "on_rmdir"), callWay(unseenText, wire.TypeUnlink),
	}},
	{"rename", []way{lsmWay("lsm path_rename", "on_rename"), callWay(unseenText, wire.TypeRename)}},
	{"link", []way{lsmWay("lsm path_link", "on_link"), callWay(unseenText, wire.TypeLink)}},
	{"symlink", []way{lsmWay("lsm path_symlink", "on_symlink"), callWay(unseenText, wire.TypeSymlink)}},
	{"chmod", []way{lsmWay("lsm path_chmod", "on_chmod"), callWay(unseenText, wire.TypeChmod)}},
	{"chown", []way{
		lsmWay("lsm path_chown", "on_chown"),
		{programs: []string{fileObject + "/on_chown_common"}, mechanism: "fentry chown_common", block: probe.No},
		callWay(unseenText, wire.TypeChown),
	}},
	{"truncate", []way{
		lsmWay("lsm path_truncate, file_truncate", "on_truncate", "on_ftruncate"),
		lsmWay("lsm path_truncate", "on_truncate"),
		callWay(unseenText, wire.TypeTruncate),
	}},
	{"mount", []way{
		{
			programs:  []string{fileObject + "/on_mount", fileObject + "/on_move_mount"},
			mechanism: "lsm sb_mount, move_mount", block: probe.No,
		},
		callWay(unseenText, wire.TypeMount),
	}},
	{"mmap_exec", []way{
		lsmWay("lsm mmap_file, file_mprotect", "on_mmap", "on_mprotect"),
		{
			programs: []string{syscallProgram}, mechanism: "tp_btf sys_exit, SIGKILL", unseen: unseenExecMaps,
			block: probe.Yes, calls: wire.TypeMmapExec,
		},
	}},
}

// completionParams gives how many things the tracepoint io_uring_complete tells: the ring, then up to 5.17 no request;
// from 6.14 on the request and the completion as a structure; in between the request and numbers. 0 without io_uring.
func completionParams(kernel *btf.Spec) (int, error) {
	var point *btf.Typedef
	err := kernel.TypeByName("btf_trace_io_uring_complete", &point)
	if errors.Is(err, btf.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the kernel's types: %w", err)
	}
	pointer, ok := btf.UnderlyingType(point).(*btf.Pointer)
	if !ok {
		return 0, fmt.Errorf("type %s is no pointer", point.Name)
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0, fmt.Errorf("type %s points to no function", point.Name)
	}
	// The first parameter is the tracepoint's own.
	return len(proto.Params) - 1, nil
}

const (
	paramsWithoutRequest = 4
	paramsAsStruct       = 3
)

// completionAsStruct reports whether the tracepoint gives the completion as a structure.
func completionAsStruct(kernel *btf.Spec) (bool, error) {
	n, err := completionParams(kernel)
	return n == paramsAsStruct, err
}

// uringNamesRequests refuses kernels whose tracepoint does not tell which request is complete.
func uringNamesRequests(kernel *btf.Spec) error {
	n, err := completionParams(kernel)
	if err == nil && (n == 0 || n == paramsWithoutRequest) {
		return &probe.Unsupported{Feature: "opens through io_uring", Since: "5.18"}
	}
	return err
}
