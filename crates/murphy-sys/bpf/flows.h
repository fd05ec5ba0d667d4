/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the programs for single connections are told, and what they tell: the same as in src/flows/record.rs. */
#pragma once

#include "traffic.h"

#define FLOWS_MAX 65536
/* Of keys of connections that were cut; who finds no room tells again at its next packet. */
#define CUTS_BYTES (1 << 20)

/* What becomes of a connection. */
enum mode {
	/* Nothing passes. */
	STALL,
	/* Nothing passes, and the other end is told that the connection is over. */
	RESET_REMOTE,
	/* So many bytes pass, and no more. */
	AFTER_BYTES,
};

/* Ports in the order of the processor, addresses in that of the wire; those of IPv4 are mapped into IPv6. */
struct key {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
};

struct dropped {
	__u64 packets;
	/* With the headers of the device. */
	__u64 bytes;
};

struct flow {
	/* How many bytes may pass, and have. */
	__u64 limit;
	__u64 passed;
	/* How often the other end was told. */
	__u64 resets;
	struct dropped dropped[WAYS];
	__u32 mode;
	/* Whether the other end has told that it has no such connection. */
	__u32 is_gone;
	__u32 is_cut;
	/* Whether that was told. */
	__u32 is_told;
	/* Held by who reads or writes what is below, `passed` or `is_cut`. */
	struct bpf_spin_lock lock;
	/* The ways whose numbers are known, one bit each. */
	__u32 is_known;
	/* Behind the last byte that has passed, by the numbers of TCP. */
	__u32 end[WAYS];
};

_Static_assert(sizeof(struct key) == 36, "as in record.rs");
_Static_assert(sizeof(struct flow) == 88, "as in record.rs");
