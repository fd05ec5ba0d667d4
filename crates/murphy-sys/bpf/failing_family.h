/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Who is born into a family whose calls fail belongs to it. */
#pragma once

#include "failures.h"
#include <bpf/bpf_tracing.h>

SEC("tp_btf/sched_process_fork")
int BPF_PROG(murphy_born, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, process = child->tgid;
	__u8 yes = 1;

	/* A new thread is no new process. */
	if (from != process && bpf_map_lookup_elem(&family, &from) &&
	    bpf_map_update_elem(&family, &process, &yes, BPF_ANY))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(murphy_died, struct task_struct *task)
{
	__u32 process = task->tgid;

	/* The last of its threads. */
	if (task->signal->live.counter == 0)
		bpf_map_delete_elem(&family, &process);
	return 0;
}
