/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Chance that can be repeated: random words are made from a seed and the number of the packet. */
#pragma once

#include "mixed.h"
#include "traffic.h"
#include <bpf/bpf_helpers.h>

/* What a chain decides. */
enum purpose { LOSS, DUPLICATION, PURPOSES };

/* One way's packets so far, and the states of its chains. */
struct course {
	__u64 number;
	struct bpf_spin_lock lock;
	__u32 inside[PURPOSES];
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, struct course);
} courses SEC(".maps");

/* The number of this packet among those that match, from 0. */
static __always_inline __u64 next_number(enum way way)
{
	__u32 which = way;
	struct course *course = bpf_map_lookup_elem(&courses, &which);

	return course ? __sync_fetch_and_add(&course->number, 1) : 0;
}

__noinline int hits(const struct chain *chain, __u64 seed, __u64 number, enum way way, enum purpose purpose)
{
	__u32 which = way, inside;
	__u64 word;
	struct course *course;

	/* The kernel verifies each function for itself, for any way and purpose. */
	if (!chain || purpose >= PURPOSES || (!chain->enter && !chain->hit_outside))
		return 0;
	/* Two 32-bit words for each packet, way and purpose. */
	word = mixed(seed + ((number * PURPOSES + purpose) * WAYS + way + 1) * STEP);
	if (chain->enter + chain->leave == 1ull << 32) {
		inside = (__u32)word < chain->enter;
	} else {
		course = bpf_map_lookup_elem(&courses, &which);
		if (!course)
			return 0;
		bpf_spin_lock(&course->lock);
		inside = course->inside[purpose];
		inside = inside ? (__u32)word >= chain->leave : (__u32)word < chain->enter;
		course->inside[purpose] = inside;
		bpf_spin_unlock(&course->lock);
	}
	return word >> 32 < (inside ? chain->hit_inside : chain->hit_outside);
}
