"""The system calls that Python's os module lacks, as typed functions.

Every function raises OSError(errno, text[, path]) where the kernel refuses. All descriptors
made here are close-on-exec. This is the only module that imports the shim (csrc/shim*.c).
"""

from __future__ import annotations

import errno
import os
import stat

from ocirt._shim import ffi, lib

from .constants import (
    AT_EMPTY_PATH,
    FSCONFIG_CMD_CREATE,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    NS_GET_NSTYPE,
    PR_SET_DUMPABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Birth = tuple[int, int, int]

NOWHERE: Birth = (-1, 0, 0)  # no user namespace to be born in
_NOEXEC = 8  # ST_NOEXEC of statvfs(3)
_PATH_MAX = 4096


def _check(value: int, path: str | None = None) -> int:
    """``value``, or the OSError that a negative one means."""
    if value < 0:
        if path is None:
            raise OSError(-value, os.strerror(-value))
        raise OSError(-value, os.strerror(-value), path)
    return value


# ---- the machine


def machine_bytes() -> bytes:
    """The machine: a static ELF for this architecture."""
    return bytes(ffi.buffer(lib.ocirt_machine_bytes(), lib.ocirt_machine_size()))


def machine_fd() -> int:
    """A descriptor of the machine for ``spawn``: a sealed memfd, which nobody can write to.

    Where the host forbids executable memfds (sysctl vm.memfd_noexec=2): a file without a
    name and without a writer.
    """
    fd: int = lib.ocirt_machine_fd()
    if fd == -errno.EACCES:
        return _machine_file()
    return _check(fd)


def _machine_file(folders: Sequence[str] = ("/run", "/var/tmp", "/tmp", "/dev/shm")) -> int:
    """The machine in a nameless read-only file, in the first of ``folders`` that allows it.

    O_EXCL: the file can't be linked to a name later. It is opened again because a file that
    is open for writing can't be executed.
    """
    problem = OSError(errno.EACCES, "vm.memfd_noexec is 2, and no folder allows executable files")
    for folder in folders:
        try:
            if os.statvfs(folder).f_flag & _NOEXEC:
                continue
            flags = os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            fd = os.open(folder, flags, 0o500)
        except OSError as error:
            problem = error
            continue
        try:
            data = memoryview(machine_bytes())
            while data:
                data = data[os.write(fd, data) :]
            return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            problem = error
        finally:
            os.close(fd)
    raise problem


def spawn(
    flags: int,
    cgroup_fd: int,
    exe_fd: int,
    control_fd: int,
    first_free_fd: int,
    birth: Birth = NOWHERE,
) -> tuple[int, int]:
    """Starts the machine in a new process; returns (pid, pidfd).

    ``flags``: CLONE_NEW*. ``cgroup_fd``: the cgroup v2 folder to start in, or -1.
    The child has the descriptors below ``first_free_fd`` as they are here, ``control_fd`` at
    number ``first_free_fd``, and no others; its signals are blocked, its environment is empty.
    ``birth``: (user namespace, uid, gid) that it enters before it is executed, with all capabilities
    there. A failure of execveat is raised here as well, and leaves no child.
    """
    pidfd = ffi.new("int *", -1)
    pid = _check(
        lib.ocirt_spawn(flags, cgroup_fd, exe_fd, control_fd, first_free_fd, *birth, pidfd)
    )
    return pid, pidfd[0]


# ---- sockets


def socketpair() -> tuple[int, int]:
    """A pair of connected SOCK_SEQPACKET sockets."""
    pair = ffi.new("int[2]")
    _check(lib.ocirt_socketpair(pair))
    return pair[0], pair[1]


def connect(path: str) -> int:
    """A SOCK_STREAM socket that is connected to the unix socket at ``path``.

    A path over 107 bytes, too long for connect(2), is reached through a descriptor.
    """
    name = os.fsencode(path)
    if len(name) < 108:
        return _check(lib.ocirt_connect(name), path)
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return _check(lib.ocirt_connect(f"/proc/self/fd/{fd}".encode()), path)
    finally:
        os.close(fd)


def send(fd: int, data: bytes, fds: Sequence[int] = ()) -> int:
    """Sends one message with descriptors (253 at most); returns the bytes sent."""
    return _check(lib.ocirt_send(fd, data, len(data), ffi.new("int[]", list(fds)), len(fds)))


def recv(fd: int, size: int) -> tuple[bytes, int]:
    """Receives one message of at most ``size`` bytes: (data, its descriptor or -1).

    Empty data is the end of the connection. EMSGSIZE where the message was longer or had
    more than one descriptor; it is lost then.
    """
    buffer = ffi.new("char[]", size)
    out = ffi.new("int *")
    count = _check(lib.ocirt_recv(fd, buffer, size, out))
    return bytes(ffi.buffer(buffer, count)), out[0]


# ---- files and mounts


def openat2(dir_fd: int, path: str, flags: int, resolve: int = 0, mode: int = 0) -> int:
    """openat2(2) with O_CLOEXEC; ``resolve``: RESOLVE_*; ``mode`` of a file that is made."""
    return _check(lib.ocirt_openat2(dir_fd, os.fsencode(path), flags, mode, resolve), path)


def open_regular(dir_fd: int, path: str, resolve: int) -> int:
    """A regular file to read; EINVAL for any other. A container's may be a device of the host's by
    now: to open it would have an effect, and no cgroup limits what ocirt opens."""
    found = openat2(dir_fd, path, os.O_PATH, resolve)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """open_tree(2) with OPEN_TREE_CLOEXEC; ``flags``: OPEN_TREE_CLONE, AT_*."""
    return _check(lib.ocirt_open_tree(dir_fd, os.fsencode(path), flags), path)


def move_mount(from_fd: int, to_fd: int) -> None:
    """Attaches the mount ``from_fd`` at the file or folder ``to_fd``."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _check(lib.ocirt_move_mount(from_fd, b"", to_fd, b"", flags))


def mount_setattr(
    fd: int, set: int, clear: int = 0, propagation: int = 0, flags: int = 0, userns: int = -1
) -> None:
    """mount_setattr(2) of the mount ``fd``.

    ``set`` and ``clear``: MOUNT_ATTR_*; ``propagation``: 0 or MS_*; ``flags``: 0 or
    AT_RECURSIVE; ``userns``: a descriptor where ``set`` has MOUNT_ATTR_IDMAP.
    """
    at = flags | AT_EMPTY_PATH
    _check(lib.ocirt_mount_setattr(fd, b"", at, set, clear, propagation, userns))


def fsopen(fs_type: str) -> int:
    """A context for a new file system; what the kernel says about it can be read from it."""
    return _check(lib.ocirt_fsopen(os.fsencode(fs_type), 0), fs_type)


def fsmount(fs: int, attributes: int = 0) -> int:
    """Creates the file system of context ``fs``: a detached mount of it (MOUNT_ATTR_*)."""
    _check(lib.ocirt_fsconfig(fs, FSCONFIG_CMD_CREATE, ffi.NULL, ffi.NULL, 0))
    return _check(lib.ocirt_fsmount(fs, 0, attributes))


def umount(path: str, flags: int = 0) -> None:
    """umount2(2); ``flags``: MNT_DETACH, UMOUNT_NOFOLLOW."""
    _check(lib.ocirt_umount(os.fsencode(path), flags), path)


def mount_id(fd: int) -> int:
    """The number of the mount that ``fd`` is in, and no other before or after it. Linux 6.8; ENOSYS."""
    return _check(lib.ocirt_mount_id(fd))


def statmount(id: int) -> tuple[int, str]:
    """Of the mount with such a number: (that of the one that it is mounted on, its path).

    statmount(2), Linux 6.8. ENOENT where it is not in our mount namespace.
    """
    parent = ffi.new("uint64_t[1]")
    path = ffi.new("char[]", _PATH_MAX)
    _check(lib.ocirt_statmount(id, parent, path, _PATH_MAX))
    return int(parent[0]), os.fsdecode(ffi.string(path))


def fstatfs_type(fd: int) -> int:
    """The file system type of a descriptor: a ``*_MAGIC`` of constants."""
    return _check(lib.ocirt_fs_type(fd))


# ---- namespaces and processes


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* flag of a namespace file; ENOTTY if it is another kind of file."""
    return _check(lib.ocirt_ioctl(fd, NS_GET_NSTYPE, 0))


def setns(fd: int, flags: int = 0) -> None:
    """Enters the namespace ``fd``, or (a pidfd) those of ``flags`` that its process is in."""
    _check(lib.ocirt_setns(fd, flags))


def unshare(flags: int) -> None:
    """Enters new namespaces: CLONE_NEW*."""
    _check(lib.ocirt_unshare(flags))


def set_dumpable(on: bool) -> None:
    """Whether others may ptrace this process and read its /proc files."""
    _check(lib.ocirt_prctl(PR_SET_DUMPABLE, int(on), 0, 0, 0))


def join_keyring(name: str) -> None:
    """This process leaves its session keyring for the one of that name, new if there is none."""
    _check(lib.ocirt_join_keyring(os.fsencode(name)))


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """prctl(2) for an option whose arguments are numbers."""
    return _check(lib.ocirt_prctl(option, a, b, c, d))


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """Sets a limit of process ``pid``; ``resource``: a value of RLIMITS."""
    _check(lib.ocirt_prlimit(pid, resource, soft, hard))


def sched_setattr(
    pid: int,
    policy: int,
    *,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
    util_min: int = 0,
    util_max: int = 0,
) -> None:
    """Sets the scheduler of process ``pid``; times are in nanoseconds."""
    _check(
        lib.ocirt_sched_setattr(
            pid, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max
        )
    )


def ioprio_set(pid: int, value: int) -> None:
    """Sets the I/O priority of process ``pid``: class << IOPRIO_CLASS_SHIFT | level."""
    _check(lib.ocirt_ioprio_set(pid, value))


def pidfd_open(pid: int) -> int:
    """A descriptor of process ``pid``; ESRCH if there is none."""
    return _check(lib.ocirt_pidfd_open(pid, 0))


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Sends ``signal`` (0: only asks whether that is possible)."""
    _check(lib.ocirt_pidfd_send_signal(pidfd, signal))


def pidfd_wait(pidfd: int, milliseconds: float | None) -> bool:
    """Has the process ended by then? None: waits for ever."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds))


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A copy of descriptor ``fd`` of another process."""
    return _check(lib.ocirt_pidfd_getfd(pidfd, fd))


# ---- seccomp(2)


def seccomp_has_action(action: int) -> bool:
    """Does the kernel know an action of a filter, SECCOMP_RET_*?"""
    return _seccomp(lib.ocirt_seccomp_has_action(action))


def seccomp_has_flags(flags: int) -> bool:
    """Does it know these SECCOMP_FILTER_FLAG_*? With 0: has it filters at all?"""
    return _seccomp(lib.ocirt_seccomp_has_flags(flags))


def _seccomp(answer: int) -> bool:
    return answer != -errno.ENOSYS and bool(_check(answer))


# ---- device programs of a cgroup v2 folder: bpf(2)

_LOG_SIZE = 1 << 20  # bytes
_PROGRAMS_MAX = 64  # BPF_CGROUP_MAX_PROGS


def device_program_load(program: bytes) -> int:
    """A descriptor of ``program``, instructions of 8 bytes; EINVAL or EACCES where the verifier
    refuses it."""
    return _check(lib.ocirt_device_program_load(program, len(program), ffi.NULL, 0))


def device_program_log(program: bytes) -> str:
    """What the verifier says of ``program``; "" if it was not asked (EPERM, for instance)."""
    log = ffi.new("char[]", _LOG_SIZE)
    fd = lib.ocirt_device_program_load(program, len(program), log, _LOG_SIZE)
    if fd >= 0:
        os.close(fd)
    text: bytes = ffi.string(log, _LOG_SIZE)
    return text.decode(errors="replace")


def device_program_attach(cgroup: int, program: int, replace: int = -1) -> None:
    """Adds ``program`` to those of the folder ``cgroup`` (all have to allow an access), or puts
    it in the place of ``replace``; ENOENT if that one is not there."""
    _check(lib.ocirt_device_program_attach(cgroup, program, replace))


def device_program_detach(cgroup: int, program: int) -> None:
    """Takes ``program`` away from the folder ``cgroup``; ENOENT if it is not there."""
    _check(lib.ocirt_device_program_detach(cgroup, program))


def device_program_ids(cgroup: int) -> list[int]:
    """The ids of the programs that are attached to this very cgroup."""
    ids = ffi.new("uint32_t[]", _PROGRAMS_MAX)
    count = _check(lib.ocirt_device_program_list(cgroup, ids, _PROGRAMS_MAX))
    return list(ids[0:count])


def device_program_open(id: int) -> int:
    """A descriptor of the program ``id``; ENOENT if there is none."""
    return _check(lib.ocirt_device_program_open(id))
