/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Refuses new TCP connections by chance where a listener is looked up for them: as if nobody listened. */
#include "refusal.h"

#define AF_INET 2
/* What such a program says. */
#define SK_DROP 0
#define SK_PASS 1
/* Connections that are known again, at most: as src/refusal/mod.rs says. */
#define KNOWN_MAX 65536
/*
 * A SYN is sent again after a second (RFC 6298), and then after as long, or twice as long, each time; and by the shortest
 * timer where the end of an older connection of the same ports has answered it. The narrower, the better: whoever asks
 * thousands of times a second soon has the same port for another connection.
 */
#define SOONEST_NS 40000000ull
#define FIRST_MIN_NS 900000000ull
#define FIRST_MAX_NS 1300000000ull

/* The context of such a program, as in include/uapi/linux/bpf.h. */
struct bpf_sk_lookup {
	/* That somebody's program has chosen. */
	struct bpf_sock *sk;
	__u32 family;
	__u32 protocol;
	__u32 remote_ip4;
	__u32 remote_ip6[4];
	__be16 remote_port;
	__u16 unused;
	__u32 local_ip4;
	__u32 local_ip6[4];
	/* In the order of the host. */
	__u32 local_port;
};

_Static_assert(__builtin_offsetof(struct bpf_sk_lookup, local_port) == 60, "the kernel's layout");

enum { BPF_MAP_TYPE_LRU_HASH = 9 };

/* When the SYN of a connection came last, and how long after the one before; 0 for the first. */
struct arrival {
	__u64 at_ns;
	__u64 gap_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, KNOWN_MAX);
	__type(key, struct tuple);
	__type(value, struct arrival);
} known SEC(".maps");

/* The same word for the same connection, each time. */
static __always_inline __u64 word_of(__u64 seed, const struct tuple *tuple)
{
	__u64 word = mixed(seed + STEP);

	for (int i = 0; i < 4; i++)
		word = mixed((word ^ ((__u64)tuple->local[i] << 32 | tuple->remote[i])) + STEP);
	return mixed((word ^ ((__u64)tuple->local_port << 32 | tuple->remote_port)) + STEP);
}

/* Whether a SYN that comes so long after another is the same, when that came so long after the one before. */
static __always_inline int is_again(__u64 gap_ns, __u64 last_gap_ns)
{
	if (gap_ns < FIRST_MIN_NS)
		return gap_ns <= SOONEST_NS;
	return gap_ns <= FIRST_MAX_NS || gap_ns <= last_gap_ns * 5 / 2;
}

/* Whether this is the SYN of a connection that has been counted. */
static __always_inline int comes_again(const struct tuple *tuple)
{
	struct arrival first = { .at_ns = bpf_ktime_get_boot_ns() };
	struct arrival *last = bpf_map_lookup_elem(&known, tuple);
	__u64 gap_ns;
	int again;

	if (!last) {
		bpf_map_update_elem(&known, tuple, &first, BPF_ANY);
		return 0;
	}
	gap_ns = first.at_ns - last->at_ns;
	again = is_again(gap_ns, last->gap_ns);
	last->at_ns = first.at_ns;
	last->gap_ns = again ? gap_ns : 0;
	return again;
}

SEC("sk_lookup")
int murphy_accepted(struct bpf_sk_lookup *lookup)
{
	__u32 only = 0;
	const struct refusal *order = bpf_map_lookup_elem(&orders, &only);
	struct counts *counts = bpf_map_lookup_elem(&told, &only);
	struct tuple tuple = {};
	int is_hit, is_steered;

	if (!order || !counts || lookup->protocol != IPPROTO_TCP || !is_in_force(order))
		return SK_PASS;
	if (lookup->family == AF_INET) {
		put4(tuple.local, lookup->local_ip4);
		put4(tuple.remote, lookup->remote_ip4);
	} else {
		for (int i = 0; i < 4; i++) {
			tuple.local[i] = lookup->local_ip6[i];
			tuple.remote[i] = lookup->remote_ip6[i];
		}
	}
	tuple.local_port = lookup->local_port;
	tuple.remote_port = bpf_ntohs(lookup->remote_port);
	if (!holds(&order->scope, &tuple))
		return SK_PASS;
	is_hit = word_of(order->seed, &tuple) >> 32 < order->chance;
	/* The kernel takes a socket that a program has chosen, whatever the others say. */
	is_steered = lookup->sk != 0;
	if (!comes_again(&tuple)) {
		__sync_fetch_and_add(&counts->seen, 1);
		if (is_hit)
			__sync_fetch_and_add(is_steered ? &counts->steered : &counts->refused, 1);
	}
	return is_hit && !is_steered ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
