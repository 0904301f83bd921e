/* Runs a command up to one of its steps, for faults.py:
 *
 *     faults REPORT STEP kill DELAY COMMAND...     SIGKILL before the step; with DELAY, that many
 *                                                  microseconds after it began
 *     faults REPORT STEP fail ERRNO COMMAND...     the step is not done, and fails with ERRNO
 *
 * A step is a system call of the command's own process that is more than a look (looks below): it
 * changes something, waits for something, or makes a descriptor. Its children are neither counted
 * nor killed. STEP 0 lets it be; -1 does not even look, which is faster.
 *
 * To the descriptor REPORT goes a line for each step, at STEP 0 for all: its name or number, and the
 * text that it is about. Another line follows when the command has ended: "hit" or "ended", and its
 * exit status, 137 where it was killed. Then this process stays, as the parent of whatever the
 * command has left behind, until that has ended.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
/* By offset, and not by PTRACE_GETREGSET, which User Mode Linux lacks. */
#define REGISTER(name) offsetof(struct user_regs_struct, name)

static long get(pid_t pid, size_t place)
{
    return ptrace(PTRACE_PEEKUSER, pid, place, NULL);
}

static long number_of(pid_t pid)
{
    return get(pid, REGISTER(orig_rax));
}

static long argument(pid_t pid, int index)
{
    static const size_t places[] = {REGISTER(rdi), REGISTER(rsi), REGISTER(rdx), REGISTER(r10)};

    return get(pid, places[index]);
}

static void skip_call(pid_t pid)
{
    ptrace(PTRACE_POKEUSER, pid, REGISTER(orig_rax), -1L);
}

static void set_result(pid_t pid, long value)
{
    ptrace(PTRACE_POKEUSER, pid, REGISTER(rax), value);
}
#else
static struct user_regs_struct registers(pid_t pid)
{
    struct user_regs_struct now;
    struct iovec part = {&now, sizeof now};

    ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &part);
    return now;
}

static long number_of(pid_t pid)
{
    return (long)registers(pid).regs[8];
}

static long argument(pid_t pid, int index)
{
    return (long)registers(pid).regs[index];
}

static void skip_call(pid_t pid)
{
    int number = -1;
    struct iovec part = {&number, sizeof number};

    ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &part);
}

static void set_result(pid_t pid, long value)
{
    struct user_regs_struct now = registers(pid);
    struct iovec part = {&now, sizeof now};

    now.regs[0] = (unsigned long long)value;
    ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &part);
}
#endif

static const int looks[] = {
    SYS_read, SYS_pread64, SYS_close, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_lseek, SYS_mmap,
    SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_madvise, SYS_rt_sigaction,
    SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_getpid, SYS_getppid, SYS_gettid, SYS_getuid,
    SYS_geteuid, SYS_getgid, SYS_getegid, SYS_set_tid_address, SYS_set_robust_list, SYS_rseq,
    SYS_prlimit64, SYS_getrandom, SYS_sysinfo, SYS_uname, SYS_getcwd, SYS_readlinkat, SYS_faccessat,
    SYS_faccessat2, SYS_getdents64, SYS_fcntl, SYS_futex, SYS_clock_gettime,
    SYS_sched_getaffinity, SYS_statfs, SYS_fstatfs, SYS_capget, SYS_getpriority, SYS_membarrier,
#if defined(__x86_64__)
    SYS_stat, SYS_lstat, SYS_readlink, SYS_access, SYS_getdents, SYS_arch_prctl,
#endif
};

static const struct {
    int number;
    int text; /* the argument that is a path or data, -1 if none is */
    const char *name;
} names[] = {
    {SYS_openat, 1, "openat"}, {SYS_mkdirat, 1, "mkdirat"}, {SYS_unlinkat, 1, "unlinkat"},
    {SYS_renameat, 1, "renameat"}, {SYS_renameat2, 1, "renameat2"}, {SYS_mknodat, 1, "mknodat"},
    {SYS_write, 1, "write"}, {SYS_execve, 0, "execve"}, {SYS_clone, -1, "clone"},
    {SYS_clone3, -1, "clone3"}, {SYS_sendmsg, -1, "sendmsg"}, {SYS_recvmsg, -1, "recvmsg"},
    {SYS_wait4, -1, "wait4"}, {SYS_waitid, -1, "waitid"}, {SYS_flock, -1, "flock"},
    {SYS_kill, -1, "kill"}, {SYS_pidfd_send_signal, -1, "pidfd_send_signal"}, {SYS_bpf, -1, "bpf"},
    {SYS_pidfd_open, -1, "pidfd_open"}, {SYS_memfd_create, -1, "memfd_create"},
    {SYS_socketpair, -1, "socketpair"}, {SYS_socket, -1, "socket"}, {SYS_connect, -1, "connect"},
    {SYS_openat2, 1, "openat2"}, {SYS_open_tree, 1, "open_tree"}, {SYS_ioctl, -1, "ioctl"},
    {SYS_chdir, 0, "chdir"}, {SYS_fchmod, -1, "fchmod"}, {SYS_pipe2, -1, "pipe2"},
    {SYS_dup, -1, "dup"}, {SYS_dup3, -1, "dup3"}, {SYS_ppoll, -1, "ppoll"},
    {SYS_exit_group, -1, "exit_group"}, {SYS_prctl, -1, "prctl"},
    {SYS_clock_nanosleep, -1, "clock_nanosleep"},
#if defined(__x86_64__)
    {SYS_open, 0, "open"}, {SYS_mkdir, 0, "mkdir"}, {SYS_rmdir, 0, "rmdir"},
    {SYS_unlink, 0, "unlink"}, {SYS_rename, 0, "rename"}, {SYS_mknod, 0, "mknod"},
    {SYS_fork, -1, "fork"}, {SYS_vfork, -1, "vfork"}, {SYS_poll, -1, "poll"},
    {SYS_chmod, 0, "chmod"}, {SYS_dup2, -1, "dup2"},
#endif
};

static bool is_look(pid_t pid, long number)
{
    enum { CHANGES = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC };

    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        if (number == looks[i])
            return true;
    if (number == SYS_openat)
        return !(argument(pid, 2) & CHANGES);
#if defined(__x86_64__)
    if (number == SYS_open)
        return !(argument(pid, 1) & CHANGES);
#endif
    return number == SYS_ioctl && (unsigned)argument(pid, 1) == TCGETS;
}

/* "openat /x/y": what a step is, in a line. */
static void describe(pid_t pid, long number, int report)
{
    char text[80] = "";

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (number != names[i].number)
            continue;
        struct iovec here = {text, sizeof text - 1};
        if (names[i].text >= 0) {
            struct iovec there = {(void *)argument(pid, names[i].text), sizeof text - 1};
            ssize_t got = process_vm_readv(pid, &here, 1, &there, 1, 0);
            text[got < 0 ? 0 : got] = 0;
        }
        if (number == SYS_write && argument(pid, 2) < (long)sizeof text)
            text[argument(pid, 2)] = 0;
        text[strcspn(text, "\n")] = 0;
        for (char *c = text; *c; c++)
            if (*c < ' ' || *c > '~')
                *c = '?';
        dprintf(report, "%s %s\n", names[i].name, text);
        return;
    }
    dprintf(report, "%ld \n", number);
}

static void fail(const char *what)
{
    perror(what);
    exit(125);
}

/* Lets the command go on to its next system call, in or out, or to its end: false then. */
static bool resume(pid_t pid, int *status)
{
    int signal = 0;

    for (;;) {
        ptrace(PTRACE_SYSCALL, pid, NULL, signal);
        if (waitpid(pid, status, __WALL) < 0)
            fail("waitpid");
        if (!WIFSTOPPED(*status))
            return false;
        if (WSTOPSIG(*status) == (SIGTRAP | 0x80))
            return true;
        signal = *status >> 16 ? 0 : WSTOPSIG(*status); /* an event, execve's */
    }
}

/* What became of the command, and how. */
struct outcome {
    bool hit;
    int status;
};

static void trace(pid_t pid, long step, bool is_kill, long value, int report,
                  struct outcome *outcome)
{
    long count = 0;
    bool begun = false; /* with the execve that makes it the command */

    while (resume(pid, &outcome->status)) {
        long number = number_of(pid);
        bool failing = false;
        if (begun && !is_look(pid, number)) {
            failing = ++count == step;
            outcome->hit |= failing;
            if (failing || step == 0)
                describe(pid, number, report);
        }
        if (failing && is_kill) {
            if (value > 0) {
                ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
                usleep((useconds_t)value);
            }
            kill(pid, SIGKILL);
            while (waitpid(pid, &outcome->status, __WALL) >= 0 && WIFSTOPPED(outcome->status))
                ptrace(PTRACE_CONT, pid, NULL, NULL);
            return;
        }
        if (failing)
            skip_call(pid);
        if (!resume(pid, &outcome->status))
            return;
        begun |= number == SYS_execve;
        if (failing)
            set_result(pid, -value);
    }
}

int main(int argc, char **argv)
{
    struct outcome outcome = {0};

    if (argc < 6)
        return 125;
    int report = atoi(argv[1]);
    long step = atol(argv[2]);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || fcntl(report, F_SETFD, FD_CLOEXEC) < 0)
        fail("faults");
    pid_t pid = fork();
    if (pid == 0) {
        if (step >= 0) {
            ptrace(PTRACE_TRACEME, 0, NULL, NULL);
            raise(SIGSTOP);
        }
        execv(argv[5], argv + 5);
        _exit(125);
    }
    if (pid < 0 || waitpid(pid, &outcome.status, __WALL) < 0)
        fail("faults");
    if (step >= 0) {
        if (ptrace(PTRACE_SETOPTIONS, pid, NULL,
                   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) < 0)
            fail("ptrace");
        trace(pid, step, strcmp(argv[3], "kill") == 0, atol(argv[4]), report, &outcome);
    }
    int status = WIFSIGNALED(outcome.status) ? 128 + WTERMSIG(outcome.status)
                                             : WEXITSTATUS(outcome.status);
    dprintf(report, "%s %d\n", outcome.hit ? "hit" : "ended", status);
    close(report);
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    return 0;
}
