/* The machine's bytes, and how it is started: as vfork(2) and execveat(2) do, which Python has no
 * call for, in namespaces and a cgroup.
 */
#define _GNU_SOURCE
#include "raw_syscall.h"
#include "shim.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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
    return sys6(number, a, b, c, d, e, 0);
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
