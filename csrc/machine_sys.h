/* System calls of the machine, without libc: the kernel's numbers, types and structures. */
#ifndef MACHINE_SYS_H
#define MACHINE_SYS_H

#include "raw_syscall.h"

#include <asm/ioctls.h>
#include <asm/statfs.h>
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/stat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

/* What the headers above lack, or have only in newer releases. */
#define CLONE_PARENT 0x00008000UL
#define CLONE_NEWNS 0x00020000UL
#define SIGCHLD 17
#define SIGNALS 64
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define MSG_TRUNC 0x20
#define MSG_CTRUNC 0x08
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000
#define MNT_DETACH 2
#define UMOUNT_NOFOLLOW 8
#define SA_RESTORER 0x04000000
#define MADV_DONTNEED 4
#define CLOSE_RANGE_CLOEXEC 4U
#define DEVPTS_MAGIC 0x1cd1
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452 /* Linux 6.6 */
#endif

struct iovec {
    void *base;
    size_t size;
};

struct msghdr {
    void *name;
    int name_size;
    struct iovec *parts;
    size_t part_count;
    void *control;
    size_t control_size;
    unsigned int flags;
};

struct cmsghdr {
    size_t size;
    int level;
    int type;
};

/* sys(openat, a, b...): up to six arguments, numbers or pointers; the value or -errno. */
#define SYS_A(x) ((long)(x))
#define SYS_0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS_1(n, a) sys6(n, SYS_A(a), 0, 0, 0, 0, 0)
#define SYS_2(n, a, b) sys6(n, SYS_A(a), SYS_A(b), 0, 0, 0, 0)
#define SYS_3(n, a, b, c) sys6(n, SYS_A(a), SYS_A(b), SYS_A(c), 0, 0, 0)
#define SYS_4(n, a, b, c, d) sys6(n, SYS_A(a), SYS_A(b), SYS_A(c), SYS_A(d), 0, 0)
#define SYS_5(n, a, b, c, d, e) sys6(n, SYS_A(a), SYS_A(b), SYS_A(c), SYS_A(d), SYS_A(e), 0)
#define SYS_PICK(_0, _1, _2, _3, _4, _5, NAME, ...) NAME
#define sys(name, ...)                                                                             \
    SYS_PICK(_ __VA_OPT__(, ) __VA_ARGS__, SYS_5, SYS_4, SYS_3, SYS_2, SYS_1, SYS_0)               \
    (__NR_##name __VA_OPT__(, ) __VA_ARGS__)

#endif
