/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* A segment is a packet of TCP: whose it is, and what it carries, read from its network header on. */
#pragma once

#include "flows.h"
#include "packet.h"
#include "refuse.h"

/* A header of TCP without options, in the words that its length is told in. */
#define WORDS_MIN 5

/* A packet of TCP, from the local end of its key to the remote one. */
struct segment {
	struct key key;
	__u32 number;
	__u32 acknowledged;
	/* How many bytes it carries. */
	__u32 carried;
	__u32 flags;
};

/* Behind which byte of the packet the header of TCP begins, and how long both are; 0 where it has none. */
static __always_inline __u32 read_ip4(struct __sk_buff *skb, struct segment *segment, __u32 *length)
{
	struct ip4 ip;

	if (load(skb, 0, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP || ip.offset & bpf_htons(0x1fff))
		return 0;
	segment->key.local[10] = segment->key.local[11] = 0xff;
	segment->key.remote[10] = segment->key.remote[11] = 0xff;
	__builtin_memcpy(segment->key.local + 12, &ip.source, 4);
	__builtin_memcpy(segment->key.remote + 12, &ip.destination, 4);
	*length = bpf_ntohs(ip.length);
	return (ip.version_length & 15) * 4;
}

static __always_inline __u32 read_ip6(struct __sk_buff *skb, struct segment *segment, __u32 *length)
{
	struct packet packet = {};
	struct ip6 ip;
	__u32 at = sizeof(ip);

	if (load(skb, 0, &ip, sizeof(ip)))
		return 0;
	if (ip.next != IPPROTO_TCP) {
		at = above6(skb, ip.next, &packet);
		if (packet.protocol != IPPROTO_TCP || !packet.whole)
			return 0;
	}
	__builtin_memcpy(segment->key.local, ip.source, 16);
	__builtin_memcpy(segment->key.remote, ip.destination, 16);
	*length = ip.length ? sizeof(ip) + bpf_ntohs(ip.length) : 0;
	return at;
}

/* Reads a packet; 0 where it is none of TCP. */
__noinline int read_segment(struct __sk_buff *skb, struct segment *segment)
{
	__u32 at = 0, length = 0;
	struct tcp tcp;

	if (!segment)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		at = read_ip4(skb, segment, &length);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		at = read_ip6(skb, segment, &length);
	if (!at || load(skb, at, &tcp, TCP_BYTES) || tcp.offset >> 4 < WORDS_MIN)
		return 0;
	/* One that is larger than its header can tell. A short one may have padding behind it. */
	if (!length)
		length = skb->len - device_bytes(skb);
	at += (tcp.offset >> 4) * 4;
	segment->key.local_port = bpf_ntohs(tcp.source);
	segment->key.remote_port = bpf_ntohs(tcp.destination);
	segment->number = bpf_ntohl(tcp.number);
	segment->acknowledged = bpf_ntohl(tcp.acknowledged);
	segment->carried = length > at ? length - at : 0;
	segment->flags = tcp.flags;
	return 1;
}

static __always_inline struct key turned(const struct key *key)
{
	struct key turned = { .local_port = key->remote_port, .remote_port = key->local_port };

	__builtin_memcpy(turned.local, key->remote, 16);
	__builtin_memcpy(turned.remote, key->local, 16);
	return turned;
}
