// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Sends, looked at after the fact by a tracepoint that kernels have from 6.3 on and that nothing goes around: sendfile,
// splice and io_uring included. It runs at every send of the machine, so that it leaves at the first sign that all is
// well; on those kernels its reads are plain loads.

#include "passed.h"

SEC("tp_btf/sock_send_length")
int on_send(__u64 *ctx)
{
	struct sock *sk = ARG(ctx, 0, struct sock *);
	struct task_struct *task = bpf_get_current_task_btf();
	struct cgroup *home = sk->sk_cgrp_data.cgroup;
	int bytes = ARG(ctx, 1, int);

	if (likely(home == task->cgroups->dfl_cgrp) || bytes <= 0)
		return 0;
	passed_send(sk, home, (__u64)bytes, true, false);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
