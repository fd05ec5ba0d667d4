/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Words that look random, made from those that do not. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* What the numbers of a row of words differ by: odd, and its bits look random, too. */
#define STEP 0x9e3779b97f4a7c15ull

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), its mixing function. */
static __always_inline __u64 mixed(__u64 word)
{
	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
	return word ^ (word >> 31);
}
