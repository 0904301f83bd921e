"""Statistics of cgroup v2: which file is which member of ``ocirt.cgroup.stats``.

As opencontainers/cgroups, fs2/, which gives what v1 would; cgroup-v2.rst explains the files. Of
the cpuset it tells nothing, and of the kernel's memory only what is in ``raw``.
"""

from __future__ import annotations

from ocirt.cgroup.stat_files import MAX, huge_page_sizes, lines, number, table
from ocirt.cgroup.stat_files import read as read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOTHING = {"limit": 0, "usage": 0, "max": 0, "failcnt": 0}
_IO = {
    "rbytes": ("service_bytes", "Read"),
    "wbytes": ("service_bytes", "Write"),
    "rios": ("serviced", "Read"),
    "wios": ("serviced", "Write"),
}


def read(folder: str) -> dict[str, Any]:
    """``folder``: the cgroup's."""
    stat = table(folder, "cpu.stat")
    return {
        "cpu": {
            "usage": {
                "total": stat.get("usage_usec", 0) * 1000,
                "kernel": stat.get("system_usec", 0) * 1000,
                "user": stat.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": stat.get("nr_periods", 0),
                "throttledPeriods": stat.get("nr_throttled", 0),
                "throttledTime": stat.get("throttled_usec", 0) * 1000,
            },
            "psi": _pressure(folder, "cpu.pressure"),
        },
        "cpuset": {},
        "memory": {**_memory(folder), "psi": _pressure(folder, "memory.pressure")},
        "pids": _pids(folder),
        "blkio": {**_io(folder), "psi": _pressure(folder, "io.pressure")},
        "hugetlb": {
            size: {
                "usage": number(folder, f"{base}.current"),
                "failcnt": table(folder, f"hugetlb.{size}.events").get("max", 0),
            }
            for size, base in huge_page_sizes(folder, "current")
        },
    }


def _memory(folder: str) -> dict[str, Any]:
    raw = table(folder, "memory.stat")
    usage = _entry(folder, "memory")
    swap = _entry(folder, "memory.swap")
    # v1's means memory and swap together; their highest sum is not known.
    swap["usage"] += usage["usage"]
    swap["limit"] = min(MAX, swap["limit"] + usage["limit"])
    swap["max"] = 0
    return {
        "cache": raw.get("file", 0),
        "usage": usage,
        "swap": swap,
        "kernel": _NOTHING,
        "kernelTCP": _NOTHING,
        "raw": raw,
    }


def _entry(folder: str, name: str) -> dict[str, int]:
    return {
        "limit": number(folder, f"{name}.max"),
        "usage": number(folder, f"{name}.current"),
        "max": number(folder, f"{name}.peak"),
        "failcnt": 0,
    }


def _pids(folder: str) -> dict[str, int]:
    if read_file(folder, "pids.current") is None:
        # The controller is off. A threaded cgroup has no cgroup.procs.
        processes = read_file(folder, "cgroup.procs")
        if processes is None:
            processes = read_file(folder, "cgroup.threads") or ""
        return {"current": len(processes.split()), "limit": 0}
    limit = number(folder, "pids.max")
    return {"current": number(folder, "pids.current"), "limit": 0 if limit == MAX else limit}


def _io(folder: str) -> dict[str, Any]:
    """Lines ``8:0 rbytes=4096 wbytes=0 rios=1 ...``"""
    found: dict[str, list[dict[str, Any]]] = {}
    for device, *words in lines(folder, "io.stat"):
        major, _colon, minor = device.partition(":")
        if not (major.isdecimal() and minor.isdecimal()):
            continue
        for word in words:
            key, _equals, value = word.partition("=")
            if key in _IO and value.isdecimal():
                name, op = _IO[key]
                entry = {"major": int(major), "minor": int(minor), "op": op, "value": int(value)}
                found.setdefault(name, []).append(entry)
    return found


def _pressure(folder: str, name: str) -> dict[str, Any] | None:
    """Lines ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0`` (Documentation/accounting/psi.rst):
    averages are percents, the total is in microseconds. None where the kernel does not tell."""
    rows = lines(folder, name)
    if not rows:
        return None
    nothing = {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0}
    found: dict[str, Any] = {"some": nothing, "full": nothing}
    for kind, *words in rows:
        pairs = dict(word.split("=", 1) for word in words if "=" in word)
        if kind in found:
            found[kind] = {
                key: (int if key == "total" else float)(pairs.get(key, 0)) for key in nothing
            }
    return found
