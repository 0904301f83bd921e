/* The shim: system calls that Python's os module lacks. Its siblings shim_*.c start the machine,
 * send descriptors and load device programs.
 *
 * Mechanism only. Nothing here is kept between calls, and nothing allocates.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442 /* newer than the oldest headers; one number on both architectures */
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif

/* ---- files and mounts */

int ocirt_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct {
        uint64_t flags, mode, resolve;
    } how = {flags | O_CLOEXEC, mode, resolve};
    long fd;

    /* EAGAIN: a rename elsewhere raced with a ".." inside the root; the next try may be alone. */
    for (int tries = 0; tries < 32; tries++) {
        fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return result(fd);
}

int ocirt_open_tree(int dir, const char *path, unsigned int flags)
{
    return result(syscall(SYS_open_tree, dir, path, flags | O_CLOEXEC));
}

int ocirt_move_mount(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
    return result(syscall(SYS_move_mount, from_dir, from, to_dir, to, flags));
}

int ocirt_mount_setattr(int dir, const char *path, unsigned int flags, uint64_t set, uint64_t clear,
                        uint64_t propagation, int userns)
{
    struct {
        uint64_t set, clear, propagation, userns;
    } attributes = {set, clear, propagation, userns < 0 ? 0 : (uint64_t)userns};

    return result(syscall(SYS_mount_setattr, dir, path, flags, &attributes, sizeof attributes));
}

int ocirt_fsopen(const char *type, unsigned int flags)
{
    return result(syscall(SYS_fsopen, type, flags | 1U /* FSOPEN_CLOEXEC */));
}

int ocirt_fsconfig(int fs, unsigned int command, const char *key, const char *value, int aux)
{
    return result(syscall(SYS_fsconfig, fs, command, key, value, aux));
}

int ocirt_fsmount(int fs, unsigned int flags, unsigned int attributes)
{
    return result(syscall(SYS_fsmount, fs, flags | 1U /* FSMOUNT_CLOEXEC */, attributes));
}

int ocirt_umount(const char *path, int flags)
{
    return result(umount2(path, flags));
}

int64_t ocirt_fs_type(int fd)
{
    struct statfs buffer;

    if (fstatfs(fd, &buffer) < 0)
        return -errno;
    /* 32 bits: some types would be negative if they were sign-extended. */
    return (int64_t)(uint32_t)buffer.f_type;
}

int64_t ocirt_mount_id(int fd)
{
    const unsigned int unique = 0x4000; /* STATX_MNT_ID_UNIQUE */
    struct statx status;

    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, unique, &status) < 0)
        return -errno;
    return status.stx_mask & unique ? (int64_t)status.stx_mnt_id : -ENOSYS;
}

int ocirt_statmount(uint64_t id, uint64_t *parent, char *path, size_t size)
{
    const uint64_t wanted = 0x2 | 0x10; /* STATMOUNT_MNT_BASIC, STATMOUNT_MNT_POINT */
    struct {
        uint32_t size, spare;
        uint64_t id, wanted;
    } request = {sizeof request, 0, id, wanted};
    struct {
        uint32_t size, spare;
        uint64_t found, sb[3], id, parent, ids_old, attributes, propagation[4];
        uint32_t root, point;
        uint64_t rest[50];
        char text[4096 + 256];
    } answer;

    _Static_assert(offsetof(__typeof__(answer), text) == 512, "struct statmount");
    memset(&answer, 0, sizeof answer);
    if (syscall(SYS_statmount, &request, &answer, sizeof answer, 0) < 0)
        return -errno;
    if ((answer.found & wanted) != wanted || answer.point >= sizeof answer.text)
        return -EIO; /* it can't be seen from our root */
    const char *point = answer.text + answer.point;
    size_t length = strnlen(point, sizeof answer.text - answer.point);
    if (length >= size)
        return -EOVERFLOW;
    memcpy(path, point, length + 1);
    *parent = answer.parent;
    return 0;
}

/* ---- processes */

int ocirt_setns(int fd, int flags)
{
    return result(setns(fd, flags));
}

int ocirt_unshare(int flags)
{
    return result(unshare(flags));
}

int ocirt_ioctl(int fd, unsigned long request, unsigned long argument)
{
    return result(ioctl(fd, request, argument));
}

int ocirt_join_keyring(const char *name)
{
    /* As op_KEYRING of the machine, which says why. */
    const unsigned int permissions = 0x3f000000 | 0x00080000;
    long serial = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name);

    if (serial < 0)
        return -errno;
    return result(syscall(SYS_keyctl, KEYCTL_SETPERM, serial, permissions));
}

int ocirt_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    return result(prctl(option, a, b, c, d));
}

int ocirt_prlimit(int pid, int resource, uint64_t soft, uint64_t hard)
{
    struct {
        uint64_t soft, hard;
    } limit = {soft, hard};

    return result(syscall(SYS_prlimit64, pid, resource, &limit, NULL));
}

int ocirt_sched_setattr(int pid, uint32_t policy, uint64_t flags, int32_t nice, uint32_t priority,
                        uint64_t runtime, uint64_t deadline, uint64_t period, uint32_t util_min,
                        uint32_t util_max)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t util_min, util_max;
    } attributes = {
        .size = sizeof attributes,
        .policy = policy,
        .flags = flags,
        .nice = nice,
        .priority = priority,
        .runtime = runtime,
        .deadline = deadline,
        .period = period,
        .util_min = util_min,
        .util_max = util_max,
    };

    return result(syscall(SYS_sched_setattr, pid, &attributes, 0));
}

int ocirt_ioprio_set(int pid, int value)
{
    return result(syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, pid, value));
}

int ocirt_pidfd_open(int pid, unsigned int flags)
{
    return result(syscall(SYS_pidfd_open, pid, flags));
}

int ocirt_pidfd_send_signal(int pidfd, int signal)
{
    return result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

int ocirt_pidfd_getfd(int pidfd, int fd)
{
    return result(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

/* Of linux/seccomp.h. */
enum { SET_MODE_FILTER = 1, GET_ACTION_AVAIL = 2, NEW_LISTENER = 8, WAIT_KILLABLE_RECV = 32 };

int ocirt_seccomp_has_action(uint32_t action)
{
    int error = result(syscall(SYS_seccomp, GET_ACTION_AVAIL, 0, &action));

    return error == -EOPNOTSUPP ? 0 : error < 0 ? error : 1;
}

/* Flags are looked at before the filter: without one it is EFAULT that says that all are known. */
int ocirt_seccomp_has_flags(unsigned int flags)
{
    if (flags & WAIT_KILLABLE_RECV)
        flags |= NEW_LISTENER; /* refused without */
    int error = result(syscall(SYS_seccomp, SET_MODE_FILTER, flags, NULL));

    return error == -EFAULT ? 1 : error == -EINVAL ? 0 : error;
}
