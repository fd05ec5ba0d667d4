/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The network namespaces that are watched. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define NAMESPACES_MAX 1024

/* By their numbers. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAMESPACES_MAX);
	__type(key, __u32);
	__type(value, __u8);
} namespaces SEC(".maps");

static __always_inline int is_watched(__u32 namespace)
{
	return bpf_map_lookup_elem(&namespaces, &namespace) != 0;
}
