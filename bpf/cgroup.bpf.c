// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of cgroups. A container's cgroup is known here, before any process is in it: that is where identity begins.

#include "introduce.h"
#include "policy.h"

// The length of a container id at the end of the name, as runtimes write it: 64 hexadecimal digits, alone or after a
// prefix, with or without ".scope". Containers with other names are found by the agent from the runtime's records.
#define ID_LENGTH 64
#define SCOPE_LENGTH 6
#define CGROUP_NAME_MAX 256

__inline bool is_hex(__u8 c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

// Where the id stands in the scratch buffer when the name of the length that stands at the offset is a container's; else 0.
// A global function, so that its loop is verified once.
__attribute__((noinline)) int container_id_at(__u32 slot, __u32 at, __u32 length)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &slot);

	if (!s)
		return 0;
	if (length >= SCOPE_LENGTH && s->bytes[(at + length - SCOPE_LENGTH) & (SCRATCH_SIZE - 1)] == '.')
		length -= SCOPE_LENGTH;
	if (length < ID_LENGTH)
		return 0;
	at += length - ID_LENGTH;
	for (__u32 i = 0; i < ID_LENGTH; i++)
		if (!is_hex(s->bytes[(at + i) & (SCRATCH_SIZE - 1)]))
			return 0;
	return (int)at;
}

// Gives a container that was announced what holds for it, before there is a process in it. A function for its key's place on
// the stack.
static __attribute__((noinline)) void policy_bring(struct scratch *s, __u32 at, __u64 container)
{
	struct hf_container_name name;
	struct hf_policy *policy;

	__builtin_memcpy(&name, &s->bytes[at & (SCRATCH_SIZE - 1)], sizeof(name));
	policy = bpf_map_lookup_elem(&policy_by_name, &name);
	if (policy && bpf_map_update_elem(&policy_by_container, &container, policy, BPF_ANY) < 0)
		count(HF_C_CGROUP_MAP_FULL);
}

__inline __u64 cgroup_id(struct cgroup *cgroup)
{
	return READ2(cgroup, kn, id);
}

__inline void cgroup_fill(struct hf_cgroup *record, struct cgroup *cgroup)
{
	record->id = cgroup_id(cgroup);
	record->parent = cgroup_id(READ2(cgroup, self.parent, cgroup));
	record->container = container_of_cgroup(record->id);
	record->level = (__u32)READ1(cgroup, level);
	record->tgid = 0;
	record->name_len = 0;
}

// The unified hierarchy is number 0 (kernel/cgroup/cgroup.c, cgroup_init).
__inline bool is_unified(struct cgroup *cgroup)
{
	return READ2(cgroup, root, hierarchy_id) == 0;
}

SEC("tp_btf/cgroup_mkdir")
int on_cgroup_mkdir(__u64 *ctx)
{
	struct cgroup *cgroup = ARG(ctx, 0, struct cgroup *);
	struct hf_cgroup *record;
	struct scratch *s;
	__u64 parent;
	__u32 at;

	if (!is_unified(cgroup) || !in_force())
		return 0;
	s = record_begin(HF_CGROUP_MKDIR, sizeof(*record));
	if (!s)
		return 0;
	record = (struct hf_cgroup *)s->bytes;
	cgroup_fill(record, cgroup);
	record->name_len = (__u16)text_kernel_str(s, READ2(cgroup, kn, name), CGROUP_NAME_MAX);
	// Within a container everything is that container's; else the name decides.
	parent = container_of_cgroup(record->parent);
	at = parent ? 0 : (__u32)container_id_at(s->slot, sizeof(*record), record->name_len);
	if (parent)
		record->container = parent;
	else if (at) {
		record->container = record->id;
		policy_bring(s, at, record->id);
	}
	if (record->container &&
	    bpf_map_update_elem(&container_by_cgroup, &record->id, &record->container, BPF_ANY) < 0)
		count(HF_C_CGROUP_MAP_FULL);
	record_send(s, RING_URGENT);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int on_cgroup_rmdir(__u64 *ctx)
{
	struct cgroup *cgroup = ARG(ctx, 0, struct cgroup *);
	struct hf_cgroup *record;
	struct scratch *s;
	__u64 id;

	if (!is_unified(cgroup) || !in_force())
		return 0;
	id = cgroup_id(cgroup);
	s = record_begin(HF_CGROUP_RMDIR, sizeof(*record));
	if (s) {
		record = (struct hf_cgroup *)s->bytes;
		cgroup_fill(record, cgroup);
		record_send(s, RING_URGENT);
	}
	bpf_map_delete_elem(&container_by_cgroup, &id);
	bpf_map_delete_elem(&policy_by_container, &id);
	bpf_map_delete_elem(&root_by_container, &id);
	return 0;
}

// A process of the host that is put into a container's cgroup becomes the container's: so does a runtime start one. A
// container's process that is put anywhere else stays the container's and is reported.
SEC("tp_btf/cgroup_attach_task")
int on_cgroup_attach(__u64 *ctx)
{
	struct cgroup *to = ARG(ctx, 0, struct cgroup *);
	struct task_struct *task = ARG(ctx, 2, struct task_struct *);
	__u32 tgid = READ1(task, tgid);
	struct hf_process *process;
	struct hf_cgroup *record;
	__u64 container;
	struct scratch *s;

	if (!is_unified(to) || !in_force())
		return 0;
	container = container_of_cgroup(cgroup_id(to));
	process = bpf_map_lookup_elem(&process_by_tgid, &tgid);
	if (!process)
		return 0;
	if (!process->origin) {
		process->origin = container;
		return 0;
	}
	if (process->origin == container)
		return 0;
	s = record_begin(HF_CGROUP_ATTACH, sizeof(*record));
	if (!s)
		return 0;
	record = (struct hf_cgroup *)s->bytes;
	cgroup_fill(record, to);
	record->tgid = tgid;
	record->head.origin = process->origin;
	record_send(s, RING_URGENT);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
