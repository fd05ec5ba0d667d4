/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Ends the chosen ones of the connections of a network namespace, in one pass over all of them. */
#include "tcp.h"
#include <bpf/bpf_helpers.h>

/* As in src/socket_iterator.rs. */
#define CHOSEN_MAX 65536

#define BPF_F_NO_PREALLOC 1

/* Cookie to what the kernel said when the socket was to be ended; at first a number that it never says. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CHOSEN_MAX);
	__type(key, __u64);
	__type(value, __s32);
} chosen SEC(".maps");

extern int bpf_sock_destroy(struct sock_common *sk) __ksym;

SEC("iter/tcp")
int murphy_end(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	__s32 *answer;
	__u64 cookie;

	/* None is the end of the pass. Those in these states are no connections, and mostly not even whole sockets. */
	if (!common || common->skc_state == TCP_LISTEN || common->skc_state == TCP_TIME_WAIT ||
	    common->skc_state == TCP_NEW_SYN_RECV)
		return 0;
	/* Whoever chose it has seen its cookie, so that it has one. */
	cookie = common->skc_cookie.counter;
	answer = bpf_map_lookup_elem(&chosen, &cookie);
	if (answer)
		*answer = bpf_sock_destroy(common);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
