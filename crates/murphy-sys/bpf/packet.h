/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Whether a packet is one that was meant: read from its network header on, so that any hook and any device will do. */
#pragma once

#include "scope.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Headers between that of IPv6 and that of the protocol above it which are read. */
#define EXTENSIONS_MAX 6
#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define AUTHENTICATION 51
#define DESTINATION_OPTIONS 60
#define ROUTER_SOLICITATION 133
#define REDIRECT 137

/* What is read of a packet. */
struct packet {
	__u8 protocol;
	/* Whether its header begins here: the first fragment of a packet, or the only one. */
	__u8 whole;
	__u16 source;
	__u16 destination;
};

static __always_inline int load(struct __sk_buff *skb, __u32 at, void *to, __u32 bytes)
{
	return bpf_skb_load_bytes_relative(skb, at, to, bytes, BPF_HDR_START_NET);
}

/* Reads the ports of the protocol above IP, where it has any. */
static __always_inline int load_ports(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	__u16 ports[2];

	if (!packet->whole || (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP &&
			       packet->protocol != IPPROTO_SCTP))
		return 0;
	if (load(skb, at, ports, sizeof(ports)))
		return 0;
	packet->source = bpf_ntohs(ports[0]);
	packet->destination = bpf_ntohs(ports[1]);
	return 1;
}

static __always_inline int by_ports(const struct scope *scope, const struct packet *packet, enum way way)
{
	__u16 local = way == TO ? packet->source : packet->destination;
	__u16 remote = way == TO ? packet->destination : packet->source;

	return are_meant(scope, local, remote);
}

static __always_inline int meant4(struct __sk_buff *skb, const struct scope *scope, enum way way)
{
	struct packet packet = {};
	struct {
		__u8 version_length;
		__u8 service;
		__u16 length;
		__u16 id;
		__u16 offset;
		__u8 lifetime;
		__u8 protocol;
		__u16 checksum;
		__u8 source[4];
		__u8 destination[4];
	} header;
	struct peer4 peer = { .length = 32 };

	if (load(skb, 0, &header, sizeof(header)))
		return 0;
	if (scope->protocol4 && scope->protocol4 != header.protocol)
		return 0;
	if (scope->by_peer) {
		__builtin_memcpy(peer.address, way == TO ? header.destination : header.source, 4);
		if (!bpf_map_lookup_elem(&peers4, &peer))
			return 0;
	}
	if (!has_ports(scope))
		return 1;
	packet.protocol = header.protocol;
	packet.whole = !(header.offset & bpf_htons(0x1fff));
	return load_ports(skb, (header.version_length & 15) * 4, &packet) && by_ports(scope, &packet, way);
}

/* Finds the protocol above IPv6, and where its header begins. */
__noinline __u32 above6(struct __sk_buff *skb, __u8 next, struct packet *packet)
{
	__u32 at = 40;
	struct {
		__u8 next;
		__u8 length;
		__u16 offset;
	} header;

	if (!packet)
		return 0;
	packet->whole = 1;
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (next != HOP_BY_HOP && next != ROUTING && next != FRAGMENT && next != AUTHENTICATION &&
		    next != DESTINATION_OPTIONS)
			break;
		if (load(skb, at, &header, sizeof(header)))
			break;
		if (next == FRAGMENT) {
			at += 8;
			if (header.offset & bpf_htons(0xfff8))
				packet->whole = 0;
		} else if (next == AUTHENTICATION) {
			at += (header.length + 2) * 4;
		} else {
			at += (header.length + 1) * 8;
		}
		next = header.next;
	}
	packet->protocol = next;
	return at;
}

static __always_inline int meant6(struct __sk_buff *skb, const struct scope *scope, enum way way)
{
	struct packet packet = {};
	__u8 type;
	__u32 at;
	struct {
		__u8 version_class_label[4];
		__u16 length;
		__u8 next;
		__u8 lifetime;
		__u8 source[16];
		__u8 destination[16];
	} header;
	struct peer6 peer = { .length = 128 };

	if (load(skb, 0, &header, sizeof(header)))
		return 0;
	at = above6(skb, header.next, &packet);
	if (packet.protocol == IPPROTO_ICMPV6 && packet.whole && !scope->arp && !load(skb, at, &type, 1) &&
	    type >= ROUTER_SOLICITATION && type <= REDIRECT)
		return 0;
	if (scope->protocol6 && scope->protocol6 != packet.protocol)
		return 0;
	if (scope->by_peer) {
		__builtin_memcpy(peer.address, way == TO ? header.destination : header.source, 16);
		if (!bpf_map_lookup_elem(&peers6, &peer))
			return 0;
	}
	if (!has_ports(scope))
		return 1;
	return load_ports(skb, at, &packet) && by_ports(scope, &packet, way);
}

/* ARP is about IPv4 addresses: its own are at the same places in requests and in answers. */
static __always_inline int meant_arp(struct __sk_buff *skb, const struct scope *scope, enum way way)
{
	struct peer4 peer = { .length = 32 };

	if (!scope->arp)
		return 0;
	if (!scope->by_peer)
		return 1;
	/* Hardware addresses of six bytes: the sender's address at 14, the one asked for at 24. */
	if (load(skb, way == TO ? 24 : 14, peer.address, 4))
		return 0;
	return bpf_map_lookup_elem(&peers4, &peer) != 0;
}

__noinline int meant(struct __sk_buff *skb, const struct scope *scope, enum way way)
{
	if (!scope)
		return 0;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return meant4(skb, scope, way);
	case bpf_htons(ETH_P_IPV6):
		return meant6(skb, scope, way);
	case bpf_htons(ETH_P_ARP):
		return meant_arp(skb, scope, way);
	default:
		return 0;
	}
}
