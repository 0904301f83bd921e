"""What a container uses, in the JSON of ``runc events`` (runc's types/events.go, as of 1.5).

containerd, Docker and others read that JSON, so its keys, units and omissions are kept. Both
versions of cgroups are read into the same members; here those are left out that runc leaves out.
"""

from __future__ import annotations

from ocirt.cgroup import stats_v1, stats_v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.manager import Manager

_BLKIO = {
    "service_bytes": "ioServiceBytesRecursive",
    "serviced": "ioServicedRecursive",
    "queued": "ioQueueRecursive",
    "service_time": "ioServiceTimeRecursive",
    "wait_time": "ioWaitTimeRecursive",
    "merged": "ioMergedRecursive",
    "time": "ioTimeRecursive",
    "sectors": "sectorsRecursive",
}
_CPUSET = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def read_stats(manager: Manager) -> dict[str, Any]:
    """The members cpu, cpuset, memory, pids, blkio and hugetlb; of a cgroup that is gone they
    are zeros. Times are in nanoseconds, memory in bytes. Raises KernelError."""
    read = stats_v2.read(manager.unified) if manager.pure else stats_v1.read(manager.folders)
    cpu, cpuset, memory, blkio = read["cpu"], read["cpuset"], read["memory"], read["blkio"]
    return {
        "cpu": _members(
            {
                "usage": _struct(cpu["usage"], "kernel", "user"),
                "throttling": _struct(cpu["throttling"]),
                "psi": cpu.get("psi"),
            }
        ),
        "cpuset": _members({**dict.fromkeys(_CPUSET, 0), **cpuset}, *_CPUSET),
        "memory": _members(
            {
                "cache": memory["cache"],
                "usage": _struct(memory["usage"], "limit", "failcnt"),
                "swap": _struct(memory["swap"], "limit", "failcnt"),
                "kernel": _struct(memory["kernel"], "limit", "failcnt"),
                "kernelTCP": _struct(memory["kernelTCP"], "limit", "failcnt"),
                "raw": memory["raw"],
                "psi": memory.get("psi"),
            }
        ),
        "pids": _members(read["pids"]),
        "blkio": _members(
            {
                **{key: [_members(e) for e in blkio.get(k, [])] for k, key in _BLKIO.items()},
                "psi": blkio.get("psi"),
            }
        ),
        "hugetlb": {size: _members(v, "failcnt") for size, v in read["hugetlb"].items()},
    }


def _members(values: dict[str, Any], *always: str) -> dict[str, Any]:
    """Without those that are zero or empty (Go's omitempty), but for ``always``."""
    return {key: value for key, value in values.items() if value or key in always}


def _struct(values: dict[str, Any], *always: str) -> dict[str, Any]:
    """The same of an object that is left out where all of it is zero (Go's omitzero)."""
    return _members(values, *always) if any(values.values()) else {}
