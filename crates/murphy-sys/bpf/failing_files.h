/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Calls about files that are open. */
#pragma once

/* include/linux/fs.h, include/uapi/asm-generic/fcntl.h, include/uapi/linux/stat.h */
#define MAY_WRITE 2
#define MAY_READ 4
#define FMODE_CREATED 0x100000
#define O_NONBLOCK 04000
#define PIPE_OR_SOCKET (1 << 1 | 1 << 12)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	__u32 s_dev;
};

struct inode___failing {
	unsigned short i_mode;
	struct super_block *i_sb;
};

struct file___failing {
	struct inode___failing *f_inode;
	unsigned int f_flags;
	unsigned int f_mode;
};

#pragma clang attribute pop

static __always_inline void look_at_file(struct asked *asked, struct file___failing *file)
{
	struct inode___failing *inode = BPF_CORE_READ(file, f_inode);

	asked->kind = 1 << (BPF_CORE_READ(inode, i_mode) >> 12 & 15);
	asked->device = BPF_CORE_READ(inode, i_sb, s_dev);
	asked->is_nonblocking = (BPF_CORE_READ(file, f_flags) & O_NONBLOCK) != 0;
}

static __always_inline long answer_about(enum hook hook, void *file)
{
	struct asked asked = { .hooks = 1u << hook };

	look_at_file(&asked, file);
	return answer(&asked, hook == WRITE && asked.kind & PIPE_OR_SOCKET);
}

AT(file_open, struct file___failing *file)
{
	/* Whether one could be made was asked before it was: see path_mknod. */
	if (file->f_mode & FMODE_CREATED)
		return 0;
	return answer_about(OPEN, file);
}

AT(file_permission, struct file *file, int mask)
{
	if (mask & MAY_WRITE)
		return answer_about(WRITE, file);
	return mask & MAY_READ ? answer_about(READ, file) : 0;
}

AT(mmap_file, struct file *file)
{
	/* Memory of no file. Kernels that promise one here drop this question, and then find nothing to read. */
	return file ? answer_about(MAP, file) : answer_for(MAP);
}

AT(file_truncate, struct file *file)
{
	return answer_about(TRUNCATE, file);
}

AT(file_lock, struct file *file)
{
	return answer_about(LOCK, file);
}
