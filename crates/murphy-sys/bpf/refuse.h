/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Tells the sender that a packet may not pass: the packet itself becomes the answer, a reset of TCP or an ICMP error, and
 * goes back on the device that it was on. RFC 9293, 3.5.2; RFC 792; RFC 4443, 3.1.
 */
#pragma once

#include "packet.h"

#define ETHERNET_BYTES 14
#define TCP_BYTES 20
#define ICMP_BYTES 8
/* Of the packet that an ICMP error is about, behind its IP header. */
#define ABOUT_BYTES 8
#define TTL 64
#define BPF_ADJ_ROOM_MAC 1

struct ip4 {
	__u8 version_length;
	__u8 service;
	__be16 length;
	__be16 id;
	__be16 offset;
	__u8 lifetime;
	__u8 protocol;
	__u16 checksum;
	__be32 source;
	__be32 destination;
};

struct ip6 {
	__u32 version_class_label;
	__be16 length;
	__u8 next;
	__u8 lifetime;
	__be32 source[4];
	__be32 destination[4];
};

struct tcp {
	__be16 source;
	__be16 destination;
	__be32 number;
	__be32 acknowledged;
	__u8 offset;
	__u8 flags;
	__be16 window;
	__u16 checksum;
	__be16 urgent;
};

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

struct icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 unused;
};

/* What both families begin their sum over TCP and ICMPv6 with. */
struct pseudo4 {
	__be32 source;
	__be32 destination;
	__u8 zero;
	__u8 protocol;
	__be16 length;
};

struct pseudo6 {
	__be32 source[4];
	__be32 destination[4];
	__be32 length;
	__be32 protocol;
};

static __always_inline __u16 folded(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline __u32 sum_of(void *from, __u32 bytes, __u32 sum)
{
	return bpf_csum_diff(0, 0, from, bytes, sum);
}

/* How long the header of the device is: that of Ethernet, or none. */
static __always_inline __u32 device_bytes(struct __sk_buff *skb)
{
	__u32 first[2], ip[2];
	__u16 type;

	/* An address may look like the type of a frame. What begins with the header of IP has no other before it. */
	if (!bpf_skb_load_bytes(skb, 0, first, sizeof(first)) && !load(skb, 0, ip, sizeof(ip)) && first[0] == ip[0] &&
	    first[1] == ip[1])
		return 0;
	return !bpf_skb_load_bytes(skb, 12, &type, 2) && type == (__u16)skb->protocol ? ETHERNET_BYTES : 0;
}

/* Sends the answer back, on the device that the packet was on. */
static __always_inline int send_back(struct __sk_buff *skb, enum way way, __u32 before)
{
	__u8 addresses[12], swapped[12];

	if (before) {
		if (bpf_skb_load_bytes(skb, 0, addresses, 12))
			return -1;
		__builtin_memcpy(swapped, addresses + 6, 6);
		__builtin_memcpy(swapped + 6, addresses, 6);
		if (bpf_skb_store_bytes(skb, 0, swapped, 12, 0))
			return -1;
	}
	return bpf_redirect(skb->ifindex, way == TO ? BPF_F_INGRESS : 0);
}

/*
 * The header of a reset of a segment that carries so many bytes; 0 where the segment is one itself. `sum` is that of the
 * pseudo header of the answer, `asked` that of the segment: a segment whose checksum is no more than it is left for the
 * device to finish, and so is the answer's.
 */
static __always_inline int reset(struct tcp *segment, __u32 carried, __u32 sum, __u32 asked)
{
	struct tcp answer = {
		.source = segment->destination,
		.destination = segment->source,
		.offset = TCP_BYTES / 4 << 4,
		.flags = TCP_RST,
	};

	if (segment->flags & TCP_RST)
		return 0;
	if (segment->flags & TCP_ACK) {
		answer.number = segment->acknowledged;
	} else {
		carried += !!(segment->flags & TCP_SYN) + !!(segment->flags & TCP_FIN);
		answer.acknowledged = bpf_htonl(bpf_ntohl(segment->number) + carried);
		answer.flags |= TCP_ACK;
	}
	if (segment->checksum == folded(asked))
		answer.checksum = folded(sum);
	else
		answer.checksum = ~folded(sum_of(&answer, TCP_BYTES, sum));
	*segment = answer;
	return 1;
}

static __always_inline int reset4(struct __sk_buff *skb, enum way way, struct ip4 *ip)
{
	__u32 before = device_bytes(skb), length = bpf_ntohs(ip->length);
	struct pseudo4 pseudo = { ip->source, ip->destination, 0, IPPROTO_TCP, bpf_htons(length - sizeof(*ip)) };
	__be32 source = ip->source;
	struct tcp tcp;
	__u32 asked;

	if (load(skb, sizeof(*ip), &tcp, TCP_BYTES))
		return -1;
	asked = sum_of(&pseudo, sizeof(pseudo), 0);
	pseudo.length = bpf_htons(TCP_BYTES);
	if (!reset(&tcp, length - sizeof(*ip) - (tcp.offset >> 4) * 4, sum_of(&pseudo, sizeof(pseudo), 0), asked))
		return -1;
	ip->length = bpf_htons(sizeof(*ip) + TCP_BYTES);
	ip->lifetime = TTL;
	ip->source = ip->destination;
	ip->destination = source;
	ip->checksum = 0;
	ip->checksum = ~folded(sum_of(ip, sizeof(*ip), 0));
	if (bpf_skb_change_tail(skb, before + sizeof(*ip) + TCP_BYTES, 0) ||
	    bpf_skb_store_bytes(skb, before, ip, sizeof(*ip), 0) ||
	    bpf_skb_store_bytes(skb, before + sizeof(*ip), &tcp, TCP_BYTES, 0))
		return -1;
	return send_back(skb, way, before);
}

static __always_inline int reset6(struct __sk_buff *skb, enum way way, struct ip6 *ip)
{
	__u32 before = device_bytes(skb), length = bpf_ntohs(ip->length);
	struct pseudo6 pseudo = { .length = bpf_htonl(length), .protocol = bpf_htonl(IPPROTO_TCP) };
	struct tcp tcp;
	__u32 asked;

	if (load(skb, sizeof(*ip), &tcp, TCP_BYTES))
		return -1;
	__builtin_memcpy(pseudo.source, ip->source, 32);
	asked = sum_of(&pseudo, sizeof(pseudo), 0);
	pseudo.length = bpf_htonl(TCP_BYTES);
	if (!reset(&tcp, length - (tcp.offset >> 4) * 4, sum_of(&pseudo, sizeof(pseudo), 0), asked))
		return -1;
	ip->length = bpf_htons(TCP_BYTES);
	ip->lifetime = TTL;
	__builtin_memcpy(ip->source, pseudo.destination, 16);
	__builtin_memcpy(ip->destination, pseudo.source, 16);
	if (bpf_skb_change_tail(skb, before + sizeof(*ip) + TCP_BYTES, 0) ||
	    bpf_skb_store_bytes(skb, before, ip, sizeof(*ip), 0) ||
	    bpf_skb_store_bytes(skb, before + sizeof(*ip), &tcp, TCP_BYTES, 0))
		return -1;
	return send_back(skb, way, before);
}

/* `Destination unreachable, port unreachable`, about the beginning of the packet. */
static __always_inline int unreachable4(struct __sk_buff *skb, enum way way, struct ip4 *about)
{
	__u32 before = device_bytes(skb);
	struct {
		struct ip4 ip;
		struct icmp icmp;
		struct ip4 about;
		__u8 more[ABOUT_BYTES];
	} answer = {
		.ip = {
			.version_length = 0x45,
			.length = bpf_htons(sizeof(answer)),
			.lifetime = TTL,
			.protocol = IPPROTO_ICMP,
			.source = about->destination,
			.destination = about->source,
		},
		.icmp = { .type = 3, .code = 3 },
		.about = *about,
	};
	__u32 rest = sizeof(answer) - sizeof(answer.ip);

	if (load(skb, sizeof(*about), answer.more, ABOUT_BYTES))
		return -1;
	answer.ip.checksum = ~folded(sum_of(&answer.ip, sizeof(answer.ip), 0));
	answer.icmp.checksum = ~folded(sum_of(&answer.icmp, rest, 0));
	if (bpf_skb_change_tail(skb, before + sizeof(*about) + ABOUT_BYTES, 0) ||
	    bpf_skb_adjust_room(skb, sizeof(answer.ip) + ICMP_BYTES, BPF_ADJ_ROOM_MAC, 0) ||
	    bpf_skb_store_bytes(skb, before, &answer, sizeof(answer), 0))
		return -1;
	return send_back(skb, way, before);
}

static __always_inline int unreachable6(struct __sk_buff *skb, enum way way, struct ip6 *about)
{
	__u32 before = device_bytes(skb);
	struct {
		struct ip6 ip;
		struct icmp icmp;
		struct ip6 about;
		__u8 more[ABOUT_BYTES];
	} answer = {
		.ip = { .version_class_label = bpf_htonl(6u << 28), .next = IPPROTO_ICMPV6, .lifetime = TTL },
		.icmp = { .type = 1, .code = 4 },
		.about = *about,
	};
	__u32 rest = sizeof(answer) - sizeof(answer.ip);
	struct pseudo6 pseudo = { .length = bpf_htonl(rest), .protocol = bpf_htonl(IPPROTO_ICMPV6) };

	if (load(skb, sizeof(*about), answer.more, ABOUT_BYTES))
		return -1;
	answer.ip.length = bpf_htons(rest);
	__builtin_memcpy(answer.ip.source, about->destination, 16);
	__builtin_memcpy(answer.ip.destination, about->source, 16);
	__builtin_memcpy(pseudo.source, answer.ip.source, 32);
	answer.icmp.checksum = ~folded(sum_of(&answer.icmp, rest, sum_of(&pseudo, sizeof(pseudo), 0)));
	if (bpf_skb_change_tail(skb, before + sizeof(*about) + ABOUT_BYTES, 0) ||
	    bpf_skb_adjust_room(skb, sizeof(answer.ip) + ICMP_BYTES, BPF_ADJ_ROOM_MAC, 0) ||
	    bpf_skb_store_bytes(skb, before, &answer, sizeof(answer), 0))
		return -1;
	return send_back(skb, way, before);
}

/* Whether an error about this ICMP message may be sent: not about errors, which are below 128 in ICMPv6. */
static __always_inline int may_answer_icmp(struct __sk_buff *skb, __u32 at, int is_v6)
{
	__u8 type;

	if (load(skb, at, &type, 1))
		return 0;
	return is_v6 ? type >= 128 : type == 0 || type == 8 || type >= 13;
}

/*
 * The verdict on a packet whose sender is told; -1 where it cannot be told, as of fragments, groups, errors and packets
 * with options.
 */
__noinline int refuse(struct __sk_buff *skb, enum way way)
{
	struct ip4 ip4;
	struct ip6 ip6;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (load(skb, 0, &ip4, sizeof(ip4)) || ip4.version_length != 0x45 || ip4.offset & bpf_htons(0x1fff) ||
		    (ip4.destination & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || ip4.destination == ~0u)
			return -1;
		if (ip4.protocol == IPPROTO_TCP)
			return reset4(skb, way, &ip4);
		if (ip4.protocol == IPPROTO_ICMP && !may_answer_icmp(skb, sizeof(ip4), 0))
			return -1;
		return unreachable4(skb, way, &ip4);
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || load(skb, 0, &ip6, sizeof(ip6)) ||
	    (ip6.destination[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
		return -1;
	if (ip6.next == IPPROTO_TCP)
		return reset6(skb, way, &ip6);
	if (ip6.next != IPPROTO_UDP && ip6.next != IPPROTO_SCTP && ip6.next != IPPROTO_ICMPV6)
		return -1;
	if (ip6.next == IPPROTO_ICMPV6 && !may_answer_icmp(skb, sizeof(ip6), 1))
		return -1;
	return unreachable6(skb, way, &ip6);
}
