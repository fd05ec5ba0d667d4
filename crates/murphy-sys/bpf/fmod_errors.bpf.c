/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Has calls fail where the kernel asks its security modules, in place of all of them: for kernels where BPF is none of those
 * that are in use.
 */
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define AT(function, ...)                                                                                                      \
	SEC("fmod_ret/security_" #function)                                                                                    \
	long BPF_PROG(murphy_##function, __VA_ARGS__)

#include "failing_hooks.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
