/* Operations on the process itself: namespaces, terminal, credentials, and the program. */
#include "machine.h"

/* Linux has 41 capabilities today; the sets have room for 64. */
enum { CAPABILITIES_MAX = 64 };

long op_SETSID(struct machine *m, const u64 *v)
{
    (void)m, (void)v;
    return sys(setsid);
}

/* New credentials put the sysctl fs.suid_dumpable in force: whoever is in the container with the
 * same user could trace the machine (CVE-2016-9962). */
static long keep_undumpable(long error)
{
    sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    return error;
}

long op_SETNS(struct machine *m, const u64 *v)
{
    return keep_undumpable(sys(setns, m->slot[v[0]], v[1]));
}

long op_UNSHARE(struct machine *m, const u64 *v)
{
    (void)m;
    return keep_undumpable(sys(unshare, v[0]));
}

/* The child is a sibling and waits until this process, after its report, is gone: so the host
 * never hears of the child's work before it knows the child. */
long op_FORK(struct machine *m, const u64 *v)
{
    int pipe[2];
    char byte;

    (void)v;
    long error = sys(pipe2, pipe, O_CLOEXEC);
    if (error < 0)
        return error;
    long pid = sys(clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid > 0) {
        report(m, ISA_REPORT_FORKED, 0, pid, -1);
        leave(0);
    }
    sys(close, pipe[1]);
    while (pid == 0 && sys(read, pipe[0], &byte, 1) == -EINTR)
        ;
    sys(close, pipe[0]);
    return pid;
}

long op_PRCTL(struct machine *m, const u64 *v)
{
    (void)m;
    return sys(prctl, v[0], v[1], 0, 0, 0);
}

long op_KEYRING(struct machine *m, const u64 *v)
{
    /* All for who has it. Its owner may search, which joining it is, and exec has to; but not view,
     * but for the moment before this: who does not know its name can't join it. */
    const u32 permissions = 0x3f000000 | 0x00080000;
    long serial = sys(keyctl, KEYCTL_JOIN_SESSION_KEYRING, string(m, v[0]), 0, 0, 0);

    if (serial < 0)
        return serial;
    m->step = 1;
    return sys(keyctl, KEYCTL_SETPERM, serial, permissions, 0, 0);
}

long op_HOSTNAME(struct machine *m, const u64 *v)
{
    return sys(sethostname, string(m, v[0]), text_length(string(m, v[0])));
}

long op_DOMAINNAME(struct machine *m, const u64 *v)
{
    return sys(setdomainname, string(m, v[0]), text_length(string(m, v[0])));
}

long op_PERSONALITY(struct machine *m, const u64 *v)
{
    (void)m;
    return sys(personality, v[0]);
}

long op_MEMORY_POLICY(struct machine *m, const u64 *v)
{
    u64 offset = (u32)v[1], size = v[1] >> 32;

    if (size % 8)
        return -EINVAL;
    /* The kernel takes the number of bits for one more than it is. */
    return sys(set_mempolicy, v[0], size ? m->text + offset : 0, size ? size * 8 + 1 : 0);
}

long op_UMASK(struct machine *m, const u64 *v)
{
    (void)m;
    sys(umask, v[0]);
    return 0;
}

long op_LOOPBACK_UP(struct machine *m, const u64 *v)
{
    enum { AF_INET = 2, SOCK_DGRAM = 2, IFF_UP = 1, GET_FLAGS = 0x8913, SET_FLAGS = 0x8914 };
    struct {
        char name[16];
        short flags;
        char padding[22];
    } request = {.name = "lo"};

    (void)v;
    long fd = sys(socket, AF_INET, SOCK_DGRAM | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    m->step = 1;
    long error = sys(ioctl, fd, GET_FLAGS, &request);
    if (error >= 0) {
        m->step = 2;
        request.flags = (short)(request.flags | IFF_UP);
        error = sys(ioctl, fd, SET_FLAGS, &request);
    }
    sys(close, fd);
    return error;
}

/* ---- terminal */

/* The devpts at dev/pts, before anything in it is opened. */
static long open_devpts(struct machine *m, int root)
{
    u64 type, resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;

    m->detail = "/dev/pts";
    long fd = open_beneath(root, "dev/pts", O_PATH | O_DIRECTORY, 0, resolve);
    if (fd < 0)
        return fd;
    m->step = 1;
    long error = fs_type((int)fd, &type);
    if (error >= 0 && type != DEVPTS_MAGIC)
        error = -ENODEV;
    if (error >= 0)
        return fd;
    sys(close, fd);
    return error;
}

/* Only the kernel makes files in a devpts. RESOLVE_NO_XDEV: what is mounted on one is none. */
static long open_ptmx(struct machine *m, int root)
{
    u64 resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
    long devpts = open_devpts(m, root);

    if (devpts < 0)
        return devpts;
    m->step = 2;
    m->detail = "/dev/pts/ptmx";
    long fd = open_beneath((int)devpts, "ptmx", O_RDWR | O_NOCTTY, 0, resolve);
    sys(close, devpts);
    return fd;
}

long op_PTY(struct machine *m, const u64 *v)
{
    int unlock = 0;
    long master = open_ptmx(m, m->slot[v[0]]);

    if (master < 0)
        return master;
    m->step = 3;
    long error = sys(ioctl, master, TIOCSPTLCK, &unlock);
    if (error >= 0) {
        m->step = 4;
        error = sys(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    }
    if (error < 0) {
        sys(close, master);
        return error;
    }
    define(m, v[1], master);
    return define(m, v[2], error);
}

long op_SEND(struct machine *m, const u64 *v)
{
    return report(m, ISA_REPORT_FD, 0, (s64)v[1], m->slot[v[0]]);
}

long op_STDIO(struct machine *m, const u64 *v)
{
    long error = 0;

    for (int fd = 0; fd <= 2 && error >= 0; fd++)
        error = sys(dup3, m->slot[v[0]], fd, 0);
    return error;
}

long op_CTTY(struct machine *m, const u64 *v)
{
    return sys(ioctl, m->slot[v[0]], TIOCSCTTY, 0);
}

long op_OWN_STDIO(struct machine *m, const u64 *v)
{
    struct statx status;

    (void)m;
    for (int fd = 0; fd <= 2; fd++) {
        if (file_status(fd, &status) < 0)
            continue; /* closed by the caller */
        bool null = (status.stx_mode & S_TYPE) == S_CHR && status.stx_rdev_major == 1 &&
                    status.stx_rdev_minor == 3;
        if (null || status.stx_uid == v[0])
            continue;
        long error = sys(fchown, fd, v[0], -1);
        /* EBADF: an O_PATH descriptor */
        if (error < 0 && error != -EPERM && error != -EROFS && error != -EINVAL && error != -EBADF)
            return error;
    }
    return 0;
}

/* ---- credentials */

long op_BOUNDING(struct machine *m, const u64 *v)
{
    (void)m;
    for (int i = 0; i < CAPABILITIES_MAX; i++) {
        if (v[0] >> i & 1)
            continue;
        long held = sys(prctl, PR_CAPBSET_READ, i, 0, 0, 0);
        if (held == -EINVAL)
            break; /* past the last one that the kernel knows */
        if (held == 1)
            held = sys(prctl, PR_CAPBSET_DROP, i, 0, 0, 0);
        if (held < 0)
            return held;
    }
    return 0;
}

long op_GROUPS(struct machine *m, const u64 *v)
{
    u64 offset = (u32)v[0], size = v[0] >> 32;

    return size % 4 ? -EINVAL : sys(setgroups, size / 4, m->text + offset);
}

long op_SETGID(struct machine *m, const u64 *v)
{
    (void)m;
    return keep_undumpable(sys(setresgid, v[0], v[0], v[0]));
}

long op_SETUID(struct machine *m, const u64 *v)
{
    (void)m;
    return keep_undumpable(sys(setresuid, v[0], v[0], v[0]));
}

long op_CAPSET(struct machine *m, const u64 *v)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(u32)v[0], (u32)v[1], (u32)v[2]},
        {(u32)(v[0] >> 32), (u32)(v[1] >> 32), (u32)(v[2] >> 32)},
    };

    (void)m;
    return sys(capset, &head, data);
}

long op_AMBIENT(struct machine *m, const u64 *v)
{
    long error = sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

    m->step = 1;
    for (int i = 0; i < CAPABILITIES_MAX && error >= 0; i++)
        if (v[0] >> i & 1)
            error = sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0);
    return error;
}

/* Tells the host which number a listener will have: the lowest that is free. */
static long announce_listener(struct machine *m)
{
    long fd = sys(fcntl, m->control, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return fd;
    sys(close, fd);
    long sent = report(m, ISA_REPORT_LISTENER, 0, fd, -1);
    return sent < 0 ? sent : 0;
}

/* Until the host has the listener; it says so with a message. */
static long wait_for_host(struct machine *m)
{
    char word[8];
    long count;

    do
        count = sys(read, m->control, word, sizeof word);
    while (count == -EINTR);
    return count < 0 ? count : count == 0 ? -ENOTCONN : 0;
}

long op_SECCOMP(struct machine *m, const u64 *v)
{
    u64 offset = (u32)v[0], count = (v[0] >> 32) / sizeof(struct sock_filter);
    struct sock_fprog program = {
        (unsigned short)count, (struct sock_filter *)(void *)(uintptr_t)(m->text + offset)};
    bool listens = v[1] & SECCOMP_FILTER_FLAG_NEW_LISTENER;

    if (count == 0 || count > BPF_MAXINSNS || (v[0] >> 32) % sizeof(struct sock_filter))
        return -EINVAL;
    long error = listens ? announce_listener(m) : 0;
    if (error < 0)
        return error;
    m->step = 1;
    m->filtered = true;
    error = sys(seccomp, SECCOMP_SET_MODE_FILTER, v[1], &program);
    if (error < 0 || !listens)
        return error;
    m->step = 2;
    int listener = (int)error;
    error = wait_for_host(m);
    sys(close, listener); /* when the agent ends, what waits for it must get ENOSYS, and not wait on */
    return error;
}

/* ---- the program */

static long can_execute(const char *path)
{
    struct statx status;
    long error = sys(statx, AT_FDCWD, path, 0, STATX_TYPE, &status);

    if (error < 0)
        return error;
    u32 type = status.stx_mode & S_TYPE;
    if (type != S_REG)
        return type == S_DIR ? -EISDIR : -EACCES;
    return sys(faccessat2, AT_FDCWD, path, 1 /* X_OK */, AT_EACCESS);
}

/* How much an errno says about why nothing could be executed. */
static int weight(long error)
{
    switch (error) {
    case -ENOENT:
        return 0;
    case -ENOTDIR:
        return 1;
    case -EISDIR:
        return 2;
    default:
        return 3;
    }
}

long op_FIND_EXEC(struct machine *m, const u64 *v)
{
    const u64 *list = (const u64 *)(const void *)(m->text + v[0] + 8);
    long worst = -ENOENT;

    for (; *list; list++) {
        const char *path = (const char *)(uintptr_t)*list;
        long error = can_execute(path);
        if (error >= 0) {
            m->program = path;
            return 0;
        }
        if (!m->detail || weight(error) > weight(worst)) {
            worst = error;
            m->detail = path;
        }
    }
    return worst;
}

long op_PARK(struct machine *m, const u64 *v)
{
    char byte;
    long count;

    if (report(m, ISA_REPORT_PARKED, 0, 0, -1) < 0)
        leave(1); /* nobody would ever wake it */
    sys(close, m->control);
    m->control = -1;
    m->report = v[1];
    do
        count = sys(read, m->slot[v[0]], &byte, 1);
    while (count == -EINTR);
    if (count <= 0)
        leave(1);
    return 0;
}

struct sigaction { /* the kernel's */
    u64 handler, flags, restorer, mask;
};

static void unblock_signals(void)
{
    u64 none = 0;

    sys(rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, sizeof none);
}

static void default_signals(void)
{
    struct sigaction action = {0};

    for (int i = 1; i <= SIGNALS; i++)
        sys(rt_sigaction, i, &action, 0, sizeof action.mask);
    unblock_signals();
}

static void end_by_signal(int number)
{
    leave(128 + number);
}

long op_MORTAL(struct machine *m, const u64 *v)
{
    static const int numbers[] = {1 /* SIGHUP */, 2 /* SIGINT */, 15 /* SIGTERM */};
    /* x86 wants a restorer, though the handler never returns. */
    struct sigaction action = {(u64)end_by_signal, SA_RESTORER, (u64)end_by_signal, 0};
    long error = 0;

    (void)m, (void)v;
    for (u32 i = 0; error >= 0 && i < sizeof numbers / sizeof *numbers; i++)
        error = sys(rt_sigaction, numbers[i], &action, 0, sizeof action.mask);
    unblock_signals();
    return error;
}

long op_CLOEXEC(struct machine *m, const u64 *v)
{
    (void)m;
    return sys(close_range, v[0], ~0U, CLOSE_RANGE_CLOEXEC);
}

long op_EXEC(struct machine *m, const u64 *v)
{
    if (!m->program)
        return -EINVAL;
    m->detail = m->program;
    long error = v[2] == ISA_NO_SLOT ? 0 : op_CLOEXEC(m, v + 2);
    if (error < 0)
        return error;
    m->step = 1;
    default_signals();
    if (m->report == ISA_NO_SLOT && report(m, ISA_REPORT_EXEC, 0, 0, -1) < 0)
        return -ENOTCONN; /* the host would take the end of the connection for an accident */
    error = sys(execve, m->program, m->text + v[0] + 8, m->text + v[1] + 8);
    return error < 0 ? error : -EIO; /* by a filter */
}
