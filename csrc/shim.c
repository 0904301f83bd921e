/* The shim: system calls that Python's os module lacks, and the machine's bytes.
 *
 * Mechanism only. Nothing here is kept between calls, and nothing allocates.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

/* unsigned char machine_elf[], written by the build from the linked machine. */
#include "machine_elf.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

/* Calls that came after Debian 12's headers' oldest peers; one number on both architectures. */
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#define FDS_MAX 253 /* SCM_MAX_FD of the kernel */
#define CONNECT_SECONDS 10

/* -errno of a failed libc call. */
static int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

/* ---- the machine's file */

const unsigned char *ocirt_machine_bytes(void)
{
    return machine_elf;
}

size_t ocirt_machine_size(void)
{
    return sizeof machine_elf;
}

static int write_machine(int fd)
{
    size_t done = 0;

    while (done < sizeof machine_elf) {
        ssize_t n = write(fd, machine_elf + done, sizeof machine_elf - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    /* Sealed, so that no container can write to its own /proc/self/exe (CVE-2019-5736). */
    return result(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
}

int ocirt_machine_fd(void)
{
    int fd = memfd_create("ocirt-machine", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd < 0 && errno == EINVAL) /* Linux before 6.3: every memfd can be executed */
        fd = memfd_create("ocirt-machine", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int error = write_machine(fd);
    if (error < 0) {
        close(fd);
        return error;
    }
    return fd;
}

/* ---- spawn */

/* The child shares the parent's memory, errno included, so it calls the kernel directly. */
static long raw(long number, long a, long b, long c, long d, long e)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long value;
    __asm__ volatile("syscall"
                     : "=a"(value)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return value;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
                     : "memory");
    return x0;
#else
#error "ocirt runs on x86_64 and aarch64"
#endif
}

/* struct clone_args of linux/sched.h, as of Linux 5.7. */
struct clone_request {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal;
    uint64_t stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct child {
    int exe_fd, control_fd, first_fd;
    int user_namespace; /* or -1; with the ids that the child has there */
    uint32_t uid, gid;
    char first_fd_text[12];
    int error; /* written by the child, read by the parent: they share memory */
};

static void write_decimal(char *text, int number)
{
    char digits[12];
    int count = 0;

    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *text++ = digits[--count];
    *text = 0;
}

/* Who is not root loses all capabilities by execve, but for ambient ones (capabilities(7)). */
static long keep_capabilities(void)
{
    struct {
        uint32_t version;
        int pid;
    } head = {0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2];

    long error = raw(SYS_capget, (long)&head, (long)sets, 0, 0, 0);
    if (error < 0)
        return error;
    for (int i = 0; i < 2; i++)
        sets[i].inheritable = sets[i].permitted;
    error = raw(SYS_capset, (long)&head, (long)sets, 0, 0, 0);
    for (int i = 0; error >= 0 && i < 64; i++)
        if (sets[i / 32].permitted >> i % 32 & 1)
            error = raw(SYS_prctl, 47 /* PR_CAP_AMBIENT */, 2 /* RAISE */, i, 0, 0);
    return error;
}

/* Before it executes the machine, which then belongs to that namespace altogether: who may look at
 * it is up to the namespace's owner, and not to the host's root alone. */
static long enter_user_namespace(const struct child *child)
{
    /* The memory is still the parent's: nobody who is in there may see it (CVE-2016-9962). */
    raw(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    long error = raw(SYS_setns, child->user_namespace, CLONE_NEWUSER, 0, 0, 0);
    if (error < 0)
        return error;
    error = raw(SYS_setresgid, child->gid, child->gid, child->gid, 0, 0);
    if (error >= 0)
        error = raw(SYS_setresuid, child->uid, child->uid, child->uid, 0, 0);
    return error >= 0 && child->uid ? keep_capabilities() : error;
}

/* The child's part. Returns -errno; it returns at all only if it failed. */
static long become_machine(struct child *child)
{
    int first = child->first_fd, exe_fd = child->exe_fd;
    char *argv[] = {(char *)"ocirt-machine", child->first_fd_text, NULL};
    char *env[] = {NULL};
    long error = child->user_namespace < 0 ? 0 : enter_user_namespace(child);

    if (error < 0)
        return error;
    error = raw(SYS_close_range, first, ~0U, 1U << 2 /* CLOEXEC */, 0, 0);
    if (error < 0)
        return error;
    if (exe_fd == first && (exe_fd = (int)raw(SYS_fcntl, exe_fd, F_DUPFD_CLOEXEC, first + 1, 0, 0)) < 0)
        return exe_fd;
    if (child->control_fd == first)
        error = raw(SYS_fcntl, first, F_SETFD, 0, 0, 0);
    else
        error = raw(SYS_dup3, child->control_fd, first, 0, 0, 0);
    if (error < 0)
        return error;
    return raw(SYS_execveat, exe_fd, (long)"", (long)argv, (long)env, AT_EMPTY_PATH);
}

__attribute__((noreturn, used)) static void child_main(struct child *child)
{
    child->error = (int)become_machine(child);
    for (;;)
        raw(SYS_exit_group, 127, 0, 0, 0, 0);
}

/* clone3; the child runs child_main on the stack of the request and does not come back. */
static long clone_child(struct clone_request *request, struct child *child)
{
#if defined(__x86_64__)
    long value;
    /* In registers that nothing below changes: the compiler could choose rbp. */
    register long r8 __asm__("r8") = (long)child;
    register long r9 __asm__("r9") = (long)child_main;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r8, %%rdi\n\t"
                     "call *%%r9\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(value)
                     : "a"(SYS_clone3), "D"(request), "S"(sizeof *request), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return value;
#else
    register long x8 __asm__("x8") = SYS_clone3;
    register long x0 __asm__("x0") = (long)request;
    register long x1 __asm__("x1") = sizeof *request;
    register long x9 __asm__("x9") = (long)child;
    register long x10 __asm__("x10") = (long)child_main;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x9\n\t"
                     "blr x10\n\t"
                     "brk 1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x9), "r"(x10)
                     : "memory", "cc");
    return x0;
#endif
}

int ocirt_spawn(uint64_t clone_flags, int cgroup_fd, int exe_fd, int control_fd, int first_fd,
                int user_namespace, uint32_t uid, uint32_t gid, int *pidfd)
{
    /* The parent sleeps until the child has executed or ended, so one stack is enough. */
    static unsigned char stack[16384] __attribute__((aligned(16)));
    struct child child = {.exe_fd = exe_fd, .control_fd = control_fd, .first_fd = first_fd,
                          .user_namespace = user_namespace, .uid = uid, .gid = gid};
    struct clone_request request = {
        .flags = clone_flags | CLONE_VM | CLONE_VFORK | 0x1000 /* CLONE_PIDFD */,
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)stack,
        .stack_size = sizeof stack,
    };
    uint64_t all = ~(uint64_t)0, mask;

    if (exe_fd < 0 || control_fd < 0 || first_fd < 0)
        return -EBADF;
    if (cgroup_fd >= 0) {
        request.flags |= 1ULL << 33; /* CLONE_INTO_CGROUP */
        request.cgroup = (uint64_t)cgroup_fd;
    }
    write_decimal(child.first_fd_text, first_fd);
    int dumpable = prctl(PR_GET_DUMPABLE);

    /* A handler of the parent must not run in the child, on memory that is the parent's. */
    raw(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&mask, sizeof mask, 0);
    long pid = clone_child(&request, &child);
    raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof mask, 0);
    if (user_namespace >= 0 && dumpable == 1)
        prctl(PR_SET_DUMPABLE, 1);
    if (pid < 0)
        return (int)pid;
    if (child.error < 0) {
        while (waitpid((pid_t)pid, NULL, __WALL) < 0 && errno == EINTR)
            ;
        close(*pidfd);
        *pidfd = -1;
        return child.error;
    }
    return (int)pid;
}

/* ---- sockets */

int ocirt_socketpair(int pair[2])
{
    return result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
}

int ocirt_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path);

    if (size >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, size);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* Who listens there may never accept. */
    struct timeval limit = {.tv_sec = CONNECT_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno == EAGAIN ? -ETIMEDOUT : -errno;
        close(fd);
        return error;
    }
    return fd;
}

int ocirt_send(int socket, const void *data, size_t size, const int *fds, unsigned int count)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;

    if (count > FDS_MAX)
        return -E2BIG;
    if (count) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    }
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return result(sent);
}

int ocirt_recv(int socket, void *data, size_t size, int *fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = CMSG_LEN(sizeof(int)), /* not SPACE: that has room for a second one */
    };
    ssize_t received;

    *fd = -1;
    do
        received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(header), sizeof(int));
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        /* One that found no place in our table is left out altogether. */
        return message.msg_flags & MSG_TRUNC || header ? -EMSGSIZE : -EMFILE;
    }
    return (int)received;
}

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
    const unsigned int permissions = 0x3f130000 | 0x00080000;
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

/* ---- device programs: bpf(2) */

/* Of linux/bpf.h. */
enum {
    PROG_LOAD = 5,
    PROG_ATTACH = 8,
    PROG_DETACH = 9,
    PROG_GET_FD_BY_ID = 13,
    PROG_QUERY = 16,
    TYPE_CGROUP_DEVICE = 15,
    ATTACH_CGROUP_DEVICE = 6,
    F_ALLOW_MULTI = 2,
    F_REPLACE = 4,
};

int ocirt_device_program_load(const void *instructions, size_t size, char *log, uint32_t log_size)
{
    struct {
        uint32_t type, count;
        uint64_t instructions, license;
        uint32_t log_level, log_size;
        uint64_t log;
        uint32_t version, flags;
        char name[16];
    } attributes = {
        .type = TYPE_CGROUP_DEVICE,
        .count = (uint32_t)(size / 8),
        .instructions = (uintptr_t)instructions,
        .license = (uintptr_t)"Apache-2.0",
        .log_level = log_size > 0,
        .log_size = log_size,
        .log = log_size ? (uintptr_t)log : 0,
        .name = "ocirt_devices",
    };
    long fd;

    if (!size || size % 8 || size / 8 > 1000000 /* BPF_COMPLEXITY_LIMIT_INSNS */)
        return -EINVAL;
    /* EAGAIN: a signal came while the verifier was at work. */
    for (int tries = 0; tries < 32; tries++) {
        fd = syscall(SYS_bpf, PROG_LOAD, &attributes, sizeof attributes);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return result(fd);
}

int ocirt_device_program_attach(int cgroup, int program, int replace)
{
    struct {
        int32_t target, program;
        uint32_t type, flags;
        int32_t replace;
    } attributes = {
        .target = cgroup,
        .program = program,
        .type = ATTACH_CGROUP_DEVICE,
        .flags = F_ALLOW_MULTI | (replace < 0 ? 0 : F_REPLACE),
        .replace = replace < 0 ? 0 : replace,
    };

    return result(syscall(SYS_bpf, PROG_ATTACH, &attributes, sizeof attributes));
}

int ocirt_device_program_detach(int cgroup, int program)
{
    struct {
        int32_t target, program;
        uint32_t type;
    } attributes = {cgroup, program, ATTACH_CGROUP_DEVICE};

    return result(syscall(SYS_bpf, PROG_DETACH, &attributes, sizeof attributes));
}

int ocirt_device_program_list(int cgroup, uint32_t *ids, uint32_t room)
{
    struct {
        int32_t target;
        uint32_t type, query_flags, flags;
        uint64_t ids;
        uint32_t count, padding;
        /* Unused; but Linux 6.17 to 7.1 write revision whatever size they are told. */
        uint64_t program_flags, link_ids, link_flags, revision;
    } attributes = {
        .target = cgroup,
        .type = ATTACH_CGROUP_DEVICE,
        .ids = (uintptr_t)ids,
        .count = room,
    };

    if (syscall(SYS_bpf, PROG_QUERY, &attributes, sizeof attributes) < 0)
        return -errno;
    return attributes.count > room ? -ENOSPC : (int)attributes.count;
}

int ocirt_device_program_open(uint32_t id)
{
    return result(syscall(SYS_bpf, PROG_GET_FD_BY_ID, &id, sizeof id));
}
