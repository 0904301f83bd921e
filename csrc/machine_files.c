/* Operations on files. Every path is resolved by openat2 below a folder that is open already,
 * and what was opened is looked at before it is trusted. */
#include "machine.h"

enum { PATH_MAX = 4096, NAME_MAX = 255, LINKS_MAX = 16, RACES_MAX = 32 };
/* No descriptor and no -errno: the path to walk is another one now. */
#define CHANGED (-4096L)
#define INSIDE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define BELOW (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)

long open_beneath(int dir, const char *path, u64 flags, u64 mode, u64 resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long fd;

    /* EAGAIN: a rename elsewhere raced with a ".."; the next try may be alone. */
    for (int i = 0; i < RACES_MAX; i++) {
        fd = sys(openat2, dir, path, &how, sizeof how);
        if (fd != -EAGAIN && fd != -EINTR)
            break;
    }
    return fd;
}

long file_status(int fd, struct statx *status)
{
    return sys(statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, status);
}

long fs_type(int fd, u64 *type)
{
    struct statfs status;
    long error = sys(fstatfs, fd, &status);

    *type = (u32)status.f_type;
    return error;
}

/* In a chroot "/" is no mount point, so nothing can be attached to it and nothing pivoted away
 * from it. To join the mount namespace that one is in already leads to its real root. */
static long leave_chroot(void)
{
    struct statx status;
    long error = sys(statx, AT_FDCWD, "/", 0, STATX_BASIC_STATS, &status);

    if (error < 0 || (status.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return error;
    long pidfd = sys(pidfd_open, sys(getpid), 0);
    if (pidfd < 0)
        return pidfd;
    error = sys(setns, pidfd, CLONE_NEWNS);
    sys(close, pidfd);
    return error;
}

long op_OPEN_ROOT(struct machine *m, const u64 *v)
{
    long error = leave_chroot();

    if (error < 0)
        return error;
    return define(m, v[0], sys(openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
}

long op_OPEN(struct machine *m, const u64 *v)
{
    m->detail = string(m, v[1]);
    return define(m, v[4], open_beneath(m->slot[v[0]], m->detail, v[2], 0, v[3]));
}

/* ---- TARGET: find or make a mount point */

struct walk {
    int root;
    u64 resolve;
    u32 kind;
    char path[PATH_MAX];
    char link[PATH_MAX];
};

/* What path[start..end) names was not there to be opened, but it is there to be made: a link
 * that leads nowhere, so put what it says in its place; or another process just made or removed
 * it, so look again. */
static long follow_link(struct walk *w, int dir, const char *name, size_t start, size_t end)
{
    long size = sys(readlinkat, dir, name, w->link, sizeof w->link);
    size_t rest = text_length(w->path + end) + 1;

    if (size == -EINVAL || size == -ENOENT)
        return CHANGED;
    if (size <= 0)
        return size ? size : -ENOENT;
    if (w->link[0] == '/')
        start = 0;
    if (start + (size_t)size + rest > sizeof w->path)
        return -ENAMETOOLONG;
    if (start + (size_t)size <= end)
        for (size_t i = 0; i < rest; i++)
            w->path[start + (size_t)size + i] = w->path[end + i];
    else
        for (size_t i = rest; i-- > 0;)
            w->path[start + (size_t)size + i] = w->path[end + i];
    for (size_t i = 0; i < (size_t)size; i++)
        w->path[start + i] = w->link[i];
    return CHANGED;
}

/* Makes `name` in dir: its descriptor, or CHANGED where a link that leads nowhere is there. */
static long make_one(struct machine *m, int dir, const char *name, bool folder)
{
    m->step = 2;
    long error = folder ? sys(mkdirat, dir, name, 0755) : sys(mknodat, dir, name, S_REG | 0644, 0);
    if (error < 0)
        return error == -EEXIST ? CHANGED : error;
    m->step = 3;
    return open_beneath(dir, name, O_PATH | O_NOFOLLOW, 0, BELOW);
}

/* Opens the part of the path that ends at path[end), or makes its last name in dir. */
static long open_or_make(struct machine *m, struct walk *w, int dir, size_t start, size_t end)
{
    char name[NAME_MAX + 1], rest = w->path[end];
    size_t size = end - start;

    m->step = 1;
    w->path[end] = 0;
    long fd = open_beneath(w->root, w->path, O_PATH, 0, w->resolve);
    w->path[end] = rest;
    if (fd != -ENOENT)
        return fd;
    if (size > NAME_MAX)
        return -ENAMETOOLONG;
    for (size_t i = 0; i < size; i++)
        name[i] = w->path[start + i];
    name[size] = 0;
    fd = make_one(m, dir, name, rest || w->kind == ISA_KIND_DIR);
    return fd == CHANGED ? follow_link(w, dir, name, start, end) : fd;
}

/* Walks the path from the root and makes what is missing: the descriptor of its end, or CHANGED
 * where a link that leads nowhere has changed the path. */
static long walk_path(struct machine *m, struct walk *w)
{
    long dir = sys(fcntl, w->root, F_DUPFD_CLOEXEC, 0);
    size_t start, end = 0;

    while (dir >= 0) {
        for (start = end; w->path[start] == '/'; start++)
            ;
        for (end = start; w->path[end] && w->path[end] != '/'; end++)
            ;
        if (start == end)
            break;
        long next = open_or_make(m, w, (int)dir, start, end);
        sys(close, dir);
        dir = next;
    }
    return dir;
}

static long make_target(struct machine *m, int root, const char *path, u32 kind, u64 resolve)
{
    /* Static: the machine's stack stays small. */
    static struct walk w;
    size_t size = text_length(path) + 1;
    long fd = CHANGED;

    if (size > sizeof w.path)
        return -ENAMETOOLONG;
    w.root = root;
    w.kind = kind;
    w.resolve = resolve;
    for (size_t i = 0; i < size; i++)
        w.path[i] = path[i];
    for (int i = 0; i < LINKS_MAX && fd == CHANGED; i++)
        fd = walk_path(m, &w);
    return fd == CHANGED ? -ELOOP : fd;
}

static long verify_target(struct machine *m, int fd, u32 kind, u64 flags)
{
    struct statx status;
    u64 type;

    m->step = 4;
    long error = file_status(fd, &status);
    if (error >= 0)
        error = fs_type(fd, &type);
    if (error < 0)
        return error;
    /* A link that was swapped in between the lookups is no mount point. */
    if ((status.stx_mode & S_TYPE) == S_LNK)
        return -ELOOP;
    if (flags & ISA_TARGET_NO_PROC && type == PROC_SUPER_MAGIC)
        return -EXDEV;
    if (flags & ISA_TARGET_NO_SYS &&
        (type == SYSFS_MAGIC || type == CGROUP_SUPER_MAGIC || type == CGROUP2_SUPER_MAGIC))
        return -EXDEV;
    bool folder = (status.stx_mode & S_TYPE) == S_DIR;
    if (flags & ISA_TARGET_NO_CREATE || folder == (kind == ISA_KIND_DIR))
        return 0;
    return folder ? -EISDIR : -ENOTDIR;
}

long op_TARGET(struct machine *m, const u64 *v)
{
    int root = m->slot[v[0]];
    const char *path = m->detail = string(m, v[1]);
    u32 kind = (u32)v[2];
    u64 resolve = INSIDE | (v[4] & ISA_TARGET_ORDINARY ? RESOLVE_NO_SYMLINKS : 0);
    struct statx status;

    if (v[2] > ISA_KIND_LIKE)
        return -EINVAL;
    if (kind == ISA_KIND_LIKE) {
        long error = v[3] == ISA_NO_SLOT ? -EINVAL : file_status(m->slot[v[3]], &status);
        if (error < 0)
            return error;
        kind = (status.stx_mode & S_TYPE) == S_DIR ? ISA_KIND_DIR : ISA_KIND_FILE;
    }
    m->step = 1;
    long fd = open_beneath(root, path, O_PATH, 0, resolve);
    if (fd == -ENOENT && !(v[4] & ISA_TARGET_NO_CREATE))
        fd = make_target(m, root, path, kind, resolve);
    if (fd < 0)
        return fd;
    long error = verify_target(m, (int)fd, kind, v[4]);
    if (error < 0) {
        sys(close, fd);
        return error;
    }
    return define(m, v[5], fd);
}

long op_CHECK_FS(struct machine *m, const u64 *v)
{
    u64 type;
    long error = fs_type(m->slot[v[0]], &type);

    if (error < 0)
        return error;
    m->step = 1;
    return type == v[1] ? 0 : -EXDEV;
}

/* ---- nodes, links, writes */

bool is_one_name(const char *name)
{
    if (!name[0] || (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))))
        return false;
    for (; *name; name++)
        if (*name == '/')
            return false;
    return true;
}

static bool same_node(const struct statx *status, u64 mode, u64 device)
{
    u32 type = (u32)mode & S_TYPE;
    u64 major = (device >> 8 & 0xfff) | (device >> 32 & ~0xfffULL);
    u64 minor = (device & 0xff) | (device >> 12 & ~0xffULL & 0xffffffffULL);

    if ((status->stx_mode & S_TYPE) != type)
        return false;
    return (type != S_CHR && type != S_BLK) ||
           (status->stx_rdev_major == major && status->stx_rdev_minor == minor);
}

/* Mode and owner of a node that was there before, or that belongs to another user. */
static long own_node(struct machine *m, int fd, const struct statx *status, const u64 *v)
{
    long error = 0;

    m->step = 3;
    if ((status->stx_mode & 07777) != (v[2] & 07777))
        error = sys(fchmodat2, fd, "", v[2] & 07777, AT_EMPTY_PATH);
    if (error < 0)
        return error;
    m->step = 4;
    if (status->stx_uid != v[4] || status->stx_gid != v[5])
        error = sys(fchownat, fd, "", v[4], v[5], AT_EMPTY_PATH);
    return error;
}

static long make_node(struct machine *m, const u64 *v)
{
    int dir = m->slot[v[0]];
    struct statx status;

    m->step = 0;
    long error = sys(mknodat, dir, m->detail, v[2], v[3]);
    if (error < 0 && error != -EEXIST)
        return error;
    m->step = 1;
    long fd = open_beneath(dir, m->detail, O_PATH | O_NOFOLLOW, 0, BELOW);
    if (fd < 0)
        return fd;
    m->step = 2;
    error = file_status((int)fd, &status);
    if (error >= 0)
        error = same_node(&status, v[2], v[3]) ? own_node(m, (int)fd, &status, v) : -EEXIST;
    sys(close, fd);
    return error;
}

long op_MKNOD(struct machine *m, const u64 *v)
{
    m->detail = string(m, v[1]);
    if (!is_one_name(m->detail))
        return -EINVAL;
    long error = make_node(m, v);
    if (error != -ENOSYS)
        return error;
    /* Before Linux 6.6 the mode behind an O_PATH descriptor can't be changed, but a node that
     * is made anew has the right one. */
    error = sys(unlinkat, m->slot[v[0]], m->detail, 0);
    return error < 0 ? error : make_node(m, v);
}

long op_SYMLINK(struct machine *m, const u64 *v)
{
    const char *name = m->detail = string(m, v[1]);

    if (!is_one_name(name))
        return -EINVAL;
    long error = sys(symlinkat, string(m, v[2]), m->slot[v[0]], name);
    return error == -EEXIST ? 0 : error;
}

long op_WRITE(struct machine *m, const u64 *v)
{
    const char *path = m->detail = string(m, v[1]);
    u64 offset = (u32)v[2], size = v[2] >> 32;
    u64 resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;

    long fd = open_beneath(m->slot[v[0]], path, O_WRONLY, 0, resolve);
    if (fd < 0)
        return fd;
    m->step = 1;
    long count = sys(write, fd, m->text + offset, size);
    sys(close, fd);
    return count < 0 ? count : (u64)count == size ? 0 : -EIO;
}

long op_XATTR(struct machine *m, const u64 *v)
{
    u64 offset = (u32)v[2], size = v[2] >> 32;

    long fd = open_beneath(m->slot[v[0]], ".", O_RDONLY | O_DIRECTORY, 0, RESOLVE_BENEATH);
    if (fd < 0)
        return fd;
    m->step = 1;
    long error = sys(fsetxattr, fd, string(m, v[1]), m->text + offset, size, 0);
    sys(close, fd);
    return error;
}

long op_CLOSE(struct machine *m, const u64 *v)
{
    undefine(m, v[0]);
    return 0;
}

long op_KEEP(struct machine *m, const u64 *v)
{
    for (u32 i = 0; i < ISA_SLOTS; i++)
        if (m->slot[i] >= 0 && i != v[0] && i != v[1] && i != v[2] && i != v[3])
            undefine(m, i);
    return 0;
}

long op_CHDIR(struct machine *m, const u64 *v)
{
    static char path[PATH_MAX];

    m->detail = string(m, v[0]);
    long error = sys(chdir, m->detail);
    if (error < 0)
        return error;
    m->step = 1;
    /* "(unreachable)/..." is a folder outside of the root (CVE-2024-21626). */
    error = sys(getcwd, path, sizeof path);
    return error < 0 ? error : path[0] == '/' ? 0 : -EXDEV;
}
