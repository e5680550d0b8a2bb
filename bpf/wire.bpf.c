// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// No programs: the types of wire.h, brought into BTF by a pointer each, for the generation of Go types.

#include "wire.h"
#include "wire_tls.h"

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
enum hf_signal *unused_signal;
enum hf_mode *unused_mode;
enum hf_reason *unused_reason;
enum hf_allow_class *unused_allow_class;
enum hf_source *unused_source;
enum hf_process_flag *unused_process_flag;
enum hf_access_bit *unused_access_bit;
enum hf_egress_bit *unused_egress_bit;
enum hf_when_dead *unused_when_dead;
enum hf_content_flag *unused_content_flag;
enum hf_via *unused_via;
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
struct hf_name_filter *unused_name_filter;
struct hf_syscall *unused_syscall;
struct hf_syscall_row *unused_syscall_row;
struct hf_watch_addr *unused_watch_addr;
struct hf_policy *unused_policy;
struct hf_container_name *unused_container_name;
struct hf_allow_key *unused_allow_key;
struct hf_allow *unused_allow;
struct hf_tree_key *unused_tree_key;
struct hf_egress_key *unused_egress_key;
struct hf_admit_key *unused_admit_key;
struct hf_admitted *unused_admitted;
struct hf_hash_key *unused_hash_key;
struct hf_tally *unused_tally;
struct hf_agent *unused_agent;
struct hf_content *unused_content;
struct hf_tls_caller *unused_tls_caller;
struct hf_tls_call *unused_tls_call;
struct hf_content_exec *unused_content_exec;
struct hf_content_asked *unused_content_asked;
struct hf_content_spent *unused_content_spent;
struct hf_block *unused_block;
struct hf_block_detector *unused_block_detector;
