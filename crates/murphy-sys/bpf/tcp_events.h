/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What is told of connections, the same as in src/tcp_events/, and how it is read from sockets and packets. */
#pragma once

#include "namespaces.h"
#include "tcp.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORTS_MAX 64
#define RING_BYTES (4 << 20)
#define NO_REASON 0xffffffff

/* Of include/uapi/linux/bpf.h. */
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2, BPF_RB_AVAIL_DATA = 0 };

enum kind { STATE, RESET_SENT, RESET_RECEIVED, RETRANSMIT, SYNACK_RETRANSMIT };

/* Of a retransmit, in the place of the state after: a tail loss probe; one that was not sent after all. */
enum { IS_PROBE = 1, IS_UNSENT = 2 };

/* A timer of TCP's: include/net/inet_connection_sock.h. */
#define ICSK_TIME_LOSS_PROBE 5

/*
 * Ports are numbers, addresses as on the wire; family 0 where they are not known. In the place of the state before, a
 * reset that was sent has the flags of the packet that it answers; and a retransmit has segments in that of the reason.
 */
struct event {
	__u64 at_ns;
	__u64 cookie;
	__u32 namespace;
	__u32 reason;
	__u16 local_port;
	__u16 remote_port;
	__u8 family;
	__u8 kind;
	__u8 from;
	__u8 to;
	__u8 local[16];
	__u8 remote[16];
};

_Static_assert(sizeof(struct event) == 64, "as in event.rs");

/* What a connection has carried until now, and whose it is: behind a retransmit, and a change of state where that is asked for. */
struct figures {
	__u64 cgroup;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	/* Who asks for a connection, where that is what happens. */
	__u32 pid;
	__u32 data_segs_out;
	__u32 data_segs_in;
	__u32 total_retrans;
	__u32 delivered;
	__u32 dsack_dups;
	__u32 rcv_ooopack;
	__u32 srtt_us;
	__u32 packets_out;
	/* Why it has ended: what its owner is told. */
	__u32 error;
};

struct told {
	struct event event;
	struct figures figures;
};

_Static_assert(sizeof(struct told) == 64 + 80, "as in event.rs");

/* The tracepoint as it is since Linux 6.10. Before, it has no reason, and says nothing of resets without a socket. */
enum sk_rst_reason { SK_RST_REASON_NOT_SPECIFIED };
typedef void (*btf_trace_tcp_send_reset)(void *, const struct sock *, const struct sk_buff *, const enum sk_rst_reason);

/* The tracepoint as it is since Linux 6.16. Before, it has no error, and says nothing of what was not sent. */
typedef void (*btf_trace_tcp_retransmit_skb)(void *, const struct sock *, const struct sk_buff *, int);

/* What a socket knows. It is read as memory: some kernels take for granted that there is one. */
static __always_inline void of_socket(struct event *event, const struct sock *sk)
{
	const struct sock_common *common = &sk->__sk_common;
	__u8 state = BPF_CORE_READ(common, skc_state);

	/* A whole socket gives its port back before it is closed, and remembers it elsewhere; others have no elsewhere. */
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		event->local_port = BPF_CORE_READ(common, skc_num);
	else
		event->local_port = bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	event->remote_port = bpf_ntohs(BPF_CORE_READ(common, skc_dport));
	event->family = BPF_CORE_READ(common, skc_family);
	if (event->family == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)event->local, common, skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)event->remote, common, skc_daddr);
	} else if (event->family == AF_INET6 && bpf_core_field_exists(common->skc_v6_daddr)) {
		BPF_CORE_READ_INTO((struct in6_addr *)event->local, common, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)event->remote, common, skc_v6_daddr);
	}
}

/* The flags of the packet that is answered by a reset. */
static __always_inline __u8 flags_of(const struct sk_buff *skb)
{
	const __u8 *tcp = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header);
	__u8 flags = 0;

	bpf_probe_read_kernel(&flags, sizeof(flags), tcp + 13);
	return flags;
}

/* What the packet says that is answered by a reset: it was sent by the other end. */
static __always_inline void of_packet(struct event *event, const struct sk_buff *skb)
{
	const __u8 *head = BPF_CORE_READ(skb, head);
	const __u8 *ip = head + BPF_CORE_READ(skb, network_header);
	__be16 both[2] = {};
	__u8 version = 0;

	bpf_probe_read_kernel(both, sizeof(both), head + BPF_CORE_READ(skb, transport_header));
	event->remote_port = bpf_ntohs(both[0]);
	event->local_port = bpf_ntohs(both[1]);
	bpf_probe_read_kernel(&version, sizeof(version), ip);
	if (version >> 4 == 4) {
		event->family = AF_INET;
		bpf_probe_read_kernel(event->remote, 4, ip + 12);
		bpf_probe_read_kernel(event->local, 4, ip + 16);
	} else if (version >> 4 == 6) {
		event->family = AF_INET6;
		bpf_probe_read_kernel(event->remote, 16, ip + 8);
		bpf_probe_read_kernel(event->local, 16, ip + 24);
	}
}

/* What a whole socket has carried until now. */
static __always_inline void of_figures(struct figures *figures, const struct sock *sk)
{
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;

	figures->cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	figures->bytes_acked = BPF_CORE_READ(tcp, bytes_acked);
	figures->bytes_received = BPF_CORE_READ(tcp, bytes_received);
	figures->bytes_sent = BPF_CORE_READ(tcp, bytes_sent);
	figures->bytes_retrans = BPF_CORE_READ(tcp, bytes_retrans);
	figures->data_segs_out = BPF_CORE_READ(tcp, data_segs_out);
	figures->data_segs_in = BPF_CORE_READ(tcp, data_segs_in);
	figures->total_retrans = BPF_CORE_READ(tcp, total_retrans);
	figures->delivered = BPF_CORE_READ(tcp, delivered);
	figures->dsack_dups = BPF_CORE_READ(tcp, dsack_dups);
	figures->rcv_ooopack = BPF_CORE_READ(tcp, rcv_ooopack);
	figures->packets_out = BPF_CORE_READ(tcp, packets_out);
	figures->error = BPF_CORE_READ(sk, sk_err);
	/* The kernel keeps eight times of it. */
	figures->srtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
}
