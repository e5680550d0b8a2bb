// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Security events: access to other processes, namespaces, kernel modules, bpf(2), credentials, files in memory, io_uring.
// Where the security hooks come too early to tell, the kernel function that does the deed is hooked, before it does.

#include "security.h"
#include "fd.h"

// include/linux/ptrace.h
#define PTRACE_MODE_ATTACH 0x02
#define PTRACE_MODE_FSCREDS 0x08

// Looks into /proc are many and wake nobody.
SEC("lsm/ptrace_access_check")
int on_access(__u64 *ctx)
{
	struct task_struct *target = ARG(ctx, 0, struct task_struct *);
	__u32 mode = ARG(ctx, 1, __u32);
	struct scratch *s = security_begin(HF_PTRACE);
	struct hf_security *record;

	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->op = mode & PTRACE_MODE_FSCREDS ? HF_ACCESS_PROC : HF_ACCESS_CALL;
	record->mode = mode;
	security_target(record, target);
	record_send(s, mode & PTRACE_MODE_ATTACH ? RING_URGENT : RING_BULK);
	return 0;
}

SEC("lsm/ptrace_traceme")
int on_traceme(__u64 *ctx)
{
	struct task_struct *parent = ARG(ctx, 0, struct task_struct *);
	struct scratch *s = security_begin(HF_PTRACE);
	struct hf_security *record;

	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->op = HF_ACCESS_TRACEME;
	security_target(record, parent);
	record_send(s, RING_URGENT);
	return 0;
}

// The command's structure is the kernel's own copy.
SEC("lsm/bpf")
int on_bpf(__u64 *ctx)
{
	__u32 command = ARG(ctx, 0, __u32);
	char *attr = ARG(ctx, 1, char *);
	struct hf_security *record;
	struct scratch *s;

	if (is_agent())
		return 0;
	s = security_begin(HF_BPF);
	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->op = command;
	if (command == BPF_PROG_LOAD || command == BPF_MAP_CREATE) {
		__u64 name = address_of(attr);

		bpf_probe_read_kernel(&record->kind, sizeof(record->kind), (void *)name);
		name += command == BPF_PROG_LOAD ? BPF_ATTR_PROG_NAME : BPF_ATTR_MAP_NAME;
		record->name_len = (__u16)text_kernel_str(s, (void *)name, BPF_NAME_SIZE);
	}
	record_send(s, bpf_matters(command) ? RING_URGENT : RING_BULK);
	return 0;
}

// The namespaces of a thread before a change that is under way: of the calls of unshare(2), and of credentials that
// change the user namespace, which setns(2) installs first. Gone when the call is done.
struct change {
	struct hf_spaces before;
	__u32 unsharing;
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct change);
} changes SEC(".maps");

__inline void change_note(__u64 thread, bool unsharing, __u32 flags)
{
	struct change change = { .unsharing = unsharing, .flags = flags };

	read_spaces(&change.before, current_task());
	if (bpf_map_update_elem(&changes, &thread, &change, BPF_ANY) < 0)
		count(HF_C_PROCESS_MAP_FULL);
}

SEC("fentry/ksys_unshare")
int on_unshare(__u64 *ctx)
{
	change_note(bpf_get_current_pid_tgid(), true, ARG(ctx, 0, __u32));
	return 0;
}

SEC("fexit/ksys_unshare")
int on_unshared(__u64 *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct change *change = bpf_map_lookup_elem(&changes, &thread);
	__s32 result = ARG(ctx, 1, __s32);
	struct hf_security *record;
	struct scratch *s;

	if (!change)
		return 0;
	if (result == 0) {
		s = security_begin(HF_UNSHARE);
		if (s) {
			record = (struct hf_security *)s->bytes;
			record->head.flags |= HF_F_RESULT;
			record->spaces_before = change->before;
			read_spaces(&record->spaces_after, current_task());
			// A new pid namespace is for children to come, and shows in none of the task's own.
			record->flags = change->flags;
			record_send(s, RING_URGENT);
		}
	}
	bpf_map_delete_elem(&changes, &thread);
	return 0;
}

// Reads the namespaces of a task as they will be with other namespaces put in place.
__inline void read_spaces_of(struct hf_spaces *to, struct nsproxy *spaces)
{
	to->mnt = READ2(spaces, mnt_ns, ns.inum);
	to->net = READ2(spaces, net_ns, ns.inum);
	to->ipc = READ2(spaces, ipc_ns, ns.inum);
	to->uts = READ2(spaces, uts_ns, ns.inum);
	to->cgroup = READ2(spaces, cgroup_ns, ns.inum);
}

// Every change of namespaces ends here; what unshare(2) does is reported when that returns, what an exit does not.
SEC("fentry/switch_task_namespaces")
int on_switch(__u64 *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct nsproxy *spaces = ARG(ctx, 1, struct nsproxy *), *old;
	struct task_struct *task = current_task();
	struct hf_security *record;
	struct change *change;
	struct scratch *s;

	if (!spaces)
		return 0;
	change = bpf_map_lookup_elem(&changes, &thread);
	if (change && change->unsharing)
		return 0;
	s = security_begin(HF_SETNS);
	if (!s)
		goto out;
	record = (struct hf_security *)s->bytes;
	read_spaces(&record->spaces_before, task);
	record->spaces_after = record->spaces_before;
	if (change)
		record->spaces_before = change->before;
	read_spaces_of(&record->spaces_after, spaces);
	record->flags = spaces_changed(&record->spaces_before, &record->spaces_after);
	old = READ1(task, nsproxy);
	if (READ2(old, pid_ns_for_children, ns.inum) != READ2(spaces, pid_ns_for_children, ns.inum))
		record->flags |= CLONE_NEWPID;
	record_send(s, RING_URGENT);
out:
	if (change)
		bpf_map_delete_elem(&changes, &thread);
	return 0;
}

// A child that is born into other namespaces than its parent's.
SEC("tp_btf/sched_process_fork")
int on_clone(__u64 *ctx)
{
	struct task_struct *child = ARG(ctx, 1, struct task_struct *);
	struct task_struct *task = ARG(ctx, 0, struct task_struct *);
	struct hf_security *record;
	struct scratch *s;

	if (likely(LOAD1(child, nsproxy) == LOAD1(task, nsproxy) &&
		   LOAD2(child, cred, user_ns) == LOAD2(task, cred, user_ns)))
		return 0;
	s = security_begin(HF_UNSHARE);
	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->head.flags |= HF_F_RESULT;
	record->op = 1;
	security_target(record, child);
	read_spaces(&record->spaces_before, task);
	read_spaces(&record->spaces_after, child);
	record->flags = spaces_changed(&record->spaces_before, &record->spaces_after);
	record_send(s, RING_URGENT);
	return 0;
}

__inline __u64 gains(const struct cred *old, const struct cred *new)
{
	bool was = READ1(old, uid.val) == 0 || READ1(old, euid.val) == 0 || READ1(old, suid.val) == 0;
	bool is = READ1(new, uid.val) == 0 || READ1(new, euid.val) == 0 || READ1(new, suid.val) == 0;
	__u64 gained = (READ1(new, cap_effective.val) & ~READ1(old, cap_effective.val)) |
		       (READ1(new, cap_permitted.val) & ~READ1(old, cap_permitted.val));

	return (is && !was ? HF_GAIN_ROOT : 0) | (gained ? HF_GAIN_CAPS : 0) |
	       (READ1(old, user_ns) != READ1(new, user_ns) ? HF_GAIN_USERNS : 0);
}

// All credentials of a task's own come into force here, those of an exec too. What gives nothing more is left.
SEC("fentry/commit_creds")
int on_cred(__u64 *ctx)
{
	const struct cred *new = ARG(ctx, 0, struct cred *), *old;
	__u64 gained, thread = bpf_get_current_pid_tgid();
	struct task_struct *task = current_task();
	struct hf_security *record;
	struct scratch *s;

	// Every exec comes here: where nobody asks, only what concerns other records is looked at, changes of the user namespace.
	// None leads to the first one, which only its own processes are privileged to enter.
	if (wanted_most(HF_CRED) == WANT_NOT &&
	    (!LOAD2(new, user_ns, level) || READ2(task, real_cred, user_ns) == LOAD1(new, user_ns)))
		return 0;
	old = READ1(task, real_cred);
	gained = gains(old, new);
	if (!gained)
		return 0;
	if (gained & HF_GAIN_USERNS && !bpf_map_lookup_elem(&changes, &thread))
		change_note(thread, false, 0);
	s = security_begin(HF_CRED);
	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->flags = gained;
	read_cred(&record->before, old, task);
	read_cred(&record->after, new, task);
	record_send(s, RING_URGENT);
	return 0;
}

#define MEMFD_PREFIX 6

// What memfd_create(2) makes, told from the kernel's own and System V's by the name.
SEC("fentry/shmem_file_setup")
int on_memfd(__u64 *ctx)
{
	const char *name = (const char *)address_of(ARG(ctx, 0, char *));
	struct hf_security *record;
	struct scratch *s;
	char prefix[MEMFD_PREFIX] = {};

	bpf_probe_read_kernel(prefix, sizeof(prefix), name);
	if (prefix[0] != 'm' || prefix[1] != 'e' || prefix[2] != 'm' || prefix[3] != 'f' || prefix[4] != 'd' ||
	    prefix[5] != ':')
		return 0;
	s = security_begin(HF_MEMFD);
	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->name_len = (__u16)text_kernel_str(s, name + MEMFD_PREFIX, NAME_MAX + 1);
	record_send(s, RING_URGENT);
	return 0;
}

// After the module has been checked and linked, before its first instruction runs.
SEC("tp_btf/module_load")
int on_module(__u64 *ctx)
{
	struct module *module = ARG(ctx, 0, struct module *);
	struct scratch *s = security_begin(HF_MODULE);
	struct hf_security *record;

	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->flags = READ1(module, taints);
	record->name_len = (__u16)text_kernel_str(s, &module->name, sizeof(module->name));
	record_send(s, RING_URGENT);
	return 0;
}

SEC("tp_btf/io_uring_create")
int on_io_uring(__u64 *ctx)
{
	struct scratch *s = security_begin(HF_IO_URING);
	struct hf_security *record;

	if (!s)
		return 0;
	record = (struct hf_security *)s->bytes;
	record->op = ARG(ctx, 2, __u32);
	record->kind = ARG(ctx, 3, __u32);
	record->flags = ARG(ctx, 4, __u32);
	record_send(s, RING_URGENT);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
