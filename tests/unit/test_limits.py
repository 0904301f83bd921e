"""How writes to a cgroup are carried out: on folders that stand in for cgroups, with a kernel
that refuses what a test says."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.cgroup import limits
from ocirt.cgroup.limits import Write, carry_out
from ocirt.errors import KernelError

Rule = Callable[[str, str], int]  # (file, text): an errno or 0


class Cgroup:
    """A folder; ``log``: what was written, in order, refused or not."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.log: list[str] = []
        self.rule: Rule = lambda file, text: 0
        path.mkdir()
        monkeypatch.setattr(limits, "write_file", self.write)

    def files(self, **texts: str) -> Cgroup:
        """``a_b="x"``: file a.b."""
        for name, text in texts.items():
            (self.path / name.replace("_", ".", 1)).write_text(text)
        return self

    def write(self, path: str, text: str) -> None:
        file = os.path.basename(path)
        self.log.append(f"{file}={text}")
        number = self.rule(file, text)
        if number:
            raise OSError(number, os.strerror(number))
        if not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        lines = Path(path).read_text().splitlines()
        key, _, value = text.partition(" ")
        if ":" in key or key == "default":  # a line for each device
            lines = [line for line in lines if not line.startswith(f"{key} ")]
            if value not in ("max", "default"):
                lines.append(text)
            text = "\n".join(sorted(lines, reverse=True))
        Path(path).write_text(text + "\n")

    def read(self, file: str) -> str:
        return (self.path / file).read_text()

    def write_of(self, file: str, text: object, **options: object) -> Write:
        write = Write(f"/{file}", file.partition(".")[0], file, text, **options)  # type: ignore[arg-type]
        write.folder = str(self.path)
        return write

    def fails(self, *writes: Write) -> KernelError:
        """None of them lasts."""
        before = {file: file.read_text() for file in self.path.iterdir()}
        with pytest.raises(KernelError) as caught:
            carry_out(writes)
        assert {file: file.read_text() for file in self.path.iterdir()} == before
        return caught.value


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cgroup:
    return Cgroup(tmp_path / "parent", monkeypatch)


def swap_holds_memory(cgroup: Cgroup) -> Rule:
    """As version 1 has it: memory and swap together are never less than the memory."""

    def rule(file: str, text: str) -> int:
        memory = int(text if file == "memory.limit" else cgroup.read("memory.limit"))
        both = int(text if file == "memory.memsw" else cgroup.read("memory.memsw"))
        return errno.EINVAL if both < memory else 0

    return rule


def test_nothing() -> None:
    carry_out([])


def test_in_their_order(cgroup: Cgroup) -> None:
    cgroup.files(b_x="1\n", a_x="1\n")
    carry_out([cgroup.write_of("b.x", 2), cgroup.write_of("a.x", "y z")])
    assert cgroup.log == ["b.x=2", "a.x=y z"]
    assert cgroup.read("a.x") == "y z\n"


@pytest.mark.parametrize(("memory", "both"), [(50, 60), (5, 6)])
def test_order_of_what_depends_on_each_other(cgroup: Cgroup, memory: int, both: int) -> None:
    cgroup.files(memory_limit="20\n", memory_memsw="30\n").rule = swap_holds_memory(cgroup)
    writes = [cgroup.write_of("memory.limit", memory), cgroup.write_of("memory.memsw", both)]
    for order in (writes, writes[::-1]):
        cgroup.files(memory_limit="20\n", memory_memsw="30\n")
        carry_out(order)
        assert cgroup.read("memory.limit") == f"{memory}\n"
        assert cgroup.read("memory.memsw") == f"{both}\n"


def test_busy_is_tried_again(cgroup: Cgroup) -> None:
    cgroup.files(a_x="1\n", b_x="1\n")
    cgroup.rule = lambda file, text: (
        errno.EBUSY if file == "a.x" and "b.x=2" not in cgroup.log else 0
    )
    carry_out([cgroup.write_of("a.x", 2), cgroup.write_of("b.x", 2)])
    assert cgroup.log == ["a.x=2", "b.x=2", "a.x=2"]


def test_the_first_of_those_that_never_fit_is_said(cgroup: Cgroup) -> None:
    cgroup.files(a_x="1\n", b_x="1\n", c_x="1\n")
    cgroup.rule = lambda file, text: errno.EINVAL if file != "b.x" else 0
    error = cgroup.fails(*(cgroup.write_of(f"{name}.x", 2) for name in "abc"))
    assert error.at == "/a.x"
    assert error.errno == errno.EINVAL
    assert error.message == f"write 2 to {cgroup.path}/a.x: EINVAL (Invalid argument)"


def test_another_error_is_not_tried_again(cgroup: Cgroup) -> None:
    cgroup.files(a_x="1\n", b_x="1\n")
    cgroup.rule = lambda file, text: errno.ENODEV if (file, text) == ("a.x", "2") else 0
    error = cgroup.fails(cgroup.write_of("a.x", 2), cgroup.write_of("b.x", 2))
    assert (error.at, error.errno) == ("/a.x", errno.ENODEV)
    assert cgroup.log == ["a.x=2"]


def test_all_is_put_back_last_first(cgroup: Cgroup) -> None:
    cgroup.files(memory_limit="20\n", memory_memsw="30\n", z_x="1\n")
    fits = swap_holds_memory(cgroup)
    cgroup.rule = lambda file, text: errno.EPERM if file == "z.x" else fits(file, text)
    error = cgroup.fails(
        cgroup.write_of("memory.memsw", 60),
        cgroup.write_of("memory.limit", 50),
        cgroup.write_of("z.x", 2),
    )
    assert error.at == "/z.x"
    assert cgroup.log[3:] == ["memory.limit=20", "memory.memsw=30"]


def test_lines_are_put_back(cgroup: Cgroup) -> None:
    cgroup.files(io_max="8:16 rbps=9\n8:0 rbps=7\n", io_weight="default 100\n8:0 7\n", z_x="")
    cgroup.rule = lambda file, text: errno.EPERM if file == "z.x" else 0
    cgroup.fails(
        cgroup.write_of("io.max", "8:0 rbps=8", key="8:0", unset="max"),
        cgroup.write_of("io.max", "8:1 rbps=8", key="8:1", unset="max"),  # not 8:16
        cgroup.write_of("io.max", "8:0 rbps=3", key="8:0", unset="max"),
        cgroup.write_of("io.weight", "default 5", key="default", unset="100"),
        cgroup.write_of("io.weight", "8:1 5", key="8:1", unset="default"),
        cgroup.write_of("z.x", 1),
    )
    assert cgroup.log[-5:] == [
        "io.weight=8:1 default",
        "io.weight=default 100",
        "io.max=8:0 rbps=8",
        "io.max=8:1 max",
        "io.max=8:0 rbps=7",
    ]


def test_oom_control_is_put_back(cgroup: Cgroup) -> None:
    """What is read isn't what is written (cgroup-v1/memory.rst, "OOM Control")."""
    cgroup.files(memory_oom_control="oom_kill_disable 0\nunder_oom 0\n", z_x="")
    cgroup.rule = lambda file, text: errno.EPERM if file == "z.x" else 0
    with pytest.raises(KernelError):
        carry_out([cgroup.write_of("memory.oom_control", 1), cgroup.write_of("z.x", 1)])
    assert cgroup.log == ["memory.oom_control=1", "z.x=1", "memory.oom_control=0"]


def test_what_can_not_be_put_back_hides_no_error(cgroup: Cgroup) -> None:
    cgroup.files(a_x="1\n", z_x="")
    cgroup.rule = lambda file, text: errno.EPERM if (file, text) != ("a.x", "2") else 0
    with pytest.raises(KernelError) as caught:
        carry_out([cgroup.write_of("a.x", 2), cgroup.write_of("z.x", 1)])
    assert caught.value.at == "/z.x"


def test_optional(cgroup: Cgroup) -> None:
    cgroup.files(a_x="1\n")
    lost = cgroup.write_of("c.x", -1, optional=True)
    lost.folder = ""
    carry_out([cgroup.write_of("b.x", -1, optional=True), lost, cgroup.write_of("a.x", 2)])
    assert cgroup.read("a.x") == "2\n"
    assert [path.name for path in cgroup.path.iterdir()] == ["a.x"]


def test_optional_is_no_excuse_for_another_error(cgroup: Cgroup) -> None:
    cgroup.files(a_x="1\n").rule = lambda file, text: errno.EPERM
    assert cgroup.fails(cgroup.write_of("a.x", 2, optional=True)).errno == errno.EPERM


def test_no_longer_supported(cgroup: Cgroup) -> None:
    """memory.kmem.limit_in_bytes of Linux 5.16."""
    cgroup.files(a_x="1\n").rule = lambda file, text: errno.EOPNOTSUPP
    carry_out([cgroup.write_of("a.x", -1, optional=True)])
    assert cgroup.fails(cgroup.write_of("a.x", 2)).errno == errno.EOPNOTSUPP


def test_no_such_controller(cgroup: Cgroup) -> None:
    write = cgroup.write_of("net_cls.classid", 2)
    write.folder = ""
    error = cgroup.fails(write)
    text = "the cgroup controller net_cls is not available, net_cls.classid can't be set"
    assert (error.message, error.errno, error.hint) == (text, errno.ENOENT, "")


def test_a_controller_without_the_file(cgroup: Cgroup) -> None:
    """v1: its folder is there. v2: the controller is in cgroup.controllers."""
    write = cgroup.write_of("cpu.idle", 1)
    assert cgroup.fails(write).message == "this kernel has no cpu.idle"
    cgroup.files(cgroup_controllers="cpuset cpu\n")
    assert cgroup.fails(write).message == "this kernel has no cpu.idle"


def test_a_controller_that_is_not_handed_down(cgroup: Cgroup) -> None:
    (cgroup.path / "cgroup.controllers").write_text("memory cpu\n")
    below = cgroup.path / "below"
    below.mkdir()
    (below / "cgroup.controllers").write_text("memory\n")
    write = cgroup.write_of("cpu.idle", 1)
    write.folder = str(below)
    with pytest.raises(KernelError) as caught:
        carry_out([write])
    text = "the cgroup controller cpu is not available, cpu.idle can't be set"
    assert caught.value.message == text
    hint = f"{cgroup.path} does not hand it down, for instance because processes are in it"
    assert caught.value.hint == hint
    write.controller, write.file = "rdma", "rdma.max"
    with pytest.raises(KernelError) as caught:
        carry_out([write])
    assert "the cgroup controller rdma is not available" in caught.value.message
    assert caught.value.hint == ""


def test_what_is_used_is_said_with_a_limit_below_it(cgroup: Cgroup) -> None:
    cgroup.files(memory_limit="-1\n", memory_usage_in_bytes="4096\n")
    cgroup.rule = lambda file, text: errno.EBUSY
    error = cgroup.fails(cgroup.write_of("memory.limit", 5))
    assert error.errno == errno.EBUSY
    assert error.hint == "the container uses 4096 bytes at this moment"


def test_an_empty_text_is_a_line(tmp_path: Path) -> None:
    """A write of no bytes never reaches the kernel."""
    (tmp_path / "f").write_text("x")
    limits.write_file(str(tmp_path / "f"), "")
    assert (tmp_path / "f").read_text() == "\n"


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    assert limits.read_file(str(tmp_path / "none")) == ""
    assert limits.read_file(str(tmp_path)) == ""
