"""What limits do: each is seen at work in a container."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND, V2, Limited

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers and cgroups need root")

MEGABYTE = 1 << 20
EAT = "x=x; while :; do x=$x$x; done"  # doubles its memory
KMSG: dict[str, Any] = {"type": "c", "major": 1, "minor": 11}


def wait(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---- memory


def test_oom_kill_and_its_event(limited: Limited, needs: Any) -> None:
    needs("memory.limit_in_bytes", "memory.max")
    limited.bundle.document["root"]["readonly"] = False
    os.mkfifo(limited.bundle.path / "rootfs/fifo")
    limited.bundle.shell(f"read line < /fifo; {EAT}")
    limited.run({"memory": {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE}})
    pid = limited.ocirt.state(limited.id)["pid"]
    command = [str(COMMAND), "--root", str(limited.ocirt.root), "events", "--interval=100ms"]
    process = subprocess.Popen([*command, limited.id], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    usage = json.loads(process.stdout.readline())["data"]["memory"]["usage"]
    assert usage["limit"] == 16 * MEGABYTE
    assert 0 < usage["usage"] <= 16 * MEGABYTE
    (limited.bundle.path / "rootfs/fifo").write_text("go\n")
    rest = [json.loads(line) for line in process.communicate(timeout=60)[0].splitlines()]
    assert {"type": "oom", "id": limited.id} in rest
    wait(lambda: limited.ocirt.state(limited.id)["status"] == "stopped")
    assert not Path(f"/proc/{pid}/root").exists()


def test_killed_by_the_limit_is_the_exit_status(limited: Limited, needs: Any) -> None:
    needs("memory.limit_in_bytes", "memory.max")
    resources = {"memory": {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE}}
    limited.bundle.document["linux"]["resources"] = resources
    assert limited.bundle.shell(EAT).run(limited.ocirt).returncode == 128 + 9
    # The same fits into a larger one.
    limited.bundle.document["linux"]["resources"] = {"memory": {"limit": 256 * MEGABYTE}}
    fill = "x=x; while [ ${#x} -lt 8000000 ]; do x=$x$x; done; echo ${#x}"
    done = limited.bundle.shell(fill).run(limited.ocirt)
    assert (done.returncode, done.stdout) == (0, "8388608\n")


def test_a_limit_by_update_holds(limited: Limited, needs: Any) -> None:
    needs("memory.limit_in_bytes", "memory.max")
    limited.run({})
    resources = {"memory": {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE}}
    assert limited.update(resources).returncode == 0
    assert limited.ocirt("exec", limited.id, "sh", "-c", EAT).returncode == 128 + 9
    assert limited.ocirt.state(limited.id)["status"] == "running"


@pytest.mark.skipif(V2, reason="version 2 has no such switch")
def test_no_oom_killer(limited: Limited, needs: Any) -> None:
    """Who wants more than there is waits, and goes on when there is more."""
    needs("memory.oom_control")
    memory = {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE, "disableOOMKiller": True}
    fill = "x=x; while [ ${#x} -lt 16000000 ]; do x=$x$x; done"
    limited.bundle.shell(fill)
    limited.run({"memory": memory})
    wait(lambda: "under_oom 1" in limited.read("memory.oom_control"))
    assert limited.ocirt.state(limited.id)["status"] == "running"
    more = {"limit": 256 * MEGABYTE, "swap": 256 * MEGABYTE, "disableOOMKiller": False}
    assert limited.update({"memory": more}).returncode == 0
    wait(lambda: limited.ocirt.state(limited.id)["status"] == "stopped")
    lines = limited.read("memory.oom_control").splitlines()
    assert lines[0] == "oom_kill_disable 0"
    assert "oom_kill 0" in lines


@pytest.mark.skipif(V2, reason="version 2 has no such switch")
def test_delete_of_who_waits_for_memory(limited: Limited, needs: Any) -> None:
    needs("memory.oom_control")
    memory = {"limit": 16 * MEGABYTE, "swap": 16 * MEGABYTE, "disableOOMKiller": True}
    limited.bundle.shell(EAT)
    limited.run({"memory": memory})
    wait(lambda: "under_oom 1" in limited.read("memory.oom_control"))
    limited.ocirt("delete", "--force", limited.id, check=True)


# ---- pids


def test_a_fork_bomb(limited: Limited, needs: Any) -> None:
    needs("pids.max")
    bomb = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; echo $i processes"
    limited.bundle.document["linux"]["resources"] = {"pids": {"limit": 20}}
    done = limited.bundle.shell(bomb).run(limited.ocirt)
    assert done.returncode != 0
    assert "can't fork" in done.stderr
    assert done.stdout == ""
    limited.bundle.document["linux"]["resources"] = {"pids": {"limit": 100}}
    done = limited.bundle.shell(bomb).run(limited.ocirt)
    assert (done.returncode, done.stdout) == (0, "60 processes\n")


def test_a_fork_bomb_after_update(limited: Limited, needs: Any) -> None:
    needs("pids.max")
    limited.run({})
    limited.ocirt("update", "--pids-limit", "10", limited.id, check=True)
    bomb = "while :; do sleep 1000 & done"
    done = limited.ocirt("exec", limited.id, "sh", "-c", bomb)
    assert "can't fork" in done.stderr
    assert 1 < int(limited.read("pids.current")) <= 10


# ---- cpu


def used(limited: Limited) -> float:
    """CPU seconds."""
    nanoseconds = limited.read("cpuacct.usage")
    if nanoseconds:
        return int(nanoseconds) / 1e9
    stat = dict(line.split() for line in limited.read("cpu.stat").splitlines())
    return int(stat["usage_usec"]) / 1e6


def test_a_quota_bounds_the_time(limited: Limited, needs: Any) -> None:
    """One fifth of a CPU, where without a limit it would be all of it. In each period that has
    begun it may use the quota, and is stopped by the next tick of the clock, of which the slowest
    kernels have 100 in a second. So the bound is three tenths of the time, and two periods more
    for both ends. A busy machine gives less. In an emulated one the time in which the host does
    something else counts as the container's, and so there are five tries."""
    needs("cpu.cfs_quota_us", "cpu.max")
    quota, tick, period = 0.02, 0.01, 0.1
    limited.bundle.shell("while :; do :; done")
    limited.run({"cpu": {"quota": int(quota * 1e6), "period": int(period * 1e6)}})
    excess = []
    for _ in range(5):
        # The clock is read outside of what it measures.
        begin, before = time.monotonic(), used(limited)
        time.sleep(2)
        spent, wall = used(limited) - before, time.monotonic() - begin
        assert spent > 0
        excess.append(spent - (wall / period + 2) * (quota + tick))
        if excess[-1] <= 0:
            break
    assert excess[-1] <= 0, excess


def test_cpus(limited: Limited, needs: Any) -> None:
    needs("cpuset.cpus")
    last = max(os.sched_getaffinity(0))
    limited.bundle.shell("grep Cpus_allowed_list /proc/self/status")
    limited.bundle.document["linux"]["resources"] = {"cpu": {"cpus": str(last)}}
    done = limited.bundle.run(limited.ocirt)
    assert done.stdout.split() == ["Cpus_allowed_list:", str(last)]


def test_cpus_and_a_deadline(limited: Limited, needs: Any) -> None:
    """sched_setattr(2): a process with a deadline must be allowed on all CPUs."""
    needs("cpuset.cpus")
    cpus = os.sched_getaffinity(0)
    deadline = {"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 10**6, "period": 10**6}
    limited.bundle.shell("true").document["process"]["scheduler"] = deadline
    limited.bundle.document["linux"]["resources"] = {"cpu": {"cpus": str(max(cpus))}}
    done = limited.bundle.run(limited.ocirt)
    if len(cpus) > 1:
        assert done.returncode == 1 and "config.json#/process/scheduler: " in done.stderr
        assert "process scheduler can't be used together with AllowedCPUs" in done.stderr
    else:
        assert done.returncode == 0


def test_cpus_after_update(limited: Limited, needs: Any) -> None:
    needs("cpuset.cpus")
    limited.run({})
    pid = limited.ocirt.state(limited.id)["pid"]
    for cpu in sorted(os.sched_getaffinity(0)):
        limited.ocirt("update", "--cpuset-cpus", str(cpu), limited.id, check=True)
        assert os.sched_getaffinity(pid) == {cpu}


# ---- devices


def opens(limited: Limited, redirection: str) -> bool:
    """Does the container get /dev/kmsg?"""
    script = f": {redirection} /dev/kmsg"
    done = limited.ocirt("exec", "--cap", "CAP_SYSLOG", limited.id, "sh", "-c", script)
    assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr
    return bool(done.returncode == 0)


def makes(limited: Limited, kind: str = "c") -> bool:
    script = f"busybox mknod /dev/new {kind} 1 11 && rm /dev/new"
    done = limited.ocirt("exec", "--cap", "CAP_MKNOD", limited.id, "sh", "-c", script)
    assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr
    return bool(done.returncode == 0)


@pytest.fixture
def with_kmsg(limited: Limited) -> Limited:
    """Its node is there; the rules decide."""
    node = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    limited.bundle.document["linux"]["devices"] = [node]
    (limited.bundle.path / "rootfs/bin/rm").symlink_to("busybox")
    capabilities = limited.bundle.document["process"]["capabilities"]
    capabilities["bounding"] += ["CAP_MKNOD", "CAP_SYSLOG"]
    return limited


DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}


def test_what_no_rule_allows(with_kmsg: Limited) -> None:
    with_kmsg.run({"devices": [DENY_ALL]})
    assert not opens(with_kmsg, "<")
    assert not opens(with_kmsg, ">")
    assert makes(with_kmsg)
    for node in ("null", "zero", "full", "random", "urandom"):
        script = f": < /dev/{node}"
        assert with_kmsg.ocirt("exec", with_kmsg.id, "sh", "-c", script).returncode == 0


def test_what_a_rule_allows(with_kmsg: Limited) -> None:
    with_kmsg.run({"devices": [DENY_ALL, {"allow": True, "access": "r", **KMSG}]})
    assert opens(with_kmsg, "<")
    assert not opens(with_kmsg, ">")


def test_what_a_rule_denies(with_kmsg: Limited) -> None:
    with_kmsg.run({"devices": [ALLOW_ALL, {"allow": False, "access": "wm", **KMSG}]})
    assert opens(with_kmsg, "<")
    assert not opens(with_kmsg, ">")
    assert not makes(with_kmsg)
    assert makes(with_kmsg, "b")


def test_other_rules_by_update(with_kmsg: Limited) -> None:
    with_kmsg.run({"devices": [DENY_ALL]})
    for access in ("r", "w", "rwm", ""):
        rules = [DENY_ALL, *([{"allow": True, "access": access, **KMSG}] if access else [])]
        done = with_kmsg.update({"devices": rules})
        assert (done.returncode, done.stderr) == (0, "")
        assert opens(with_kmsg, "<") == ("r" in access)
        assert opens(with_kmsg, ">") == ("w" in access)
    assert with_kmsg.update({"devices": [ALLOW_ALL]}).returncode == 0
    assert opens(with_kmsg, "<>")
    assert with_kmsg.update({"devices": []}).returncode == 0
    assert not opens(with_kmsg, "<")


def test_rules_of_an_update_that_fails(with_kmsg: Limited, needs: Any) -> None:
    """As they were, and the next update finds them so."""
    needs("pids.max")
    with_kmsg.run({"devices": [DENY_ALL, {"allow": True, "access": "r", **KMSG}]})
    rules = [DENY_ALL, {"allow": True, "access": "w", **KMSG}]
    for resources in (
        {"devices": rules, "pids": {"limit": (1 << 63) - 1}},
        {"devices": [*rules, {"allow": True, "access": "x"}]},
    ):
        assert with_kmsg.update(resources).returncode == 1
        assert opens(with_kmsg, "<")
        assert not opens(with_kmsg, ">")
    assert with_kmsg.update({"devices": rules}).returncode == 0
    assert not opens(with_kmsg, "<")
    assert opens(with_kmsg, ">")


# ---- of a program of the container's that runs before its first one


def test_start_container_hooks(ocirt: Any, bundle: Any) -> None:
    """The image says what they do: so they are limited as all else in the container, and end with
    it."""
    show = "cat /proc/self/cgroup; ulimit -n; cat /proc/self/oom_score_adj"
    script = f"({show}) > /tmp/hook; mknod /tmp/disk b 7 0 && cat /tmp/disk 2> /tmp/said"
    hook = {"path": "/bin/busybox", "args": ["busybox", "sh", "-c", f"{script}; true"]}
    bundle.document["hooks"] = {"startContainer": [hook]}
    bundle.document["root"]["readonly"] = False
    bundle.document["linux"]["resources"] = {"devices": [{"allow": False, "access": "rw"}]}
    process = bundle.document["process"]
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]
    process["oomScoreAdj"] = 123
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind] += ["CAP_MKNOD", "CAP_SYS_RESOURCE"]
    done = bundle.shell(f"({show}) > /tmp/own; cat /tmp/own").run(ocirt)
    hooked = (bundle.path / "rootfs/tmp/hook").read_text()
    assert done.stdout == hooked and hooked.endswith("\n77\n123\n")
    said = bundle.path / "rootfs/tmp/said"
    assert "Operation not permitted" in said.read_text()
