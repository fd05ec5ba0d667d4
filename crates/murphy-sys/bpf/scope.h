/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Which peers and which ports are meant. */
#pragma once

#include "traffic.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PEERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct peer4);
	__type(value, __u8);
} peers4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PEERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct peer6);
	__type(value, __u8);
} peers6 SEC(".maps");

/*
 * The kernel verifies a function that is not static by itself, and each call of it in no time: without such ones it walks
 * all ways through a program, one after the other, for a tenth of a second.
 */
__noinline int in_ports(const struct port_list *list, __u32 count, __u16 port)
{
	if (!list)
		return 0;
	for (__u32 i = 0; i < PORTS_MAX && i < count; i++)
		if (port >= list->of[i].first && port <= list->of[i].last)
			return 1;
	return 0;
}

/* Whether the ports of the target's side and of the other side are. */
static __always_inline int are_meant(const struct scope *scope, __u16 local, __u16 remote)
{
	if (scope->either_ports && !in_ports(&scope->either, scope->either_ports, local) &&
	    !in_ports(&scope->either, scope->either_ports, remote))
		return 0;
	if (scope->local_ports && !in_ports(&scope->local, scope->local_ports, local))
		return 0;
	return !scope->remote_ports || in_ports(&scope->remote, scope->remote_ports, remote);
}

static __always_inline int has_ports(const struct scope *scope)
{
	return scope->either_ports || scope->local_ports || scope->remote_ports;
}
