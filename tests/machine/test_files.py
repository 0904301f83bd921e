"""Operations on files: OPEN, TARGET, MKNOD, SYMLINK, WRITE, XATTR, CHECK_FS, CLOSE, KEEP, CHDIR.

They run in a folder of the test; slot 0 is that folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.host import constants as c
from ocirt.host import kernel
from ocirt.plan import ops
from ocirt.plan.encode import encode_segment
from ocirt.plan.ops import KIND_DIR, KIND_FILE, KIND_LIKE, NO_SLOT
from ocirt.plan.ops import TARGET_NO_CREATE as NO_CREATE
from ocirt.plan.ops import TARGET_NO_PROC as NO_PROC
from ocirt.plan.ops import TARGET_NO_SYS as NO_SYS
from ocirt.plan.ops import TARGET_ORDINARY as ORDINARY
from ocirt.plan.program import Instruction

from .conftest import Start, needs_root
from .driver import Machine, op

SOURCE, OPEN, CREATE, REOPEN, VERIFY = range(5)
RENAME_EXCHANGE = 2
PR_SET_SECCOMP = 22


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def machine(start: Start, folder: Path) -> Iterator[Machine]:
    """Slot 0 is ``folder``."""
    found = start()
    fd = os.open(folder, os.O_PATH)
    found.send_fds(0, fd)
    os.close(fd)
    yield found


def target(
    path: str, kind: int = KIND_DIR, flags: int = 0, like: int = NO_SLOT, out: int = 1
) -> Instruction:
    return op("TARGET", 0, path, kind, like, flags, out)


def found(machine: Machine, *instructions: Instruction) -> str:
    """The path of what an operation put into slot 1."""
    fd = machine.do(*instructions, op("SEND", 1, 1))[1]
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def tree(folder: Path) -> list[str]:
    """All names below a folder; a folder's with "/" behind it."""
    return sorted(
        str(path.relative_to(folder)) + ("/" if path.is_dir() and not path.is_symlink() else "")
        for path in folder.rglob("*")
    )


# ---- OPEN


def test_open(machine: Machine, folder: Path) -> None:
    (folder / "file").write_text("text")
    fd = machine.do(op("OPEN", 0, "file", os.O_RDONLY, c.RESOLVE_BENEATH, 1), op("SEND", 1, 5))[5]
    assert os.read(fd, 10) == b"text"
    os.close(fd)


@pytest.mark.parametrize(
    "path, resolve, number",
    [
        ("missing", 0, errno.ENOENT),
        ("../root", c.RESOLVE_BENEATH, errno.EXDEV),
        ("link", c.RESOLVE_NO_SYMLINKS, errno.ELOOP),
        (".", 1 << 40, errno.EINVAL),
    ],
)
def test_open_fails(machine: Machine, folder: Path, path: str, resolve: int, number: int) -> None:
    (folder / "link").symlink_to("elsewhere")
    report = machine.fail(op("OPEN", 0, path, os.O_RDONLY, resolve, 1))
    assert (report.errno, report.text, report.op) == (number, path, 0)


@needs_root
def test_slots_are_close_on_exec(machine: Machine, folder: Path) -> None:
    (folder / "made").mkdir()
    machine.do(
        op("OPEN", 0, ".", os.O_RDONLY, 0, 1), op("OPEN_ROOT", 2), target("made", out=3),
        target("new", out=4),
    )  # fmt: skip
    for name in os.listdir(f"/proc/{machine.pid}/fdinfo"):
        if int(name) > 2:
            flags = Path(f"/proc/{machine.pid}/fdinfo/{name}").read_text().split("flags:")[1]
            assert int(flags.split()[0], 8) & os.O_CLOEXEC, name


@needs_root
def test_slot_that_is_defined_again_is_closed(machine: Machine) -> None:
    open_root = op("OPEN", 0, ".", os.O_RDONLY, 0, 1)
    machine.do(open_root)
    before = len(os.listdir(f"/proc/{machine.pid}/fd"))
    machine.do(open_root, open_root, op("OPEN", 1, ".", os.O_RDONLY, 0, 1))
    assert len(os.listdir(f"/proc/{machine.pid}/fd")) == before


@needs_root
def test_close_and_keep(machine: Machine) -> None:
    many = [op("OPEN", 0, ".", os.O_RDONLY, 0, slot) for slot in range(1, 40)]
    machine.do(*many, op("CLOSE", 39))
    before = len(os.listdir(f"/proc/{machine.pid}/fd"))
    machine.do(op("KEEP", 7, NO_SLOT, 1, NO_SLOT))
    assert len(os.listdir(f"/proc/{machine.pid}/fd")) == before - 37
    machine.do(op("CLOSE", 1), op("CLOSE", 7))
    assert machine.fail(op("CLOSE", 0)).errno == errno.EBADF


# ---- TARGET


@pytest.mark.parametrize("path", ["a", "a/b/c", "a//b/", "./a/./b", "a/../b"])
def test_target_makes_folders(machine: Machine, folder: Path, path: str) -> None:
    assert found(machine, target(path)) == os.path.normpath(f"{folder}/{path}")
    for made in folder.rglob("*"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o755


def test_target_makes_a_file(machine: Machine, folder: Path) -> None:
    assert found(machine, target("a/b/file", KIND_FILE)) == f"{folder}/a/b/file"
    assert tree(folder) == ["a/", "a/b/", "a/b/file"]
    assert stat.S_IMODE((folder / "a/b/file").stat().st_mode) == 0o644


def test_target_of_the_root_itself(machine: Machine, folder: Path) -> None:
    assert found(machine, target(".")) == str(folder)


@pytest.mark.parametrize("kind, name", [(KIND_DIR, "folder"), (KIND_FILE, "file")])
def test_target_that_is_there(machine: Machine, folder: Path, kind: int, name: str) -> None:
    (folder / "folder").mkdir(0o700)
    (folder / "file").write_text("text")
    before = os.stat(folder / name)
    assert found(machine, target(name, kind)) == f"{folder}/{name}"
    after = os.stat(folder / name)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize("like, made", [("folder", "new/"), ("file", "new"), ("fifo", "new")])
def test_target_like(machine: Machine, folder: Path, like: str, made: str) -> None:
    (folder / "folder").mkdir()
    (folder / "file").touch()
    os.mkfifo(folder / "fifo")
    machine.do(op("OPEN", 0, like, os.O_PATH, 0, 2), target("new", KIND_LIKE, like=2))
    assert made in tree(folder)


@pytest.mark.parametrize(
    "path, kind, flags, step, number",
    [
        ("file", KIND_DIR, 0, VERIFY, errno.ENOTDIR),
        ("folder", KIND_FILE, 0, VERIFY, errno.EISDIR),
        ("file/below", KIND_DIR, 0, OPEN, errno.ENOTDIR),
        ("file/below", KIND_FILE, 0, OPEN, errno.ENOTDIR),
        ("new", KIND_LIKE, 0, SOURCE, errno.EINVAL),
        ("new", 3, 0, SOURCE, errno.EINVAL),
        ("new", 1 << 32, 0, SOURCE, errno.EINVAL),
        ("new", KIND_DIR, NO_CREATE, OPEN, errno.ENOENT),
        ("folder/x", KIND_FILE, NO_CREATE, OPEN, errno.ENOENT),
        ("x" * 256, KIND_DIR, 0, OPEN, errno.ENAMETOOLONG),
        ("x/" * 3000, KIND_DIR, 0, OPEN, errno.ENAMETOOLONG),
        ("loop", KIND_DIR, 0, OPEN, errno.ELOOP),
        ("link", KIND_DIR, ORDINARY, OPEN, errno.ELOOP),
        ("link/x", KIND_DIR, ORDINARY, OPEN, errno.ELOOP),
        ("dangling", KIND_DIR, ORDINARY, OPEN, errno.ELOOP),
        ("dangling/x", KIND_FILE, ORDINARY, OPEN, errno.ELOOP),
    ],
)
def test_target_fails(
    machine: Machine, folder: Path, path: str, kind: int, flags: int, step: int, number: int
) -> None:
    (folder / "folder").mkdir()
    (folder / "file").touch()
    (folder / "link").symlink_to("folder")
    (folder / "dangling").symlink_to("gone")
    (folder / "loop").symlink_to("loop")
    before = tree(folder)
    report = machine.fail(target(path, kind, flags))
    assert (report.step, report.errno) == (step, number)
    assert report.text == path[: ops.REPORT_TEXT_MAX]
    assert tree(folder) == before


def test_target_that_need_not_be_made_may_be_of_any_kind(machine: Machine, folder: Path) -> None:
    (folder / "file").touch()
    assert found(machine, target("file", KIND_DIR, NO_CREATE)) == f"{folder}/file"


@pytest.mark.parametrize(
    "link, end",
    [
        ("inside", "inside"),
        ("/inside", "inside"),
        ("../../inside", "inside"),
        ("/../../../../inside", "inside"),
        ("deep/er/../inside", "deep/inside"),
        ("second", "end"),
        ("/sub/up", "end"),
    ],
)
@pytest.mark.parametrize("rest", ["", "/x", "/x/y"])
@pytest.mark.parametrize("kind", [KIND_DIR, KIND_FILE])
def test_target_through_a_link_that_leads_nowhere(
    machine: Machine, folder: Path, link: str, end: str, rest: str, kind: int
) -> None:
    """What the link says is made, inside the root, as runc does."""
    (folder / "link").symlink_to(link)
    (folder / "second").symlink_to("sub/third")
    (folder / "sub").mkdir()
    (folder / "sub/third").symlink_to("../end")
    (folder / "sub/up").symlink_to("../../end")
    assert found(machine, target("link" + rest, kind)) == f"{folder}/{end}{rest}"
    outside = [name for name in os.listdir(folder.parent) if name != "root"]
    assert outside == []


@pytest.mark.parametrize("depth, works", [(10, True), (40, False)])
def test_target_through_many_links(machine: Machine, folder: Path, depth: int, works: bool) -> None:
    for number in range(depth):
        (folder / f"link{number}").symlink_to(f"link{number + 1}")
    if works:
        assert found(machine, target("link0")) == f"{folder}/link{depth}"
    else:
        assert machine.fail(target("link0")).errno == errno.ELOOP


def test_target_through_links_whose_path_grows_too_long(machine: Machine, folder: Path) -> None:
    (folder / "a").symlink_to("/" + "/".join(["x" * 200] * 19))
    report = machine.fail(target("a/" + "/".join(["y" * 200] * 3)))
    assert (report.step, report.errno) == (CREATE, errno.ENAMETOOLONG)


@pytest.mark.parametrize("link", ["/proc/self/fd/0", "/proc/self/root", "/etc"])
def test_target_never_leaves_the_root(machine: Machine, folder: Path, link: str) -> None:
    (folder / "link").symlink_to(link)
    assert found(machine, target("link")) == f"{folder}{link}"


def test_target_on_procfs(start: Start) -> None:
    root = os.open("/", os.O_PATH)
    for path, flags, number in (
        ("proc", NO_PROC, errno.EXDEV),
        ("proc/self", NO_PROC, errno.EXDEV),
        ("proc/sys/kernel", NO_PROC | NO_CREATE, errno.EXDEV),
        ("sys/kernel", NO_SYS | NO_CREATE, errno.EXDEV),
        ("proc/self/fd/0", 0, errno.ELOOP),
        ("proc/self/root/tmp", 0, errno.ELOOP),
    ):
        machine = start()
        machine.send_fds(0, root)
        assert machine.fail(target(path, KIND_DIR, flags)).errno == number
    machine = start()
    machine.send_fds(0, root)
    machine.do(target("proc", KIND_DIR, ORDINARY), target("dev", KIND_DIR, NO_PROC | NO_SYS))
    os.close(root)


class Swapper:
    """Exchanges a folder and a link to another place, again and again."""

    def __init__(self, one: Path, other: Path) -> None:
        self.ends = False
        self.count = 0
        self.thread = threading.Thread(target=self._run, args=(one, other))

    def _run(self, one: Path, other: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        names = [os.fsencode(path) for path in (one, other)]
        while not self.ends:
            assert libc.renameat2(c.AT_FDCWD, names[0], c.AT_FDCWD, names[1], RENAME_EXCHANGE) == 0
            self.count += 1

    def __enter__(self) -> Swapper:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends = True
        self.thread.join()


def test_target_while_links_are_swapped(start: Start, folder: Path) -> None:
    """CVE-2024-45310: nothing is ever made outside of the root."""
    outside = folder.parent / "outside"
    outside.mkdir()
    (folder / "a").mkdir()
    (folder / "b").symlink_to(outside)
    root = os.open(folder, os.O_PATH)
    made = 0
    with Swapper(folder / "a", folder / "b") as swapper:
        for number in range(60):
            machine = start()
            machine.send_fds(0, root)
            reports = machine.run(*[target(f"a/{number}/{i}/x", KIND_FILE) for i in range(20)])
            made += reports[-1].kind == ops.REPORT_DONE
            machine.kill()
    os.close(root)
    assert swapper.count > 10
    assert made > 0
    assert os.listdir(outside) == []


def test_target_that_many_make_at_once(start: Start, folder: Path) -> None:
    """Two containers that share a volume: whoever is second finds what the first one made."""
    root = os.open(folder, os.O_PATH)
    machines = [start() for _ in range(3)]
    for machine in machines:
        machine.send_fds(0, root)
    for number in range(30):
        path = "/".join(f"{number}-{depth}" for depth in range(12))
        for machine in machines:
            machine.send_segment(encode_segment([target(path + "/f", KIND_FILE)]))
        for machine in machines:
            report = machine.report()
            assert report and report.kind == ops.REPORT_DONE, report
    os.close(root)


# ---- CHECK_FS, MKNOD, SYMLINK, WRITE


def test_check_fs(start: Start) -> None:
    proc = os.open("/proc", os.O_PATH)
    machine = start()
    machine.send_fds(0, proc)
    os.close(proc)
    machine.do(op("CHECK_FS", 0, c.PROC_SUPER_MAGIC))
    report = machine.fail(op("CHECK_FS", 0, c.TMPFS_MAGIC))
    assert (report.step, report.errno) == (1, errno.EXDEV)


CHR, BLK, FIFO, REG = stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFREG


@needs_root
@pytest.mark.parametrize(
    "mode, device",
    [
        (CHR | 0o666, os.makedev(1, 3)),
        (CHR | 0o7, os.makedev(1, 3)),
        (BLK | 0o600, os.makedev(7, 0xABCDE)),
        (CHR | 0o1755, os.makedev(0xABC, 0xFEDCB)),
        (FIFO | 0o640, 0),
    ],
)
@pytest.mark.parametrize("owner", [(0, 0), (1000, 2000)])
def test_mknod(
    machine: Machine, folder: Path, mode: int, device: int, owner: tuple[int, int]
) -> None:
    make = op("MKNOD", 0, "node", mode, device, *owner)
    machine.do(make)
    made = os.lstat(folder / "node")
    assert (made.st_mode, made.st_rdev, made.st_uid, made.st_gid) == (mode, device, *owner)
    machine.do(make)
    assert os.lstat(folder / "node").st_ino == made.st_ino


@needs_root
def test_mknod_repairs_mode_and_owner(machine: Machine, folder: Path) -> None:
    os.mknod(folder / "null", CHR | 0o600, os.makedev(1, 3))
    os.chown(folder / "null", 5, 6)
    machine.do(op("MKNOD", 0, "null", CHR | 0o666, os.makedev(1, 3), 0, 0))
    found = os.lstat(folder / "null")
    assert (found.st_mode, found.st_uid, found.st_gid) == (CHR | 0o666, 0, 0)


def _deny(number: int, error: int) -> None:
    """Makes system call ``number`` fail from now on, in this process and its children."""
    allow = (0x06, 0, 0, 0x7FFF0000)
    program = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error), allow)
    code = b"".join(struct.pack("<HBBI", *row) for row in program)
    buffer = ctypes.create_string_buffer(code)
    filter = ctypes.create_string_buffer(
        struct.pack("<H6xQ", len(program), ctypes.addressof(buffer))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, 2, filter, 0, 0) == 0


@needs_root
def test_mknod_repairs_mode_before_linux_6_6(start: Start, folder: Path) -> None:
    """There is no fchmodat2 there."""
    os.mknod(folder / "null", CHR | 0o600, os.makedev(1, 3))
    child = os.fork()
    if child == 0:
        try:
            _deny(452, errno.ENOSYS)
            machine = start()
            root = os.open(folder, os.O_PATH)
            machine.send_fds(0, root)
            machine.do(op("MKNOD", 0, "null", CHR | 0o666, os.makedev(1, 3), 5, 6))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    found = os.lstat(folder / "null")
    assert (found.st_mode, found.st_uid, found.st_gid) == (CHR | 0o666, 5, 6)


@needs_root
@pytest.mark.parametrize("other", ["file", "link", "folder", "block", "number", "fifo"])
def test_mknod_where_something_else_is(machine: Machine, folder: Path, other: str) -> None:
    path = folder / "null"
    canary = folder.parent / "canary"
    canary.touch(0o600)
    if other == "link":
        path.symlink_to(canary)
    elif other == "folder":
        path.mkdir()
    else:
        mode, number = {
            "file": (REG | 0o600, 0),
            "block": (BLK | 0o600, os.makedev(1, 3)),
            "number": (CHR | 0o600, os.makedev(1, 5)),
            "fifo": (FIFO | 0o600, 0),
        }[other]
        os.mknod(path, mode, number)
    before = os.lstat(path)
    report = machine.fail(op("MKNOD", 0, "null", CHR | 0o666, os.makedev(1, 3), 7, 7))
    assert (report.step, report.errno, report.text) == (2, errno.EEXIST, "null")
    assert os.lstat(path) == before
    assert stat.S_IMODE(canary.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/"])
@pytest.mark.parametrize("kind", ["MKNOD", "SYMLINK"])
def test_what_is_not_one_name(machine: Machine, folder: Path, kind: str, name: str) -> None:
    (folder / "a").mkdir()
    rest: tuple[int | str, ...] = (FIFO | 0o600, 0, 0, 0) if kind == "MKNOD" else ("target",)
    assert machine.fail(op(kind, 0, name, *rest)).errno == errno.EINVAL
    assert tree(folder) == ["a/"]


def test_symlink(machine: Machine, folder: Path) -> None:
    machine.do(op("SYMLINK", 0, "fd", "/proc/self/fd"))
    assert os.readlink(folder / "fd") == "/proc/self/fd"
    (folder / "there").touch()
    machine.do(op("SYMLINK", 0, "fd", "elsewhere"), op("SYMLINK", 0, "there", "elsewhere"))
    assert os.readlink(folder / "fd") == "/proc/self/fd"
    assert not (folder / "there").is_symlink()


@pytest.mark.parametrize("data", [b"", b"1", bytes(range(256)) * 300])
def test_write(machine: Machine, folder: Path, data: bytes) -> None:
    (folder / "file").touch()
    machine.do(op("WRITE", 0, "file", data))
    assert (folder / "file").read_bytes() == data


@pytest.mark.parametrize(
    "path, step, number",
    [
        ("missing", 0, errno.ENOENT),
        ("../outside", 0, errno.EXDEV),
        ("out", 0, errno.EXDEV),
        ("/etc/passwd", 0, errno.EXDEV),
        (".", 0, errno.EISDIR),
        ("full", 1, errno.ENOSPC),
    ],
)
@needs_root
def test_write_fails(machine: Machine, folder: Path, path: str, step: int, number: int) -> None:
    (folder.parent / "outside").touch()
    (folder / "out").symlink_to("../outside")
    os.mknod(folder / "full", CHR | 0o666, os.makedev(1, 7))
    report = machine.fail(op("WRITE", 0, path, b"data"))
    assert (report.step, report.errno, report.text) == (step, number, path)
    assert (folder.parent / "outside").read_bytes() == b""


@needs_root
def test_write_does_not_cross_mounts(start: Start) -> None:
    """What is mounted over a file of procfs can't take what is written to it (CVE-2025-52881)."""
    machine = start(c.CLONE_NEWNS)
    null = os.open("/dev/null", os.O_PATH)
    tree = kernel.open_tree(null, "", c.OPEN_TREE_CLONE | c.AT_EMPTY_PATH)
    proc = os.open("/proc", os.O_PATH)
    machine.send_fds(0, proc, tree)
    for fd in (null, tree, proc):
        os.close(fd)
    machine.do(
        op("OPEN_ROOT", 2),
        op("SETATTR", 2, 0, 0, c.MS_PRIVATE, c.AT_RECURSIVE, NO_SLOT),
        op("OPEN", 2, "proc/self/comm", os.O_PATH, 0, 3),
        op("OPEN", 2, "proc", os.O_PATH, 0, 0),
        op("WRITE", 0, "self/comm", b"before"),
    )
    assert Path(f"/proc/{machine.pid}/comm").read_text() == "before\n"
    machine.do(op("ATTACH", 1, 3))
    assert machine.fail(op("WRITE", 0, "self/comm", b"after")).errno == errno.EXDEV


def test_xattr(machine: Machine, folder: Path) -> None:
    for value in (b"first", b"", b"a:b:c:s0"):
        machine.do(op("XATTR", 0, "user.ocirt", value))
        assert os.getxattr(folder, "user.ocirt") == value
    report = machine.fail(op("XATTR", 0, "no.such", b"x"))
    assert (report.step, report.errno) == (1, errno.EOPNOTSUPP)


def test_xattr_is_of_a_folder(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = os.open(tmp_path / "file", os.O_PATH)
    machine = start()
    machine.send_fds(0, file)
    os.close(file)
    report = machine.fail(op("XATTR", 0, "user.ocirt", b"x"))
    assert (report.step, report.errno) == (0, errno.ENOTDIR)


# ---- CHDIR


@needs_root
def test_chdir(start: Start, tmp_path: Path) -> None:
    machine = start()
    machine.do(op("CHDIR", str(tmp_path)))
    assert os.readlink(f"/proc/{machine.pid}/cwd") == str(tmp_path)
    report = machine.fail(op("CHDIR", "missing"))
    assert (report.step, report.errno, report.text) == (0, errno.ENOENT, "missing")


@needs_root
def test_chdir_out_of_the_root(start: Start, tmp_path: Path) -> None:
    """CVE-2024-21626: a descriptor of the host's root as working directory."""
    (tmp_path / "proc").mkdir()
    machine = start(c.CLONE_NEWNS)
    root = os.open(tmp_path, os.O_PATH)
    machine.send_fds(0, root)
    os.close(root)
    machine.do(
        op("OPEN_ROOT", 1),
        op("SETATTR", 1, 0, 0, c.MS_PRIVATE, c.AT_RECURSIVE, NO_SLOT),
        op("OPEN", 1, "etc", os.O_PATH, 0, 3),
        op("OPEN", 1, str(tmp_path)[1:] + "/proc", os.O_PATH, 0, 2),
        op("FSOPEN", "proc", 4),
        op("FSMOUNT", 4, 0, 5),
        op("ATTACH", 5, 2),
        op("OPEN", 1, str(tmp_path)[1:], os.O_PATH, 0, 0),
        op("CHROOT", 0),
    )
    links = [f"/proc/self/fd/{n}" for n in sorted(map(int, os.listdir(f"/proc/{machine.pid}/fd")))]
    there = [os.readlink(f"/proc/{machine.pid}/fd/{link.rsplit('/', 1)[1]}") for link in links]
    report = machine.fail(op("CHDIR", links[there.index("/etc")]))
    assert (report.step, report.errno) == (1, errno.EXDEV)
