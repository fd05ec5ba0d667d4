/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What every program for packets has: what it is told, what it tells, and how a packet is lost. */
#pragma once

#include "chance.h"

/* No device has this number: who redirects there loses a packet without a word to its sender, as a wire would. */
#define NOWHERE 0x7fffffff

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, struct fates);
} told SEC(".maps");

static __always_inline void count(struct fates *fates, enum fate fate, struct __sk_buff *skb)
{
	struct tally *tally = &fates->of[fate];

	tally->packets++;
	tally->segments += skb->gso_segs ? skb->gso_segs : 1;
	tally->bytes += skb->len;
}

/* The packet vanishes. On its way out, its sender must not be told. */
static __always_inline int lose(enum way way)
{
	return way == TO ? bpf_redirect(NOWHERE, 0) : TCX_DROP;
}

/* Whether this packet of those that match, by its number, is lost. */
static __always_inline int is_lost(const struct treatment *treatment, __u64 seed, __u64 number, enum way way)
{
	return treatment->partition == DROP ||
	       (treatment->every && number % treatment->every == treatment->every - 1) ||
	       hits(&treatment->loss, seed, number, way, LOSS);
}
