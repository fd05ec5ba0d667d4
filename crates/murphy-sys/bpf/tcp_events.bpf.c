/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Tells what becomes of the connections of some network namespaces: each change of state, each reset that is sent and
 * each that is received, and each retransmit. A socket belongs to the namespace that it is in, whoever happens to run when it is told of.
 */
#include "tcp_events.h"
#include <bpf/bpf_tracing.h>

/*
 * Set before loading: whether whoever listens is woken for each event; whether changes of state have figures; ports from
 * the first to the last, of which one side must have one, if there are any.
 */
const volatile struct {
	__u32 is_prompt;
	__u32 has_figures;
	__u32 ports;
	struct {
		__u16 first;
		__u16 last;
	} of[PORTS_MAX];
} asked = {};

/* Events for which there was no room. */
__u64 lost;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} events SEC(".maps");

static __always_inline int has_port(const struct event *event)
{
	if (!asked.ports)
		return 1;
	for (__u32 i = 0; i < PORTS_MAX && i < asked.ports; i++) {
		__u16 first = asked.of[i].first, last = asked.of[i].last;

		if ((event->local_port >= first && event->local_port <= last) ||
		    (event->remote_port >= first && event->remote_port <= last))
			return 1;
	}
	return 0;
}

/* To wake somebody costs more than all the rest. */
static __always_inline __u64 waking(void)
{
	if (asked.is_prompt)
		return 0;
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > RING_BYTES / 8 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline int tell_all(struct event *event, __u64 length)
{
	if (!has_port(event))
		return 0;
	event->at_ns = bpf_ktime_get_boot_ns();
	if (bpf_ringbuf_output(&events, event, length, waking()))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

static __always_inline int tell(struct event *event)
{
	return tell_all(event, sizeof(*event));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(murphy_state, struct sock *sk, int from, int to)
{
	struct told told = { .event = { .kind = STATE, .reason = NO_REASON, .from = from, .to = to } };
	struct event *event = &told.event;

	event->namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!is_watched(event->namespace) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	/* The copy of a listener, which is told whose it is right after this. */
	if (from == TCP_LISTEN && to == TCP_SYN_RECV)
		return 0;
	of_socket(event, sk);
	event->cookie = bpf_get_socket_cookie(sk);
	if (!asked.has_figures)
		return tell(event);
	of_figures(&told.figures, sk);
	if (to == TCP_SYN_SENT)
		told.figures.pid = bpf_get_current_pid_tgid() >> 32;
	return tell_all(event, sizeof(told));
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(murphy_reset_received, struct sock *sk)
{
	struct event event = { .kind = RESET_RECEIVED, .reason = NO_REASON };

	event.namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!is_watched(event.namespace))
		return 0;
	of_socket(&event, sk);
	event.cookie = bpf_get_socket_cookie(sk);
	return tell(&event);
}

SEC("tp_btf/tcp_send_reset")
int murphy_reset_sent(__u64 *ctx)
{
	struct event event = { .kind = RESET_SENT, .reason = NO_REASON };
	const struct sock *sk;
	const struct sk_buff *skb;
	__u64 both[2] = {};

	/* Either may be none. Kernels before 6.13 do not know that and would leave out a check of the arguments themselves. */
	bpf_probe_read_kernel(both, sizeof(both), ctx);
	sk = (const struct sock *)both[0];
	skb = (const struct sk_buff *)both[1];
	if (sk)
		event.namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	else if (skb)
		event.namespace = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	if (!is_watched(event.namespace))
		return 0;
	/* Who listens has no other end; who sent to it has. */
	if (sk && !(skb && BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN))
		of_socket(&event, sk);
	else if (skb)
		of_packet(&event, skb);
	if (skb)
		event.from = flags_of(skb);
	event.cookie = bpf_get_socket_cookie((void *)ctx[0]);
	if (bpf_core_type_exists(btf_trace_tcp_send_reset))
		event.reason = ctx[2];
	return tell(&event);
}

SEC("tp_btf/tcp_retransmit_skb")
int murphy_retransmit(__u64 *ctx)
{
	struct told told = { .event = { .kind = RETRANSMIT } };
	struct event *event = &told.event;
	const struct sock *sk = (const struct sock *)ctx[0];
	const struct sk_buff *skb = (const struct sk_buff *)ctx[1];
	const struct tcp_skb_cb *segment;

	event->namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!is_watched(event->namespace))
		return 0;
	of_socket(event, sk);
	event->cookie = bpf_get_socket_cookie((void *)ctx[0]);
	event->from = BPF_CORE_READ(sk, __sk_common.skc_state);
	/* One packet may be several segments. */
	segment = (const struct tcp_skb_cb *)&skb->cb;
	event->reason = BPF_CORE_READ(segment, tcp_gso_segs) ?: 1;
	if (BPF_CORE_READ((const struct inet_connection_sock *)sk, icsk_pending) == ICSK_TIME_LOSS_PROBE)
		event->to |= IS_PROBE;
	if (bpf_core_type_exists(btf_trace_tcp_retransmit_skb) && (int)ctx[2])
		event->to |= IS_UNSENT;
	/* Whoever listens sees by the connection's own count whether one was not told of. */
	of_figures(&told.figures, sk);
	return tell_all(event, sizeof(told));
}

/* Who listens answers somebody again who has asked for a connection: there is no socket for it yet. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(murphy_synack_retransmit, const struct sock *sk, const struct request_sock *request)
{
	struct event event = { .kind = SYNACK_RETRANSMIT, .reason = 1, .from = TCP_NEW_SYN_RECV };

	event.namespace = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!is_watched(event.namespace))
		return 0;
	of_socket(&event, (const struct sock *)request);
	return tell(&event);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
