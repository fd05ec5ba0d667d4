/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Which calls fail. A call is looked at by the one hook that decides about it, so that it is counted once, and drawn once.
 */
#pragma once

#include "failures.h"
#include "mixed.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

/* How often a chain is stepped again that somebody else has stepped meanwhile. */
#define STEPS_MAX 8
/* arch/x86/include/asm/thread_info.h */
#define TS_COMPAT 2

struct cred;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct___failing {
	struct thread_info thread_info;
	const struct cred *cred;
	const struct cred *real_cred;
};

#pragma clang attribute pop

/* The number of the call under way; none for one of another ABI, or that a file system makes on its own account. */
static __always_inline __u32 number_of_call(void)
{
	struct task_struct___failing *task = (void *)bpf_get_current_task_btf();
	struct pt_regs *regs;
	__u64 number;

	/* An overlay asks the file below as its own mounter: that is the same call again. */
	if (task->thread_info.status & TS_COMPAT || task->cred != task->real_cred)
		return CALLS;
	regs = (void *)bpf_task_pt_regs((void *)task);
	number = regs->orig_ax;
	return number < CALLS ? number : CALLS;
}

static __always_inline int is_meant(const struct rule *rule, const struct asked *asked)
{
	if ((rule->kinds && !(rule->kinds & asked->kind)) || (rule->device && rule->device != asked->device))
		return 0;
	if (rule->only_nonblocking && !asked->is_nonblocking)
		return 0;
	if (asked->port < rule->first_port || asked->port > rule->last_port)
		return 0;
	if (rule->family) {
		int is_ip4 = !asked->address[0] && !asked->address[1] && asked->address[2] == bpf_htonl(0xffff);

		if (is_ip4 != (rule->family == IP4))
			return 0;
	}
	return (asked->address[0] & rule->bits[0]) == rule->address[0] &&
	       (asked->address[1] & rule->bits[1]) == rule->address[1] &&
	       (asked->address[2] & rule->bits[2]) == rule->address[2] &&
	       (asked->address[3] & rule->bits[3]) == rule->address[3];
}

/* One step of a chain: whether this call is in a burst. */
static __always_inline int is_in_burst(const struct rule *rule, struct tally *tally, __u32 word)
{
	__u64 before, after = 0;

	for (int i = 0; i < STEPS_MAX; i++) {
		before = tally->inside;
		after = before ? word >= rule->by[1] : word < rule->by[0];
		if (before == after || __sync_val_compare_and_swap(&tally->inside, before, after) == before)
			break;
	}
	return after;
}

/* Whether a call fails that is meant, by its number among those. */
static __always_inline int is_picked(const struct rule *rule, struct tally *tally, __u64 number, __u64 word)
{
	__u64 turn = number + 1;
	int hit = word >> 32 < rule->chance;

	switch (rule->pick) {
	case TURNS:
		return hit && turn >= rule->by[0] && turn <= rule->by[1] && rule->by[2] &&
		       (turn - rule->by[0]) % rule->by[2] == 0;
	case BURSTS:
		return is_in_burst(rule, tally, word) && hit;
	case AT_MOST:
		if (hit && __sync_fetch_and_add(&tally->row, 1) < rule->by[0])
			return 1;
		tally->row = 0;
		return 0;
	}
	return hit;
}

/* Whether one more may fail, which is counted then. */
static __always_inline int is_allowed(const struct rule *rule, struct tally *tally)
{
	if (tally->failed >= rule->most)
		return 0;
	if (__sync_fetch_and_add(&tally->failed, 1) < rule->most)
		return 1;
	__sync_fetch_and_add(&tally->failed, -1);
	return 0;
}

/* What the call under way fails with; 0 where it goes on. */
__noinline int failure_of(const struct asked *asked)
{
	__u32 only = 0, process = bpf_get_current_pid_tgid() >> 32, number;
	const struct failing *order = bpf_map_lookup_elem(&failing, &only);
	const struct rule *rule;
	struct tally *tally;
	__u64 place, word;

	/* The kernel verifies each function for itself. */
	if (!asked || !order || (order->by_process && !bpf_map_lookup_elem(&family, &process)))
		return 0;
	number = number_of_call();
	if (number >= CALLS || !(asked->hooks >> (told_before.hook_of[number] & 31) & 1))
		return 0;
	if (!order->active || bpf_ktime_get_boot_ns() >= order->until_ns)
		return 0;
	for (__u32 i = 0; i < RULES_MAX; i++) {
		__u32 which = i;

		rule = bpf_map_lookup_elem(&rules, &which);
		tally = bpf_map_lookup_elem(&tallies, &which);
		if (!rule || !tally)
			break;
		if (!(rule->calls[number / 64 % (CALLS / 64)] >> (number % 64) & 1) || !is_meant(rule, asked))
			continue;
		place = __sync_fetch_and_add(&tally->seen, 1);
		word = mixed(mixed(order->seed + (i + 1) * STEP) + place * STEP);
		if (is_picked(rule, tally, place, word) && is_allowed(rule, tally))
			return rule->error;
	}
	return 0;
}
