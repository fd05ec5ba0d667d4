/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Counts the packets that the kernel drops in some network namespaces, by its reason for that. Nothing is told of a single
 * packet. Needs Linux 5.17, since when there are reasons.
 */
#include "namespaces.h"
#include "tcp.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define COUNTS_MAX 4096
#define OTHERS_MAX 1024
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

/* No number of a namespace is smaller: include/linux/proc_ns.h, fs/proc/generic.c. */
#define INODE_MIN 0xefffff00

/* The other end is that of the address that is not the target's; family 0 where there is none. The same as in src/drops/. */
struct key {
	__u32 namespace;
	__u32 reason;
	__u8 peer[16];
	__u8 family;
	__u8 protocol;
	__u8 is_received;
	__u8 unused;
};

_Static_assert(sizeof(struct key) == 28, "as in src/drops/");

/* Packets of which not even this could be counted. */
__u64 lost;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COUNTS_MAX);
	__type(key, struct key);
	__type(value, __u64);
} counts SEC(".maps");

/* Those for which there was no room any more: whose they were is forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OTHERS_MAX);
	__type(key, struct key);
	__type(value, __u64);
} others SEC(".maps");

/* The tracepoint as it is since Linux 6.11. Before, it says nothing of the socket that was to be sent to. */
enum skb_drop_reason { SKB_NOT_DROPPED_YET };
typedef void (*btf_trace_kfree_skb)(void *, struct sk_buff *, void *, enum skb_drop_reason, struct sock *);

/*
 * Where it was dropped. A packet that waits in a socket or among the unacknowledged has something else in the place of its
 * device, which is no pointer or leads to no namespace; one that was just handed from one namespace to another may still have
 * the socket of who has sent it: the device comes first.
 */
static __always_inline __u32 namespace_of(const struct sk_buff *skb, const struct sock *receiver)
{
	const struct sock *sk;
	__u32 namespace = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);

	if (namespace >= INODE_MIN)
		return namespace;
	sk = receiver ?: BPF_CORE_READ(skb, sk);
	return sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) : 0;
}

/* Whom it was from, or to. */
static __always_inline void read_peer(struct key *key, const struct sk_buff *skb)
{
	const __u8 *ip = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	__u16 carried = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	__u8 version = 0;

	if (carried != ETH_P_IP && carried != ETH_P_IPV6)
		return;
	bpf_probe_read_kernel(&version, sizeof(version), ip);
	if (version >> 4 == 4) {
		key->family = AF_INET;
		bpf_probe_read_kernel(&key->protocol, 1, ip + 9);
		bpf_probe_read_kernel(key->peer, 4, ip + (key->is_received ? 12 : 16));
	} else if (version >> 4 == 6) {
		key->family = AF_INET6;
		bpf_probe_read_kernel(&key->protocol, 1, ip + 6);
		bpf_probe_read_kernel(key->peer, 16, ip + (key->is_received ? 8 : 24));
	}
}

static __always_inline int count(void *map, const struct key *key)
{
	__u64 *known = bpf_map_lookup_elem(map, key), none = 0;

	if (!known) {
		bpf_map_update_elem(map, key, &none, BPF_NOEXIST);
		known = bpf_map_lookup_elem(map, key);
	}
	if (known)
		__sync_fetch_and_add(known, 1);
	return known != 0;
}

SEC("tp_btf/kfree_skb")
int murphy_drop(__u64 *ctx)
{
	const struct sk_buff *skb = (const struct sk_buff *)ctx[0];
	const struct sock *receiver = 0;
	struct key key = {}, other = {};

	if (bpf_core_type_exists(btf_trace_kfree_skb))
		receiver = (const struct sock *)ctx[3];
	key.namespace = namespace_of(skb, receiver);
	if (!is_watched(key.namespace))
		return 0;
	key.reason = ctx[2];
	key.is_received = BPF_CORE_READ(skb, skb_iif) != 0;
	read_peer(&key, skb);
	if (count(&counts, &key))
		return 0;
	other.namespace = key.namespace;
	other.reason = key.reason;
	if (!count(&others, &other))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
