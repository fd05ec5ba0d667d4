/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Breaks single connections of TCP: those that stand in a map. Nothing passes them, or only so many bytes, and the other
 * end may be told that they are over. All others pass after one look into the map.
 *
 * Where both ends are here, a packet is seen twice, on its way out of the loopback and on its way in: it is judged once,
 * on its way out, and either end may be the one that stands in the map.
 */
#include "flows.h"
#include "ledger.h"
#include "segment.h"

/* The number of the loopback in every namespace. */
#define LOOPBACK 1

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, struct flow);
} flows SEC(".maps");

/* The keys of connections that were cut. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, CUTS_BYTES);
} cuts SEC(".maps");

/*
 * Whether a segment may pass a connection that ends after so many bytes. What is sent again counts once: only what is
 * behind the last byte of its way that has passed. One that would be too much is lost as a whole.
 */
static __always_inline int may_pass(struct flow *flow, const struct segment *segment, enum way way, int is_in_force)
{
	enum way back = way == TO ? FROM : TO;
	__u32 end = segment->number + segment->carried;
	int passes = 1;
	__s32 fresh;

	bpf_spin_lock(&flow->lock);
	if (!(flow->is_known & 1 << way)) {
		flow->is_known |= 1 << way;
		flow->end[way] = segment->number;
	}
	/* What the other end has is no news: it passed before this was told of the connection. */
	if (segment->flags & TCP_ACK && flow->is_known & 1 << back &&
	    (__s32)(segment->acknowledged - flow->end[back]) > 0)
		flow->end[back] = segment->acknowledged;
	fresh = end - flow->end[way];
	if (flow->is_cut) {
		/* Whoever acknowledges what has passed, or resets the connection, may. */
		passes = segment->flags & TCP_RST || (!segment->carried && !(segment->flags & TCP_FIN));
	} else if (segment->carried && fresh > 0) {
		if (is_in_force && flow->passed + fresh > flow->limit) {
			flow->is_cut = 1;
			passes = 0;
		} else {
			flow->end[way] = end;
			if (is_in_force) {
				flow->passed += fresh;
				flow->is_cut = flow->passed == flow->limit;
			}
		}
	}
	bpf_spin_unlock(&flow->lock);
	return passes;
}

/* Tells once of each connection that it was cut. */
static __always_inline void tell_cut(struct flow *flow, struct key *key)
{
	if (__sync_lock_test_and_set(&flow->is_told, 1))
		return;
	if (bpf_ringbuf_output(&cuts, key, sizeof(*key), 0))
		flow->is_told = 0;
}

/*
 * Loses a packet of a connection. Where the other end is to be told that it is over, the packet goes back there as a
 * reset, whose number is the one that the packet acknowledges, as it must be to be believed (RFC 9293, 3.10.7.4).
 */
static __always_inline int block(struct __sk_buff *skb, struct flow *flow, const struct segment *segment, enum way way,
				 enum way hook, __u32 mark)
{
	struct dropped *dropped = way == TO ? &flow->dropped[TO] : &flow->dropped[FROM];
	int verdict;

	__sync_fetch_and_add(&dropped->packets, 1);
	__sync_fetch_and_add(&dropped->bytes, skb->len);
	if (flow->mode != RESET_REMOTE || way == TO)
		return lose(hook);
	if (segment->flags & TCP_RST) {
		flow->is_gone = 1;
		return lose(hook);
	}
	/* It leaves by the other hook, as if it were the target's. */
	skb->mark = mark;
	verdict = refuse(skb, hook);
	if (verdict < 0)
		return lose(hook);
	__sync_fetch_and_add(&flow->resets, 1);
	if (skb->ifindex != LOOPBACK)
		return verdict;
	/* Both ends are here, and the packet has the route of both: it goes on, where it would have gone. */
	skb->mark = 0;
	return TCX_NEXT;
}

static __always_inline int judge(struct __sk_buff *skb, enum way hook)
{
	__u32 only = 0;
	const struct order *order;
	struct segment segment = {};
	struct key key, back;
	struct flow *flow;
	enum way way = hook;
	int is_in_force;

	if ((skb->ifindex == LOOPBACK && hook == FROM) || !read_segment(skb, &segment))
		return TCX_NEXT;
	order = bpf_map_lookup_elem(&orders, &only);
	if (!order)
		return TCX_NEXT;
	if (skb->mark == order->mark) {
		/* It is Murphy's own. */
		skb->mark = 0;
		return TCX_NEXT;
	}
	key = segment.key;
	back = turned(&key);
	if (hook == FROM)
		key = back;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow && skb->ifindex == LOOPBACK) {
		key = back;
		way = FROM;
		flow = bpf_map_lookup_elem(&flows, &key);
	}
	if (!flow)
		return TCX_NEXT;
	/* Somebody asks for another connection between the same ends: what was broken is over. */
	if ((segment.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		bpf_map_delete_elem(&flows, &key);
		return TCX_NEXT;
	}
	is_in_force = order->active && bpf_ktime_get_boot_ns() < order->until_ns;
	if (flow->mode == AFTER_BYTES) {
		int passes = may_pass(flow, &segment, way, is_in_force);

		if (flow->is_cut)
			tell_cut(flow, &key);
		if (passes)
			return TCX_NEXT;
	}
	if (!is_in_force)
		return TCX_NEXT;
	return block(skb, flow, &segment, way, hook, order->mark);
}

SEC("tcx/egress")
int murphy_to(struct __sk_buff *skb)
{
	return judge(skb, TO);
}

SEC("tcx/ingress")
int murphy_from(struct __sk_buff *skb)
{
	return judge(skb, FROM);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
