// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What processes of inspected containers hand to TLS libraries and get from them: probes on the libraries' functions, where the
// agent has found them. Where a call is made within another of the same kind, the inner one tells. What a process does to
// its own memory or library, no probe in it withstands.

#include "tlstext.h"

// Values of gnutls.h: the data was taken and is yet to be sent.
#define GNUTLS_E_AGAIN -28
#define GNUTLS_E_INTERRUPTED -52

// PRDescType of prio.h: a descriptor with another below it, which is what TLS of NSS is.
#define PR_DESC_LAYERED 4

// SSL_write(ssl, buffer, length)
SEC("uprobe/openssl_write")
int on_openssl_write(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.size = (__u32)c_argument(ctx, 2);
	call.via = HF_VIA_OPENSSL;
	call.out = 1;
	return tls_begin(&call);
}

// SSL_write_ex(ssl, buffer, length, written)
SEC("uprobe/openssl_write_ex")
int on_openssl_write_ex(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.result = c_argument(ctx, 3);
	call.size = c_argument(ctx, 2);
	call.via = HF_VIA_OPENSSL;
	call.out = 1;
	return tls_begin(&call);
}

// SSL_write_ex2(ssl, buffer, length, flags, written)
SEC("uprobe/openssl_write_ex2")
int on_openssl_write_ex2(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.result = c_argument(ctx, 4);
	call.size = c_argument(ctx, 2);
	call.via = HF_VIA_OPENSSL;
	call.out = 1;
	return tls_begin(&call);
}

// SSL_read(ssl, buffer, length)
SEC("uprobe/openssl_read")
int on_openssl_read(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.via = HF_VIA_OPENSSL;
	return tls_begin(&call);
}

// SSL_read_ex(ssl, buffer, length, read)
SEC("uprobe/openssl_read_ex")
int on_openssl_read_ex(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.result = c_argument(ctx, 3);
	call.via = HF_VIA_OPENSSL;
	return tls_begin(&call);
}

// gnutls_record_send(session, data, length), gnutls_record_send2
SEC("uprobe/gnutls_send")
int on_gnutls_send(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0),
				    .buffer = c_argument(ctx, 1),
				    .size = c_argument(ctx, 2) };

	call.via = HF_VIA_GNUTLS;
	call.out = 1;
	return tls_begin(&call);
}

// gnutls_record_recv(session, data, length), gnutls_record_recv_seq
SEC("uprobe/gnutls_receive")
int on_gnutls_receive(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.via = HF_VIA_GNUTLS;
	return tls_begin(&call);
}

// Whether a descriptor of NSPR has others below it: the first word is its methods, whose first word is their type.
__inline bool is_layered(__u64 descriptor)
{
	__u64 methods = 0;
	__u32 type = 0;

	if (bpf_probe_read_user(&methods, sizeof(methods), (void *)descriptor) < 0 ||
	    bpf_probe_read_user(&type, sizeof(type), (void *)methods) < 0)
		return false;
	return type == PR_DESC_LAYERED;
}

// PR_Write(descriptor, buffer, amount), PR_Send
SEC("uprobe/nss_write")
int on_nss_write(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.size = (__u32)c_argument(ctx, 2);
	call.via = HF_VIA_NSS;
	call.out = 1;
	return is_layered(call.object) ? tls_begin(&call) : 0;
}

// PR_Read(descriptor, buffer, amount), PR_Recv
SEC("uprobe/nss_read")
int on_nss_read(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0), .buffer = c_argument(ctx, 1) };

	call.via = HF_VIA_NSS;
	return is_layered(call.object) ? tls_begin(&call) : 0;
}

// A call that carries no text, but packets: a handshake. The object is the first argument. It may be within one that carries
// text, so it is noted beside it.
SEC("uprobe/tls_handshake")
int on_tls_handshake(void *ctx)
{
	struct hf_tls_call call = { .object = c_argument(ctx, 0) };
	struct hf_tls_caller caller = { .ids = bpf_get_current_pid_tgid(), .routine = IN_HANDSHAKE };

	if (tls_wanted())
		bpf_map_update_elem(&tls_calls, &caller, &call, BPF_ANY);
	return 0;
}

SEC("uretprobe/tls_handshake_return")
int on_tls_handshake_return(__attribute__((unused)) void *ctx)
{
	struct hf_tls_caller caller = { .ids = bpf_get_current_pid_tgid(), .routine = IN_HANDSHAKE };

	bpf_map_delete_elem(&tls_calls, &caller);
	return 0;
}

// How much of a call counts, by its result.
__inline __u64 tls_done(const struct hf_tls_call *call, __s64 result)
{
	__u64 size = 0;

	if (!call->buffer)
		return 0;
	if (call->result) {
		if ((__s32)result <= 0 || bpf_probe_read_user(&size, sizeof(size), (void *)call->result) < 0)
			return 0;
		return size;
	}
	if (call->via == HF_VIA_GNUTLS && call->out && (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED))
		return call->size;
	// The others give an int.
	if (call->via != HF_VIA_GNUTLS)
		result = (__s32)result;
	return result > 0 ? (__u64)result : 0;
}

// Of what was not taken, the call is made again.
__inline void tls_again(const struct hf_tls_call *call)
{
	struct tls_key key = { .object = call->object, .tgid = bpf_get_current_pid_tgid() >> 32 };
	struct tls_flow *flow = bpf_map_lookup_elem(&tls_flows, &key);

	if (flow)
		flow->block.walk = flow->block.before;
}

// The return of all of these.
SEC("uretprobe/tls_return")
int on_tls_return(void *ctx)
{
	struct hf_tls_caller caller;
	struct hf_tls_call *found, call;
	__u64 size;

	tls_caller_now(&caller);
	found = bpf_map_lookup_elem(&tls_calls, &caller);
	if (!found)
		return 0;
	call = *found;
	bpf_map_delete_elem(&tls_calls, &caller);
	size = tls_done(&call, (__s64)result_of(ctx));
	if (size)
		tls_send(&call, size);
	else if (call.out)
		tls_again(&call);
	return 0;
}

__inline int tls_given(__u64 object, __u32 fd)
{
	struct tls_key key = { .object = object, .tgid = bpf_get_current_pid_tgid() >> 32 };

	if (tls_wanted())
		tls_socket(&key, fd);
	return 0;
}

// The library is given a descriptor, as the second argument or as the third.
SEC("uprobe/tls_socket")
int on_tls_socket(void *ctx)
{
	return tls_given(c_argument(ctx, 0), (__u32)c_argument(ctx, 1));
}

SEC("uprobe/tls_socket_third")
int on_tls_socket_third(void *ctx)
{
	return tls_given(c_argument(ctx, 0), (__u32)c_argument(ctx, 2));
}

// The object is no more: another may have its place.
SEC("uprobe/tls_free")
int on_tls_free(void *ctx)
{
	struct tls_key key = { .object = c_argument(ctx, 0), .tgid = bpf_get_current_pid_tgid() >> 32 };

	bpf_map_delete_elem(&tls_flows, &key);
	return 0;
}

__inline __u64 user_word(__u64 address)
{
	__u64 value = 0;

	if (address && bpf_probe_read_user(&value, sizeof(value), (void *)address) < 0)
		return 0;
	return value;
}

// How many wrappers there are around the connection that crypto/tls is given, at most.
#define GO_WRAPPERS 4

// Above all descriptors: the kernel's largest fs.nr_open is about 2^30.
#define GO_DESCRIPTORS (1 << 30)

// The descriptor of a *tls.Conn and one; 0 if it is not found. Its first field is a net.Conn, whose second word, for a *net.TCPConn,
// points to a pointer to a netFD, in which the descriptor follows a mutex of 16 bytes (internal/poll.FD). What wraps a connection
// has it as its first field, mostly, and then begins as the *tls.Conn does. Where the descriptor would be, the table of methods of such a
// field has a hash of the type, 32 bits, and so hardly ever the descriptor of a socket. Not static: the verifier looks at it once.
__attribute__((noinline)) int go_descriptor(__u64 object)
{
	__u64 data, first, fd;

	for (__u32 i = 0; i <= GO_WRAPPERS; i++) {
		data = user_word(object + 8);
		first = user_word(data);
		if (!first)
			return 0;
		if (bpf_probe_read_user(&fd, sizeof(fd), (void *)(first + 16)) == 0 && fd < GO_DESCRIPTORS &&
		    sock_of((__u32)fd))
			return (int)fd + 1;
		object = data;
	}
	return 0;
}

// Notes the socket, if it is found.
__inline void go_socket(const struct tls_key *key)
{
	int fd = go_descriptor(key->object);

	if (fd > 0)
		tls_socket(key, (__u32)fd - 1);
}

// (*tls.Conn).handshakeContext
SEC("uprobe/go_handshake")
int on_go_handshake(void *ctx)
{
	struct tls_key key = { .object = go_argument(ctx, 0), .tgid = bpf_get_current_pid_tgid() >> 32 };

	if (tls_wanted())
		go_socket(&key);
	return 0;
}

// (*tls.Conn).Write(b), at its begin: of what is given, what is not sent is not told apart.
SEC("uprobe/go_write")
int on_go_write(void *ctx)
{
	struct hf_tls_call call = { .object = go_argument(ctx, 0), .buffer = go_argument(ctx, 1), .via = HF_VIA_GO };
	struct tls_key key = { .object = call.object, .tgid = bpf_get_current_pid_tgid() >> 32 };

	if (!tls_wanted())
		return 0;
	call.out = 1;
	call.size = go_argument(ctx, 2);
	go_socket(&key);
	tls_walk(&call);
	tls_send(&call, call.size);
	return 0;
}

// (*tls.Conn).Read(b), at its begin, and at each of its ends. In between, the goroutine may change threads.
SEC("uprobe/go_read")
int on_go_read(void *ctx)
{
	struct hf_tls_call call = { .object = go_argument(ctx, 0), .buffer = go_argument(ctx, 1), .via = HF_VIA_GO };
	struct hf_tls_caller caller = { .ids = bpf_get_current_pid_tgid() >> 32, .routine = go_routine(ctx) };
	struct tls_key key = { .object = call.object, .tgid = caller.ids };

	if (!tls_wanted())
		return 0;
	go_socket(&key);
	bpf_map_update_elem(&tls_calls, &caller, &call, BPF_ANY);
	return 0;
}

SEC("uprobe/go_read_end")
int on_go_read_end(void *ctx)
{
	struct hf_tls_caller caller = { .ids = bpf_get_current_pid_tgid() >> 32, .routine = go_routine(ctx) };
	struct hf_tls_call *found, call;
	__s64 size = (__s64)result_of(ctx);
	struct tls_key key = {};

	found = bpf_map_lookup_elem(&tls_calls, &caller);
	if (!found)
		return 0;
	call = *found;
	bpf_map_delete_elem(&tls_calls, &caller);
	if (size <= 0)
		return 0;
	// The handshake may have been within.
	key.object = call.object;
	key.tgid = caller.ids;
	go_socket(&key);
	tls_send(&call, (__u64)size);
	return 0;
}

char __license[] SEC("license") = "Dual BSD/GPL";
