"""linux.intelRdt on a folder that behaves like resctrl (tests/fake_resctrl.py)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirt.cgroup import intel_rdt
from ocirt.cgroup.intel_rdt import Group, find_root, from_state, plan
from ocirt.cgroup.intel_rdt_schemata import differs, parse
from ocirt.cgroup.intel_rdt_stats import read_stats
from ocirt.cli import main
from ocirt.errors import KernelError
from ocirt.host import mountinfo
from ocirt.host.constants import RDTGROUP_SUPER_MAGIC
from ocirt.host.mountinfo import Mount
from ocirt.runtime.store import Container, State, Store
from tests.fake_resctrl import FakeResctrl

AT = "/linux/intelRdt"
PID = 1_000_000_007  # of no process
FULL = ["L3:0=fffff;1=fffff", "MB:0=100;1=100"]


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeResctrl:
    made = FakeResctrl(tmp_path / "resctrl")
    made.install(monkeypatch)
    return made


class Saved:
    """What was saved last, as it comes back from state.json."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __call__(self, state: dict[str, Any]) -> None:
        self.state = json.loads(json.dumps(state))


def create(settings: dict[str, Any], id: str = "c", pid: int = PID) -> dict[str, Any]:
    """The state that a create which has succeeded leaves."""
    group, saved = plan(settings, id), Saved()
    group.apply(pid, saved)
    saved(group.state(created=True))
    return saved.state


# ---- where resctrl is


def mount(kind: str, point: str, root: str = "/") -> Mount:
    return Mount([], root, point, kind, kind, "rw")


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ([mount("resctrl", "/sys")], "/sys"),
        ([mount("resctrl", "/proc"), mount("resctrl", "/sys")], "/proc"),
        ([mount("resctrl", "/proc"), mount("resctrl", "/")], "/"),  # "/" is the usual one here
        ([mount("tmpfs", "/dev"), mount("resctrl", "/no/such"), mount("resctrl", "/sys")], "/sys"),
        ([mount("resctrl", "/proc", "/group"), mount("resctrl", "/sys")], "/sys"),
    ],
)
def test_the_mount_point(
    mounts: list[Mount], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mountinfo, "mounts", lambda: mounts)
    monkeypatch.setattr(intel_rdt, "fstatfs_type", lambda fd: RDTGROUP_SUPER_MAGIC)
    monkeypatch.setattr(intel_rdt, "_USUAL", "/")
    assert find_root() == expected


@pytest.mark.parametrize("usual", ["/", "/no/such"])
@pytest.mark.parametrize("mounts", [[], [mount("tmpfs", "/")], [mount("resctrl", "/")]])
def test_no_resctrl(mounts: list[Mount], usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last: something else is mounted over it."""
    monkeypatch.setattr(mountinfo, "mounts", lambda: mounts)
    monkeypatch.setattr(intel_rdt, "_USUAL", usual)
    with pytest.raises(KernelError, match="no resctrl file system is mounted") as caught:
        plan({}, "c")
    assert caught.value.at == AT
    assert ("mount -t resctrl" in caught.value.hint) is (usual == "/")


@pytest.mark.parametrize(
    ("settings", "at", "message"),
    [
        ({"l3CacheSchema": "L2:0=f"}, f"{AT}/l3CacheSchema", "does not control L2, but L3, MB"),
        ({"schemata": ["L3:0=f", "SMBA:0=1"]}, f"{AT}/schemata/1", "does not control SMBA"),
        ({"l3CacheSchema": "L3:0=f\nX:0=1"}, f"{AT}/l3CacheSchema", "does not control X"),
    ],
)
def test_a_resource_that_the_host_has_not(
    settings: dict[str, Any], at: str, message: str, resctrl: FakeResctrl
) -> None:
    with pytest.raises(KernelError, match=message) as caught:
        plan(settings, "c")
    assert (caught.value.at, resctrl.calls) == (at, [])


def test_a_host_without_bandwidth_or_monitoring(resctrl: FakeResctrl) -> None:
    (resctrl.root / "schemata").write_text("L3:0=fffff\n")
    (resctrl.root / "mon_groups").rmdir()
    with pytest.raises(KernelError, match="does not control MB, but L3") as caught:
        plan({"memBwSchema": "MB:0=20"}, "c")
    assert caught.value.at == f"{AT}/memBwSchema"
    with pytest.raises(KernelError, match="has no monitoring") as caught:
        plan({"enableMonitoring": True}, "c")
    assert caught.value.at == f"{AT}/enableMonitoring"
    (resctrl.root / "schemata").unlink()  # it has monitoring alone
    with pytest.raises(KernelError, match="does not control MB, but nothing"):
        plan({"memBwSchema": "MB:0=20"}, "c")


def test_a_fake_tree_is_given_as_an_argument(tmp_path: Path) -> None:
    fake = FakeResctrl(tmp_path / "resctrl")
    assert plan({"closID": "a"}, "c", str(fake.root)).folder == f"{fake.root}/a"


# ---- making and joining groups

BOTH = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:1=25"}
GOOD: dict[str, tuple[dict[str, Any], list[str], list[str], list[str]]] = {
    # settings; the container's groups; schemata of the first; groups that delete leaves
    "nothing": ({}, ["c"], FULL, []),
    "no closID": ({"closID": ""}, ["c"], FULL, []),
    "lines that are empty": ({"l3CacheSchema": "", "schemata": [""]}, ["c"], FULL, []),
    "one schema": ({"l3CacheSchema": "L3:0=f"}, ["c"], ["L3:0=f;1=fffff", FULL[1]], []),
    "both": (BOTH, ["c"], ["L3:0=f;1=fffff", "MB:0=100;1=30"], []),
    "several lines in one": (
        {"l3CacheSchema": "L3:0=f\nMB:0=50\n", "memBwSchema": "MB:0=20"},
        ["c"],
        ["L3:0=f;1=fffff", "MB:0=20;1=100"],
        [],
    ),
    "schemata": (
        {"schemata": ["MB:0=20", "L3:0=f"]},
        ["c"],
        ["L3:0=f;1=fffff", "MB:0=20;1=100"],
        [],
    ),
    "schemata are last": (
        {**BOTH, "schemata": ["L3:0=ff", "MB:0=90"]},
        ["c"],
        ["L3:0=ff;1=fffff", "MB:0=90;1=30"],
        [],
    ),
    "monitoring": ({"enableMonitoring": True}, ["c", "c/mon_groups/c"], FULL, []),
    "a new class": (
        {"closID": "new", **BOTH},
        ["new"],
        ["L3:0=f;1=fffff", "MB:0=100;1=30"],
        ["new"],
    ),
    "a new class, monitored": (
        {"closID": "new", "schemata": ["L3:0=f"], "enableMonitoring": True},
        ["new", "new/mon_groups/c"],
        ["L3:0=f;1=fffff", FULL[1]],
        ["new"],
    ),
    "a class": ({"closID": "old"}, ["old"], FULL, []),
    "a class, monitored": (
        {"closID": "old", "enableMonitoring": True},
        ["old", "old/mon_groups/c"],
        FULL,
        [],
    ),
    "a class that fits": (
        {"closID": "old", "l3CacheSchema": "L3:1=0fffff", "memBwSchema": "MB:0=95;1=100"},
        ["old"],
        FULL,
        [],
    ),
    "a class with new schemata": (
        {"closID": "old", "l3CacheSchema": "L3:0=fffff", "schemata": ["MB:0=50"]},
        ["old"],
        [FULL[0], "MB:0=50;1=100"],
        [],
    ),
    "the default class": ({"closID": "/"}, [""], FULL, []),
    "the default class, monitored": (
        {"closID": "/", "enableMonitoring": True},
        ["", "mon_groups/c"],
        FULL,
        [],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_life(name: str, resctrl: FakeResctrl) -> None:
    settings, groups, schemata, left = GOOD[name]
    resctrl.make("old")
    state = create(settings)
    assert [group for group in ("", *resctrl.groups()) if PID in resctrl.tasks(group)] == groups
    assert resctrl.schemata(groups[0]) == schemata
    if groups[0] != "":
        assert resctrl.schemata() == FULL
    from_state(state).join(PID + 1)
    assert all(PID + 1 in resctrl.tasks(group) for group in groups)
    from_state(state).destroy()
    assert resctrl.groups() == sorted(["old", *left])
    from_state(state).destroy()  # a delete that is done again
    assert resctrl.groups() == sorted(["old", *left])


def test_nothing_is_written_where_no_schema_is_set(resctrl: FakeResctrl) -> None:
    create({"schemata": [""]})
    assert resctrl.calls == ["mkdir c", f"write {PID} to c/tasks"]


def test_the_order_of_writes(resctrl: FakeResctrl) -> None:
    create({**BOTH, "schemata": ["L3:0=1", "MB:0=10"], "enableMonitoring": True})
    assert resctrl.calls == [
        "mkdir c",
        "write L3:0=f to c/schemata",
        "write MB:1=25 to c/schemata",
        "write L3:0=1 to c/schemata",
        "write MB:0=10 to c/schemata",
        "mkdir c/mon_groups/c",
        f"write {PID} to c/tasks",
        f"write {PID} to c/mon_groups/c/tasks",
    ]


def test_a_second_container_of_a_class(resctrl: FakeResctrl) -> None:
    """The bandwidth that the kernel has rounded is what was asked for."""
    settings = {"closID": "new", **BOTH, "enableMonitoring": True}
    first = create(settings, "a", PID)
    second = create(settings, "b", PID + 1)
    assert second["made"] == [f"{resctrl.root}/new/mon_groups/b"]
    from_state(first).destroy()
    assert resctrl.groups() == ["new", "new/mon_groups/b"]
    assert resctrl.tasks("new/mon_groups/b") == [PID + 1]


def test_a_group_with_the_container_s_name(
    resctrl: FakeResctrl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another runtime or an administrator: used, set, and left."""
    resctrl.make("c", "L3:0=1;1=1\nMB:0=10;1=10\n")
    state = create({"l3CacheSchema": "L3:0=3"})
    assert resctrl.schemata("c") == ["L3:0=3;1=1", "MB:0=10;1=10"]
    assert "exists already" in capsys.readouterr().err
    from_state(state).destroy()
    assert resctrl.groups() == ["c"]


BAD: dict[str, tuple[dict[str, Any], str, str, int]] = {
    "a class that is missing": (
        {"closID": "none"},
        "/closID",
        "there is no resctrl group",
        errno.ENOENT,
    ),
    "a missing class, monitored": (
        {"closID": "none", "enableMonitoring": True, "schemata": [""]},
        "/closID",
        "there is no resctrl group",
        errno.ENOENT,
    ),
    "another mask": (
        {"closID": "old", "l3CacheSchema": "L3:0=f"},
        "/l3CacheSchema",
        "exists with other schemata than L3:0=f: L3:0=fffff;1=fffff; MB:0=100;1=100",
        errno.EEXIST,
    ),
    "another bandwidth": (
        {"closID": "old", "l3CacheSchema": "L3:0=fffff", "memBwSchema": "MB:0=90"},
        "/memBwSchema",
        "other schemata",
        errno.EEXIST,
    ),
    "the default class has another": (
        {"closID": "/", "memBwSchema": "MB:0=10"},
        "/memBwSchema",
        "other schemata",
        errno.EEXIST,
    ),
    "a domain that is missing": (
        {"closID": "old", "l3CacheSchema": "L3:7=fffff"},
        "/l3CacheSchema",
        "other schemata",
        errno.EEXIST,
    ),
    "no group": ({"closID": "file"}, "/closID", "is no resctrl group", errno.EEXIST),
    "too many classes": (
        {"closID": "full", "schemata": ["L3:0=f"]},
        "/closID",
        "make resctrl group .*full: ENOSPC .*: Out of CLOSIDs",
        errno.ENOSPC,
    ),
    "too many monitoring groups": (
        {"closID": "old", "enableMonitoring": True},
        "/enableMonitoring",
        "ENOSPC .*: Out of RMIDs",
        errno.ENOSPC,
    ),
    "a monitoring group of the same name": (
        {"closID": "monitored", "enableMonitoring": True},
        "/enableMonitoring",
        "make resctrl group .*mon_groups/c: EEXIST",
        errno.EEXIST,
    ),
    "a mask with a hole": (
        {"l3CacheSchema": "L3:0=5"},
        "/l3CacheSchema",
        "write L3:0=5 to .*: EINVAL .*: The mask 5 has non-consecutive 1-bits",
        errno.EINVAL,
    ),
    "too little bandwidth": (
        {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=1"},
        "/memBwSchema",
        "MB value 1 out of range",
        errno.EINVAL,
    ),
    "the second of schemata": (
        {"closID": "old", "schemata": ["L3:0=f", "MB:0=x"]},
        "/schemata/1",
        "Non-number x",
        errno.EINVAL,
    ),
    "the second of a new class": (
        {"closID": "new", "schemata": ["L3:0=f", "MB:0=x"]},
        "/schemata/1",
        "Non-number x",
        errno.EINVAL,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_create_that_fails(name: str, resctrl: FakeResctrl) -> None:
    """Its place, the kernel's words; and all is as before."""
    settings, at, message, number = BAD[name]
    resctrl.make("old")
    with resctrl.real():
        (resctrl.make("monitored") / "mon_groups/c").mkdir()
    (resctrl.root / "file").write_text("")
    resctrl.classes = 0 if "classes" in name else 3
    resctrl.monitors = 0 if "monitoring groups" in name else 3
    before = tree(resctrl.root)
    group, saved = plan(settings, "c"), Saved()
    with pytest.raises(KernelError, match=message) as caught:
        group.apply(PID, saved)
    assert (caught.value.at, caught.value.errno) == (AT + at, number)
    group.destroy()
    assert tree(resctrl.root) == before


def test_a_process_that_ended_meanwhile(resctrl: FakeResctrl) -> None:
    def gone(call: str) -> None:
        if call.endswith("c/tasks"):
            raise resctrl.refuse(errno.ESRCH, f"No task {PID}")

    resctrl.on_call = gone
    group = plan({}, "c")
    with pytest.raises(KernelError, match=f"process {PID} .*ESRCH .*: No task {PID}") as caught:
        group.apply(PID, Saved())
    assert caught.value.at == AT
    group.destroy()
    assert resctrl.groups() == []


def tree(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): file.read_text() if file.is_file() else ""
        for file in root.rglob("*")
        if "last_cmd_status" not in file.name
    }


# ---- a create that is cut short


class Killed(BaseException):
    pass


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "settings",
    [
        {"enableMonitoring": True, **BOTH},
        {"closID": "new", "enableMonitoring": True, **BOTH},
        {"closID": "old", "enableMonitoring": True},
    ],
    ids=["of its own", "new", "old"],
)
def test_killed_at_every_call(
    settings: dict[str, Any], done: bool, resctrl: FakeResctrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved before is enough to remove all of it, and no more."""
    resctrl.make("old")
    before = tree(resctrl.root)
    calls = 0
    for last in range(100):
        saved, count = Saved(), 0

        def step(call: str, last: int = last) -> None:
            nonlocal count
            if count == last:
                raise Killed
            count += 1

        resctrl.on_call = step
        if done:  # the call is done, and its caller dies
            resctrl.on_call = lambda call: None
            finish_calls(resctrl, step, monkeypatch)
        try:
            plan(settings, "c").apply(PID, saved)
        except Killed:
            calls += 1
        monkeypatch.undo()
        resctrl.install(monkeypatch)
        resctrl.on_call = lambda call: None
        if count < last:
            break
        if saved.state:
            from_state(saved.state).destroy()
        resctrl.leave(PID, resctrl.root)  # it was killed
        resctrl.leave(PID, resctrl.root / "old")
        assert tree(resctrl.root) == before, last
        resctrl.classes = resctrl.monitors = 3
    assert calls >= 3


def finish_calls(resctrl: FakeResctrl, step: Any, patch: pytest.MonkeyPatch) -> None:
    for name in ("mkdir", "write"):
        call = getattr(resctrl, name)

        def after(*arguments: str, call: Any = call) -> None:
            call(*arguments)
            step("")

        patch.setattr(resctrl, name, after)


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process
        process.kill()


def test_a_class_that_another_container_has_joined_stays(
    resctrl: FakeResctrl, sleeping: subprocess.Popen[bytes]
) -> None:
    """It was made for a closID by a create that failed later."""
    settings = {"closID": "new", "schemata": ["L3:0=f"]}
    failing = plan(settings, "a")
    failing.apply(PID, Saved())
    other = create(settings, "b", sleeping.pid)
    failing.destroy()
    assert resctrl.groups() == ["new"] and sleeping.pid in resctrl.tasks("new")
    assert other["made"] == []


def test_a_process_that_waits_for_its_parent_keeps_no_class(resctrl: FakeResctrl) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    failing = plan({"closID": "new", "schemata": ["L3:0=f"]}, "a")
    failing.apply(child, Saved())
    failing.destroy()
    assert resctrl.groups() == []
    os.waitpid(child, 0)


def test_a_monitored_class_stays(resctrl: FakeResctrl) -> None:
    failing = plan({"closID": "new", "schemata": ["L3:0=f"]}, "a")
    failing.apply(PID, Saved())
    with resctrl.real():
        (resctrl.root / "new/mon_groups/b").mkdir()
    failing.destroy()
    assert (resctrl.root / "new").is_dir()


def test_unmounted_meanwhile(resctrl: FakeResctrl) -> None:
    state = create({"enableMonitoring": True})
    resctrl.root.rename(resctrl.root.with_name("away"))
    from_state(state).destroy()
    resctrl.root.mkdir()
    from_state(state).destroy()


def test_a_group_that_stays(resctrl: FakeResctrl) -> None:
    state = create({})

    def busy(call: str) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    resctrl.on_call = busy
    with pytest.raises(KernelError, match="remove resctrl group .*/c: EBUSY") as caught:
        from_state(state).destroy()
    assert caught.value.at == AT


# ---- the lock


def lock(root: Path) -> int:
    fd = os.open(root, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_the_lock_is_waited_for(resctrl: FakeResctrl, capsys: pytest.CaptureFixture[str]) -> None:
    fd, order = lock(resctrl.root), []
    resctrl.on_call = lambda call: order.append("call")

    def release() -> None:
        order.append("release")
        os.close(fd)

    timer = threading.Timer(0.05, release)
    timer.start()
    create({})
    timer.join()
    assert order[:2] == ["release", "call"]
    assert capsys.readouterr().err == ""
    os.close(lock(resctrl.root))  # it was given back


def test_the_lock_is_not_waited_for_without_end(
    resctrl: FakeResctrl, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(intel_rdt, "_PATIENCE", 0.01)
    fd = lock(resctrl.root)
    create({})
    os.close(fd)
    assert "is locked by another process" in capsys.readouterr().err
    assert resctrl.groups() == ["c"]


# ---- schemata


@pytest.mark.parametrize(
    ("line", "present", "expected"),
    [
        ("L3:0=f", "L3:0=f;1=1", False),
        ("L3:0=F;1=01", "    L3:0=f;1=1", False),
        ("L3:1=1;0=f;", "L3:0=f;1=1", False),
        ("L3:00=f", "L3:0=f", False),
        (" L3 : 0 = f", "L3:0=f", False),
        ("L3:0=e", "L3:0=f", True),
        ("L3:2=f", "L3:0=f", True),
        ("L3:0=", "L3:0=f", True),
        ("L3:0=x", "L3:0=f", True),
        ("L3:0=x", "L3:0=x", False),
        ("L3:²=f", "L3:2=f", True),
        ("L2:0=f", "L3:0=f", True),
        ("L3:0=f", "", True),
        ("MB:0=20", "MB:0= 20", False),
        ("MB:0=11", "MB:0=20", False),
        ("MB:0=21", "MB:0=20", True),
        ("MB:0=16", "MB:0=10", True),  # it is no hexadecimal number
        ("MB:0=x", "MB:0=20", True),
        ("", "L3:0=f", False),
    ],
)
def test_schemata_differ(line: str, present: str, expected: bool) -> None:
    assert differs(line, present, lambda name: 10 if name == "MB" else 0) is expected


VALUES = st.sampled_from(["L3:0=", "L3:1=", "MB:0=", "MB:1=", "L3:00="])
LINES = st.builds(
    str.__add__, VALUES, st.sampled_from("1 3 f ff 0ff 10 15 20 99 100 fffff".split())
)


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> FakeResctrl:
    return FakeResctrl(tmp_path_factory.mktemp("top") / "resctrl")


@given(st.lists(LINES, min_size=1, max_size=5))
def test_differs_is_what_a_write_would_change(top: FakeResctrl, lines: list[str]) -> None:
    """Against the fake kernel, which has a reader of its own."""
    file = top.root / "schemata"
    for line in lines:
        present = file.read_text()
        different = differs(line, present, lambda name: 10 if name == "MB" else 0)
        try:
            top.set(file, f"{line}\n")
        except OSError:
            continue
        assert different is (file.read_text() != present)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for name, domains in parse(text).items():
        assert name == name.strip() and isinstance(domains, dict)
    differs(text, "L3:0=f", lambda name: 0)


def test_write_takes_all_lines_or_none(resctrl: FakeResctrl) -> None:
    group = from_state(create({"closID": "new", **BOTH}))
    before = resctrl.schemata("new")
    with pytest.raises(KernelError, match="write MB:0=1 to .*MB value 1 out of range") as caught:
        group.write([("/a", "L3:0=ff"), ("/b", "MB:0=1")])
    assert caught.value.at == "/b"
    assert resctrl.schemata("new") == before
    old = group.write([("/a", "L3:0=ff"), ("/b", "MB:0=10")])
    assert resctrl.schemata("new") == ["L3:0=ff;1=fffff", "MB:0=10;1=30"]
    group.restore(old)
    assert resctrl.schemata("new") == before


# ---- the verbs


class Life:
    """A container that is a sleep of ours, without a cgroup, with a resctrl group."""

    def __init__(self, root: Path, pid: int, settings: dict[str, Any] | None) -> None:
        from ocirt.runtime.status import process

        self.store = Store(str(root))
        self.container: Container = self.store.create("c")
        state = State("c")
        state.pid, state.pid_start = pid, process(pid)[1]
        state.created = "2026-01-01T00:00:00Z"
        if settings is not None:
            state.intel_rdt = create(settings, "c", pid)
        self.container.write("config.json", b"{}")
        self.container.write_state(state)
        self.container.unlock()

    def __call__(self, *words: str) -> int:
        """A verb's lock ends with its process, which is ours."""
        opened, open_folder = [], Store.open

        def open_(store: Store, id: str) -> Container:
            opened.append(open_folder(store, id))
            return opened[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "open", open_)
            try:
                return main(["ocirt", "--root", self.store.root, *words])
            finally:
                for container in opened:
                    with suppress(OSError):  # closed already
                        container.close()


def test_delete(resctrl: FakeResctrl, tmp_path: Path, sleeping: subprocess.Popen[bytes]) -> None:
    ocirt = Life(tmp_path / "root", sleeping.pid, {"enableMonitoring": True})
    assert resctrl.groups() == ["c", "c/mon_groups/c"]
    assert ocirt("delete", "--force", "c") == 0
    assert resctrl.groups() == [] and ocirt.store.ids() == []


def test_a_delete_that_fails_can_be_done_again(
    resctrl: FakeResctrl,
    tmp_path: Path,
    sleeping: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ocirt = Life(tmp_path / "root", sleeping.pid, {})

    def busy(call: str) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    resctrl.on_call = busy
    assert ocirt("delete", "--force", "c") == 1
    assert f"config.json#{AT}: remove resctrl group" in capsys.readouterr().err
    assert ocirt.store.ids() == ["c"]
    resctrl.on_call = lambda call: None
    assert ocirt("delete", "--force", "c") == 0
    assert resctrl.groups() == [] and ocirt.store.ids() == []


def test_update(
    resctrl: FakeResctrl,
    tmp_path: Path,
    sleeping: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ocirt = Life(tmp_path / "root", sleeping.pid, {})
    assert ocirt("update", "--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=20", "c") == 0
    assert resctrl.schemata("c") == ["L3:0=f;1=fffff", "MB:0=20;1=100"]
    assert ocirt("update", "--mem-bw-schema", "MB:1=30", "c") == 0
    now = ["L3:0=f;1=fffff", "MB:0=20;1=30"]
    assert resctrl.schemata("c") == now
    for words, message in (
        (["--l3-cache-schema=L3:0=ff", "--mem-bw-schema=MB:0=1"], "--mem-bw-schema: write MB:0=1"),
        (["--l3-cache-schema=L2:0=f"], "--l3-cache-schema: this host's resctrl"),
        (["--mem-bw-schema=0=20"], "--mem-bw-schema: not a line that starts with MB:"),
        (["--mem-bw-schema=MB:0=20\nL3:0=f"], "--mem-bw-schema: not a line"),
        # the cgroup's part fails: the container has none
        (["--l3-cache-schema=L3:0=ff", "--pids-limit=5"], "#/pids/limit"),
    ):
        capsys.readouterr()
        assert ocirt("update", *words, "c") == 1
        assert message in capsys.readouterr().err
        assert resctrl.schemata("c") == now


def test_update_of_a_container_without_a_group(
    resctrl: FakeResctrl,
    tmp_path: Path,
    sleeping: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ocirt = Life(tmp_path / "root", sleeping.pid, None)
    assert ocirt("update", "--mem-bw-schema", "MB:1=30", "c") == 1
    assert "created without linux.intelRdt" in capsys.readouterr().err
    assert resctrl.calls == []


def test_exec_in_a_group_that_was_removed(
    resctrl: FakeResctrl, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its processes are in the default group then."""
    from ocirt.runtime.exec import _join_rdt

    state = State("c")
    state.intel_rdt = create({})
    _join_rdt(PID + 1, state)
    assert resctrl.tasks("c") == [PID, PID + 1]
    os.rmdir(f"{resctrl.root}/c")
    _join_rdt(PID + 2, state)
    assert "ENOENT" in capsys.readouterr().err

    def gone(call: str) -> None:
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))

    resctrl.on_call = gone
    with pytest.raises(KernelError, match="ESRCH"):
        _join_rdt(PID + 3, state)


# ---- statistics


def test_statistics(resctrl: FakeResctrl) -> None:
    state = create({"closID": "new", **BOTH, "enableMonitoring": True})
    for name, text in (("llc_occupancy", "4096"), ("mbm_total_bytes", "Unavailable")):
        (resctrl.root / "new/mon_groups/c/mon_data/mon_L3_00" / name).write_text(f"{text}\n")
    assert read_stats(state) == {
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 4},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=f;1=fffff",
        "mem_bw_info": {
            "bandwidth_gran": 10,
            "delay_linear": 1,
            "min_bandwidth": 10,
            "num_closids": 4,
        },
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=100;1=30",
        "schemata": ["L3:0=f;1=fffff", "MB:0=100;1=30"],
        "mbm_stats": [
            {"mbm_total_bytes": 0, "mbm_local_bytes": 15},
            {"mbm_total_bytes": 30, "mbm_local_bytes": 30},
        ],
        "cmt_stats": [{"llc_occupancy": 4096}, {"llc_occupancy": 26}],
    }


def test_statistics_without_a_monitoring_group_are_the_class_s(resctrl: FakeResctrl) -> None:
    state = create({})
    (resctrl.root / "c/mon_data/mon_L3_00/llc_occupancy").write_text("5\n")
    (resctrl.root / "info/L3_MON/mon_features").write_text("llc_occupancy\n")
    found = read_stats(state)
    assert found["cmt_stats"][0] == {"llc_occupancy": 5}
    assert "mbm_stats" not in found


def test_statistics_of_less(resctrl: FakeResctrl) -> None:
    assert read_stats({}) == {}
    state = create({})
    with resctrl.real():
        import shutil

        for name in ("L3_MON", "MB"):
            shutil.rmtree(resctrl.root / "info" / name)
    (resctrl.root / "info/L3/min_cbm_bits").write_text("0\n")
    (resctrl.root / "c/schemata").write_text("    L3:0=f\n  SMBA:0=8\n")
    assert read_stats(state) == {
        "l3_cache_info": {"cbm_mask": "fffff", "num_closids": 4},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=f",
        "schemata": ["L3:0=f", "SMBA:0=8"],
    }
    os.rmdir(f"{resctrl.root}/c")
    assert "schemata" not in read_stats(state)


def test_state_is_plain(resctrl: FakeResctrl) -> None:
    """It survives state.json."""
    state = State("c")
    state.intel_rdt = create({"enableMonitoring": True})
    again = State.from_json(state.to_json().encode(), "state.json")
    group = from_state(again.intel_rdt)
    assert isinstance(group, Group) and group.state() == state.intel_rdt
