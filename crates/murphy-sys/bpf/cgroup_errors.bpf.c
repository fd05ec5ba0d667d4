/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Has calls about the sockets of a cgroup fail. */
#include "bpf_sock.h"
#include "failing.h"
#include "failing_family.h"

/* What such a program says. */
#define CALL_FAILS 0
#define CALL_GOES_ON 1

/* The same as in src/cgroup_errors/hook.rs; 0 is no hook. */
enum hook { NOWHERE, CONNECT, BIND, SOCKET, SEND };

static __always_inline int decide(const struct asked *asked)
{
	int error;

	/* What somebody else has refused stays so, and does not come. */
	if (bpf_get_retval() < 0)
		return CALL_GOES_ON;
	error = failure_of(asked);
	if (!error)
		return CALL_GOES_ON;
	bpf_set_retval(-error);
	return CALL_FAILS;
}

static __always_inline int decide4(struct bpf_sock_addr *call, enum hook hook)
{
	struct asked asked = { .hooks = 1 << hook, .port = bpf_ntohs(call->user_port) };

	asked.address[2] = bpf_htonl(0xffff);
	asked.address[3] = call->user_ip4;
	return decide(&asked);
}

static __always_inline int decide6(struct bpf_sock_addr *call, enum hook hook)
{
	struct asked asked = { .hooks = 1 << hook, .port = bpf_ntohs(call->user_port) };

	for (int i = 0; i < 4; i++)
		asked.address[i] = call->user_ip6[i];
	return decide(&asked);
}

#define AT(section, name, decide, hook)                                                                                        \
	SEC("cgroup/" section)                                                                                                 \
	int name(struct bpf_sock_addr *call)                                                                                   \
	{                                                                                                                      \
		return decide(call, hook);                                                                                     \
	}

AT("connect4", murphy_connect4, decide4, CONNECT)
AT("connect6", murphy_connect6, decide6, CONNECT)
AT("bind4", murphy_bind4, decide4, BIND)
AT("bind6", murphy_bind6, decide6, BIND)
AT("sendmsg4", murphy_sendmsg4, decide4, SEND)
AT("sendmsg6", murphy_sendmsg6, decide6, SEND)

SEC("cgroup/sock_create")
int murphy_sock_create(struct bpf_sock *socket)
{
	struct asked asked = { .hooks = 1 << SOCKET };

	return decide(&asked);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
