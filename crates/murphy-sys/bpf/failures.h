/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the programs that have calls fail are told, and what they tell, as in src/failures/. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* The same as in src/failures/. */
#define RULES_MAX 16
#define CALLS 512

/* Which of the calls that are meant fail, beside the chance of each. */
enum pick { EACH, TURNS, BURSTS, AT_MOST };
/* Of which family addresses are meant. */
enum family { ANY_FAMILY, IP4, IP6 };

/* It begins as an order for packets does: it is found by its mark. */
struct failing {
	/* When it ends, in nanoseconds since boot. */
	__u64 until_ns;
	/* What random words are made from. */
	__u64 seed;
	/* 0 while it is paused. */
	__u32 active;
	/* Says whose it is. */
	__u32 mark;
	/* Whether only calls of the family are meant. */
	__u32 by_process;
	__u32 unused;
};

struct rule {
	/* Of 2^32 random words those below it have a call fail; 2^32 always does. */
	__u64 chance;
	/* First, last and step of turns; begin and end of bursts; most in a row. */
	__u64 by[3];
	/* How many fail in all. */
	__u64 most;
	/* One bit for each number of a call; none where there is no rule. */
	__u64 calls[CALLS / 64];
	__u32 pick;
	/* What they fail with. */
	__u32 error;
	/* Of which device's file system, as the kernel has it; 0 for any. */
	__u32 device;
	/* Of which kinds, one bit for each of S_IFMT; 0 for any. */
	__u16 kinds;
	__u8 only_nonblocking;
	__u8 family;
	/* Which addresses, in the order of the network, IPv4 ones as IPv6 has them; and which of their bits count. */
	__be32 address[4];
	__be32 bits[4];
	/* Which ports. */
	__u16 first_port;
	__u16 last_port;
	__u32 unused;
};

struct tally {
	/* Calls that came. */
	__u64 seen;
	/* Those of them that failed. */
	__u64 failed;
	/* Whether a burst is under way. */
	__u64 inside;
	/* How many have failed in a row. */
	__u64 row;
};

_Static_assert(sizeof(struct failing) == 32, "as in src/failures/encoded.rs");
_Static_assert(sizeof(struct rule) == 160, "as in src/failures/encoded.rs");
_Static_assert(sizeof(struct tally) == 32, "as in src/failures/encoded.rs");

/* What a hook says of a call. */
struct asked {
	/* Which hooks it speaks for, one bit each. */
	__u32 hooks;
	__u32 device;
	/* One bit for its kind; 0 where it has none. */
	__u16 kind;
	__u16 port;
	__u32 is_nonblocking;
	__be32 address[4];
};

/* Said before this is loaded: which hook decides about each call, by its number; from 1. */
const volatile struct {
	__u8 hook_of[CALLS];
} told_before = {};

/* Processes that could not be followed. */
__u64 lost;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct failing);
} failing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RULES_MAX);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RULES_MAX);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* Who is meant, by the number that the whole machine knows a process by. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u8);
} family SEC(".maps");
