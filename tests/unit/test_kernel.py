"""ocirt.host.kernel against the running kernel. What needs root says so in its skip."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocirt.host import constants as c
from ocirt.host import kernel, own_namespace

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# Tells over its control socket what it was started with.
PROBE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv)
{
    char text[4096];
    int n = 0, control = atoi(argv[1]), blocked = 0;
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int s = 1; s < 32; s++)
        blocked += sigismember(&mask, s) == 1;
    n += sprintf(text, "{\"argv\": [\"%s\", \"%s\"], \"argc\": %d, \"env\": %d, \"pid\": %d, "
                 "\"blocked\": %d, \"fds\": [", argv[0], argv[1], argc, environ[0] != 0, getpid(),
                 blocked);
    DIR *folder = opendir("/proc/self/fd");
    const char *comma = "";
    for (struct dirent *e; (e = readdir(folder));)
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(folder)) {
            n += sprintf(text + n, "%s%s", comma, e->d_name);
            comma = ",";
        }
    n += sprintf(text + n, "]}");
    send(control, text, n, 0);
    return 7;
}
"""


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text(PROBE)
    subprocess.run(["gcc", "-O1", "-o", folder / "probe", folder / "probe.c"], check=True)
    return folder / "probe"


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    a, b = kernel.socketpair()
    yield a, b
    for fd in (a, b):
        try:
            os.close(fd)
        except OSError:
            pass


def open_fds() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}


def run_probe(
    probe: Path, pair: tuple[int, int], *, flags: int = 0, cgroup: int = -1, first: int = 3
) -> dict[str, object]:
    """Spawns the probe; its report with "host_pid", the pid that spawn returned."""
    exe = os.open(probe, os.O_RDONLY)
    try:
        pid, pidfd = kernel.spawn(flags, cgroup, exe, pair[1], first)
    finally:
        os.close(exe)
    data, fd = kernel.recv(pair[0], 4096)
    assert fd == -1
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    assert result is not None
    assert (result.si_pid, result.si_code, result.si_status) == (pid, os.CLD_EXITED, 7)
    report: dict[str, object] = json.loads(data)
    return {**report, "host_pid": pid}


# ---- the machine's file


def test_machine_is_an_elf() -> None:
    data = kernel.machine_bytes()
    assert data[:4] == b"\x7fELF"
    assert len(data) < 100_000


def test_machine_fd_is_sealed_and_executable() -> None:
    fd = kernel.machine_fd()
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        wanted = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        assert seals & wanted == wanted
        assert os.pread(fd, 1 << 20, 0) == kernel.machine_bytes()
        assert os.fstat(fd).st_mode & stat.S_IXUSR
        assert not os.get_inheritable(fd)
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        # Opening it anew, as a container would by /proc/self/exe, does not help.
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 0)
        os.close(again)
    finally:
        os.close(fd)


def test_machine_file_has_no_name_and_no_writer(tmp_path: Path, pair: tuple[int, int]) -> None:
    before = open_fds()
    fd = kernel._machine_file((str(tmp_path),))
    assert open_fds() - before == {fd}
    info = os.fstat(fd)
    assert (info.st_nlink, stat.S_IMODE(info.st_mode)) == (0, 0o500)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert os.pread(fd, 1 << 20, 0) == kernel.machine_bytes()
    pid, pidfd = kernel.spawn(0, -1, fd, pair[1], 3)  # it can be executed
    kernel.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert os.waitpid(pid, 0)[0] == pid
    os.close(pidfd)
    os.close(fd)


def test_machine_file_says_why_it_failed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kernel._machine_file((str(tmp_path / "none"),))


@needs_root
def test_machine_fd_where_memfds_may_not_be_executed() -> None:
    """vm.memfd_noexec belongs to a pid namespace: a child sets it for one of its own."""
    if not os.path.exists("/proc/sys/vm/memfd_noexec"):
        pytest.skip("the kernel has no vm.memfd_noexec (Linux before 6.3)")
    code = """
import fcntl, os
with open("/proc/sys/vm/memfd_noexec", "w") as file:
    file.write("2")
from ocirt.host import kernel
fd = kernel.machine_fd()
assert os.pread(fd, 4, 0) == b"\\x7fELF"
assert os.fstat(fd).st_nlink == 0
a, b = kernel.socketpair()
pid, pidfd = kernel.spawn(0, -1, fd, b, 3)
kernel.pidfd_send_signal(pidfd, 9)
os.waitpid(pid, 0)
print("served by", os.readlink(f"/proc/self/fd/{fd}"))
"""
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "served by /" in done.stdout
    assert "memfd:" not in done.stdout


# ---- spawn


def test_spawn_gives_control_socket_and_nothing_else(probe: Path, pair: tuple[int, int]) -> None:
    leak = os.dup(pair[0])
    os.set_inheritable(leak, True)
    report = run_probe(probe, pair)
    os.close(leak)
    assert report["argv"] == ["ocirt-machine", "3"]
    assert report["argc"] == 2
    assert report["env"] == 0
    assert report["fds"] == [0, 1, 2, 3]
    assert report["blocked"] == 29  # all of 1..31 but KILL and STOP
    assert report["pid"] == report["host_pid"]


def test_spawn_keeps_signal_mask_of_the_caller(probe: Path, pair: tuple[int, int]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        run_probe(probe, pair)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {*before, signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("first", [3, 5, 250])
def test_spawn_with_preserved_descriptors(probe: Path, first: int) -> None:
    """In a process of its own, whose descriptors 3 and up are chosen by the test."""
    code = f"""
import os, sys
from ocirt.host import kernel
exe = os.open({str(probe)!r}, os.O_RDONLY)
a, b = kernel.socketpair()
def high(fd):
    import fcntl
    new = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 300)
    os.close(fd)
    return new
exe, a, b = map(high, (exe, a, b))
os.closerange(3, 300)
null = os.open("/dev/null", os.O_RDONLY)
os.set_inheritable(null, True)
for n in range(4, {first}):
    os.dup2(null, n)
if {first} == 3:
    os.set_inheritable(null, False)
os.dup2(null, 290)  # not among the preserved ones
where = sys.argv[1]
if where == "exe":
    os.dup2(exe, {first}, inheritable=False); exe = {first}
elif where == "control":
    os.dup2(b, {first}, inheritable=False); b = {first}
pid, pidfd = kernel.spawn(0, -1, exe, b, {first})
print(kernel.recv(a, 4096)[0].decode())
os.waitpid(pid, 0)
"""
    for where in ("elsewhere", "exe", "control"):
        done = subprocess.run(
            [sys.executable, "-c", code, where], capture_output=True, text=True, check=True
        )
        report = json.loads(done.stdout)
        assert report["fds"] == [*range(first + 1)], where
        assert report["argv"] == ["ocirt-machine", str(first)], where


def test_spawn_reports_a_failed_exec_and_leaves_no_child(pair: tuple[int, int]) -> None:
    before = open_fds()
    null = os.open("/dev/null", os.O_RDONLY)
    for exe, number in ((null, errno.EACCES), (pair[0], errno.EACCES), (999, errno.EBADF)):
        with pytest.raises(OSError) as caught:
            kernel.spawn(0, -1, exe, pair[1], 3)
        assert caught.value.errno == number
    os.close(null)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert open_fds() == before


@pytest.mark.parametrize("bad", [(-1, 1, 3), (1, -1, 3), (1, 1, -1)])
def test_spawn_refuses_negative_descriptors(bad: tuple[int, int, int]) -> None:
    with pytest.raises(OSError) as caught:
        kernel.spawn(0, -1, *bad)
    assert caught.value.errno == errno.EBADF


def test_spawn_refuses_bad_clone_flags(pair: tuple[int, int]) -> None:
    fd = kernel.machine_fd()
    with pytest.raises(OSError) as caught:
        kernel.spawn(0xFF, -1, fd, pair[1], 3)  # the bits of clone()'s exit signal
    os.close(fd)
    assert caught.value.errno == errno.EINVAL


@needs_root
def test_spawn_in_new_namespaces(probe: Path, pair: tuple[int, int]) -> None:
    flags = c.CLONE_NEWNS | c.CLONE_NEWUTS | c.CLONE_NEWIPC | c.CLONE_NEWNET | c.CLONE_NEWCGROUP
    assert run_probe(probe, pair, flags=flags)["pid"] != 1
    assert run_probe(probe, pair, flags=flags | c.CLONE_NEWPID)["pid"] == 1
    assert run_probe(probe, pair, flags=c.CLONE_NEWUSER)["argc"] == 2


@needs_root
@pytest.mark.parametrize("id", [0, 7])
def test_spawn_born_in_a_user_namespace(id: int, pair: tuple[int, int]) -> None:
    """With all capabilities, which who is not root there keeps as well."""
    rows = [(id, 0, 1)]
    namespace = own_namespace.make({"uidMappings": rows, "gidMappings": rows}, "/x")
    sleep = os.open("/usr/bin/sleep", os.O_RDONLY)
    pid, pidfd = kernel.spawn(0, -1, sleep, pair[1], 3, (namespace, id, id))
    try:
        link = os.readlink(f"/proc/{pid}/ns/user")
        assert link == f"user:[{os.fstat(namespace).st_ino}]" != os.readlink("/proc/self/ns/user")
        assert kernel.prctl(3) == 1  # PR_GET_DUMPABLE: the child's memory was ours
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.split(":\t", 1) for line in file)
        with open("/proc/sys/kernel/cap_last_cap") as file:
            everything = (2 << int(file.read())) - 1
        assert int(status["CapEff"], 16) == everything
    finally:
        kernel.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (namespace, sleep, pidfd):
            os.close(fd)


@needs_root
def test_spawn_born_in_what_is_no_user_namespace(pair: tuple[int, int]) -> None:
    before = open_fds()
    exe = kernel.machine_fd()
    with pytest.raises(OSError, match="Invalid argument"):
        kernel.spawn(0, -1, exe, pair[1], 3, (exe, 0, 0))
    os.close(exe)
    assert open_fds() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@needs_root
def test_spawn_into_a_cgroup(pair: tuple[int, int]) -> None:
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split() for line in file]
    roots = [row[4] for row in mounts if row[row.index("-") + 1] == "cgroup2"]
    if not roots:
        pytest.skip("no cgroup2 is mounted")
    folder = tempfile.mkdtemp(prefix="ocirt-test-", dir=roots[0])
    try:
        cgroup, cat = os.open(folder, os.O_PATH), os.open("/usr/bin/sleep", os.O_RDONLY)
        pid, pidfd = kernel.spawn(0, cgroup, cat, pair[1], 3)  # sleep 3
        with open(f"/proc/{pid}/cgroup") as file:
            assert f"0::/{os.path.relpath(folder, roots[0])}" in file.read()
        kernel.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (cgroup, cat, pidfd):
            os.close(fd)
    finally:
        os.rmdir(folder)


# ---- sockets


def test_send_and_recv(pair: tuple[int, int]) -> None:
    a, b = pair
    assert kernel.send(a, b"hello") == 5
    assert kernel.recv(b, 100) == (b"hello", -1)
    reader, writer = os.pipe()
    assert kernel.send(a, b"pipe", [writer]) == 4
    data, fd = kernel.recv(b, 4)
    assert data == b"pipe"
    assert fd not in (-1, writer)
    assert not os.get_inheritable(fd)
    os.write(fd, b"through")
    assert os.read(reader, 100) == b"through"
    for each in (reader, writer, fd):
        os.close(each)
    os.close(a)
    assert kernel.recv(b, 100) == (b"", -1)
    with pytest.raises(BrokenPipeError):  # not SIGPIPE
        kernel.send(b, b"x")


def test_recv_refuses_what_does_not_fit(pair: tuple[int, int]) -> None:
    a, b = pair
    before = open_fds()
    kernel.send(a, b"0123456789")
    with pytest.raises(OSError) as caught:
        kernel.recv(b, 9)
    assert caught.value.errno == errno.EMSGSIZE
    kernel.send(a, b"two", [0, 1])
    with pytest.raises(OSError) as caught:
        kernel.recv(b, 9)
    assert caught.value.errno == errno.EMSGSIZE
    assert open_fds() == before


def test_recv_of_a_descriptor_too_many(pair: tuple[int, int]) -> None:
    """We may have no other: that is what has to be said."""
    a, b = pair
    kernel.send(a, b"one", [0])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            kernel.recv(b, 9)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert caught.value.errno == errno.EMFILE


def test_send_many_descriptors(pair: tuple[int, int]) -> None:
    kernel.send(pair[0], b"x", [0] * 253)
    with pytest.raises(OSError) as caught:
        kernel.send(pair[0], b"x", [0] * 254)
    assert caught.value.errno == errno.E2BIG


@pytest.mark.parametrize("length", [40, 107, 108, 200])
def test_connect_at_any_length_of_path(length: int) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    path = folder / ("s" * (length - len(str(folder)) - 1))
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(str(folder / "s"))
        os.rename(folder / "s", path)
        server.listen()
        fd = kernel.connect(str(path))
        kernel.send(fd, b"name")
        connection, _ = server.accept()
        assert connection.recv(100) == b"name"
        connection.close()
        os.close(fd)
    finally:
        server.close()
        os.unlink(path)
        os.rmdir(folder)


def test_connect_names_the_path() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        kernel.connect("/nowhere/socket")
    assert caught.value.filename == "/nowhere/socket"


# ---- files and mounts


def test_openat2_stays_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "inside").write_text("inside")
    (tmp_path / "link").symlink_to("/inside")
    root = os.open(tmp_path, os.O_PATH)
    fd = kernel.openat2(root, "link", os.O_RDONLY, c.RESOLVE_IN_ROOT)
    assert os.read(fd, 10) == b"inside"
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(OSError) as caught:
        kernel.openat2(root, "link", os.O_RDONLY, c.RESOLVE_NO_SYMLINKS)
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, "link")
    with pytest.raises(OSError) as caught:
        kernel.openat2(root, "../x", os.O_RDONLY, c.RESOLVE_BENEATH)
    assert caught.value.errno == errno.EXDEV
    fd = kernel.openat2(root, "new", os.O_CREAT | os.O_WRONLY, mode=0o600)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.close(fd)
    os.close(root)


def test_fstatfs_type(tmp_path: Path) -> None:
    with open("/proc/self/status") as file:
        assert kernel.fstatfs_type(file.fileno()) == c.PROC_SUPER_MAGIC
    with open(tmp_path / "x", "w") as file:
        assert kernel.fstatfs_type(file.fileno()) not in (c.PROC_SUPER_MAGIC, c.DEVPTS_SUPER_MAGIC)
    with pytest.raises(OSError):
        kernel.fstatfs_type(-1)


def test_fstatfs_type_is_not_negative() -> None:
    """0xcafe4a11 (bpf) and overlay's have the sign bit of an int set."""
    fd = kernel.fsopen("overlay") if os.geteuid() == 0 else os.open("/", os.O_PATH)
    os.close(fd)
    root = os.open("/", os.O_PATH)
    assert kernel.fstatfs_type(root) > 0
    os.close(root)


def in_child(function: Callable[[], object]) -> None:
    """Calls the function in a child process: it may enter namespaces."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "see the child's traceback"


@needs_root
def test_mount_calls_in_a_namespace_of_their_own(tmp_path: Path) -> None:
    in_child(lambda: _mount_calls(tmp_path))
    assert not list(tmp_path.iterdir())


def _mount_calls(target: Path) -> None:
    kernel.unshare(c.CLONE_NEWNS)
    root = os.open("/", os.O_PATH)
    kernel.mount_setattr(root, 0, propagation=c.MS_PRIVATE, flags=c.AT_RECURSIVE)
    fs = kernel.fsopen("tmpfs")
    mount = kernel.fsmount(fs, c.MOUNT_ATTR_NOEXEC)
    assert kernel.fstatfs_type(mount) == c.TMPFS_MAGIC
    fd = os.open(target, os.O_PATH)
    kernel.move_mount(mount, fd)
    (target / "file").write_text("x")
    copy = kernel.open_tree(c.AT_FDCWD, str(target), c.OPEN_TREE_CLONE)
    kernel.mount_setattr(copy, c.MOUNT_ATTR_RDONLY)
    kernel.move_mount(copy, mount)
    try:
        (target / "other").write_text("x")
        raise AssertionError("the read-only copy was written to")
    except OSError as error:
        assert error.errno == errno.EROFS
    for each in (copy, mount, fd, fs):
        os.close(each)
    kernel.umount(str(target))
    kernel.umount(str(target), c.MNT_DETACH)
    try:
        kernel.umount(str(target))
        raise AssertionError("a third umount succeeded")
    except OSError as error:
        assert (error.errno, error.filename) == (errno.EINVAL, str(target))


# ---- namespaces and processes


@pytest.mark.parametrize("name", sorted(c.NAMESPACE_FLAGS))
def test_namespace_type(name: str) -> None:
    fd = os.open(f"/proc/self/ns/{c.NAMESPACE_FILES[name]}", os.O_RDONLY)
    assert kernel.namespace_type(fd) == c.NAMESPACE_FLAGS[name]
    os.close(fd)


def test_namespace_type_of_another_file() -> None:
    with open("/dev/null") as file, pytest.raises(OSError) as caught:
        kernel.namespace_type(file.fileno())
    assert caught.value.errno == errno.ENOTTY


@needs_root
def test_setns() -> None:
    def move() -> None:
        old = os.open("/proc/self/ns/uts", os.O_RDONLY)
        name = os.readlink("/proc/self/ns/uts")
        kernel.unshare(c.CLONE_NEWUTS)
        assert os.readlink("/proc/self/ns/uts") != name
        kernel.setns(old, c.CLONE_NEWUTS)
        assert os.readlink("/proc/self/ns/uts") == name

    in_child(move)


@pytest.fixture
def sleeper() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def test_prlimit(sleeper: int) -> None:
    kernel.prlimit(sleeper, c.RLIMITS["RLIMIT_CORE"], 0, 0)
    assert resource.prlimit(sleeper, resource.RLIMIT_CORE) == (0, 0)
    with pytest.raises(OSError) as caught:
        kernel.prlimit(sleeper, c.RLIMITS["RLIMIT_NOFILE"], 2, 1)
    assert caught.value.errno == errno.EINVAL


def test_rlimit_numbers_are_the_libc_ones() -> None:
    known = {name: getattr(resource, name) for name in c.RLIMITS if hasattr(resource, name)}
    assert len(known) >= 12
    assert {name: c.RLIMITS[name] for name in known} == known


def test_sched_setattr(sleeper: int) -> None:
    kernel.sched_setattr(sleeper, c.SCHED_POLICIES["SCHED_BATCH"], nice=5)
    assert os.sched_getscheduler(sleeper) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, sleeper) == 5
    with pytest.raises(OSError) as caught:
        kernel.sched_setattr(sleeper, 99)
    assert caught.value.errno == errno.EINVAL


def test_ioprio_set(sleeper: int) -> None:
    value = c.IOPRIO_CLASSES["IOPRIO_CLASS_BE"] << c.IOPRIO_CLASS_SHIFT | 6
    kernel.ioprio_set(sleeper, value)
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
    assert libc.syscall(number, 1, sleeper, 0) == value


def test_dumpable() -> None:
    def change() -> None:
        kernel.set_dumpable(False)
        assert kernel.prctl(c.PR_GET_DUMPABLE) == 0

    in_child(change)


def test_pidfd(sleeper: int) -> None:
    fd = kernel.pidfd_open(sleeper)
    kernel.pidfd_send_signal(fd, 0)
    with pytest.raises(OSError) as caught:
        kernel.pidfd_getfd(fd, 500)
    assert caught.value.errno == errno.EBADF
    copy = kernel.pidfd_getfd(fd, 0)
    assert os.path.samestat(os.fstat(copy), os.stat(f"/proc/{sleeper}/fd/0"))
    os.close(copy)
    kernel.pidfd_send_signal(fd, signal.SIGKILL)
    os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT)
    os.close(fd)


def test_pidfd_of_nobody() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError):
        kernel.pidfd_open(child)
