/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the kernel says of a socket to a program that gets one (include/uapi/linux/bpf.h). */
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
