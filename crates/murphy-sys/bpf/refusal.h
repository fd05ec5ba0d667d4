/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the programs for new connections are told, and what they tell, as in src/refusal/order.rs; and which connections are
 * meant.
 */
#pragma once

#include "mixed.h"
#include "scope.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* It begins as an order for packets does: it is found by its mark. */
struct refusal {
	/* When it ends, in nanoseconds since boot. */
	__u64 until_ns;
	/* What random words are made from. */
	__u64 seed;
	/* 0 while it is paused. */
	__u32 active;
	/* Says whose it is. */
	__u32 mark;
	/* Of 2^32 random words those below it refuse a connection; 2^32 always does. */
	__u64 chance;
	/* The cookie of the network namespace whose sockets are meant; 0 for any. */
	__u64 namespace;
	/* Whether only connections of certain processes are meant. */
	__u32 by_process;
	__u32 unused;
	struct scope scope;
};

struct counts {
	/* Connections that were meant. */
	__u64 seen;
	/* Those that were refused. */
	__u64 refused;
	/* Those that would have been, had nobody else's program found a socket for them. */
	__u64 steered;
};

/* A connection: IPv4 addresses as IPv6 has them, in the order of the network; ports in that of the host. */
struct tuple {
	__be32 local[4];
	__be32 remote[4];
	__u16 local_port;
	__u16 remote_port;
};

_Static_assert(sizeof(struct refusal) == 272, "as in order.rs");
_Static_assert(sizeof(struct counts) == 24, "as in order.rs");
_Static_assert(sizeof(struct tuple) == 36, "no gaps: it is a key");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct refusal);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} told SEC(".maps");

static __always_inline int is_in_force(const struct refusal *order)
{
	return order->active && bpf_ktime_get_boot_ns() < order->until_ns;
}

static __always_inline void put4(__be32 *to, __be32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

/* Whether the scope holds a connection. One to an IPv4 address is of IPv4, also by a socket of IPv6. */
__noinline int holds(const struct scope *scope, const struct tuple *tuple)
{
	struct peer4 peer4 = { .length = 32 };
	struct peer6 peer6 = { .length = 128 };

	/* The kernel verifies each function for itself. */
	if (!scope || !tuple || !are_meant(scope, tuple->local_port, tuple->remote_port))
		return 0;
	if (!scope->by_peer)
		return 1;
	if (!tuple->remote[0] && !tuple->remote[1] && tuple->remote[2] == bpf_htonl(0xffff)) {
		__builtin_memcpy(peer4.address, &tuple->remote[3], 4);
		return bpf_map_lookup_elem(&peers4, &peer4) != 0;
	}
	__builtin_memcpy(peer6.address, tuple->remote, 16);
	return bpf_map_lookup_elem(&peers6, &peer6) != 0;
}
