"""Operations on mounts, in mount namespaces of their own.

Slot ROOT is a new tmpfs that lies over "/", as the root file system of a container does.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.host import constants as c
from ocirt.host import kernel
from ocirt.plan import ops
from ocirt.plan.ops import KIND_DIR, KIND_FILE, NO_SLOT
from ocirt.plan.program import Instruction

from .conftest import Start, needs_root
from .driver import Machine, op

pytestmark = needs_root

HOST, ROOT, FS, MOUNT, TARGET, NULL = range(6)


def new_mount(kind: str, out: int, attributes: int = 0) -> list[Instruction]:
    return [op("FSOPEN", kind, FS), op("FSMOUNT", FS, attributes, out)]


def make(path: str, kind: int = KIND_DIR, out: int = TARGET) -> Instruction:
    return op("TARGET", ROOT, path, kind, NO_SLOT, 0, out)


def set_attributes(
    slot: int, set: int, clear: int = 0, kind: int = 0, flags: int = 0
) -> Instruction:
    return op("SETATTR", slot, set, clear, kind, flags, NO_SLOT)


ENTER = [
    op("OPEN_ROOT", HOST),
    set_attributes(HOST, 0, 0, c.MS_PRIVATE, c.AT_RECURSIVE),
    *new_mount("tmpfs", ROOT),
    op("ATTACH", ROOT, HOST),
]


@pytest.fixture
def machine(start: Start) -> Iterator[Machine]:
    """ROOT is attached, NULL is a detached mount of /dev/null."""
    before = Path("/proc/self/mountinfo").read_text()
    found = start(c.CLONE_NEWNS)
    found.do(*ENTER)
    null = os.open("/dev/null", os.O_PATH)
    copy = kernel.open_tree(null, "", c.OPEN_TREE_CLONE | c.AT_EMPTY_PATH)
    found.send_fds(NULL, copy)
    os.close(copy)
    os.close(null)
    yield found
    assert Path("/proc/self/mountinfo").read_text() == before


class Mount:
    """A line of mountinfo (proc_pid_mountinfo(5))."""

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split()
        self.point = fields[4]
        self.options = fields[5].split(",")
        self.tags = [tag.split(":")[0] for tag in fields[6:]]
        self.type, self.source, superblock = right.split()[:3]
        self.superblock = superblock.split(",")


def mounts(machine: Machine) -> list[Mount]:
    """The mounts of a machine, in their order."""
    return [Mount(line) for line in Path(f"/proc/{machine.pid}/mountinfo").read_text().splitlines()]


def last(machine: Machine) -> Mount:
    return mounts(machine)[-1]


def test_filesystem_with_options(machine: Machine) -> None:
    machine.do(
        op("FSOPEN", "tmpfs", FS),
        op("FSCONFIG", FS, "source", "my source"),
        op("FSCONFIG", FS, "size", "64k"),
        op("FSCONFIG", FS, "mode", "700"),
        op("FSMOUNT", FS, c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV, MOUNT),
        make("a/b"),
        op("ATTACH", MOUNT, TARGET),
    )
    mount = last(machine)
    assert (mount.point, mount.type, mount.source) == ("/a/b", "tmpfs", "my\\040source")
    assert {"nosuid", "nodev", "rw"} <= set(mount.options)
    assert {"size=64k", "mode=700"} <= set(mount.superblock)
    assert machine.fail(op("CLOSE", FS)).errno == errno.EBADF  # FSMOUNT closed it


def test_filesystem_flag(machine: Machine) -> None:
    machine.do(
        op("FSOPEN", "tmpfs", FS),
        op("FSFLAG", FS, "ro"),
        op("FSMOUNT", FS, 0, MOUNT),
        make("a"),
        op("ATTACH", MOUNT, TARGET),
    )
    assert "ro" in last(machine).superblock


def test_mount_fails_with_the_words_of_the_kernel(start: Start) -> None:
    for option, text in (
        (op("FSCONFIG", FS, "size", "1x"), "e tmpfs: Bad value for 'size'\n"),
        (op("FSCONFIG", FS, "no-such", "1"), "e tmpfs: Unknown parameter 'no-such'\n"),
        (op("FSFLAG", FS, "no-such"), "e tmpfs: Unknown parameter 'no-such'\n"),
    ):
        report = start(c.CLONE_NEWNS).fail(op("FSOPEN", "tmpfs", FS), option)
        assert (report.op, report.step, report.errno) == (1, 0, errno.EINVAL)
        assert report.text == text


def test_mount_that_can_not_be_created(start: Start) -> None:
    report = start(c.CLONE_NEWNS).fail(op("FSOPEN", "ext4", FS), op("FSMOUNT", FS, 0, MOUNT))
    assert (report.op, report.step, report.errno) == (1, 0, errno.EINVAL)
    assert "No source specified" in report.text
    report = start(c.CLONE_NEWNS).fail(op("FSOPEN", "tmpfs", FS), op("FSMOUNT", FS, 1 << 31, MOUNT))
    assert (report.op, report.step, report.errno) == (1, 1, errno.EINVAL)


def test_many_words_of_the_kernel(start: Start) -> None:
    """Longer than a report: what fits is reported."""
    machine = start(c.CLONE_NEWNS)
    key = "k" * 250
    options = [op("FSCONFIG", FS, key + str(i), "1", skip=(errno.EINVAL,)) for i in range(3)]
    # The skipped ones have read their own messages from the context already.
    report = machine.fail(op("FSOPEN", "tmpfs", FS), *options, op("FSCONFIG", FS, key * 3, "1"))
    assert report.errno == errno.EINVAL
    assert len(report.text) <= ops.REPORT_TEXT_MAX


def test_unknown_filesystem(start: Start) -> None:
    report = start().fail(op("FSOPEN", "no-such", FS))
    assert (report.step, report.errno, report.text) == (0, errno.ENODEV, "no-such")


@pytest.mark.parametrize("recursive", [0, 1])
def test_clone_tree(machine: Machine, recursive: int) -> None:
    machine.do(
        make("a/below"),
        *new_mount("tmpfs", MOUNT),
        op("ATTACH", MOUNT, TARGET),
        make("b", out=7),
        op("OPEN", ROOT, "a", os.O_PATH, 0, 6),
        op("CLONE_TREE", 6, recursive, 8),
        op("ATTACH", 8, 7),
    )
    points = [mount.point for mount in mounts(machine)]
    assert ("/b/below" in points) == bool(recursive)
    assert "/b" in points


def test_attributes(machine: Machine) -> None:
    machine.do(*new_mount("tmpfs", MOUNT), make("a"), op("ATTACH", MOUNT, TARGET))
    machine.do(make("a/b"), *new_mount("tmpfs", 7), op("ATTACH", 7, TARGET))
    machine.do(set_attributes(MOUNT, c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOEXEC))
    outer, inner = mounts(machine)[-2:]
    assert {"ro", "noexec"} <= set(outer.options) and "ro" not in inner.options
    machine.do(
        set_attributes(MOUNT, c.MOUNT_ATTR_NODEV, c.MOUNT_ATTR_RDONLY, c.MS_SHARED, c.AT_RECURSIVE)
    )
    outer, inner = mounts(machine)[-2:]
    assert "rw" in outer.options and "noexec" in outer.options
    assert "nodev" in outer.options and "nodev" in inner.options
    assert outer.tags == inner.tags == ["shared"]
    assert machine.fail(set_attributes(MOUNT, 1 << 40)).errno == errno.EINVAL


def test_one_mount_on_many_targets(machine: Machine) -> None:
    attach = [
        step for path in "abc" for step in (make(path, KIND_FILE), op("ATTACH", NULL, TARGET))
    ]
    machine.do(*attach)
    assert [mount.point for mount in mounts(machine)[-3:]] == ["/a", "/b", "/c"]
    for name in "abc":
        found = os.stat(f"/proc/{machine.pid}/root/../{name}")
        assert found.st_rdev == os.makedev(1, 3)


def test_new_mount_in_a_used_slot_is_attached_itself(machine: Machine) -> None:
    for path in "ab":
        machine.do(*new_mount("tmpfs", MOUNT), make(path), op("ATTACH", MOUNT, TARGET))
        machine.do(op("OPEN", MOUNT, ".", os.O_PATH, 0, 7))
    found = mounts(machine)
    assert [mount.point for mount in found[-2:]] == ["/a", "/b"]
    machine.do(set_attributes(MOUNT, c.MOUNT_ATTR_RDONLY))
    assert "ro" in last(machine).options  # the slot is what is attached, not a copy


@pytest.mark.parametrize("kind, source", [(KIND_FILE, MOUNT), (KIND_DIR, NULL)])
def test_attach_where_it_does_not_fit(machine: Machine, kind: int, source: int) -> None:
    report = machine.fail(*new_mount("tmpfs", MOUNT), make("a", kind), op("ATTACH", source, TARGET))
    assert (report.op, report.step, report.errno) == (3, 1, errno.EINVAL)


def test_attach_of_what_is_no_mount(machine: Machine) -> None:
    report = machine.fail(make("a"), make("b", out=7), op("ATTACH", 7, TARGET))
    assert (report.step, report.errno) == (1, errno.EINVAL)


def test_mask(machine: Machine) -> None:
    missing = (errno.ENOENT, errno.ENOTDIR)
    empty = 8
    paths = ["secret/folder", "secret/file", "link", "missing/x", "secret/file/x"]
    machine.do(
        make("secret/folder/inner"),
        make("secret/file", KIND_FILE),
        op("SYMLINK", ROOT, "link", "/secret/second"),
        make("secret/second"),
        *new_mount("tmpfs", empty, c.MOUNT_ATTR_RDONLY),
        *[op("MASK", ROOT, path, NULL, empty, skip=missing) for path in paths],
    )
    found = {mount.point: "ro" in mount.options for mount in mounts(machine)[-3:]}
    assert found == {"/secret/folder": True, "/secret/file": False, "/secret/second": True}
    root = f"/proc/{machine.pid}/root/.."
    assert os.listdir(f"{root}/secret/folder") == []
    assert os.stat(f"{root}/secret/file").st_rdev == os.makedev(1, 3)
    report = machine.fail(op("MASK", ROOT, "missing", NULL, empty))
    assert (report.step, report.errno, report.text) == (0, errno.ENOENT, "missing")


def test_mask_of_a_magic_link(machine: Machine) -> None:
    machine.do(*new_mount("proc", MOUNT), make("proc"), op("ATTACH", MOUNT, TARGET))
    report = machine.fail(op("MASK", ROOT, "proc/self/root", NULL, NULL))
    assert report.errno == errno.ELOOP


def test_readonly(machine: Machine) -> None:
    machine.do(
        make("a/file", KIND_FILE),
        make("a/b"),
        *new_mount("tmpfs", MOUNT),
        op("ATTACH", MOUNT, TARGET),
        op("READONLY", ROOT, "a"),
        op("OPEN", ROOT, "a/file", os.O_WRONLY, 0, 7, skip=(errno.EROFS,), over=1),
        op("CLOSE", 300),  # fails if it was opened
    )
    found = {mount.point: mount.options for mount in mounts(machine)[-2:]}
    assert "ro" in found["/a"] and "ro" in found["/a/b"]
    machine.do(op("READONLY", ROOT, "a/file"), op("READONLY", ROOT, "missing", skip=(2,)))
    assert last(machine).point == "/a/file"
    report = machine.fail(op("READONLY", ROOT, "missing"))
    assert (report.step, report.errno, report.text) == (0, errno.ENOENT, "missing")


def test_pivot(machine: Machine) -> None:
    machine.do(make("etc"), op("CLOSE", HOST), op("PIVOT", ROOT), op("CHDIR", "/etc"))
    assert [mount.point for mount in mounts(machine)] == ["/"]
    assert os.listdir(f"/proc/{machine.pid}/root/") == ["etc"]
    assert os.readlink(f"/proc/{machine.pid}/cwd") == "/etc"


def test_pivot_that_fails(machine: Machine) -> None:
    report = machine.fail(make("a"), op("PIVOT", TARGET))
    assert (report.op, report.step, report.errno) == (1, 1, errno.EINVAL)


def test_chroot(machine: Machine) -> None:
    machine.do(make("a/b"), op("OPEN", ROOT, "a", os.O_PATH, 0, 7), op("CHROOT", 7))
    assert os.listdir(f"/proc/{machine.pid}/root/") == ["b"]
    assert os.readlink(f"/proc/{machine.pid}/cwd") == "/a"
    report = machine.fail(op("CHROOT", NULL))
    assert (report.step, report.errno) == (0, errno.ENOTDIR)


def test_umount(machine: Machine) -> None:
    machine.do(make("a/b"), *new_mount("tmpfs", MOUNT), op("ATTACH", MOUNT, TARGET))
    assert last(machine).point == "/a/b"
    machine.do(op("OPEN", ROOT, "a", os.O_PATH, 0, 7), op("UMOUNT", 7, "b"))
    assert "/a/b" not in [mount.point for mount in mounts(machine)]
    report = machine.fail(op("UMOUNT", 7, "b"))
    assert (report.step, report.errno, report.text) == (1, errno.EINVAL, "b")


def test_umount_of_a_link(machine: Machine) -> None:
    machine.do(
        *(make("a/b"), *new_mount("tmpfs", MOUNT), op("ATTACH", MOUNT, TARGET)),
        *(op("SYMLINK", ROOT, "link", "a/b"),),
    )
    report = machine.fail(op("UMOUNT", ROOT, "link"))
    assert (report.step, report.errno) == (1, errno.EINVAL)


@pytest.mark.parametrize("name", ["a/b", "..", "."])
def test_umount_takes_one_name(machine: Machine, name: str) -> None:
    machine.do(make("a/b"), *new_mount("tmpfs", MOUNT), op("ATTACH", MOUNT, TARGET))
    report = machine.fail(op("UMOUNT", ROOT, name))
    assert (report.step, report.errno) == (0, errno.EINVAL)


# ---- the terminal's part of mounts


def _terminal(*more: Instruction) -> list[Instruction]:
    return [
        op("FSOPEN", "devpts", FS),
        op("FSFLAG", FS, "newinstance"),
        op("FSCONFIG", FS, "ptmxmode", "0666"),
        op("FSCONFIG", FS, "mode", "0620"),
        op("FSMOUNT", FS, 0, MOUNT),
        make("dev/pts"),
        op("ATTACH", MOUNT, TARGET),
        *more,
    ]


def test_terminal(machine: Machine) -> None:
    """The whole of it: console, controlling terminal, the master at the host."""
    sent = machine.do(
        *_terminal(
            op("SETSID"),
            op("PTY", ROOT, 7, 8),
            make("dev/console", KIND_FILE),
            op("CLONE_TREE", 8, 0, 9),
            op("ATTACH", 9, TARGET),
            op("SEND", 7, 3),
            op("SEND", 8, 4),
            op("STDIO", 8),
            op("CTTY", 8),
            op("CLOSE", 8),
        )
    )
    master, slave = sent[3], sent[4]
    assert os.major(os.fstat(slave).st_rdev) == 136
    os.write(slave, b"hello")
    assert os.read(master, 10) == b"hello"
    status = Path(f"/proc/{machine.pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(status[4]) == os.fstat(slave).st_rdev  # tty_nr
    assert last(machine).point == "/dev/console"
    test = ["sh", "-c", "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all of them > /dev/tty"]
    reports = machine.run(op("FIND_EXEC", ["/bin/sh"]), op("EXEC", test, [], 3))
    assert [report.kind for report in reports] == [ops.REPORT_EXEC]
    with open(master, "rb", buffering=0, closefd=False) as terminal:
        assert terminal.readline() == b"all of them\r\n"
    for number in sent.values():
        os.close(number)


@pytest.mark.parametrize("plant", ["link", "file", "null", "host", "folder", "mount"])
def test_terminal_that_is_not_one(machine: Machine, plant: str) -> None:
    """CVE-2025-52565: what lies at dev/pts/ptmx must be the ptmx of a devpts, and is not opened
    before."""
    null = stat.S_IFCHR | 0o666
    expected = (1, errno.ENODEV, "/dev/pts")
    steps = [make("dev/pts", out=7)]
    if plant == "link":
        steps += [op("SYMLINK", 7, "ptmx", "/null")]
    elif plant == "file":
        steps += [make("dev/pts/ptmx", KIND_FILE)]
    elif plant == "null":
        steps += [op("MKNOD", 7, "ptmx", null, os.makedev(1, 3), 0, 0)]
    elif plant == "host":  # the device of the host's own ptmx, on a tmpfs
        steps += [op("MKNOD", 7, "ptmx", null, os.makedev(5, 2), 0, 0)]
    elif plant == "folder":
        steps = [make("dev", out=7), op("SYMLINK", 7, "pts", "/pts")]
        expected = (0, errno.ELOOP, "/dev/pts")
    else:  # over the real one
        steps = _terminal(make("dev/pts/ptmx", KIND_FILE), op("ATTACH", NULL, TARGET))
        expected = (2, errno.EXDEV, "/dev/pts/ptmx")
    report = machine.fail(*steps, op("PTY", ROOT, 8, 9))
    assert (report.step, report.errno, report.text) == expected
