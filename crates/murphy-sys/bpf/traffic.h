/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the programs for packets are told, and what they tell: the same as in src/traffic/order.rs. */
#pragma once

#include "skb.h"

#define PORTS_MAX 16
#define PEERS_MAX 16384
/* The upper byte of the mark that a packet carries while it comes back to the program that it is from. */
#define OUR_MARK 0x4d

/* Which way a packet goes, seen from the target. */
enum way { TO, FROM, WAYS };

/* What becomes of packets that may not pass. */
enum partition { PASS, DROP, REJECT };

/* Ports from the first to the last; from 1 to 0 where the place is empty. */
struct ports {
	__u16 first;
	__u16 last;
};

struct port_list {
	struct ports of[PORTS_MAX];
};

struct scope {
	/* Whether only packets to and from peers match. */
	__u32 by_peer;
	/* Whether ARP and neighbour discovery match. */
	__u32 arp;
	/* The protocol, in IPv4 and in IPv6; 0 for any. */
	__u32 protocol4;
	__u32 protocol6;
	/* How many places of each list are used. */
	__u32 either_ports;
	__u32 local_ports;
	__u32 remote_ports;
	__u32 unused;
	struct port_list either;
	struct port_list local;
	struct port_list remote;
};

/*
 * A chain of two states. Each number is one of 2^32: a random word below it is a hit; 2^32 always is one. Without memory
 * the next state does not depend on the last.
 */
struct chain {
	__u64 enter;
	__u64 leave;
	__u64 hit_inside;
	__u64 hit_outside;
};

/* What happens to the packets that match, one way. */
struct treatment {
	__u32 partition;
	/* Every nth is lost; 0 for none. */
	__u32 every;
	/* The device of Murphy's that they are handed to; 0 for none. */
	__u32 cable;
	/* The device that they are on, where they come back to. */
	__u32 device;
	/* The priority by which those that have to wait are known to qdiscs and filters of Murphy's; 0 for none. */
	__u32 queue;
	__u32 unused;
	struct chain loss;
	struct chain duplicate;
};

struct order {
	/* When it ends, in nanoseconds since boot. */
	__u64 until_ns;
	/* What random words are made from. */
	__u64 seed;
	/* 0 while it is paused. */
	__u32 active;
	/* The mark of packets that come back. */
	__u32 mark;
	struct scope scope;
	struct treatment ways[WAYS];
};

struct tally {
	__u64 packets;
	/* What they would be on a wire. */
	__u64 segments;
	/* With the headers of the device. */
	__u64 bytes;
};

/* What became of packets. */
enum fate { SEEN, MATCHED, LOST, REFUSED, DUPLICATED, CABLED, RETURNED, SLIPPED, FATES };

struct fates {
	struct tally of[FATES];
};

/* An address with the length of its prefix, as a longest-prefix map wants it. */
struct peer4 {
	__u32 length;
	__u8 address[4];
};

struct peer6 {
	__u32 length;
	__u8 address[16];
};

_Static_assert(sizeof(struct scope) == 224, "as in order.rs");
_Static_assert(sizeof(struct treatment) == 88, "as in order.rs");
_Static_assert(sizeof(struct order) == 424, "as in order.rs");
_Static_assert(sizeof(struct fates) == 192, "as in order.rs");
