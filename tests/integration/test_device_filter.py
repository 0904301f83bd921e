"""Device programs and version 1's lines on the running kernel."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.device_filter import attach
from ocirt.cgroup.device_program import INSTRUCTIONS_MAX, compile_rules
from ocirt.cgroup.device_rules import RWM, Rule, Rules, normalise, v1_lines
from ocirt.cgroup.layout import detect
from ocirt.errors import KernelError, OcirtError
from ocirt.host import kernel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
FULL: dict[str, Any] = {"type": "c", "major": 1, "minor": 7}
KMSG: dict[str, Any] = {"type": "c", "major": 1, "minor": 11}


def new_folder(tmp_path: Path, select: Callable[[Any], bool]) -> Iterator[Path]:
    hierarchy = next((h for h in detect().hierarchies if select(h)), None)
    if hierarchy is None:
        pytest.skip("this host has no such hierarchy")
    folder = Path(hierarchy.folder(hierarchy.own)) / f"test-devices-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    yield folder
    folder.rmdir()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield from new_folder(tmp_path, lambda h: h.v2)


@pytest.fixture
def v1_folder(tmp_path: Path) -> Iterator[Path]:
    yield from new_folder(tmp_path, lambda h: "devices" in h.controllers)


@pytest.fixture
def fd(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    for name, number in (("null", 3), ("full", 7), ("kmsg", 11)):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, number))
    return tmp_path


def inside(folder: Path, action: Callable[[], object]) -> int:
    """The errno of ``action`` (0: it worked) in a child that is in the cgroup."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            (folder / "cgroup.procs").write_text(str(os.getpid()))
            try:
                action()
                status = 0
            except OSError as error:
                status = error.errno or 255
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def opening(folder: Path, path: Path, flags: int = os.O_RDONLY) -> int:
    return inside(folder, lambda: os.open(path, flags | os.O_NONBLOCK))


def making(folder: Path, path: Path, number: int) -> int:
    """mknod of a block device, which is removed again."""
    error = inside(folder, lambda: os.mknod(path, stat.S_IFBLK | 0o600, number))
    path.unlink(missing_ok=True)
    return error


def use(fd: int, *listed: dict[str, Any]) -> None:
    attach(fd, compile_rules(normalise(listed)))


def test_program(folder: Path, fd: int, nodes: Path) -> None:
    assert kernel.device_program_ids(fd) == []
    assert opening(folder, nodes / "kmsg") == 0
    use(fd, DENY_ALL)
    assert len(kernel.device_program_ids(fd)) == 1
    assert opening(folder, Path("/dev/null"), os.O_RDWR) == 0
    assert opening(folder, nodes / "full", os.O_RDWR) == 0
    assert opening(folder, nodes / "kmsg") == errno.EPERM
    assert making(folder, nodes / "disk", os.makedev(8, 3)) == 0


def test_replacing(folder: Path, fd: int, nodes: Path) -> None:
    use(fd, DENY_ALL)
    first = kernel.device_program_ids(fd)
    use(fd, DENY_ALL, {"allow": True, "access": "r", **KMSG})
    second = kernel.device_program_ids(fd)
    assert len(second) == 1
    assert second != first
    assert opening(folder, nodes / "kmsg") == 0
    assert opening(folder, nodes / "kmsg", os.O_WRONLY) == errno.EPERM
    assert opening(folder, nodes / "kmsg", os.O_RDWR) == errno.EPERM
    use(fd, ALLOW_ALL, {"allow": False, "access": "w", **FULL}, {"allow": False, "type": "b"})
    assert len(kernel.device_program_ids(fd)) == 1
    assert opening(folder, nodes / "kmsg", os.O_RDWR) == 0
    assert opening(folder, nodes / "full") == 0
    assert opening(folder, nodes / "full", os.O_RDWR) == errno.EPERM
    assert making(folder, nodes / "disk", os.makedev(8, 3)) == errno.EPERM


def test_access_by_two_rules_and_a_hole(folder: Path, fd: int, nodes: Path) -> None:
    read = {"allow": True, "type": "c", "minor": 11, "access": "r"}
    write = {"allow": True, "type": "c", "major": 1, "access": "w"}
    use(fd, DENY_ALL, read, write)
    assert opening(folder, nodes / "kmsg", os.O_RDWR) == 0
    use(fd, DENY_ALL, {"allow": True, "type": "c", "access": "rwm"}, {"allow": False, **KMSG})
    assert opening(folder, nodes / "kmsg") == errno.EPERM
    assert opening(folder, nodes / "full") == 0


def test_several_programs_become_one(folder: Path, fd: int, nodes: Path) -> None:
    for listed in ([DENY_ALL], [ALLOW_ALL]):
        program = kernel.device_program_load(compile_rules(normalise(listed)))
        kernel.device_program_attach(fd, program)
        os.close(program)
    assert len(kernel.device_program_ids(fd)) == 2
    assert opening(folder, nodes / "kmsg") == errno.EPERM
    use(fd, DENY_ALL, {"allow": True, "access": "r", **KMSG})
    assert len(kernel.device_program_ids(fd)) == 1
    assert opening(folder, nodes / "kmsg") == 0


def test_a_program_that_is_replaced_by_another_meanwhile(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(fd, DENY_ALL)
    asked = kernel.device_program_ids

    def race(cgroup: int) -> list[int]:
        monkeypatch.setattr(kernel, "device_program_ids", asked)
        old = asked(cgroup)
        use(cgroup, ALLOW_ALL)
        return old

    monkeypatch.setattr(kernel, "device_program_ids", race)
    use(fd, DENY_ALL)
    assert len(asked(fd)) == 1


@pytest.mark.parametrize("default", [False, True])
def test_the_verifier_takes_the_longest_program(fd: int, default: bool) -> None:
    """With all that makes its work long: other numbers in every rule, and parts of access."""
    program, rules = b"", Rules(default, [])
    while True:
        n = len(rules.rules)
        allow = not default if n % 3 else default
        rules.rules.append(Rule(allow, "abc"[n % 3], n, n * 3, n % RWM + 1, ""))
        try:
            program = compile_rules(rules)
        except OcirtError:
            break
    assert len(program) // 8 > INSTRUCTIONS_MAX - 10
    attach(fd, program)


def test_a_program_that_is_refused(fd: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    program = bytes((0x95, 0, 0, 0, 0, 0, 0, 0))  # exit, without a result
    with pytest.raises(KernelError) as caught:
        attach(fd, program)
    assert caught.value.errno == errno.EACCES
    assert str(caught.value) == (
        "config.json#/linux/resources/devices: load device program: EACCES (R0 !read_ok)"
    )
    for odd in (b"", b"abc"):
        with pytest.raises(KernelError, match="load device program: EINVAL"):
            attach(fd, odd)
    with pytest.raises(KernelError, match="attach device program: EBADF"):
        use(-1, DENY_ALL)
    assert len(os.listdir("/proc/self/fd")) == before
    assert kernel.device_program_ids(fd) == []


def test_a_cgroup_that_suffers_no_other_program(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cgroup: int, program: int, replace: int = -1) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(kernel, "device_program_attach", refuse)
    with pytest.raises(KernelError, match="attach device program: EPERM") as caught:
        use(fd, DENY_ALL)
    assert "no other beside it" in caught.value.hint


def test_lines_of_version_1(v1_folder: Path, nodes: Path) -> None:
    def write(lines: list[tuple[str, str]]) -> list[str]:
        for file, line in lines:
            (v1_folder / file).write_text(line)
        return (v1_folder / "devices.list").read_text().splitlines()

    old = normalise([DENY_ALL, {"allow": True, "access": "r", **KMSG}])
    listed = write(v1_lines(old))
    assert "c 1:11 r" in listed
    assert len(listed) == len(old.rules)
    assert opening(v1_folder, nodes / "kmsg") == 0
    assert opening(v1_folder, nodes / "kmsg", os.O_WRONLY) == errno.EPERM
    new = normalise([DENY_ALL, {"allow": True, "access": "w", **KMSG}])
    assert "c 1:11 w" in write(v1_lines(new, old))
    assert opening(v1_folder, nodes / "kmsg") == errno.EPERM
    assert opening(v1_folder, nodes / "kmsg", os.O_WRONLY) == 0
    denials = normalise([ALLOW_ALL, {"allow": False, "access": "w", **FULL}])
    assert write(v1_lines(denials)) == ["a *:* rwm"]
    assert opening(v1_folder, nodes / "full") == 0
    assert opening(v1_folder, nodes / "full", os.O_RDWR) == errno.EPERM
