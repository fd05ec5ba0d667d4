/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Disturbs the packets of a device: those that were meant are lost, doubled, refused, or handed to a device of Murphy's
 * that brings them back later. Everything is counted.
 */
#include "ledger.h"
#include "packet.h"
#include "refuse.h"

/* For so long after the last sign of life packets are handed to the device of Murphy's. */
#define ATTENTION_NS 1000000000ull

/* The last sign of life of whoever serves the devices that packets are handed to, in nanoseconds since boot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} alive SEC(".maps");

/* The packet goes back to its sender as an answer, where there is one; else it vanishes. */
static __always_inline int reject(struct __sk_buff *skb, struct fates *fates, enum way way, const struct order *order)
{
	int verdict;

	/* Its answer passes the other hook of the device, where it may not be refused in its turn. */
	if (order->ways[way == TO ? FROM : TO].partition)
		skb->mark = order->mark;
	verdict = refuse(skb, way);
	if (verdict < 0)
		return lose(way);
	count(fates, REFUSED, skb);
	return verdict;
}

/* Another one like it, which passes this program untouched. */
static __always_inline void duplicate(struct __sk_buff *skb, struct fates *fates, enum way way, __u32 mark)
{
	__u32 before = skb->mark;

	skb->mark = mark;
	if (!bpf_clone_redirect(skb, skb->ifindex, way == TO ? 0 : BPF_F_INGRESS))
		count(fates, DUPLICATED, skb);
	skb->mark = before;
}

/* A qdisc of Murphy's has it wait, on this device or on one where a filter takes it. */
static __always_inline void queue(struct __sk_buff *skb, struct fates *fates, const struct treatment *treatment)
{
	skb->priority = treatment->queue;
	count(fates, CABLED, skb);
}

static __always_inline int disturb(struct __sk_buff *skb, enum way way)
{
	__u32 only = 0, which = way;
	const struct order *order = bpf_map_lookup_elem(&orders, &only);
	struct fates *fates = bpf_map_lookup_elem(&told, &which);
	const struct treatment *treatment;
	__u64 number, now_ns, *seen_ns;
	int is_in_force, is_back;

	if (!order || !fates)
		return TCX_NEXT;
	treatment = &order->ways[way];
	now_ns = bpf_ktime_get_boot_ns();
	is_in_force = order->active && now_ns < order->until_ns;
	if (skb->mark == order->mark) {
		skb->mark = 0;
		count(fates, RETURNED, skb);
		if (is_in_force && treatment->queue)
			queue(skb, fates, treatment);
		return TCX_NEXT;
	}
	/* Somebody else's is on its way back to another program: it has been here before. */
	is_back = skb->mark >> 24 == OUR_MARK;
	if (!is_in_force || (is_back && !treatment->queue))
		return TCX_NEXT;
	if (!is_back)
		count(fates, SEEN, skb);
	if (!meant(skb, &order->scope, way))
		return TCX_NEXT;
	if (is_back) {
		/* What it was given here it has lost where it was. */
		skb->priority = treatment->queue;
		return TCX_NEXT;
	}
	count(fates, MATCHED, skb);
	number = next_number(way);
	if (treatment->partition == REJECT) {
		count(fates, LOST, skb);
		return reject(skb, fates, way, order);
	}
	if (is_lost(treatment, order->seed, number, way)) {
		count(fates, LOST, skb);
		return lose(way);
	}
	if (hits(&treatment->duplicate, order->seed, number, way, DUPLICATION))
		duplicate(skb, fates, way, order->mark);
	if (treatment->queue)
		queue(skb, fates, treatment);
	if (!treatment->cable)
		return TCX_NEXT;
	seen_ns = bpf_map_lookup_elem(&alive, &only);
	if (!seen_ns || now_ns > *seen_ns + ATTENTION_NS) {
		count(fates, SLIPPED, skb);
		return TCX_NEXT;
	}
	count(fates, CABLED, skb);
	return bpf_redirect(treatment->cable, 0);
}

SEC("tcx/egress")
int murphy_to(struct __sk_buff *skb)
{
	return disturb(skb, TO);
}

SEC("tcx/ingress")
int murphy_from(struct __sk_buff *skb)
{
	return disturb(skb, FROM);
}

/* What comes from a device of Murphy's is Murphy's, and goes to where it was taken from. */
static __always_inline int bring_back(struct __sk_buff *skb, enum way way)
{
	__u32 only = 0;
	const struct order *order = bpf_map_lookup_elem(&orders, &only);

	if (!order)
		return TCX_DROP;
	skb->mark = order->mark;
	/* It bears the address of another device than the one that it comes from now. */
	if (bpf_skb_change_type(skb, PACKET_HOST))
		return TCX_DROP;
	return bpf_redirect(order->ways[way].device, way == TO ? 0 : BPF_F_INGRESS);
}

SEC("tcx/ingress")
int murphy_back_to(struct __sk_buff *skb)
{
	return bring_back(skb, TO);
}

SEC("tcx/ingress")
int murphy_back_from(struct __sk_buff *skb)
{
	return bring_back(skb, FROM);
}

/* Whether it has to wait: asked by the last filter of a device, which then takes it to one of Murphy's. */
SEC("tcx/ingress")
int murphy_waits(struct __sk_buff *skb)
{
	__u32 only = 0;
	const struct order *order = bpf_map_lookup_elem(&orders, &only);

	if (!order || !order->ways[FROM].queue || skb->priority != order->ways[FROM].queue)
		return 0;
	skb->priority = 0;
	return -1;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
