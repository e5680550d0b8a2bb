// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// No programs: the types of wire.h, brought into BTF by a pointer each, for the generation of Go types.

#include "wire.h"

enum hf_type *unused_type;
enum hf_flag *unused_flag;
enum hf_file_flag *unused_file_flag;
enum hf_stdio *unused_stdio;
enum hf_net_flag *unused_net_flag;
enum hf_counter *unused_counter;
enum hf_access *unused_access;
enum hf_gain *unused_gain;
enum hf_argument *unused_argument;
enum hf_how *unused_how;
enum hf_watch *unused_watch;
struct hf_head *unused_head;
struct hf_file *unused_file;
struct hf_cred *unused_cred;
struct hf_spaces *unused_spaces;
struct hf_fork *unused_fork;
struct hf_exec *unused_exec;
struct hf_exit *unused_exit;
struct hf_cgroup *unused_cgroup;
struct hf_file_op *unused_file_op;
struct hf_net *unused_net;
struct hf_dns *unused_dns;
struct hf_security *unused_security;
struct hf_interest *unused_interest;
struct hf_process *unused_process;
struct hf_watch_key *unused_watch_key;
struct hf_watch_name *unused_watch_name;
struct hf_syscall *unused_syscall;
struct hf_syscall_row *unused_syscall_row;
struct hf_watch_addr *unused_watch_addr;
