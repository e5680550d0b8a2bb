// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The contract between the programs and the agent: every record that crosses a ring and every map value that both
// sides read. Go types are generated from it (bpf/wire.bpf.c). Fixed-width fields only, padding explicit, sizes
// asserted. All times are nanoseconds of the boot clock; all integers are little-endian; addresses and ports in
// network structures are as on the wire.
//
// A record is a head, the fixed part of its type and, where the type has texts, their bytes one after the other in the
// order of the *_len fields. Texts are bytes as the kernel has them, without NUL unless said otherwise.

#pragma once

#include "bpf.h"

// Raised with every change of this file; each object carries it and the loader refuses another.
#define WIRE_VERSION 4

enum hf_type {
	HF_FORK = 1,
	HF_EXEC = 2,
	HF_EXIT = 3,
	// A process that the agent has not been told of: it was there before the agent (from the task iterator), or what it did
	// was known until now (sent ahead of the first record about it).
	HF_TASK = 4,
	HF_CGROUP_MKDIR = 5,
	HF_CGROUP_RMDIR = 6,
	HF_CGROUP_ATTACH = 7,

	HF_OPEN = 10,
	HF_CREATE = 11,
	HF_UNLINK = 12,
	HF_RENAME = 13,
	HF_LINK = 14,
	HF_SYMLINK = 15,
	HF_CHMOD = 16,
	HF_CHOWN = 17,
	HF_TRUNCATE = 18,
	HF_MOUNT = 19,
	HF_MMAP_EXEC = 20,
	// An exec that was refused before it began: a file operation on the file that was to run; target is what was given to
	// exec.
	HF_EXECUTE = 21,

	HF_CONNECT = 25,
	HF_SENDTO = 26,
	HF_BIND = 27,
	HF_LISTEN = 28,
	HF_ACCEPT = 29,
	HF_SOCKET = 30,
	HF_DNS = 31,
	HF_FLOW = 32,
	HF_PASSED_SOCKET = 33,

	HF_PTRACE = 40,
	HF_SETNS = 41,
	HF_UNSHARE = 42,
	HF_MODULE = 43,
	HF_BPF = 44,
	HF_CRED = 45,
	HF_MEMFD = 46,
	HF_IO_URING = 47,

	// On a ring of their own (wire_content.h).
	HF_CONTENT = 50,
	HF_CONTENT_EXEC = 51,
	HF_CONTENT_REFUSED = 52,

	HF_LIMIT = 64,
};

// Flags of hf_head.
enum hf_flag {
	// The call came through the 32-bit entry of a 64-bit kernel.
	HF_F_COMPAT = 1,
	// The call came through io_uring.
	HF_F_URING = 2,
	// The task, or the child of a fork, is not in the cgroup of the container that its lineage was born in.
	HF_F_STRAYED = 4,
	// A text was longer than what is kept.
	HF_F_TRUNCATED = 8,
	// Something could not be read; the matching counter says what.
	HF_F_PARTIAL = 16,
	// The texts were read from the caller's memory, not from what the kernel acted on.
	HF_F_USER_TEXT = 32,
	// result holds the outcome; without it the hook runs before the outcome is known.
	HF_F_RESULT = 64,
	// The record matched a watched path, name or address; else it is here because its class is recorded.
	HF_F_WATCHED = 128,
	// What the policy of the container said, where it did not allow the deed; signal and reason of the head tell more.
	// LEARN: it goes on, and is to be learned. WOULD_BLOCK: it goes on, and would not where the mode is enforce. BLOCKED:
	// it was refused. KILLED: the process was killed before it could use what the deed brought.
	HF_F_LEARN = 256,
	HF_F_WOULD_BLOCK = 512,
	HF_F_BLOCKED = 1024,
	HF_F_KILLED = 2048,
};

// Signals that have a mode of their own.
enum hf_signal {
	HF_SIGNAL_NONE = 0,
	HF_SIGNAL_PROCESS = 1,
	HF_SIGNAL_FILE = 2,
	HF_SIGNAL_EGRESS = 3,
	// What needs no learning: drift, fileless exec, protected files, the metadata service, raw and packet sockets.
	HF_SIGNAL_PROTECT = 4,
	// What leaves: content and volume. What comes in: attacks on servers.
	HF_SIGNAL_DLP = 5,
	HF_SIGNAL_WAF = 6,
	HF_SIGNALS = 8,
};

// What is done about a deed that the policy does not list, weakest first.
enum hf_mode {
	HF_MODE_OFF = 0,
	HF_MODE_LEARN = 1,
	HF_MODE_MONITOR = 2,
	HF_MODE_ENFORCE = 3,
};

// Why a deed is not allowed.
enum hf_reason {
	HF_REASON_NONE = 0,
	// The executable is not listed, or not with this parent.
	HF_REASON_EXECUTABLE = 1,
	HF_REASON_PARENT = 2,
	// It is listed, but the file comes from elsewhere than it may.
	HF_REASON_DRIFT = 3,
	HF_REASON_FILELESS = 4,
	HF_REASON_ARGUMENTS = 5,
	HF_REASON_LIBRARY = 6,
	HF_REASON_FILE = 7,
	HF_REASON_PROTECTED_FILE = 8,
	// The address is not listed and no name that is listed stands for it now.
	HF_REASON_ADDRESS = 9,
	HF_REASON_METADATA = 10,
	HF_REASON_DOMAIN = 11,
	HF_REASON_LISTEN = 12,
	HF_REASON_SOCKET = 13,
	HF_REASON_RAW_SOCKET = 14,
	HF_REASON_PASSED_SOCKET = 15,
	HF_REASON_MOUNT = 16,
	// What is sent holds a value that must not leave.
	HF_REASON_CONTENT = 17,
	HF_REASONS = 32,
};

// hf_head begins every record: 64 bytes.
struct hf_head {
	__u16 type;
	__u16 flags;
	// Bytes of the whole record, this head included.
	__u16 size;
	// hf_signal and hf_reason of a deed that the policy did not allow.
	__u8 signal;
	__u8 reason;
	// Consecutive within (cpu, slot, ring); a number that is missing is a record that was dropped.
	__u64 seq;
	__u64 time;
	__u16 cpu;
	__u8 slot;
	__u8 ring;
	__s32 result;
	__u32 tgid;
	__u32 tid;
	// Start of the thread group leader; (tgid, start) is the identity of a process.
	__u64 start;
	// cgroup2 the task is in now.
	__u64 cgroup;
	// cgroup2 of the container that the lineage was born in; 0 for the host.
	__u64 origin;
};
_Static_assert(sizeof(struct hf_head) == 64, "hf_head");

// Where a file stands, beside its path.
enum hf_file_flag {
	HF_FILE_UPPER = 1,
	HF_FILE_MEMFD = 2,
	HF_FILE_DELETED = 4,
	HF_FILE_SETUID = 8,
	HF_FILE_SETGID = 16,
	HF_FILE_OVERLAY = 32,
	HF_FILE_TMPFS = 64,
};

// hf_file identifies a file: 32 bytes.
struct hf_file {
	__u64 inode;
	__u32 device;
	__u32 generation;
	__u32 magic;
	__u32 flags;
	__u16 mode;
	__u16 nlink;
	__u32 pad;
};
_Static_assert(sizeof(struct hf_file) == 32, "hf_file");

// hf_cred is who a task acts as: 56 bytes.
struct hf_cred {
	__u32 uid;
	__u32 gid;
	__u32 euid;
	__u32 egid;
	__u32 suid;
	__u32 fsuid;
	__u32 loginuid;
	__u32 userns;
	__u64 effective;
	__u64 permitted;
	__u64 inheritable;
};
_Static_assert(sizeof(struct hf_cred) == 56, "hf_cred");

// hf_spaces are the inode numbers of a task's namespaces: 32 bytes.
struct hf_spaces {
	__u32 mnt;
	__u32 pid;
	__u32 net;
	__u32 user;
	__u32 ipc;
	__u32 uts;
	__u32 cgroup;
	__u32 ns_pid;
};
_Static_assert(sizeof(struct hf_spaces) == 32, "hf_spaces");

// hf_fork: the head names the parent, the body the child. Only processes are reported, not threads.
struct hf_fork {
	struct hf_head head;
	__u32 child_tgid;
	__u32 child_ns_pid;
	__u64 child_start;
	__u64 child_cgroup;
	__u64 child_origin;
};
_Static_assert(sizeof(struct hf_fork) == 96, "hf_fork");

// Bits of stdio in hf_exec: what descriptors 0 to 2 were at exec. SOCKET is one that reaches other machines or other
// programs by address (IPv4, IPv6, vsock …), UNIX a local one or a socket pair.
enum hf_stdio {
	HF_STDIN_SOCKET = 1,
	HF_STDOUT_SOCKET = 2,
	HF_STDERR_SOCKET = 4,
	HF_STDIN_PIPE = 8,
	HF_STDOUT_PIPE = 16,
	HF_STDERR_PIPE = 32,
	HF_STDIN_UNIX = 64,
	HF_STDOUT_UNIX = 128,
	HF_STDERR_UNIX = 256,
};

// hf_exec, for HF_EXEC and HF_TASK. Texts: exe, filename (as given to exec: the script when there is an interpreter),
// interp (the interpreter's path, when not filename), cwd, argv (NUL between arguments; none where the record is not sent by
// the process itself).
struct hf_exec {
	struct hf_head head;
	struct hf_file file;
	struct hf_cred cred;
	struct hf_spaces spaces;
	__u32 ppid;
	__u32 stdio;
	__u64 parent_start;
	// Length of the whole argument vector in the process, and a hash of all of it: for each 8-byte little-endian
	// word w, the last padded with zeros, h = (h ^ w) * 1099511628211, from 14695981039346656037. When argv is
	// truncated, its text is the first 4096 and the last 4096 bytes.
	__u64 argv_hash;
	__u32 argv_size;
	__u16 exe_len;
	__u16 filename_len;
	__u16 interp_len;
	__u16 cwd_len;
	__u16 argv_len;
	__u16 pad;
	__u8 comm[16];
	__u8 tty[24];
	// TASK: the last exec that was seen; 0 for none. EXEC: the time of the head.
	__u64 exec_time;
	// EXEC: the executable before, as hf_process has it, 0 where it is not known. TASK: the present one.
	__u64 before;
};
_Static_assert(sizeof(struct hf_exec) == 280, "hf_exec");

// hf_exit: the head names the process; reported when its last thread ends.
struct hf_exit {
	struct hf_head head;
	// As wait(2) gives it.
	__u32 status;
	__u32 pad;
};
_Static_assert(sizeof(struct hf_exit) == 72, "hf_exit");

// hf_cgroup, for HF_CGROUP_MKDIR, _RMDIR and _ATTACH. Text: name, the last component of the path (for ATTACH, none).
struct hf_cgroup {
	struct hf_head head;
	__u64 id;
	__u64 parent;
	// The container cgroup that this one is or is within; 0 for none.
	__u64 container;
	__u32 level;
	// ATTACH: the task that was moved.
	__u32 tgid;
	__u16 name_len;
	__u16 pad[3];
};
_Static_assert(sizeof(struct hf_cgroup) == 104, "hf_cgroup");

// hf_file_op, for HF_OPEN … HF_EXECUTE. file is the file that is acted on, zero for one that is not yet there (CREATE,
// SYMLINK before it is done) or no longer known (texts of the caller). MOUNT: what is mounted, for move_mount, else the
// folder that it is mounted on. Texts: path, target (new path of a rename or link, text of a symlink, source
// of a mount).
struct hf_file_op {
	struct hf_head head;
	struct hf_file file;
	// OPEN: open(2) flags. MOUNT: mount flags. MMAP_EXEC: protection. RENAME: renameat2 flags.
	__u32 flags;
	// CREATE, CHMOD: mode. CHOWN: uid, gid, ~0 for one that stays.
	__u32 mode;
	__u32 uid;
	__u32 gid;
	// TRUNCATE: new length; ~0 where the hook does not tell.
	__u64 length;
	__u16 path_len;
	__u16 target_len;
	// MOUNT: file system type, NUL-terminated if shorter.
	__u8 fstype[20];
};
_Static_assert(sizeof(struct hf_file_op) == 144, "hf_file_op");

// hf_net, for HF_CONNECT … HF_ACCEPT, HF_SOCKET, HF_FLOW and HF_PASSED_SOCKET. v4-mapped addresses are given as IPv4.
// Addresses are 16 bytes, IPv4 in the first four. For AF_UNIX, the text is the path (a leading NUL for abstract ones); for the
// reason CONTENT, the name of the detector.
struct hf_net {
	struct hf_head head;
	__u64 cookie;
	__u8 local[16];
	__u8 remote[16];
	// Host byte order.
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u16 kind;
	__u16 protocol;
	__u16 backlog;
	// hf_net_flag
	__u16 net_flags;
	__u16 path_len;
	// FLOW: payload since the flow began, so that a lost record loses nothing (TCP: without retransmissions; what was
	// sent before it was acknowledged counts). PASSED_SOCKET: bytes_out of this call.
	__u64 bytes_out;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 packets_in;
	// PASSED_SOCKET: cgroup2 that the socket belongs to, and its container.
	__u64 socket_cgroup;
	__u64 socket_origin;
};
_Static_assert(sizeof(struct hf_net) == 168, "hf_net");

enum hf_net_flag {
	// The program gave a v4-mapped IPv6 address.
	HF_NET_MAPPED = 1,
	// The flow has ended.
	HF_NET_CLOSED = 2,
	// The process began the flow (else it was accepted).
	HF_NET_OUTBOUND = 4,
	// The process named is the socket's owner, found from the socket; the hook ran in another context.
	HF_NET_OWNER = 8,
};

// hf_dns: what a packet from or to port 53 carries, to be parsed in the agent. Text: for UDP the message, for TCP a piece
// of the stream (each message in it after two bytes of length), which the agent puts together by cookie, direction and
// sequence; cut at 4096 bytes.
struct hf_dns {
	struct hf_head head;
	__u64 cookie;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;
	__u16 protocol;
	// 1: from the container.
	__u16 outbound;
	__u16 message_len;
	// Length of the message in the packet.
	__u32 message_size;
	// TCP: sequence number of the first byte.
	__u32 sequence;
	__u32 pad;
};
_Static_assert(sizeof(struct hf_dns) == 128, "hf_dns");

// hf_security, for HF_PTRACE … HF_IO_URING. Text: name (memfd name, module name).
//   PTRACE: op is hf_access; target_tgid, target_start, target_origin; mode is the access mode (PTRACE_MODE_*); flags the
//           request of ptrace(2), where the system call is what is seen.
//   SETNS, UNSHARE: flags are the CLONE_NEW* that changed; spaces before and after. UNSHARE op 1: by clone, target_tgid
//           and target_start are the child, which has spaces_after.
//   MODULE: name; flags are the taints that it brought.
//   BPF: op is the command of bpf(2); kind the type of a program or map that is made, name its name.
//   CRED: before and after; flags are hf_gain.
//   MEMFD: name without "memfd:"; flags, where the system call is what is seen.
//   IO_URING: op is the number of submission entries, kind that of completion entries, flags the set-up flags.
struct hf_security {
	struct hf_head head;
	__u32 op;
	__u32 kind;
	__u64 flags;
	__u32 mode;
	__u32 target_tgid;
	__u64 target_start;
	__u64 target_origin;
	struct hf_cred before;
	struct hf_cred after;
	struct hf_spaces spaces_before;
	struct hf_spaces spaces_after;
	__u16 name_len;
	__u16 pad[3];
};
_Static_assert(sizeof(struct hf_security) == 288, "hf_security");

// Of whom a process asked access to another's memory or state: op of HF_PTRACE.
enum hf_access {
	// With its real credentials: ptrace attach or seize, process_vm_readv and writev, pidfd_getfd.
	HF_ACCESS_CALL = 1,
	// process_vm_readv or writev, where the system call tells.
	HF_ACCESS_VM = 2,
	// With its file system credentials: through /proc (mem, environ, maps, fd, …).
	HF_ACCESS_PROC = 3,
	// PTRACE_TRACEME: asked its parent to trace it.
	HF_ACCESS_TRACEME = 4,
};

// What a change of credentials brought: flags of HF_CRED.
enum hf_gain {
	// A user id became 0 that was not.
	HF_GAIN_ROOT = 1,
	HF_GAIN_CAPS = 2,
	HF_GAIN_USERNS = 4,
};

// What went wrong in the kernel, by cause; a per-CPU array of __u64 read by the agent.
enum hf_counter {
	HF_C_RING_URGENT_FULL = 0,
	HF_C_RING_BULK_FULL = 1,
	// No scratch buffer was free: more programs were nested on a CPU than there are slots.
	HF_C_SCRATCH_BUSY = 2,
	HF_C_PROCESS_MAP_FULL = 3,
	HF_C_CGROUP_MAP_FULL = 4,
	HF_C_SOCKET_MAP_FULL = 5,
	HF_C_FLOW_MAP_FULL = 6,
	// Caller's memory could not be read: not resident, or not there.
	HF_C_USER_READ = 7,
	HF_C_PATH_TOO_DEEP = 8,
	HF_C_PATH_READ = 9,
	HF_C_ARGV_READ = 10,
	// A packet's payload could not be loaded.
	HF_C_PACKET_READ = 11,
	// A process was not in the process map: lineage fell back on the current cgroup.
	HF_C_PROCESS_UNKNOWN = 12,
	// A socket's owner was not known.
	HF_C_SOCKET_UNKNOWN = 13,
	// The hash of a truncated argument vector covers only its first part.
	HF_C_ARGV_HASH_PARTIAL = 14,
	// An address of an answer could not be admitted: the map, or the names of the address, had no room.
	HF_C_ADMIT_FULL = 15,
	// A question could not be remembered, so that its answer is not believed.
	HF_C_QUESTION_LOST = 16,
	HF_C_RING_CONTENT_FULL = 17,
	// What a process gave to a TLS library, or got from it, could not be read: not resident, or not there.
	HF_C_CONTENT_READ = 18,
	HF_COUNTERS = 32,
};

// hf_interest says which classes of a container's events go to the agent: bit 1 << hf_type.
struct hf_interest {
	// Every event of the class.
	__u64 all;
	// Only those that match a watched path, name or address.
	__u64 watched;
};

// hf_process is what the kernel side remembers of a process: 48 bytes.
struct hf_process {
	__u64 start;
	__u64 origin;
	__u64 exec_time;
	// The executable: the first half of its path's hash; HF_EXE_RUNTIME before the first exec in the container's own mounts.
	__u64 exe;
	// Where the executable comes from, hf_source, as far as it is known, and hf_process_flag. The upper half is of the
	// exec that the process began last (checked.h).
	__u32 flags;
	__u32 nsmnt;
	__u64 caps;
};

// hf_process_flag says of a process, above the bits of hf_source:
enum hf_process_flag {
	// The bits of hf_source.
	HF_PROCESS_SOURCE = 255,
	// The agent has been told of the process.
	HF_PROCESS_TOLD = 256,
	// All of its life is told, and all of its children's: it began as an exec session, or with a file from neither the image
	// nor a volume.
	HF_PROCESS_LOUD = 512,
	// Its exec was the first of the container: it is the entry point.
	HF_PROCESS_FIRST = 1024,
};

// hf_watch_key is a key of the watched path trie: bits of prefix, then the path.
struct hf_watch_key {
	__u32 bits;
	__u8 path[124];
};
_Static_assert(sizeof(struct hf_watch_key) == 128, "hf_watch_key");

// hf_name_filter tells most names that are not watched from those that may be: a bit for each watched name by its first
// eight bytes and its length, and one for each ending. agent/sensor sets what bpf/include/watch.h asks.
#define HF_NAME_BITS 4096
#define HF_ENDING_BITS 256

struct hf_name_filter {
	__u64 names[HF_NAME_BITS / 64];
	__u64 endings[HF_ENDING_BITS / 64];
	// 1 when there are endings.
	__u64 any_ending;
};

// hf_watch_name is a key of the watched names, padded with zeros: the last component of a path, or the one before it, or a
// star and the last four bytes of the last component.
struct hf_watch_name {
	__u8 name[48];
};
_Static_assert(sizeof(struct hf_watch_name) == 48, "hf_watch_name");

enum hf_watch {
	HF_WATCH_READ = 1,
	HF_WATCH_WRITE = 2,
	// Reading it takes a policy that lists it.
	HF_WATCH_PROTECT = 4,
};

// Arguments in hf_syscall are numbered from 1; 0 is none.
enum hf_argument {
	// The result of the call, a descriptor.
	HF_ARG_RESULT = 7,
};

// What in a system call is not an argument of its own.
enum hf_how {
	// flags is a pointer to a structure that begins with the flags, 64 bits (openat2, clone3).
	HF_HOW_FLAGS_POINTER = 1,
	// mode is not an argument: the call makes a directory, or creates a file as creat(2).
	HF_HOW_DIRECTORY = 2,
	HF_HOW_CREAT = 4,
	// 16-bit user and group ids of the 32-bit entry.
	HF_HOW_IDS16 = 8,
	// A 32-bit caller gives the length in two arguments.
	HF_HOW_LENGTH_PAIR = 16,
};

// hf_syscall says how a system call is read when it returns: its class and where its arguments are.
struct hf_syscall {
	// hf_type; 0: not looked at.
	__u8 type;
	// The descriptor that is acted on.
	__u8 fd;
	// Descriptor of the folder and path.
	__u8 dir;
	__u8 path;
	__u8 target_dir;
	__u8 target;
	__u8 flags;
	__u8 mode;
	__u8 uid;
	__u8 length;
	// File system type.
	__u8 kind;
	// hf_how
	__u8 how;
	// PTRACE: hf_access.
	__u8 op;
	__u8 pad[3];
};
_Static_assert(sizeof(struct hf_syscall) == 16, "hf_syscall");

// hf_syscall_row is an entry of the table by system call number: the native call and the one of the 32-bit entry.
struct hf_syscall_row {
	struct hf_syscall native;
	struct hf_syscall compat;
};
_Static_assert(sizeof(struct hf_syscall_row) == 32, "hf_syscall_row");

// hf_watch_addr is a key of the watched address trie: bits of prefix, then the address; IPv4 as v4-mapped IPv6.
struct hf_watch_addr {
	__u32 bits;
	__u8 addr[16];
};

#include "wire_policy.h"
#include "wire_content.h"
