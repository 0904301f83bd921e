"""Statistics of cgroup v1: which file is which member of ``ocirt.cgroup.stats``.

As opencontainers/cgroups, fs/: the kernel's Documentation/admin-guide/cgroup-v1 explains the files.
"""

from __future__ import annotations

from ocirt.cgroup import folder_of
from ocirt.cgroup.stat_files import MAX, huge_page_sizes, lines, number, signed, table
from ocirt.cgroup.stat_files import read as read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TICK = 10_000_000  # nanoseconds: USER_HZ is 100 on every architecture
_CPUSET = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
)
# The names after blkio.PREFIX of one I/O scheduler, and which list they are. The first of a group
# tells whether the kernel has it (and did any I/O): the groups are tried in this order.
_ALL = (
    ("sectors_recursive", "sectors"),
    ("io_service_time_recursive", "service_time"),
    ("io_wait_time_recursive", "wait_time"),
    ("io_merged_recursive", "merged"),
    ("io_queued_recursive", "queued"),
    ("time_recursive", "time"),
    ("io_serviced_recursive", "serviced"),
    ("io_service_bytes_recursive", "service_bytes"),
)
_GROUPS = (
    ("blkio.bfq.", _ALL),
    ("blkio.bfq.", _ALL[-2:]),
    ("blkio.", _ALL),
    ("blkio.throttle.", _ALL[-2:]),
    ("blkio.throttle.", (("io_serviced", "serviced"), ("io_service_bytes", "service_bytes"))),
)


def read(folders: dict[str, str]) -> dict[str, Any]:
    """``folders``: of ``Manager``. A controller without a folder is all zeros."""

    def folder(controller: str) -> str:
        return folder_of(folders, controller) or "/nowhere"

    return {
        "cpu": {"usage": _cpu(folder("cpuacct")), "throttling": _throttling(folder("cpu"))},
        "cpuset": _cpuset(folder("cpuset")),
        "memory": _memory(folder("memory")),
        "pids": _pids(folder("pids")),
        "blkio": _blkio(folder("blkio")),
        "hugetlb": _hugetlb(folder("hugetlb")),
    }


def _cpu(folder: str) -> dict[str, Any]:
    ticks = table(folder, "cpuacct.stat")
    percpu = [
        int(word)
        for words in lines(folder, "cpuacct.usage_percpu")
        for word in words
        if word.isdecimal()
    ]
    each = [words for words in lines(folder, "cpuacct.usage_all")[1:] if len(words) >= 3]
    return {
        "total": number(folder, "cpuacct.usage"),
        "percpu": percpu,
        "percpu_kernel": [int(words[2]) for words in each],
        "percpu_user": [int(words[1]) for words in each],
        "kernel": ticks.get("system", 0) * _TICK,
        "user": ticks.get("user", 0) * _TICK,
    }


def _throttling(folder: str) -> dict[str, int]:
    stat = table(folder, "cpu.stat")
    return {
        "periods": stat.get("nr_periods", 0),
        "throttledPeriods": stat.get("nr_throttled", 0),
        "throttledTime": stat.get("throttled_time", 0),
    }


def _cpuset(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = {name: number(folder, f"cpuset.{name}") for name in _CPUSET}
    # -1: the system's default
    found["sched_relax_domain_level"] = signed(folder, "cpuset.sched_relax_domain_level")
    found["cpus"] = numbers(read_file(folder, "cpuset.cpus") or "")
    found["mems"] = numbers(read_file(folder, "cpuset.mems") or "")
    return found


def numbers(text: str) -> list[int]:
    """``0-2,5`` is [0, 1, 2, 5] (cpuset(7), "List format")."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if first.isdecimal() and (last.isdecimal() or not dash):
            found += range(int(first), int(last or first) + 1)
    return found


def _memory(folder: str) -> dict[str, Any]:
    raw = table(folder, "memory.stat")
    return {
        "cache": raw.get("cache", 0),
        "usage": _entry(folder, "memory"),
        "swap": _entry(folder, "memory.memsw"),
        "kernel": _entry(folder, "memory.kmem"),
        "kernelTCP": _entry(folder, "memory.kmem.tcp"),
        "raw": raw,
    }


def _entry(folder: str, name: str) -> dict[str, int]:
    return {
        "limit": number(folder, f"{name}.limit_in_bytes"),
        "usage": number(folder, f"{name}.usage_in_bytes"),
        "max": number(folder, f"{name}.max_usage_in_bytes"),
        "failcnt": number(folder, f"{name}.failcnt"),
    }


def _pids(folder: str) -> dict[str, int]:
    limit = number(folder, "pids.max")
    return {"current": number(folder, "pids.current"), "limit": 0 if limit == MAX else limit}


def _blkio(folder: str) -> dict[str, Any]:
    for prefix, group in _GROUPS:
        found: dict[str, Any] = {}
        for name, key in group:
            entries = _entries(folder, prefix + name)
            if not entries:
                break
            found[key] = entries
        if found:
            return found
    return {}


def _entries(folder: str, name: str) -> list[dict[str, Any]]:
    """Lines ``8:0 Read 4096``, or without the operation; the last, ``Total 4096``, is none."""
    found = []
    for words in lines(folder, name):
        major, _colon, minor = words[0].partition(":")
        if (
            major.isdecimal()
            and minor.isdecimal()
            and len(words) in (2, 3)
            and words[-1].isdecimal()
        ):
            op = words[1] if len(words) == 3 else ""
            device = {"major": int(major), "minor": int(minor)}
            found.append({**device, "op": op, "value": int(words[-1])})
    return found


def _hugetlb(folder: str) -> dict[str, dict[str, int]]:
    return {
        size: {
            "usage": number(folder, f"{base}.usage_in_bytes"),
            "max": number(folder, f"{base}.max_usage_in_bytes"),
            "failcnt": number(folder, f"{base}.failcnt"),
        }
        for size, base in huge_page_sizes(folder, "usage_in_bytes")
    }
