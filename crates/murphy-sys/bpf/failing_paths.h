/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Calls about what stands in directories. */
#pragma once

#define REGULAR_BIT (1 << 8)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct dentry {
	struct super_block *d_sb;
};

struct path {
	struct dentry *dentry;
};

#pragma clang attribute pop

static __always_inline long answer_on(__u32 hooks, struct dentry *entry, __u16 kind)
{
	struct asked asked = { .hooks = hooks, .kind = kind };

	asked.device = BPF_CORE_READ(entry, d_sb, s_dev);
	return answer(&asked, 0);
}

#define AT_PATH(function, hooks, kind)                                                                                         \
	AT(function, struct path *where)                                                                                       \
	{                                                                                                                      \
		return answer_on(hooks, BPF_CORE_READ(where, dentry), kind);                                                   \
	}

#define AT_ENTRY(function, hooks)                                                                                              \
	AT(function, struct dentry *entry)                                                                                     \
	{                                                                                                                      \
		return answer_on(hooks, entry, 0);                                                                             \
	}

AT_PATH(path_truncate, 1u << TRUNCATE, REGULAR_BIT)
AT_PATH(path_unlink, 1u << UNLINK, 0)
AT_PATH(path_rmdir, 1u << UNLINK, 0)
AT_PATH(path_mkdir, 1u << MKDIR, 0)
/* A file that is opened is made here, too, where there is none. */
AT_PATH(path_mknod, 1u << MKNOD | 1u << OPEN, REGULAR_BIT)
AT_PATH(path_symlink, 1u << SYMLINK, 0)
AT_PATH(path_rename, 1u << RENAME, 0)
AT_PATH(path_chmod, 1u << CHMOD, 0)
AT_PATH(path_chown, 1u << CHOWN, 0)
AT_PATH(inode_getattr, 1u << STAT, 0)
AT_ENTRY(path_link, 1u << LINK)
AT_ENTRY(inode_readlink, 1u << READLINK)
