"""events and ps of real containers, and the notices of a real kernel."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.layout import detect
from ocirt.cgroup.manager import Manager, plan_paths
from ocirt.cgroup.oom import Notifier, open_notifier

from .conftest import COMMAND

ALWAYS = ("cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces")
MEGABYTE = 1 << 20


@pytest.fixture
def busy(ocirt: Any, bundle: Any) -> Any:
    """A container that runs."""
    bundle.shell("while :; do sleep 0.01; done")
    ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    return bundle


def keys(document: dict[str, Any], at: str = "") -> set[str]:
    """The paths of all members that are not zero or empty."""
    found = set()
    for key, value in document.items():
        if isinstance(value, dict):
            found |= keys(value, f"{at}/{key}")
        elif value:
            found.add(f"{at}/{key}")
    return found


def test_stats(ocirt: Any, busy: Any) -> None:
    time.sleep(0.1)
    done = ocirt("events", "--stats", busy.id, check=True)
    assert done.stdout.count("\n") == 1
    event = json.loads(done.stdout)
    assert (event["type"], event["id"]) == ("stats", busy.id)
    data = event["data"]
    assert tuple(data) == ALWAYS
    assert data["network_interfaces"] is None
    assert 0 < data["cpu"]["usage"]["total"] < 60_000_000_000
    if (Path("/sys/fs/cgroup/memory")).exists():
        assert 0 < data["memory"]["usage"]["usage"] < 100 * MEGABYTE
        assert data["pids"]["current"] >= 1


@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc")
def test_same_members_as_runc(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """All members that neither leaves out for being zero."""
    bundle.shell("while :; do echo $((i += 1)); done > /dev/null").write()
    runc = ["runc", "--root", str(tmp_path / "runc")]
    ocirt("run", "--detach", "--bundle", str(bundle.path), bundle.id, check=True)
    command = [*runc, "run", "--detach", "--bundle", str(bundle.path), f"{bundle.id}-runc"]
    started = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert started.returncode == 0
        time.sleep(0.3)
        ours = json.loads(ocirt("events", "--stats", bundle.id, check=True).stdout)
        command = [*runc, "events", "--stats", f"{bundle.id}-runc"]
        theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    finally:
        subprocess.run([*runc, "delete", "--force", f"{bundle.id}-runc"], check=True)
    assert ours.keys() == theirs.keys()
    assert ours["data"].keys() == theirs["data"].keys()
    # Which counters have counted something yet is chance.
    ours["data"]["memory"].pop("raw", None), theirs["data"]["memory"].pop("raw", None)
    chance = {"/data/cpu/usage/kernel", "/data/cpu/usage/user", "/data/memory/cache"}
    chance |= {key for key in keys(ours) | keys(theirs) if "/blkio/" in key or "/psi/" in key}
    assert keys(theirs) - chance == keys(ours) - chance


def test_until_the_container_stops(ocirt: Any, busy: Any, tmp_path: Path) -> None:
    command = [str(COMMAND), "--root", str(ocirt.root), "events", "--interval=50ms", busy.id]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    totals = [line["data"]["cpu"]["usage"]["total"] for line in lines]
    assert totals[0] <= totals[1]
    ocirt("kill", busy.id, "KILL", check=True)
    rest = process.communicate(timeout=10)[0]
    assert process.returncode == 0
    assert {json.loads(line)["type"] for line in rest.splitlines()} <= {"stats"}
    refused = ocirt("events", busy.id)
    assert refused.returncode == 1
    assert "container not running" in refused.stderr


def test_events_of_no_container(ocirt: Any) -> None:
    for verb in ("events", "ps"):
        done = ocirt(verb, "none")
        assert (done.returncode, done.stdout) == (1, "")
        assert "does not exist" in done.stderr


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps")
def test_ps(ocirt: Any, busy: Any) -> None:
    pid = ocirt.state(busy.id)["pid"]
    assert pid in json.loads(ocirt("ps", "--format", "json", busy.id, check=True).stdout)
    header, *rows = ocirt("ps", "--format", "table", busy.id, "-ef").stdout.splitlines()
    assert "PID" in header.split()
    assert str(pid) in [row.split()[1] for row in rows]
    assert 1 <= len(rows) <= 3
    header, *rows = ocirt("ps", busy.id, "-e", "-o", "args,pid", check=True).stdout.splitlines()
    assert header.split() == ["COMMAND", "PID"]
    ocirt("kill", busy.id, "KILL", check=True)
    end = time.monotonic() + 10
    while json.loads(ocirt("ps", "--format=json", busy.id, check=True).stdout):
        assert time.monotonic() < end
    assert ocirt("ps", busy.id, check=True).stdout.count("\n") == 1


# ---- the notices


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Manager]:
    """One of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    name = f"ocirt-{tmp_path.name}"
    manager = plan_paths(detect(), f"/{name}", name)
    manager.create()
    yield manager
    manager.kill()
    manager.destroy()


def wait(notifier: Notifier) -> tuple[int, bool]:
    """What it tells next: (kills, whether the cgroup is gone)."""
    poll = select.poll()
    poll.register(notifier, select.POLLIN)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if poll.poll(1000):
            found = notifier.read()
            if found or notifier.gone:
                return found, notifier.gone
    raise TimeoutError


def child(manager: Manager, size: int) -> int:
    """A process of the cgroup that touches ``size`` bytes and waits."""
    pid = os.fork()
    if pid == 0:
        try:
            manager.join(os.getpid())
            held = bytearray(b"x") * size
            signal.pause()
            os._exit(len(held) & 1)
        finally:
            os._exit(1)
    return pid


def limit_memory(manager: Manager, size: int) -> None:
    if manager.pure:
        files = [f"{manager.unified}/memory.max", f"{manager.unified}/memory.swap.max"]
    else:
        files = [f"{manager.folders.get('memory')}/memory.limit_in_bytes"]
    if not os.path.exists(files[0]):
        pytest.skip("no memory controller")
    for file, value in zip(files, (size, 0)):
        if os.path.exists(file):
            Path(file).write_text(str(value))


def test_notice_of_a_kill(cgroup: Manager) -> None:
    limit_memory(cgroup, 16 * MEGABYTE)
    small = child(cgroup, 0)  # else the v2 cgroup would be empty after the kill
    notifier = open_notifier(cgroup)
    assert notifier.read() == 0
    pid = child(cgroup, 64 * MEGABYTE)
    kills, gone = wait(notifier)
    assert kills >= 1
    assert not gone
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    os.kill(small, signal.SIGKILL)
    os.waitpid(small, 0)
    cgroup.destroy()
    assert wait(notifier) == (0, True)
    notifier.close()


def test_oom_event(ocirt: Any, bundle: Any) -> None:
    """The limit is put on the container's cgroup from outside."""
    bundle.shell("read line < /fifo; x=x; while :; do x=$x$x; done")
    bundle.document["root"]["readonly"] = False
    os.mkfifo(bundle.path / "rootfs/fifo")
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    saved = json.loads((ocirt.root / bundle.id / "state.json").read_text())["cgroup"]
    manager = Manager(saved["folders"], saved["cgroups"], saved["unified"], saved["pure"])
    limit_memory(manager, 16 * MEGABYTE)
    ocirt("start", bundle.id, check=True)
    command = [str(COMMAND), "--root", str(ocirt.root), "events", "--interval=100ms", bundle.id]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert json.loads(process.stdout.readline())["type"] == "stats"
    (bundle.path / "rootfs/fifo").write_text("go\n")
    rest = [json.loads(line) for line in process.communicate(timeout=30)[0].splitlines()]
    assert process.returncode == 0
    assert {"type": "oom", "id": bundle.id} in rest


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_notice_that_a_cgroup_is_empty(tmp_path: Path) -> None:
    """v2, also where the memory controller is with v1."""
    hierarchy = next((h for h in detect().hierarchies if h.v2), None)
    if hierarchy is None:
        pytest.skip("no cgroup v2 hierarchy")
    folder = hierarchy.folder(f"/ocirt-{tmp_path.name}")
    manager = Manager({"": folder}, {"": folder}, folder, pure=True)
    os.mkdir(folder)
    try:
        pid = child(manager, 0)
        while not manager.processes():
            time.sleep(0.01)
        notifier = open_notifier(manager)
        assert notifier.read() == 0
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert wait(notifier) == (0, True)
        notifier.close()
    finally:
        manager.destroy()
