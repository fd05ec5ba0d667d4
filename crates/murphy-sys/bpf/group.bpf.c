/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Loses packets of the sockets of a cgroup, at devices that others use as well. What they are sent is lost by the program
 * of the cgroup. What they send is not: its sender would be told. It is marked there, and lost at the device.
 */
#include "ledger.h"
#include "packet.h"

/* What a program of a cgroup says. */
#define LOSE 0
#define KEEP 1
/* As in src/traffic/group.rs. */
#define DEVICES_MAX 16384

/* The devices at which packets are lost, by their numbers. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DEVICES_MAX);
	__type(key, __u32);
	__type(value, __u8);
} devices SEC(".maps");

static __always_inline int disturb(struct __sk_buff *skb, enum way way)
{
	__u32 only = 0, which = way, device = skb->ifindex;
	const struct order *order = bpf_map_lookup_elem(&orders, &only);
	struct fates *fates = bpf_map_lookup_elem(&told, &which);
	const struct treatment *treatment;

	/* A packet that another injection has marked here is lost already, though every program still sees it. */
	if (!order || !fates || skb->mark >> 24 == OUR_MARK)
		return KEEP;
	if (!order->active || bpf_ktime_get_boot_ns() >= order->until_ns || !bpf_map_lookup_elem(&devices, &device))
		return KEEP;
	count(fates, SEEN, skb);
	if (!meant(skb, &order->scope, way))
		return KEEP;
	count(fates, MATCHED, skb);
	treatment = &order->ways[way];
	if (!is_lost(treatment, order->seed, next_number(way), way))
		return KEEP;
	count(fates, LOST, skb);
	skb->mark = order->mark;
	return way == TO ? KEEP : LOSE;
}

SEC("cgroup_skb/egress")
int murphy_group_to(struct __sk_buff *skb)
{
	return disturb(skb, TO);
}

SEC("cgroup_skb/ingress")
int murphy_group_from(struct __sk_buff *skb)
{
	return disturb(skb, FROM);
}

static __always_inline int sink(struct __sk_buff *skb, enum way way)
{
	__u32 only = 0;
	const struct order *order = bpf_map_lookup_elem(&orders, &only);

	return order && skb->mark == order->mark ? lose(way) : TCX_NEXT;
}

SEC("tcx/egress")
int murphy_sink_to(struct __sk_buff *skb)
{
	return sink(skb, TO);
}

/* What is sent to many in IPv6 comes back to its own machine without having been at the other hook. */
SEC("tcx/ingress")
int murphy_sink_from(struct __sk_buff *skb)
{
	return sink(skb, FROM);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
