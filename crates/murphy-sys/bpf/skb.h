/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the programs for packets know of the kernel's interface: the context of such a program (include/uapi/linux/bpf.h),
 * verdicts and the numbers of protocols.
 */
#pragma once

#include "kernel.h"

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	__u64 flow_keys;
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	__u64 sk;
	__u32 gso_size;
};

_Static_assert(sizeof(struct __sk_buff) == 184, "the kernel's layout");

enum {
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LPM_TRIE = 11,
};

#define BPF_F_NO_PREALLOC 1
#define BPF_F_INGRESS 1
#define BPF_HDR_START_NET 1
#define PACKET_HOST 0

/* The program says nothing: the next one of the hook, or the device, has the packet. */
#define TCX_NEXT -1
#define TCX_DROP 2

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_IPV6 0x86dd

#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132

struct bpf_spin_lock {
	__u32 val;
};
