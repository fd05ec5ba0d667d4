/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The kernel asks its security modules about most calls, by functions of these names: what each program at one of them says
 * of the call. Whoever includes this has defined what a program there is, as AT.
 */
#pragma once

#include "failing.h"
#include "failing_family.h"

/* include/linux/err.h (all of its bits are set), include/uapi/asm-generic/errno.h, include/uapi/asm-generic/signal.h */
#define MAX_ERRNO 4095
#define EPIPE 32
#define SIGPIPE 13

/* The same as in src/lsm_errors/hook.rs; 0 is no hook. */
enum hook {
	NOWHERE,
	OPEN,
	READ,
	WRITE,
	MAP,
	TRUNCATE,
	LOCK,
	STAT,
	READLINK,
	UNLINK,
	MKDIR,
	MKNOD,
	LINK,
	SYMLINK,
	RENAME,
	CHMOD,
	CHOWN,
	SOCKET,
	SOCKETPAIR,
	CONNECT,
	BIND,
	LISTEN,
	ACCEPT,
	SEND,
	RECEIVE,
	SHUTDOWN,
	CLONE,
	EXECUTE,
};

/* What a hook answers. */
static __always_inline long answer(const struct asked *asked, int breaks_pipe)
{
	long error = failure_of(asked) & MAX_ERRNO, said;

	if (breaks_pipe && error == EPIPE)
		bpf_send_signal_thread(SIGPIPE);
	/* The kernel verifies that nothing else is said, and knows no more of a number that was negated than that it is one. */
	asm volatile("%0 = 0\n%0 -= %1" : "=&r"(said) : "r"(error));
	return said;
}

static __always_inline long answer_for(enum hook hook)
{
	struct asked asked = { .hooks = 1u << hook };

	return answer(&asked, 0);
}

#include "failing_files.h"
#include "failing_paths.h"
#include "failing_sockets.h"

AT(task_alloc, struct task_struct *task)
{
	return answer_for(CLONE);
}

AT(bprm_creds_for_exec, struct linux_binprm *program)
{
	return answer_for(EXECUTE);
}
