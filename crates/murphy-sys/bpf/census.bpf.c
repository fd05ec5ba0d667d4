/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Counts every system call that returns in a family of processes, by call, by what it is asked to do, by what its descriptor
 * leads to, and by what it returns; how long they take, where that is wanted. Who is born into the family belongs to it from
 * its first call on. Nothing is told of a single call.
 */
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* The same as in src/census/. */
#define CALLS 512
#define FOREIGN 0xffff
#define COUNTS_MAX 8192
#define BEGUN_MAX 32768
#define PIDS_MAX (1 << 22)

/* Which argument of a call is a descriptor: the first, the third or the fifth; and where it says that it does not wait. */
#define DESCRIPTOR 0x07
#define FLAGS_THIRD 0x08
#define FLAGS_FOURTH 0x10
/* What its operation is. */
#define OPERATION 0xe0
#define FUTEX 0x20
#define EPOLL_CTL 0x40
#define FCNTL 0x60
#define OPEN 0x80
#define OPENAT 0xa0
#define CLONE 0xc0
/* Its arguments stand in memory: openat2, clone3. */
#define IN_MEMORY 0xe0

/* include/linux/err.h, arch/x86/include/asm/thread_info.h, include/uapi/linux/stat.h, include/uapi/linux/magic.h */
#define MAX_ERRNO 4095
#define TS_COMPAT 2
#define S_IFMT 0170000
#define ANON_INODE_FS_MAGIC 0x09041934
/* include/uapi/asm-generic/fcntl.h, include/linux/socket.h, include/uapi/linux/sched.h */
#define O_CREAT 0100
#define O_EXCL 0200
#define O_NONBLOCK 04000
#define MSG_DONTWAIT 0x40
#define CLONE_THREAD 0x10000
#define CLONE_NUMBER 56
#define CLONE3 435
#define FORK 57
#define VFORK 58

/* The same as in src/census/kind.rs. */
enum kind {
	NONE,
	FILE_,
	DIRECTORY,
	TERMINAL,
	DEVICE,
	PIPE,
	TCP,
	UDP,
	UNIX,
	NETLINK,
	SOCKET,
	EVENTFD,
	EPOLL,
	TIMERFD,
	INOTIFY,
	OTHER,
};

/* The same as in src/census/operation.rs. */
enum operation {
	NO_OPERATION,
	WAIT,
	WAKE,
	REQUEUE,
	ADD,
	MODIFY,
	DELETE,
	DUPLICATE,
	LOCK,
	OTHERWISE,
	CREATE,
	EXCLUSIVE,
	PLAIN,
	THREAD,
	PROCESS,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	unsigned long s_magic;
};

struct inode___whole {
	unsigned short i_mode;
	struct super_block *i_sb;
	__u32 i_rdev;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file___whole {
	struct inode___whole *f_inode;
	unsigned int f_flags;
	struct path f_path;
	void *private_data;
};

struct sock_common {
	unsigned short skc_family;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

/* Any eight bytes: this begins with a number of them. */
struct timespec64 {
	__s64 tv_sec;
};

struct pt_regs___args {
	unsigned long r10;
	unsigned long r8;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};

#pragma clang attribute pop

struct key {
	__u16 number;
	/* 0 where it did not fail. */
	__u16 error;
	__u8 kind;
	/* 1 where it would wait, 2 where not, 0 where nobody knows. */
	__u8 waits;
	__u16 operation;
};

_Static_assert(sizeof(struct key) == 8, "as in src/census/");

struct counted {
	__u64 calls;
	__u64 took_ns;
};

struct begun {
	__u64 at_ns;
	__u64 number;
};

/* Said before this is loaded: what is to be known of each call, by its number. */
const volatile struct {
	__u8 of_call[CALLS];
} asked = {};

/* Calls that could not be counted, and processes that could not be followed. */
__u64 lost;
/* How many processes were born into the family, and how many have died. */
__u64 born;
__u64 died;

/* One bit for each process: a look into it costs every call of the machine. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PIDS_MAX / 64);
	__uint(map_flags, 1 << 10 /* BPF_F_MMAPABLE */);
	__type(key, __u32);
	__type(value, __u64);
} family SEC(".maps");

struct {
	__uint(type, 5 /* BPF_MAP_TYPE_PERCPU_HASH */);
	__uint(max_entries, COUNTS_MAX);
	__type(key, struct key);
	__type(value, struct counted);
} counts SEC(".maps");

/* Calls under way, by their threads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BEGUN_MAX);
	__type(key, __u32);
	__type(value, struct begun);
} begun SEC(".maps");

static __always_inline __u64 *place_of(__u32 pid)
{
	__u32 word = pid >> 6;

	return bpf_map_lookup_elem(&family, &word);
}

static __always_inline int is_member(__u32 pid)
{
	__u64 *word = place_of(pid);

	return word && *word >> (pid & 63) & 1;
}

/* Since Linux 6.2 what a pointer leads to is read as quickly as anything, where the kernel is told what that is. */
extern void *bpf_rdonly_cast(const void *pointer, __u32 type) __ksym __weak;

#define AS(pointer) ((typeof(pointer))bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(typeof(*(pointer)))))
#define GET(pointer, field) (bpf_ksym_exists(bpf_rdonly_cast) ? AS(pointer)->field : BPF_CORE_READ(pointer, field))

static __always_inline __u8 kind_of_socket(struct file___whole *file)
{
	struct socket *socket = GET(file, private_data);
	struct sock *sk = GET(socket, sk);
	__u16 family = GET(sk, __sk_common.skc_family), protocol;

	if (family == 1)
		return UNIX;
	if (family == 16)
		return NETLINK;
	if (family != 2 && family != 10)
		return SOCKET;
	protocol = GET(sk, sk_protocol);
	/* What multipath TCP makes is TCP to whoever uses it. */
	if (protocol == 6 || protocol == 262)
		return TCP;
	return protocol == 17 ? UDP : SOCKET;
}

/* Of the kernel's own files only the names tell: [eventfd], [eventpoll], [timerfd], inotify. */
static __always_inline __u8 kind_of_anonymous(struct file___whole *file)
{
	struct dentry *dentry = GET(file, f_path.dentry);
	struct timespec64 *at = (void *)GET(dentry, d_name.name);
	union {
		__u64 all;
		char at[8];
	} name = {.all = GET(at, tv_sec)};

	if (name.at[0] == 'i' && name.at[1] == 'n' && name.at[2] == 'o')
		return INOTIFY;
	if (name.at[1] == 't' && name.at[2] == 'i')
		return TIMERFD;
	if (name.at[1] == 'e' && name.at[6] == 'f')
		return EVENTFD;
	if (name.at[1] == 'e' && name.at[6] == 'p')
		return EPOLL;
	return OTHER;
}

static __always_inline __u8 kind_of(struct file___whole *file)
{
	struct inode___whole *inode = GET(file, f_inode);
	__u16 mode = GET(inode, i_mode) & S_IFMT;
	struct super_block *super;
	__u32 major;

	switch (mode) {
	case 0140000:
		return kind_of_socket(file);
	case 0010000:
		return PIPE;
	case 0040000:
		return DIRECTORY;
	case 0060000:
		return DEVICE;
	case 0020000:
		major = GET(inode, i_rdev) >> 20;
		return (major >= 2 && major <= 5) || (major >= 136 && major <= 143) ? TERMINAL : DEVICE;
	}
	/* Some kernels call these regular files, others say nothing of them. */
	super = GET(inode, i_sb);
	if (GET(super, s_magic) == ANON_INODE_FS_MAGIC)
		return kind_of_anonymous(file);
	return mode == 0100000 ? FILE_ : OTHER;
}

/* What a descriptor of the caller's leads to, and whether its calls wait there. */
static __always_inline void look_at(struct task_struct *task, __u32 descriptor, struct key *key)
{
	struct files_struct *open = GET(task, files);
	struct fdtable *table = GET(open, fdt);
	struct timespec64 *place;
	struct file___whole *file;

	if (descriptor >= GET(table, max_fds))
		return;
	place = (void *)(GET(table, fd) + descriptor);
	file = (void *)GET(place, tv_sec);
	if (!file)
		return;
	key->kind = kind_of(file);
	key->waits = GET(file, f_flags) & O_NONBLOCK ? 2 : 1;
}

static __always_inline __u16 opened_as(__u64 flags)
{
	if (!(flags & O_CREAT))
		return PLAIN;
	return flags & O_EXCL ? EXCLUSIVE : CREATE;
}

static __always_inline __u16 operation_of(struct pt_regs___args *regs, __u8 how)
{
	__u64 flags = 0;

	switch (how & OPERATION) {
	case FUTEX:
		/* include/uapi/linux/futex.h: FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME aside. */
		switch (regs->si & 127) {
		case 0:
		case 9:
			return WAIT;
		case 1:
		case 5:
		case 10:
			return WAKE;
		case 3:
		case 4:
			return REQUEUE;
		}
		return OTHERWISE;
	case EPOLL_CTL:
		if (regs->si == 1)
			return ADD;
		return regs->si == 2 ? DELETE : MODIFY;
	case FCNTL:
		if (regs->si == 0 || regs->si == 1030)
			return DUPLICATE;
		return (regs->si >= 5 && regs->si <= 7) || (regs->si >= 36 && regs->si <= 38) ? LOCK : OTHERWISE;
	case OPEN:
		return opened_as(regs->si);
	case OPENAT:
		return opened_as(regs->dx);
	case CLONE:
		return regs->di & CLONE_THREAD ? THREAD : PROCESS;
	case IN_MEMORY:
		if (regs->orig_ax == CLONE3) {
			bpf_probe_read_user(&flags, sizeof(flags), (void *)regs->di);
			return flags & CLONE_THREAD ? THREAD : PROCESS;
		}
		bpf_probe_read_user(&flags, sizeof(flags), (void *)regs->dx);
		return opened_as(flags);
	}
	return NO_OPERATION;
}

/* Of a call that was one of these, what is asked to be known. */
static __always_inline void describe(struct task_struct *task, struct pt_regs___args *regs, __u8 how, struct key *key)
{
	__u64 flags = 0;

	switch (how & DESCRIPTOR) {
	case 1:
		look_at(task, regs->di, key);
		break;
	case 3:
		look_at(task, regs->dx, key);
		break;
	case 5:
		look_at(task, regs->r8, key);
		break;
	}
	switch (how & OPERATION) {
	case NO_OPERATION:
		if (how & FLAGS_THIRD)
			flags = regs->dx;
		if (how & FLAGS_FOURTH)
			flags = regs->r10;
		if (flags & MSG_DONTWAIT)
			key->waits = 2;
		break;
	default:
		key->operation = operation_of(regs, how);
	}
}

/* The end of a call's beginning: how long it took, if that is known. */
static __always_inline __u64 took_ns(struct task_struct *task, __u64 number)
{
	__u32 thread = task->pid;
	struct begun *call = bpf_map_lookup_elem(&begun, &thread);
	__u64 ns = 0;

	if (call && call->number == number)
		ns = bpf_ktime_get_ns() - call->at_ns;
	return ns;
}

static __always_inline void count(const struct key *key, __u64 ns)
{
	struct counted none = {}, *known = bpf_map_lookup_elem(&counts, key);

	if (!known) {
		bpf_map_update_elem(&counts, key, &none, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&counts, key);
	}
	if (!known) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	/* A thread that is preempted here may be followed by another on this processor. */
	__sync_fetch_and_add(&known->calls, 1);
	if (ns)
		__sync_fetch_and_add(&known->took_ns, ns);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(murphy_begins, struct pt_regs *regs, long number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct begun call = {.number = number};
	__u32 thread = task->pid;

	if (!is_member(task->tgid))
		return 0;
	call.at_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&begun, &thread, &call, BPF_ANY))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

static __always_inline int returned(struct pt_regs *all, long result, int is_timed)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs___args *regs = (void *)all;
	__u64 number;
	struct key key = {};
	__u8 how;

	if (!is_member(task->tgid))
		return 0;
	number = regs->orig_ax;
	/* The end of a signal's handler is no call; nor is the beginning of a child's life. */
	if ((__s64)number < 0)
		return 0;
	if (result < 0 && result >= -MAX_ERRNO)
		key.error = -result;
	if (task->thread_info.status & TS_COMPAT || number >= CALLS) {
		key.number = FOREIGN;
		count(&key, 0);
		return 0;
	}
	if (!result && (number == CLONE_NUMBER || number == CLONE3 || number == FORK || number == VFORK))
		return 0;
	key.number = number;
	how = asked.of_call[number];
	if (how)
		describe(task, regs, how, &key);
	count(&key, is_timed ? took_ns(task, number) : 0);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(murphy_returned, struct pt_regs *regs, long result)
{
	return returned(regs, result, 0);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(murphy_took, struct pt_regs *regs, long result)
{
	return returned(regs, result, 1);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(murphy_born, struct task_struct *parent, struct task_struct *child)
{
	__u32 pid = child->tgid;
	__u64 *word;

	/* A new thread is no new process. */
	if ((__u32)parent->tgid == pid || !is_member(parent->tgid))
		return 0;
	word = place_of(pid);
	if (!word) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	__sync_fetch_and_or(word, 1ULL << (pid & 63));
	__sync_fetch_and_add(&born, 1);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(murphy_died, struct task_struct *task)
{
	__u32 pid = task->tgid, thread = task->pid;
	__u64 *word;

	if (!is_member(pid))
		return 0;
	bpf_map_delete_elem(&begun, &thread);
	/* The last of its threads. */
	if (task->signal->live.counter)
		return 0;
	word = place_of(pid);
	if (word)
		__sync_fetch_and_and(word, ~(1ULL << (pid & 63)));
	__sync_fetch_and_add(&died, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
