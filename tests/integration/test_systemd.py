"""The systemd driver where systemd is process 1: tools/test-vm qemu tests/integration/test_systemd.py"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.commands.spec import make_rootless

from .conftest import COMMAND, Bundle, Runtime

MIB = 1 << 20
DRIVER = "--systemd-cgroup"


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], stdout=subprocess.PIPE, text=True, timeout=60)
    return done.stdout.strip()


def show(unit: str, name: str) -> str:
    return systemctl("show", "--value", f"--property={name}", unit)


def unit_of(bundle: Bundle) -> str:
    return f"ocirt-{bundle.id}.scope"


def folder_of(bundle: Bundle) -> Path:
    return Path("/sys/fs/cgroup/system.slice") / unit_of(bundle)


def gone(bundle: Bundle) -> bool:
    """systemd has forgotten the unit, and its cgroup is removed."""
    return show(unit_of(bundle), "LoadState") == "not-found" and not folder_of(bundle).exists()


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.fixture(autouse=True)
def _systemd() -> None:
    if not os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd is not PID 1")


@pytest.fixture
def sleeper(bundle: Bundle) -> Bundle:
    return bundle.shell("exec sleep 1000")


def create(runtime: Runtime, bundle: Bundle) -> subprocess.CompletedProcess[str]:
    return runtime(DRIVER, "create", "--bundle", bundle.write(), bundle.id)


@pytest.fixture
def created(ocirt: Runtime, sleeper: Bundle) -> Iterator[Bundle]:
    done = create(ocirt, sleeper)
    assert done.returncode == 0, done.stderr
    yield sleeper


def test_life(ocirt: Runtime, sleeper: Bundle, leftovers: Callable[[Bundle], list[str]]) -> None:
    """Later verbs know without a flag."""
    sleeper.document["linux"]["cgroupsPath"] = f"machine.slice:ocirt:{sleeper.id}"
    assert create(ocirt, sleeper).returncode == 0
    unit, id = unit_of(sleeper), sleeper.id
    assert show(unit, "ActiveState") == "active"
    assert show(unit, "Slice") == "machine.slice" and show(unit, "Delegate") == "yes"
    cgroup = f"/machine.slice/{unit}"
    assert show(unit, "ControlGroup") == cgroup
    pid = ocirt.state(id)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{cgroup}\n"
    for name in ("Memory", "IO", "Tasks"):  # CPU time is always counted since systemd 258
        assert show(unit, f"{name}Accounting") == "yes"

    ocirt("start", id, check=True)
    shown = ocirt("exec", id, "cat", "/proc/self/cgroup", check=True).stdout
    assert shown == "0::/\n"
    ocirt("pause", id, check=True)
    assert ocirt.state(id)["status"] == "paused"
    ocirt("resume", id, check=True)
    assert str(pid) in ocirt("ps", "--format", "json", id, check=True).stdout
    ocirt("kill", id, "KILL", check=True)
    assert eventually(lambda: ocirt.state(id)["status"] == "stopped")
    ocirt("delete", id, check=True)
    assert show(unit, "LoadState") == "not-found"
    assert not os.path.exists(f"/sys/fs/cgroup{cgroup}") and leftovers(sleeper) == []


def test_run(ocirt: Runtime, bundle: Bundle) -> None:
    arguments = ("run", "--bundle", bundle.shell("exit 7").write(), bundle.id)
    done = ocirt(DRIVER, *arguments)
    assert done.returncode == 7, done.stderr
    assert gone(bundle)


# ---- limits

HUGE = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
CREATED: dict[str, Any] = {
    "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": MIB},
    "cpu": {"shares": 512, "quota": 33333, "period": 100000, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 50},
    "blockIO": {"weight": 10},
    "unified": {"memory.high": "33554432", "memory.min": "4096", "memory.oom.group": "1"},
    **HUGE,
}
# (file, its text, property, its text)
AT_CREATE = [
    ("memory.max", "67108864", "MemoryMax", "67108864"),
    ("memory.swap.max", "33554432", "MemorySwapMax", "33554432"),
    ("memory.low", "1048576", "MemoryLow", "1048576"),
    ("memory.high", "33554432", "MemoryHigh", "33554432"),
    ("memory.min", "4096", "MemoryMin", "4096"),
    ("memory.oom.group", "1", "OOMPolicy", "kill"),
    ("cpu.weight", "59", "CPUWeight", "59"),
    ("cpu.max", "34000 100000", "CPUQuotaPerSecUSec", "340ms"),  # systemd has whole percents
    ("cpuset.cpus", "0-1", "AllowedCPUs", "0-1"),
    ("cpuset.mems", "0", "AllowedMemoryNodes", "0"),
    ("pids.max", "50", "TasksMax", "50"),
    ("io.weight", "default 1", "IOWeight", "1"),
    ("hugetlb.2MB.max", "4194304", "Delegate", "yes"),  # nothing that systemd knows
]
UPDATES: list[tuple[dict[str, Any], str, str, str, str]] = [
    (
        {"memory": {"limit": 80 * MIB, "swap": 80 * MIB}},
        *("memory.swap.max", "0", "MemorySwapMax", "0"),
    ),
    ({"memory": {"limit": -1}}, "memory.max", "max", "MemoryMax", "infinity"),
    ({"memory": {"reservation": 2 * MIB}}, "memory.low", "2097152", "MemoryLow", "2097152"),
    ({"cpu": {"idle": 1}}, "cpu.idle", "1", "CPUWeight", "idle"),
    ({"cpu": {"idle": 0}}, "cpu.idle", "0", "CPUWeight", "100"),
    ({"cpu": {"shares": 2048}}, "cpu.weight", "174", "CPUWeight", "174"),
    (
        {"cpu": {"quota": 10000, "period": 50000}},
        *("cpu.max", "10000 50000", "CPUQuotaPeriodUSec", "50ms"),
    ),
    ({"unified": {"cpu.max": "1234"}}, "cpu.max", "1500 50000", "CPUQuotaPerSecUSec", "30ms"),
    ({"cpu": {"quota": -1}}, "cpu.max", "max 50000", "CPUQuotaPerSecUSec", "infinity"),
    ({"cpu": {"cpus": "1"}}, "cpuset.cpus", "1", "AllowedCPUs", "1"),
    ({"pids": {"limit": -1}}, "pids.max", "max", "TasksMax", "infinity"),
    ({"pids": {"limit": 0}}, "pids.max", "1", "TasksMax", "1"),
    ({"blockIO": {"weight": 1000}}, "io.weight", "default 10000", "IOWeight", "10000"),
    ({"unified": {"memory.min": "8192"}}, "memory.min", "8192", "MemoryMin", "8192"),
]


def update(
    runtime: Runtime, bundle: Bundle, resources: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    file = bundle.path / "resources.json"
    file.write_text(json.dumps(resources))
    return runtime("update", "--resources", str(file), bundle.id)


def test_limits(ocirt: Runtime, sleeper: Bundle) -> None:
    """The files and the properties say the same after create, after each update and when systemd
    has read its configuration again. What systemd has no property for stays as it was."""
    sleeper.document["linux"]["resources"] = CREATED
    done = create(ocirt, sleeper)
    assert done.returncode == 0, done.stderr
    folder, expected = folder_of(sleeper), {row[0]: row for row in AT_CREATE}

    def check() -> None:
        shown = systemctl("show", unit_of(sleeper)).splitlines()
        properties = dict(line.split("=", 1) for line in shown)
        for file, text, name, value in expected.values():
            assert (folder / file).read_text().strip() == text, file
            assert properties[name] == value, name

    check()
    systemctl("daemon-reload")
    check()
    for resources, *row in UPDATES:
        done = update(ocirt, sleeper, resources)
        assert done.returncode == 0, (resources, done.stderr)
        expected = {row[0]: (row[0], row[1], row[2], row[3])}
        check()
    expected = {row[0]: row for row in AT_CREATE[-1:]}
    for _, *row in UPDATES[-3:]:
        expected[row[0]] = (row[0], row[1], row[2], row[3])
    systemctl("daemon-reload")
    check()


def test_update_is_all_or_nothing(ocirt: Runtime, created: Bundle) -> None:
    done = update(ocirt, created, {"pids": {"limit": 9}, "unified": {"memory.high": "a lot"}})
    assert done.returncode == 1 and "#/unified/memory.high: " in done.stderr
    assert (folder_of(created) / "pids.max").read_text() != "9\n"
    assert show(unit_of(created), "TasksMax") != "9"


# ---- devices

KMSG = {"type": "c", "major": 1, "minor": 11, "access": "rwm"}
DENY = {"allow": False, "access": "rwm"}


def kmsg_opens(runtime: Runtime, bundle: Bundle) -> bool:
    """To write: to read it may need a capability. /dev/null has to open in any case."""
    script = "true < /dev/null > /dev/null && true > /dev/test"
    done = runtime("exec", bundle.id, "sh", "-c", script)
    assert done.returncode == 0 or "not permitted" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(
    "rules, policy",
    [
        ([DENY], "strict"),
        ([{"allow": True, "access": "rwm"}, {"allow": False, **KMSG}], "auto"),  # no list
    ],
)
def test_devices(ocirt: Runtime, sleeper: Bundle, rules: list[Any], policy: str) -> None:
    """systemd's own program for devices comes and goes, the runtime's stays."""
    linux = sleeper.document["linux"]
    linux["resources"] = {"devices": rules}
    linux["devices"] = [{"path": "/dev/test", "type": "c", "major": 1, "minor": 11}]
    assert create(ocirt, sleeper).returncode == 0
    ocirt("start", sleeper.id, check=True)
    unit = unit_of(sleeper)
    assert show(unit, "DevicePolicy") == policy
    assert ("/dev/char/1:3 rwm" in show(unit, "DeviceAllow")) == (policy == "strict")
    assert not kmsg_opens(ocirt, sleeper)
    systemctl("daemon-reload")
    assert not kmsg_opens(ocirt, sleeper)
    ocirt("update", "--pids-limit", "99", sleeper.id, check=True)
    assert not kmsg_opens(ocirt, sleeper)
    done = update(ocirt, sleeper, {"devices": [DENY, {"allow": True, **KMSG}]})
    assert done.returncode == 0, done.stderr
    assert "/dev/char/1:11 rwm" in show(unit, "DeviceAllow")
    assert kmsg_opens(ocirt, sleeper)
    systemctl("daemon-reload")
    assert kmsg_opens(ocirt, sleeper)


# ---- units of the same name


def test_failed_unit_of_the_same_name(ocirt: Runtime, sleeper: Bundle) -> None:
    unit = unit_of(sleeper)
    scope = ["systemd-run", "--scope", f"--unit={unit}", "--property=RuntimeMaxSec=1", "--quiet"]
    subprocess.run([*scope, "sleep", "100"], timeout=60)
    assert eventually(lambda: show(unit, "ActiveState") == "failed")
    done = create(ocirt, sleeper)
    assert done.returncode == 0, done.stderr
    assert show(unit, "ActiveState") == "active"


def test_unit_of_the_same_name_that_runs(
    ocirt: Runtime, sleeper: Bundle, leftovers: Callable[[Bundle], list[str]]
) -> None:
    """It is not ours to end."""
    unit = unit_of(sleeper)
    scope = ["systemd-run", "--scope", f"--unit={unit}", "--quiet", "sleep", "100"]
    with subprocess.Popen(scope) as process:
        try:
            assert eventually(lambda: (folder_of(sleeper) / "cgroup.procs").exists())
            done = create(ocirt, sleeper)
            assert done.returncode == 1 and process.poll() is None
            assert f"/linux/cgroupsPath: container's cgroup is not empty: {folder_of(sleeper)}" in (
                done.stderr
            )
            assert ocirt.ids() == [] and show(unit, "ActiveState") == "active"
        finally:
            process.kill()
    assert eventually(lambda: gone(sleeper)) and leftovers(sleeper) == []


def test_unit_of_the_same_name_that_was_configured(ocirt: Runtime, sleeper: Bundle) -> None:
    """systemd's answer is told, and the unit is left alone."""
    name = f"ocirttest{os.getpid()}.slice"
    file = Path("/run/systemd/system", name)
    file.write_text("[Unit]\nDescription=from a file\n")
    try:
        systemctl("daemon-reload")
        systemctl("start", name)
        sleeper.document["linux"]["cgroupsPath"] = f"-.slice:x:{name}"
        done = create(ocirt, sleeper)
        assert done.returncode == 1
        assert f"#/linux/cgroupsPath: systemd: start {name}: " in done.stderr
        assert "org.freedesktop.systemd1.UnitExists" in done.stderr
        assert ocirt.ids() == [] and show(name, "ActiveState") == "active"
    finally:
        systemctl("stop", name)
        file.unlink()
        systemctl("daemon-reload")


def test_slice(ocirt: Runtime, sleeper: Bundle) -> None:
    name = f"ocirttest{os.getpid()}.slice"
    sleeper.document["linux"]["cgroupsPath"] = f"-.slice:x:{name}"
    sleeper.document["linux"]["resources"] = {"pids": {"limit": 9}}
    done = create(ocirt, sleeper)
    assert done.returncode == 0, done.stderr
    pid = ocirt.state(sleeper.id)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{name}\n"
    assert show(name, "TasksMax") == "9"
    ocirt("delete", "--force", sleeper.id, check=True)
    assert show(name, "ActiveState") == "inactive"
    assert not os.path.exists(f"/sys/fs/cgroup/{name}")


# ---- annotations and errors

PREFIX = "org.systemd.property."


def test_annotations(ocirt: Runtime, sleeper: Bundle) -> None:
    sleeper.document["annotations"] = {
        f"{PREFIX}TimeoutStopSec": "7",
        f"{PREFIX}Description": "'what a test says'",
    }
    done = create(ocirt, sleeper)
    assert done.returncode == 0, done.stderr
    unit = unit_of(sleeper)
    assert show(unit, "TimeoutStopUSec") == "7s"
    assert show(unit, "Description") == "what a test says"


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("NoSuchThing", "7", "NoSuchThing"),  # systemd says what
        ("CPUWeight", "uint64 20000", "CPUWeight"),
    ],
)
def test_annotations_that_systemd_refuses(
    ocirt: Runtime,
    sleeper: Bundle,
    leftovers: Callable[[Bundle], list[str]],
    name: str,
    value: str,
    text: str,
) -> None:
    sleeper.document["annotations"] = {PREFIX + name: value}
    done = create(ocirt, sleeper)
    assert done.returncode == 1
    assert f"config.json#/annotations/{PREFIX}{name}: " in done.stderr and text in done.stderr
    assert ocirt.ids() == [] and gone(sleeper) and leftovers(sleeper) == []


def test_limit_that_the_kernel_refuses(
    ocirt: Runtime, sleeper: Bundle, leftovers: Callable[[Bundle], list[str]]
) -> None:
    sleeper.document["linux"]["resources"] = {"unified": {"memory.max": "rubbish"}}
    done = create(ocirt, sleeper)
    assert done.returncode == 1
    assert "config.json#/linux/resources/unified/memory.max: " in done.stderr
    assert "EINVAL" in done.stderr
    assert ocirt.ids() == [] and gone(sleeper) and leftovers(sleeper) == []


# ---- a create that is cut short


def test_killed_create(
    ocirt: Runtime, sleeper: Bundle, leftovers: Callable[[Bundle], list[str]]
) -> None:
    """At eight moments of it: delete --force leaves no unit, cgroup or process."""
    sleeper.document["linux"]["resources"] = {
        "pids": {"limit": 50},
        "memory": {"limit": 64 * MIB},
        "devices": [DENY],
    }
    command = [str(COMMAND), "--root", str(ocirt.root), DRIVER, "create"]
    command += ["--bundle", sleeper.write(), sleeper.id]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    start = time.monotonic()
    subprocess.run(command, check=True, **quiet)  # type: ignore[call-overload]
    taken = time.monotonic() - start
    ocirt("delete", "--force", sleeper.id, check=True)
    for moment in range(1, 9):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, **quiet) as process:  # type: ignore[call-overload]
            time.sleep(taken * moment / 9)
            process.send_signal(signal.SIGKILL)
        ocirt("delete", "--force", sleeper.id, check=True)
        assert ocirt.ids() == []
        assert eventually(lambda: leftovers(sleeper) == []), moment
        assert eventually(lambda: gone(sleeper)), moment


# ---- a user's manager


class OfAUser(Runtime):
    """Called by ``user``, whose manager runs."""

    def __init__(self, user: pwd.struct_passwd) -> None:
        words = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        words += ["env", "-i", f"PATH={os.environ['PATH']}", f"HOME={user.pw_dir}"]
        words.append(f"XDG_RUNTIME_DIR=/run/user/{user.pw_uid}")
        super().__init__(Path(user.pw_dir) / "state", words)


@pytest.fixture
def of_a_user() -> Iterator[OfAUser]:
    user = pwd.getpwnam("tester")
    systemctl("start", f"user@{user.pw_uid}.service")
    runtime = OfAUser(user)
    yield runtime
    for id in runtime.ids():
        runtime("delete", "--force", id)
    systemctl("stop", f"user@{user.pw_uid}.service")


def test_manager_of_a_user(of_a_user: OfAUser, sleeper: Bundle) -> None:
    """The user may not make a cgroup, but systemd makes it one that is the user's."""
    user = pwd.getpwnam("tester")
    path = Path(tempfile.mkdtemp(dir=user.pw_dir))
    shutil.copytree(sleeper.path, path, symlinks=True, dirs_exist_ok=True)
    subprocess.run(["chown", "-R", "tester:tester", path], check=True)
    path.chmod(0o755)
    bundle = Bundle(path, sleeper.document)
    make_rootless(bundle.document)
    linux = bundle.document["linux"]
    linux["uidMappings"][0]["hostID"], linux["gidMappings"][0]["hostID"] = user[2:4]
    rule = {"allow": False, "access": "rwm"}
    limits = {"pids": {"limit": 7}, "memory": {"limit": 1 << 26}, "devices": [rule]}
    linux["resources"] = limits
    ocirt = of_a_user
    ocirt(DRIVER, "run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    slice = f"user.slice/user-{user.pw_uid}.slice/user@{user.pw_uid}.service/user.slice"
    folder = Path("/sys/fs/cgroup") / slice / unit_of(bundle)
    pid = ocirt.state(bundle.id)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{slice}/{unit_of(bundle)}\n"
    assert (folder / "pids.max").read_text() == "7\n"
    assert (folder / "memory.max").read_text() == "67108864\n"
    ocirt("update", "--pids-limit", "9", bundle.id, check=True)
    assert (folder / "pids.max").read_text() == "9\n"
    assert ocirt("exec", bundle.id, "cat", "/proc/self/cgroup", check=True).stdout == "0::/\n"
    ocirt("pause", bundle.id, check=True)
    assert ocirt.state(bundle.id)["status"] == "paused"
    ocirt("resume", bundle.id, check=True)
    ocirt("delete", "--force", bundle.id, check=True)
    assert eventually(lambda: not folder.exists())


def test_checkpoint(saved: Any, leftovers: Callable[[Any], list[str]]) -> None:
    """Restored it is in a scope again, with its limits."""
    systemd = {"globals": (DRIVER,)}
    resources = saved.bundle.document["linux"]["resources"] = {"memory": {"limit": 64 * MIB}}
    saved.run(**systemd)
    for turn, limit in ((1, 32 * MIB), (2, 48 * MIB)):
        assert saved.say("a") == f"{turn} a"
        assert saved.checkpoint(**systemd) == ""
        assert eventually(lambda: gone(saved.bundle))
        resources["memory"]["limit"] = limit
        saved.pipes()
        assert saved.restore(**systemd) == ""
        unit = unit_of(saved.bundle)
        assert show(unit, "ActiveState") == "active"
        assert show(unit, "MemoryMax") == str(limit)
        pid = saved.ocirt.state(saved.id)["pid"]
        assert f"/system.slice/{unit}" in Path(f"/proc/{pid}/cgroup").read_text()
        assert (folder_of(saved.bundle) / "memory.max").read_text().strip() == str(limit)
    assert saved.call("delete", "--force", saved.id) == ""
    assert eventually(lambda: gone(saved.bundle)) and leftovers(saved.bundle) == []
