/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Follows a family of processes: who is born into it belongs to it, who executes a program is told of and, where that
 * is wanted, stopped before the program's first instruction, and who asks for the time by a system call is counted.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SIGSTOP 19
/* No larger vDSO is known; a call from there is a vDSO's own. */
#define VDSO_BYTES 8192
#define TIME 201
#define GETTIMEOFDAY 96
#define CLOCK_GETTIME 228
#define CLOCKS 12
#define CLOCK_REALTIME 0

/* Set before loading. */
const volatile struct {
	/* Whether who executes a program is stopped. */
	__u32 stops;
	/* The clocks that count, one bit each. */
	__u32 clocks;
} wanted = {};

/* Programs executed that nobody could be told of. */
__u64 lost;

/* Until when somebody is there to let go who is stopped, in nanoseconds since boot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} attended SEC(".maps");

/* Pid to how often it was seen asking for the time by a system call. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u64);
} family SEC(".maps");

/* Who has executed a program: a pid may be somebody else's when that is read. */
struct told {
	__u64 start_ns;
	__u32 pid;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} executed SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, pid = child->tgid;
	__u64 none = 0;

	/* A new thread is no new process. */
	if (from != pid && bpf_map_lookup_elem(&family, &from))
		bpf_map_update_elem(&family, &pid, &none, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	__u32 pid = task->tgid, only = 0;
	struct told *told;
	__u64 *until;

	if (!bpf_map_lookup_elem(&family, &pid))
		return 0;
	told = bpf_ringbuf_reserve(&executed, sizeof(*told), 0);
	if (!told) {
		/* Whoever is not told of is not stopped, either: nobody would let it go on. */
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	told->start_ns = task->group_leader->start_boottime;
	told->pid = pid;
	told->unused = 0;
	until = bpf_map_lookup_elem(&attended, &only);
	if (wanted.stops && until && bpf_ktime_get_boot_ns() < *until)
		bpf_send_signal(SIGSTOP);
	bpf_ringbuf_submit(told, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 pid = task->tgid;

	/* The last of its threads. */
	if (task->signal->live.counter == 0)
		bpf_map_delete_elem(&family, &pid);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_call, struct pt_regs *regs, long number)
{
	__u32 pid, clock = CLOCK_REALTIME;
	struct task_struct *task;
	__u64 *asked;

	if (number != CLOCK_GETTIME && number != GETTIMEOFDAY && number != TIME)
		return 0;
	pid = bpf_get_current_pid_tgid() >> 32;
	asked = bpf_map_lookup_elem(&family, &pid);
	if (!asked)
		return 0;
	if (number == CLOCK_GETTIME)
		clock = regs->di;
	if (clock >= CLOCKS || !(wanted.clocks & 1u << clock))
		return 0;
	task = bpf_get_current_task_btf();
	if (regs->ip - (unsigned long)task->mm->context.vdso < VDSO_BYTES)
		return 0;
	__sync_fetch_and_add(asked, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
