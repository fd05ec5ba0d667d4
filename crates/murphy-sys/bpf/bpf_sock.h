/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the kernel says of a socket, and of a call for one, to a program that gets it (include/uapi/linux/bpf.h). */
#pragma once

#include "kernel.h"

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	/* In the order of the host; 0 where it is not bound. */
	__u32 src_port;
};

/* The context of a program at connect() or sendmsg(). */
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	/* In the order of the network. */
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

_Static_assert(sizeof(struct bpf_sock_addr) == 72, "the kernel's layout");
