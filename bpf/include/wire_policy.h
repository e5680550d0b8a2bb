// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The part of the contract (wire.h) that is about policies: what a container may do, as the agent writes it into maps.

#pragma once

// hf_process.exe of what the runtime has not yet turned into a program of the container, and the subject that stands for
// every executable.
#define HF_EXE_ANY 0ull
#define HF_EXE_RUNTIME 1ull

// hf_policy is what holds for a container: 24 bytes. Replaced as a whole, so that a program sees the old one or the new
// one and takes every decision of one deed by it.
struct hf_policy {
	// The policy whose entries hold, first part of every key.
	__u32 id;
	// Entries are read as of this generation.
	__u32 generation;
	// hf_mode by hf_signal.
	__u8 mode[HF_SIGNALS];
	__u64 pad;
};
_Static_assert(sizeof(struct hf_policy) == 24, "hf_policy");

// hf_container_name is a container's id as the runtime names its cgroup: 64 hexadecimal digits.
struct hf_container_name {
	__u8 id[64];
};

// The object, by its second word, that says of an executable that some arguments are listed.
#define HF_ARGUMENTS_SOME 1

// What an entry allows; the object of the key is a hash (docs/decisions/0004) unless said otherwise.
enum hf_allow_class {
	// An executable, started by the subject (an executable, HF_EXE_RUNTIME or HF_EXE_ANY). Bits: hf_source.
	HF_ALLOW_EXEC = 1,
	// The shape of an argument vector of the subject; object 0 allows every one. Where there are shapes, HF_ARGUMENTS_SOME as
	// the second word alone says so, and allows none.
	HF_ALLOW_ARGUMENTS = 2,
	// A file outside the image that the subject maps for execution. Bits: hf_source.
	HF_ALLOW_LIBRARY = 3,
	// A file by its path, by its path's shape; the direct entries of a folder by its path, by its path's shape. Bits:
	// hf_access_bit.
	HF_ALLOW_FILE = 4,
	HF_ALLOW_FILE_SHAPE = 5,
	HF_ALLOW_FOLDER = 6,
	HF_ALLOW_FOLDER_SHAPE = 7,
	// A domain name that anybody may ask for; all names below one.
	HF_ALLOW_NAME = 8,
	HF_ALLOW_NAME_BELOW = 9,
	// Contact with whatever address a name stands for: object[0] is the first half of the hash of the name, for names below
	// a domain that of the domain with all bits changed; object[1] protocol << 16 | port, port 0 for every one.
	HF_ALLOW_NAME_CONTACT = 10,
	// object[0] is protocol << 16 | port.
	HF_ALLOW_LISTEN = 11,
	// object[0] is family << 16 | kind.
	HF_ALLOW_SOCKET = 12,
	// object is an address, IPv4 as v4-mapped: a resolver whose answers are believed.
	HF_ALLOW_RESOLVER = 13,
};

// Where an executable file comes from.
enum hf_source {
	HF_SOURCE_IMAGE = 1,
	HF_SOURCE_UPPER = 2,
	HF_SOURCE_MEMORY = 4,
	HF_SOURCE_VOLUME = 8,
};

// What is done with a file.
enum hf_access_bit {
	HF_MAY_READ = 1,
	HF_MAY_WRITE = 2,
	HF_MAY_CREATE = 4,
	HF_MAY_DELETE = 8,
};

// What an entry of the trie of addresses allows. ONE: the entry names this very address, which alone opens the metadata
// service; it comes with CONTACT.
enum hf_egress_bit {
	HF_MAY_CONTACT = 1,
	HF_MAY_CONTACT_ONE = 2,
};

// hf_allow_key: 32 bytes.
struct hf_allow_key {
	__u32 policy;
	// hf_allow_class
	__u32 class;
	// The executable that acts, or HF_EXE_ANY.
	__u64 subject;
	__u64 object[2];
};
_Static_assert(sizeof(struct hf_allow_key) == 32, "hf_allow_key");

// hf_allow is what an entry allows, as bits of its class (1 where the class has none): now from generation since on, was
// before it. So a set of entries is changed one by one and takes effect at once, with the generation of the policy.
struct hf_allow {
	__u32 since;
	__u16 was;
	__u16 now;
	// How often it was used.
	__u64 hits;
};
_Static_assert(sizeof(struct hf_allow) == 16, "hf_allow");

// hf_tree_key is a key of the trie of folders below which all is allowed: bits of prefix, counted from policy on.
struct hf_tree_key {
	__u32 bits;
	__u32 policy;
	__u64 subject;
	__u8 path[112];
};
_Static_assert(sizeof(struct hf_tree_key) == 128, "hf_tree_key");

// hf_egress_key is a key of the trie of addresses that may be contacted: bits of prefix, counted from policy on. Port 0
// stands for every one, protocol 0 too. IPv4 as v4-mapped IPv6. The port is in host byte order.
struct hf_egress_key {
	__u32 bits;
	__u32 policy;
	__u64 subject;
	__u16 port;
	__u8 protocol;
	__u8 pad;
	__u8 addr[16];
	__u32 pad_end;
};
_Static_assert(sizeof(struct hf_egress_key) == 40, "hf_egress_key");

// hf_admit_key is an address, IPv4 as v4-mapped, that a container was told in an answer; hf_admitted are the names that it
// was told for, with the end of each one's time on the boot clock, 0 for one that is not used. Held while it is read or
// changed in the kernel; the agent takes out what has been over for long.
struct hf_admit_key {
	__u64 container;
	__u8 addr[16];
};

#define HF_ADMIT_NAMES 8

struct bpf_spin_lock {
	__u32 val;
};

struct hf_admitted {
	__u64 name[HF_ADMIT_NAMES];
	__u64 until[HF_ADMIT_NAMES];
	struct bpf_spin_lock lock;
	__u32 pad;
};
_Static_assert(sizeof(struct hf_admitted) == 136, "hf_admitted");

// hf_hash_key is the secret of the hashes: random, made with the maps and kept with them.
#define HF_HASH_WORDS 1032

struct hf_hash_key {
	__u32 word[HF_HASH_WORDS];
};

// hf_tally counts the verdicts of a policy by signal.
struct hf_tally {
	__u64 known[HF_SIGNALS];
	__u64 learned[HF_SIGNALS];
	__u64 would_block[HF_SIGNALS];
	__u64 blocked[HF_SIGNALS];
};

// What becomes of the modes when the agent has been dead for some time.
enum hf_when_dead {
	HF_WHEN_DEAD_KEEP = 0,
	// What was enforced is reported as "would block".
	HF_WHEN_DEAD_MONITOR = 1,
	// All modes are off.
	HF_WHEN_DEAD_RELEASE = 2,
};

// hf_agent is what the programs know of the agent that reads them: 40 bytes.
struct hf_agent {
	// The programs of this generation do the work, since the time; those of the other give verdicts too. Those of no other
	// do anything. generation stays the first field in every version.
	__u32 generation;
	__u32 other;
	__u64 since;
	// Its last sign of life, and how long it may be ago.
	__u64 alive;
	__u64 dead_after;
	// hf_when_dead
	__u32 when_dead;
	__u32 tgid;
};
_Static_assert(sizeof(struct hf_agent) == 40, "hf_agent");
