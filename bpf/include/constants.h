// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Numbers of the kernel that no BTF carries, each with the header that defines it.

#pragma once

// include/linux/fs.h. FMODE_* are bits of f_mode, __FMODE_EXEC one of f_flags.
#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000
#define FMODE_NOACCOUNT 0x20000000
#define __FMODE_EXEC 0x20

// include/uapi/asm-generic/fcntl.h
#define __O_TMPFILE 020000000

// include/uapi/linux/mman.h
#define PROT_EXEC 0x4

// include/uapi/linux/sched.h
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000

// include/linux/sched.h
#define PF_KTHREAD 0x00200000
#define PF_IO_WORKER 0x00000010

// include/uapi/asm-generic/errno-base.h, signal.h
#define EPERM 1
#define EEXIST 17
#define SIGKILL 9

// include/uapi/linux/stat.h
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFIFO 0010000
#define S_ISUID 0004000
#define S_ISGID 0002000

// include/uapi/linux/magic.h
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define TMPFS_MAGIC 0x01021994
#define PROC_SUPER_MAGIC 0x9fa0
