/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the programs for connections know of the kernel's sockets, beside kernel.h. */
#pragma once

#include "kernel.h"

/* The states of a socket, as include/net/tcp_states.h numbers them. */
enum {
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_TIME_WAIT = 6,
	TCP_LISTEN = 10,
	TCP_NEW_SYN_RECV = 12,
};

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__s64 counter;
} atomic64_t;

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

/* What every socket has, also one that is only a request, or waits for late packets. */
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	struct sock_cgroup_data sk_cgrp_data;
	int sk_err;
};

struct inet_sock {
	__be16 inet_sport;
};

struct inet_connection_sock {
	__u8 icsk_pending;
};

struct tcp_sock {
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u32 data_segs_out;
	__u32 data_segs_in;
	__u32 total_retrans;
	__u32 delivered;
	__u32 dsack_dups;
	__u32 rcv_ooopack;
	__u32 srtt_us;
	__u32 packets_out;
};

/* What a segment of TCP remembers in its packet. */
struct tcp_skb_cb {
	__u16 tcp_gso_segs;
};

struct request_sock;

struct net_device {
	possible_net_t nd_net;
};

struct sk_buff {
	struct sock *sk;
	struct net_device *dev;
	int skb_iif;
	/* Two bytes as on the wire: what the link carries. */
	__be16 protocol;
	unsigned char *head;
	__u16 transport_header;
	__u16 network_header;
	char cb[48];
};

struct bpf_iter__tcp {
	struct sock_common *sk_common;
};

#pragma clang attribute pop
