/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Refuses new TCP connections by chance where somebody calls connect(). */
#include "bpf_sock.h"
#include "refusal.h"

/* Processes whose connections are meant, at most: as in src/refusal/mod.rs. */
#define PROCESSES_MAX 65536
#define SOCK_STREAM 1
#define ECONNREFUSED 111
/* What such a program says. */
#define CALL_FAILS 0
#define CALL_GOES_ON 1

/* Processes whose connections are meant, by the number that the whole machine knows them by. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCESSES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} processes SEC(".maps");

/* A place of the target's own, where connections are drawn when they are asked for; port 0 for any. */
struct own_place {
	__be32 address[4];
	__u16 port;
	__u16 unused;
};

_Static_assert(sizeof(struct own_place) == 20, "no gaps: it is a key");

/* As in src/refusal/mod.rs. */
#define OWN_PLACES_MAX 16384

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OWN_PLACES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct own_place);
	__type(value, __u8);
} spared SEC(".maps");

/* Whether the target has the other end, too. */
static __always_inline int is_spared(const struct tuple *tuple)
{
	struct own_place place = { .port = tuple->remote_port };

	__builtin_memcpy(place.address, tuple->remote, sizeof(place.address));
	/* All of 127.0.0.0/8 is here. */
	if (!place.address[0] && !place.address[1] && place.address[2] == bpf_htonl(0xffff) &&
	    bpf_ntohl(place.address[3]) >> 24 == 127)
		place.address[3] = bpf_htonl(0x7f000001);
	if (bpf_map_lookup_elem(&spared, &place))
		return 1;
	place.port = 0;
	return bpf_map_lookup_elem(&spared, &place) != 0;
}

static __always_inline int decide(struct bpf_sock_addr *call, const struct tuple *tuple)
{
	__u32 only = 0, process = bpf_get_current_pid_tgid() >> 32;
	const struct refusal *order = bpf_map_lookup_elem(&orders, &only);
	struct counts *counts = bpf_map_lookup_elem(&told, &only);
	__u64 number;

	if (!order || !counts || !is_in_force(order))
		return CALL_GOES_ON;
	if (order->namespace && bpf_get_netns_cookie(call) != order->namespace)
		return CALL_GOES_ON;
	if (order->by_process && !bpf_map_lookup_elem(&processes, &process))
		return CALL_GOES_ON;
	/* What somebody else has refused stays so, and is no connection. */
	if (!holds(&order->scope, tuple) || is_spared(tuple) || bpf_get_retval() < 0)
		return CALL_GOES_ON;
	number = __sync_fetch_and_add(&counts->seen, 1);
	if (mixed(mixed(order->seed + STEP) + number * STEP) >> 32 >= order->chance)
		return CALL_GOES_ON;
	__sync_fetch_and_add(&counts->refused, 1);
	bpf_set_retval(-ECONNREFUSED);
	return CALL_FAILS;
}

static __always_inline int is_tcp(const struct bpf_sock_addr *call)
{
	return call->type == SOCK_STREAM && call->protocol == IPPROTO_TCP;
}

static __always_inline __u16 bound_port(const struct bpf_sock_addr *call)
{
	return call->sk ? call->sk->src_port : 0;
}

SEC("cgroup/connect4")
int murphy_opened4(struct bpf_sock_addr *call)
{
	struct tuple tuple = {};

	if (!is_tcp(call))
		return CALL_GOES_ON;
	put4(tuple.remote, call->user_ip4);
	tuple.local_port = bound_port(call);
	tuple.remote_port = bpf_ntohs(call->user_port);
	return decide(call, &tuple);
}

SEC("cgroup/connect6")
int murphy_opened6(struct bpf_sock_addr *call)
{
	struct tuple tuple = {};

	if (!is_tcp(call))
		return CALL_GOES_ON;
	for (int i = 0; i < 4; i++)
		tuple.remote[i] = call->user_ip6[i];
	tuple.local_port = bound_port(call);
	tuple.remote_port = bpf_ntohs(call->user_port);
	return decide(call, &tuple);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
