/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Hears DNS over UDP where it leaves a socket and where a socket gets it: before any queue of a device, and behind. Those
 * programs are for each packet; that somebody is about to ask others see by his call, which do not cost packets anything.
 * Nothing is changed: every packet passes, and every call goes on.
 */
#include "bpf_sock.h"
#include "skb.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PASS 1
#define CALL_GOES_ON 1
#define DNS_PORT 53
/* As in src/dns_tap/sockets.rs: headers and a message of 512 bytes, or the beginning of a longer one. */
#define PACKET_BYTES 640
#define RING_BYTES (1 << 20)
#define COOKIES_MAX 1025
#define ADDRESSES_MAX 4096

struct heard {
	__u64 at_ns;
	/* Of the socket's network namespace; 0 where the kernel does not say. */
	__u64 namespace;
	__u32 bytes;
	__u32 is_outgoing;
	__u8 packet[PACKET_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} events SEC(".maps");

/* Whether the kernel says whose namespace it is. */
const volatile __u8 says_namespace;

/* Whose questions are told of, by the cookies of their namespaces; everybody's while there is the cookie 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COOKIES_MAX);
	__type(key, __u64);
	__type(value, __u8);
} askers SEC(".maps");

/* Those of IPv4 as IPv6 maps them. */
struct address {
	__be32 words[4];
};

/* Where they are, and the servers of whom questions are told of. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ADDRESSES_MAX);
	__type(key, struct address);
	__type(value, __u8);
} addresses SEC(".maps");

/* As in src/dns_tap/sockets.rs. */
struct {
	/* Packets for which there was no room. */
	__u64 lost;
	/* When somebody was last about to ask who is meant; 0 when nobody was. */
	__u64 asked_at_ns;
} told;

/* Most of all packets are TCP's, and must not wait. */
static __always_inline int is_tcp(struct __sk_buff *skb)
{
	struct bpf_sock *sk = (struct bpf_sock *)skb->sk;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	return sk && sk->protocol == IPPROTO_TCP;
}

/* Where the address of a packet's source stands, and how long it is; that of its destination follows. */
struct place {
	__u32 at;
	__u32 bytes;
};

static __always_inline int is_known(struct __sk_buff *skb, const struct place *source, __u32 is_destination)
{
	struct address address = {};

	if (source->bytes == 4) {
		address.words[2] = bpf_htonl(0xffff);
		if (bpf_skb_load_bytes(skb, source->at + (is_destination ? 4 : 0), &address.words[3], 4))
			return 0;
	} else if (bpf_skb_load_bytes(skb, source->at + (is_destination ? 16 : 0), &address, 16)) {
		return 0;
	}
	return bpf_map_lookup_elem(&addresses, &address) != 0;
}

/* Whether it is somebody whose questions are told of; 0 is nobody in particular. */
static __always_inline int is_asker(__u64 namespace)
{
	__u64 everybody = 0;

	return bpf_map_lookup_elem(&askers, &everybody) || bpf_map_lookup_elem(&askers, &namespace);
}

static __always_inline int is_meant(struct __sk_buff *skb, __u64 namespace, const struct place *source, __u32 is_outgoing)
{
	if (is_asker(namespace) || is_known(skb, source, is_outgoing))
		return 1;
	if (says_namespace)
		return 0;
	return is_known(skb, source, !is_outgoing);
}

static __always_inline int hear(struct __sk_buff *skb, __u32 is_outgoing)
{
	__u8 first, protocol;
	__u32 header, bytes = skb->len;
	__be16 port;
	struct heard *heard;
	struct place source;
	__u64 namespace = 0;

	if (is_tcp(skb))
		return PASS;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 9, &protocol, 1) || protocol != IPPROTO_UDP)
			return PASS;
		if (bpf_skb_load_bytes(skb, 0, &first, 1))
			return PASS;
		header = (first & 15) * 4;
		source = (struct place){ 12, 4 };
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, 6, &protocol, 1) || protocol != IPPROTO_UDP)
			return PASS;
		header = 40;
		source = (struct place){ 8, 16 };
	} else {
		return PASS;
	}
	/* Who asks sends to the port, and gets from there. */
	if (bpf_skb_load_bytes(skb, header + (is_outgoing ? 2 : 0), &port, 2) || port != bpf_htons(DNS_PORT))
		return PASS;
	if (says_namespace)
		namespace = bpf_get_netns_cookie(skb);
	if (!is_meant(skb, namespace, &source, is_outgoing))
		return PASS;
	if (bytes > PACKET_BYTES)
		bytes = PACKET_BYTES;
	heard = bpf_ringbuf_reserve(&events, sizeof(*heard), 0);
	if (!heard) {
		__sync_fetch_and_add(&told.lost, 1);
		return PASS;
	}
	heard->at_ns = bpf_ktime_get_boot_ns();
	heard->namespace = namespace;
	heard->bytes = bytes;
	heard->is_outgoing = is_outgoing;
	/* The verifier wants to see that there is something to copy. */
	if (bytes < 28 || bpf_skb_load_bytes(skb, 0, heard->packet, bytes)) {
		bpf_ringbuf_discard(heard, 0);
		return PASS;
	}
	bpf_ringbuf_submit(heard, 0);
	return PASS;
}

SEC("cgroup_skb/egress")
int murphy_dns_to(struct __sk_buff *skb)
{
	return hear(skb, 1);
}

SEC("cgroup_skb/ingress")
int murphy_dns_from(struct __sk_buff *skb)
{
	return hear(skb, 0);
}

static __always_inline int look(struct bpf_sock_addr *call, const struct address *server)
{
	if (is_asker(bpf_get_netns_cookie(call)) || bpf_map_lookup_elem(&addresses, server))
		told.asked_at_ns = bpf_ktime_get_boot_ns();
	return CALL_GOES_ON;
}

static __always_inline int is_dns(const struct bpf_sock_addr *call)
{
	return call->user_port == bpf_htons(DNS_PORT) && call->protocol == IPPROTO_UDP;
}

static __always_inline int look4(struct bpf_sock_addr *call)
{
	struct address server = {};

	if (!is_dns(call))
		return CALL_GOES_ON;
	server.words[2] = bpf_htonl(0xffff);
	server.words[3] = call->user_ip4;
	return look(call, &server);
}

static __always_inline int look6(struct bpf_sock_addr *call)
{
	struct address server;

	if (!is_dns(call))
		return CALL_GOES_ON;
	for (int i = 0; i < 4; i++)
		server.words[i] = call->user_ip6[i];
	return look(call, &server);
}

SEC("cgroup/connect4")
int murphy_dns_connects4(struct bpf_sock_addr *call)
{
	return look4(call);
}

SEC("cgroup/connect6")
int murphy_dns_connects6(struct bpf_sock_addr *call)
{
	return look6(call);
}

SEC("cgroup/sendmsg4")
int murphy_dns_sends4(struct bpf_sock_addr *call)
{
	return look4(call);
}

SEC("cgroup/sendmsg6")
int murphy_dns_sends6(struct bpf_sock_addr *call)
{
	return look6(call);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
