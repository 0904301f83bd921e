/* Mounts, by descriptors alone: no path can be swapped between two steps. */
#include "machine.h"

#define INSIDE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define CLONE_FLAGS (OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)

/* What the file system said about its options, a message a line ("e tmpfs: Bad value ..."). */
static void read_log(struct machine *m, int fs)
{
    size_t size = 0;

    while (size + 2 < sizeof m->log) {
        long count = sys(read, fs, m->log + size, sizeof m->log - size - 2);
        if (count <= 0)
            break;
        size += (size_t)count;
        if (m->log[size - 1] != '\n')
            m->log[size++] = '\n';
    }
    m->log[size] = 0;
    m->detail = m->log;
}

long op_FSOPEN(struct machine *m, const u64 *v)
{
    m->detail = string(m, v[0]);
    return define(m, v[1], sys(fsopen, m->detail, FSOPEN_CLOEXEC));
}

long op_FSCONFIG(struct machine *m, const u64 *v)
{
    int fs = m->slot[v[0]];
    long error = sys(fsconfig, fs, FSCONFIG_SET_STRING, string(m, v[1]), string(m, v[2]), 0);

    if (error < 0)
        read_log(m, fs);
    return error;
}

long op_FSFLAG(struct machine *m, const u64 *v)
{
    int fs = m->slot[v[0]];
    long error = sys(fsconfig, fs, FSCONFIG_SET_FLAG, string(m, v[1]), 0, 0);

    if (error < 0)
        read_log(m, fs);
    return error;
}

long op_FSMODE(struct machine *m, const u64 *v)
{
    struct statx status;
    char mode[] = "0000";
    int fs = m->slot[v[0]];

    m->detail = string(m, v[2]);
    long fd = open_beneath(m->slot[v[1]], m->detail, O_PATH | O_DIRECTORY, 0, INSIDE);
    if (fd < 0)
        return 0; /* who mounts on it will say why */
    long error = file_status((int)fd, &status);
    sys(close, fd);
    if (error < 0)
        return 0;
    for (int i = 0; i < 4; i++)
        mode[3 - i] += (char)(status.stx_mode >> 3 * i & 7);
    error = sys(fsconfig, fs, FSCONFIG_SET_STRING, "mode", mode, 0);
    if (error < 0)
        read_log(m, fs);
    return error;
}

long op_FSMOUNT(struct machine *m, const u64 *v)
{
    int fs = m->slot[v[0]];
    long value = sys(fsconfig, fs, FSCONFIG_CMD_CREATE, 0, 0, 0);

    if (value >= 0) {
        m->step = 1;
        value = sys(fsmount, fs, FSMOUNT_CLOEXEC, v[1]);
    }
    if (value < 0) {
        read_log(m, fs);
        return value;
    }
    undefine(m, v[0]);
    return define(m, v[2], value);
}

long op_CLONE_TREE(struct machine *m, const u64 *v)
{
    u32 flags = CLONE_FLAGS | (v[1] ? AT_RECURSIVE : 0);

    return define(m, v[2], sys(open_tree, m->slot[v[0]], "", flags));
}

static long set_attributes(int mount, u64 set, u64 clear, u64 propagation, u64 flags, int userns)
{
    struct mount_attr attributes = {
        .attr_set = set,
        .attr_clr = clear,
        .propagation = propagation,
        .userns_fd = userns < 0 ? 0 : (u64)userns,
    };

    return sys(mount_setattr, mount, "", AT_EMPTY_PATH | flags, &attributes, sizeof attributes);
}

long op_SETATTR(struct machine *m, const u64 *v)
{
    int userns = v[5] == ISA_NO_SLOT ? -1 : m->slot[v[5]];

    return set_attributes(m->slot[v[0]], v[1], v[2], v[3], v[4] & AT_RECURSIVE, userns);
}

static long move(int mount, int target)
{
    u32 flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

    return sys(move_mount, mount, "", target, "", flags);
}

/* The steps are those of op_ATTACH, counted from `step`. */
static long attach(struct machine *m, u64 slot, int target, u32 step)
{
    int mount = m->slot[slot];
    long copy = -1, error;

    m->step = step;
    if (m->used[slot]) {
        copy = sys(open_tree, mount, "", CLONE_FLAGS);
        if (copy < 0)
            return copy;
        mount = (int)copy;
    }
    m->step = step + 1;
    error = move(mount, target);
    if (copy >= 0)
        sys(close, copy);
    else if (error >= 0)
        m->used[slot] = true;
    return error;
}

long op_ATTACH(struct machine *m, const u64 *v)
{
    return attach(m, v[0], m->slot[v[1]], 0);
}

long op_MASK(struct machine *m, const u64 *v)
{
    struct statx status;

    m->detail = string(m, v[1]);
    long fd = open_beneath(m->slot[v[0]], m->detail, O_PATH, 0, INSIDE);
    if (fd < 0)
        return fd;
    m->step = 1;
    long error = file_status((int)fd, &status);
    if (error >= 0) {
        bool folder = (status.stx_mode & S_TYPE) == S_DIR;
        error = attach(m, folder ? v[3] : v[2], (int)fd, 2);
    }
    sys(close, fd);
    return error;
}

long op_READONLY(struct machine *m, const u64 *v)
{
    m->detail = string(m, v[1]);
    long fd = open_beneath(m->slot[v[0]], m->detail, O_PATH, 0, INSIDE);
    if (fd < 0)
        return fd;
    m->step = 1;
    long copy = sys(open_tree, fd, "", CLONE_FLAGS | AT_RECURSIVE), error = copy;
    if (copy >= 0) {
        m->step = 2;
        error = set_attributes((int)copy, MOUNT_ATTR_RDONLY, 0, 0, AT_RECURSIVE, -1);
        if (error >= 0) {
            m->step = 3;
            error = move((int)copy, (int)fd);
        }
        sys(close, copy);
    }
    sys(close, fd);
    return error;
}

long op_PIVOT(struct machine *m, const u64 *v)
{
    long error = sys(fchdir, m->slot[v[0]]);

    if (error >= 0) {
        m->step = 1;
        error = sys(pivot_root, ".", "."); /* the old root is now over the new one */
    }
    if (error >= 0) {
        m->step = 2;
        error = sys(umount2, ".", MNT_DETACH);
    }
    if (error >= 0) {
        m->step = 3;
        error = sys(chdir, "/");
    }
    return error;
}

long op_CHROOT(struct machine *m, const u64 *v)
{
    long error = sys(fchdir, m->slot[v[0]]);

    if (error >= 0) {
        m->step = 1;
        error = sys(chroot, ".");
    }
    if (error >= 0) {
        m->step = 2;
        error = sys(chdir, "/");
    }
    return error;
}

long op_UMOUNT(struct machine *m, const u64 *v)
{
    const char *name = m->detail = string(m, v[1]);

    if (!is_one_name(name))
        return -EINVAL;
    long error = sys(fchdir, m->slot[v[0]]);
    if (error >= 0) {
        m->step = 1;
        error = sys(umount2, name, MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    return error;
}
