"""Limits that the kernel refuses, or that it does not have: exit status 1, the place, the errno,
nothing left behind; and after a refused update every file is as before."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import V2, Limited

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers and cgroups need root")

MEGABYTE = 1 << 20
INT64, UINT64 = (1 << 63) - 1, (1 << 64) - 1
NO_DEVICE = {"major": 4095, "minor": 9}
# Beside limits: what can be written, too.
NO_LIMITS = (
    "cgroup.procs",
    "cgroup.threads",
    "tasks",
    "cpuacct.usage",
    "memory.kmem.max_usage_in_bytes",
    "memory.kmem.tcp.max_usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.memsw.max_usage_in_bytes",
    "memory.peak",
    "memory.reclaim",
    "memory.swap.peak",
    "pids.peak",
    *(f"{controller}.pressure" for controller in ("cpu", "io", "irq", "memory")),
)

# (resources, the place, what is said, the file that it needs of version 1, of version 2)
CASES: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "negative memory": ({"memory": {"limit": -2}}, "memory/limit", "must be at least -1", "", ""),
    "memory beyond 64 bits": (
        {"memory": {"limit": INT64 + 1}},
        "memory/limit",
        f"must be at most {INT64}",
        "",
        "",
    ),
    "negative shares": ({"cpu": {"shares": -1}}, "cpu/shares", "must be at least 0", "", ""),
    "shares beyond 64 bits": (
        {"cpu": {"shares": UINT64 + 1}},
        "cpu/shares",
        f"must be at most {UINT64}",
        "",
        "",
    ),
    "negative period": ({"cpu": {"period": -1}}, "cpu/period", "must be at least 0", "", ""),
    "negative tasks": ({"pids": {"limit": -2}}, "pids/limit", "must be at least -1", "", ""),
    "negative rate": (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 1, "minor": 1, "rate": -1}]}},
        "blockIO/throttleReadBpsDevice/0/rate",
        "must be at least 0",
        "",
        "",
    ),
    "a text for a number": (
        {"pids": {"limit": "5"}},
        "pids/limit",
        "must be an integer, not a string",
        "",
        "",
    ),
    "CPUs of nonsense": ({"cpu": {"cpus": "a-b"}}, "cpu/cpus", "is no number or range", "", ""),
    "memory nodes of nonsense": ({"cpu": {"mems": "1-"}}, "cpu/mems", "is no number or", "", ""),
    # ---- what only the kernel knows
    "too many tasks": ({"pids": {"limit": INT64}}, "pids/limit", "EINVAL", "pids.max", "pids.max"),
    "quota of nothing": (
        {"cpu": {"quota": 1}},
        "cpu/quota",
        "EINVAL",
        "cpu.cfs_quota_us",
        "cpu.max",
    ),
    "quota of centuries": (
        {"cpu": {"quota": INT64}},
        "cpu/quota",
        "EINVAL",
        "cpu.cfs_quota_us",
        "cpu.max",
    ),
    "period of nothing": (
        {"cpu": {"period": 1}},
        "cpu/period",
        "EINVAL",
        "cpu.cfs_period_us",
        "cpu.max",
    ),
    "period of centuries": (
        {"cpu": {"period": UINT64}},
        "cpu/period",
        "EINVAL",
        "cpu.cfs_period_us",
        "cpu.max",
    ),
    "burst of centuries": (
        {"cpu": {"burst": UINT64}},
        "cpu/burst",
        str(UINT64),
        "cpu.cfs_burst_us",
        "cpu.max.burst",
    ),
    "CPU-65535": (
        {"cpu": {"cpus": "0,65535"}},
        "cpu/cpus",
        "ERANGE",
        "cpuset.cpus",
        "cpuset.cpus",
    ),
    "memory-node-65535": (
        {"cpu": {"mems": "65535"}},
        "cpu/mems",
        "ERANGE",
        "cpuset.mems",
        "cpuset.mems",
    ),
    "a page size of another machine": (
        {"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]},
        "hugepageLimits/0",
        "hugetlb.3MB.",
        "",
        "",
    ),
    "a rate of no device": (
        {"blockIO": {"throttleWriteIOPSDevice": [{**NO_DEVICE, "rate": 5}]}},
        "blockIO/throttleWriteIOPSDevice/0",
        "ENODEV",
        "blkio.throttle.write_iops_device",
        "io.max",
    ),
    "a file that no kernel has": (
        {"unified": {"memory.nonsense": "1"}},
        "unified/memory.nonsense",
        "this kernel has no memory.nonsense" if V2 else "needs cgroup v2",
        "memory.limit_in_bytes",
        "memory.max",
    ),
    "a controller that no kernel has": (
        {"unified": {"nonsense.max": "1"}},
        "unified/nonsense.max",
        "controller nonsense",
        "",
        "",
    ),
    "a text that the kernel refuses": (
        {"unified": {"cgroup.max.depth": "nonsense"}},
        "unified/cgroup.max.depth",
        "EINVAL",
        "",
        "cgroup.max.depth",
    ),
    "a file that is no limit": (
        {"unified": {"cgroup.procs": "1"}},
        "unified/cgroup.procs",
        "is no limit",
        "",
        "",
    ),
}
if not V2:
    CASES |= {
        "less than is used": (
            {"memory": {"limit": 4096}},
            "memory/limit",
            "EBUSY",
            "memory.limit_in_bytes",
            "",
        ),
        "less shares than there can be": (
            {"cpu": {"shares": 1}},
            "cpu/shares",
            "must be from 2 to 262144",
            "",
            "",
        ),
        "realtime longer than the period": (
            {"cpu": {"realtimeRuntime": 9000, "realtimePeriod": 5000}},
            "cpu/realtimeRuntime",
            "EINVAL",
            "cpu.rt_runtime_us",
            "",
        ),
    }
else:
    CASES |= {
        "less than is used": (
            {"memory": {"limit": 4096, "checkBeforeUpdate": True}},
            "memory/limit",
            "rejecting memory limit 4096: ",
            "",
            "memory.max",
        ),
    }


def case(name: str, needs: Callable[..., None]) -> tuple[dict[str, Any], str, str]:
    resources, at, message, v1, v2 = CASES[name]
    if v1 or v2:
        needs(*filter(None, (v1, v2)))
    return resources, at, message


def limits(limited: Limited) -> dict[Path, str]:
    """The text of every file of its cgroups that can be read and written."""
    found = {}
    for folder in limited.folders():
        for file in folder.iterdir():
            mode = file.stat().st_mode
            if stat.S_ISREG(mode) and mode & 0o600 == 0o600 and file.name not in NO_LIMITS:
                try:
                    found[file] = file.read_text()
                except OSError:  # this kernel only lists it
                    continue
    return found


@pytest.mark.parametrize("name", CASES)
def test_create(
    name: str, limited: Limited, needs: Any, leftovers: Callable[[Any], list[str]]
) -> None:
    resources, at, message = case(name, needs)
    done = limited.create(resources)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = [line for line in done.stderr.splitlines() if "hint: " not in line]
    assert line.startswith(f"ocirt: config.json#/linux/resources/{at}: ")
    assert message in line
    assert limited.ocirt.ids() == []
    assert leftovers(limited.bundle) == []


@pytest.mark.skipif(not V2, reason="version 1 refuses such a limit")
def test_a_limit_that_kills_the_set_up(limited: Limited, needs: Any, leftovers: Any) -> None:
    """Version 2 takes it, and kills who is over it."""
    needs("memory.max")
    done = limited.create({"memory": {"limit": 4096, "swap": 4096}})
    text = "the kernel killed the set-up process: it needs more memory than that"
    assert done.returncode == 1
    assert f"config.json#/linux/resources/memory/limit: {text}" in done.stderr
    assert limited.ocirt.ids() == []
    assert leftovers(limited.bundle) == []


@pytest.mark.parametrize("name", CASES)
def test_update(name: str, limited: Limited, needs: Any) -> None:
    """With good limits beside the bad one: they don't stay either."""
    resources, at, message = case(name, needs)
    limited.run(BEFORE)
    before = limits(limited)
    together = {**GOOD}
    for group, members in resources.items():
        both = isinstance(members, dict) and group in GOOD
        together[group] = {**GOOD[group], **members} if both else members
    done = limited.update(together)
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line for line in done.stderr.splitlines() if "hint: " not in line]
    assert any(f"resources#/{at}: " in line and message in line for line in lines), lines
    assert limits(limited) == before
    # The good ones alone are taken.
    assert limited.update(GOOD).returncode == 0
    assert limits(limited) != before
    assert limited.ocirt.state(limited.id)["status"] == "running"


BEFORE: dict[str, Any] = {
    "memory": {"limit": 64 * MEGABYTE, "swap": 80 * MEGABYTE, "reservation": 32 * MEGABYTE},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    "pids": {"limit": 50},
}
GOOD: dict[str, Any] = {
    "memory": {"limit": 96 * MEGABYTE, "swap": 200 * MEGABYTE, "reservation": 33 * MEGABYTE},
    "cpu": {"shares": 600, "quota": 60000, "period": 90000},
    "pids": {"limit": 60},
}


# ---- containers that can't be updated, documents that can't be read


def test_no_container(limited: Limited) -> None:
    done = limited.update({"pids": {"limit": 5}})
    assert done.returncode == 1
    assert "does not exist" in done.stderr


def test_a_stopped_container(limited: Limited) -> None:
    limited.run({})
    limited.ocirt("kill", limited.id, "KILL", check=True)
    limited.ocirt("update", "--pids-limit", "5", limited.id)  # perhaps it has not ended yet
    end = time.monotonic() + 30
    while limited.ocirt.state(limited.id)["status"] != "stopped":
        assert time.monotonic() < end
    done = limited.update({"pids": {"limit": 5}})
    assert done.returncode == 1
    assert f"container not running: {limited.id} is stopped" in done.stderr


def test_created_and_paused_containers_can_be_updated(limited: Limited, needs: Any) -> None:
    needs("pids.max")
    assert limited.create({}).returncode == 0
    limited.ocirt("update", "--pids-limit", "50", limited.id, check=True)
    assert limited.read("pids.max") == "50"
    limited.ocirt("start", limited.id, check=True)
    limited.ocirt("pause", limited.id, check=True)
    limited.ocirt("update", "--pids-limit", "60", limited.id, check=True)
    assert limited.read("pids.max") == "60"
    assert limited.ocirt.state(limited.id)["status"] == "paused"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "resources#: not valid JSON: line 1 column 2"),
        ("[]", "resources#: must be an object, not an array"),
        ('{"pids": 5}', "resources#/pids: must be an object"),
        ('{"memory": {"limit": 1e400}}', "resources#"),
        ('{"memory": {"limit": NaN}}', "resources#"),
        (' {"pids": {"limit": 5}} x', "resources#: not valid JSON"),
        ('{"cpu": {"cpus": "0\\u0000"}}', "resources#/cpu/cpus: "),
        ('{"unified": {"memory.high": "1\\ud800"}}', "resources#/unified/memory.high"),
    ],
)
def test_bad_documents(text: str, message: str, limited: Limited) -> None:
    limited.run({})
    before = limits(limited)
    done = limited.ocirt("update", "--resources", "-", limited.id, input=text)
    assert done.returncode == 1
    assert message in done.stderr
    assert limits(limited) == before


def test_files_that_can_not_be_read(limited: Limited, tmp_path: Path) -> None:
    limited.run({})
    done = limited.ocirt("update", "--resources", str(tmp_path / "none"), limited.id)
    assert done.returncode == 1
    assert f"{tmp_path}/none: no such file or directory" in done.stderr
    done = limited.ocirt("update", "--resources", str(tmp_path), limited.id)
    assert done.returncode == 1
    assert f"{tmp_path}: is a directory" in done.stderr
    done = limited.ocirt("update", "--resources", "-", limited.id)  # an empty input
    assert done.returncode == 1
    assert "resources#: not valid JSON" in done.stderr
    (tmp_path / "r.json").write_text('{"pids": {"limit": -9}}')
    done = limited.ocirt("update", "--resources", str(tmp_path / "r.json"), limited.id)
    assert done.returncode == 1
    assert "r.json#/pids/limit: must be at least -1" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--memory", "lots"], "--memory: 'lots' is no size"),
        (["--memory", "-5"], "update#/memory/limit: must be at least -1, not -5"),
        (["--memory", "9999999p"], "update#/memory/limit: must be at most"),
        (["--cpu-quota", "1.5"], "--cpu-quota: '1.5' is no number"),
        (["--cpu-period", "-1"], "update#/cpu/period: must be at least 0"),
        (["--cpuset-cpus", "x"], "update#/cpu/cpus: 'x' is no number or range"),
        (["--cpu-share", "18446744073709551616"], "update#/cpu/shares: must be at most"),
        (["--pids-limit", "9223372036854775807"], "update#/pids/limit: write 9223372036854775807"),
    ],
)
def test_bad_flags(flags: list[str], message: str, limited: Limited, needs: Any) -> None:
    needs("pids.max")
    limited.run({})
    before = limits(limited)
    done = limited.ocirt("update", *flags, limited.id)
    assert done.returncode == 1
    assert message in done.stderr
    assert limits(limited) == before
