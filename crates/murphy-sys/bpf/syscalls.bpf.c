/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Counts the system calls that return in some network namespaces, or in some processes there, by what they return; and how
 * long some of them take. Nothing is told of a single call. Calls of the other ABIs of the machine are one call here: their
 * numbers mean others.
 */
#include "namespaces.h"
#include "tcp.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* The same as in src/syscalls/. */
#define CALLS 512
#define FOREIGN 0xffff
#define COUNTS_MAX 8192
#define TIMES_MAX 2048
#define BEGUN_MAX 16384
#define PROCESSES_MAX 16384
#define BUCKETS 104

/* Who of a namespace is watched, as its entry of `namespaces` says. */
#define EVERYBODY 1

/* Which calls are timed. */
#define ALWAYS 1
#define OF_FILES 2

/* include/linux/err.h, arch/x86/include/asm/thread_info.h, include/uapi/linux/stat.h */
#define MAX_ERRNO 4095
#define TS_COMPAT 2
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFBLK 0060000

struct key {
	__u32 namespace;
	__u16 number;
	/* 0 where it did not fail. */
	__u16 error;
};

_Static_assert(sizeof(struct key) == 8, "as in src/syscalls/");

struct took {
	__u64 count;
	__u64 sum_ns;
	/* By microseconds: four for each power of two. */
	__u64 buckets[BUCKETS];
};

/* Said before this is loaded: who Murphy is, and how each call is timed, by its number. */
const volatile struct {
	__u32 own;
	__u8 is_timed[CALLS];
	__u32 unused;
	/* What is new in `times`: more than fits on the stack. */
	struct took none;
} asked = {};

_Static_assert(sizeof(asked) == 1368, "as in src/syscalls/");

struct begun {
	__u64 at_ns;
	__u64 number;
};

/* Calls that could not be counted or timed. */
__u64 lost;
/* What Murphy's processes run: none of them is the target's, in whatever namespace it works. */
__u64 own_file;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COUNTS_MAX);
	__type(key, struct key);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TIMES_MAX);
	__type(key, struct key);
	__type(value, struct took);
} times SEC(".maps");

/* Timed calls under way, by their threads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BEGUN_MAX);
	__type(key, __u32);
	__type(value, struct begun);
} begun SEC(".maps");

/* The namespace for which a thread is watched; 0 where it is not. */
static __always_inline __u32 watched_for(struct task_struct *task)
{
	__u32 namespace = task->nsproxy->net_ns->ns.inum, process = task->tgid, *place;
	__u8 *who = bpf_map_lookup_elem(&namespaces, &namespace);
	__u64 file;

	if (!who)
		return 0;
	file = (__u64)task->mm->exe_file->f_inode;
	if (process == asked.own) {
		own_file = file;
		return 0;
	}
	if (file == own_file)
		return 0;
	if (*who == EVERYBODY)
		return namespace;
	place = bpf_map_lookup_elem(&processes, &process);
	return place ? *place : 0;
}

/* The number of a call, as this ABI of the kernel has it; the kernel's end of a signal is none. */
static __always_inline __u32 number_of(struct task_struct *task, __u64 number)
{
	if (task->thread_info.status & TS_COMPAT || number >= CALLS)
		return FOREIGN;
	return number;
}

static __always_inline int is_file(struct task_struct *task, __u32 descriptor)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd), *file = 0;
	__u16 kind;

	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), files + descriptor);
	kind = BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT;
	return kind == S_IFREG || kind == S_IFDIR || kind == S_IFBLK;
}

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u64 us = ns / 1000, rest = us;
	__u32 power = 0, bucket;

	if (us < 4)
		return us;
#define HALVE(bits)                                                                                                            \
	if (rest >> bits) {                                                                                                    \
		rest >>= bits;                                                                                                 \
		power += bits;                                                                                                 \
	}
	HALVE(32) HALVE(16) HALVE(8) HALVE(4) HALVE(2) HALVE(1)
	bucket = (power - 1) * 4 + ((us >> (power - 2)) & 3);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static __always_inline void note_took(const struct key *call, __u64 ns)
{
	struct took *took = bpf_map_lookup_elem(&times, call);
	__u32 bucket = bucket_of(ns);

	if (!took) {
		bpf_map_update_elem(&times, call, (const void *)&asked.none, BPF_NOEXIST);
		took = bpf_map_lookup_elem(&times, call);
	}
	if (!took || bucket >= BUCKETS) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	__sync_fetch_and_add(&took->count, 1);
	__sync_fetch_and_add(&took->sum_ns, ns);
	__sync_fetch_and_add(&took->buckets[bucket], 1);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(murphy_call, struct pt_regs *regs, long number)
{
	struct task_struct *task;
	struct begun call = {.number = number};
	__u32 thread;
	__u8 how;

	/* What most calls cost. */
	if (call.number >= CALLS)
		return 0;
	how = asked.is_timed[call.number];
	if (!how)
		return 0;
	task = bpf_get_current_task_btf();
	if (!watched_for(task) || number_of(task, number) == FOREIGN)
		return 0;
	thread = task->pid;
	if (how == OF_FILES && !is_file(task, regs->di)) {
		/* One before may not have been seen to end. */
		bpf_map_delete_elem(&begun, &thread);
		return 0;
	}
	call.at_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&begun, &thread, &call, BPF_ANY))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(murphy_returned, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 number = regs->orig_ax, *known, first = 0;
	struct key key = {.namespace = watched_for(task)};
	struct begun *call;
	__u32 thread;

	if (!key.namespace || (__s64)number < 0)
		return 0;
	key.number = number_of(task, number);
	if (result < 0 && result >= -MAX_ERRNO)
		key.error = -result;
	known = bpf_map_lookup_elem(&counts, &key);
	if (!known) {
		bpf_map_update_elem(&counts, &key, &first, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&counts, &key);
	}
	if (known)
		__sync_fetch_and_add(known, 1);
	else
		__sync_fetch_and_add(&lost, 1);
	if (number >= CALLS || !asked.is_timed[number])
		return 0;
	thread = task->pid;
	call = bpf_map_lookup_elem(&begun, &thread);
	if (!call)
		return 0;
	key.error = 0;
	if (call->number == number)
		note_took(&key, bpf_ktime_get_ns() - call->at_ns);
	bpf_map_delete_elem(&begun, &thread);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
