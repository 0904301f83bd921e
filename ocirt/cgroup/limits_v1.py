"""linux.resources as writes to the files of cgroup v1 hierarchies (admin-guide/cgroup-v1).

config-linux.md describes limits in these terms; what it leaves open is as in runc
(opencontainers/cgroups, fs/).
"""

from __future__ import annotations

from ocirt.cgroup.limits import UNLIMITED, Write, device_key
from ocirt.cgroup.limits_v2 import huge_page_writes, pids, rdma
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.cgroup.limits import Reader

    Resources = dict[str, Any]

_SHARES = (2, 262144)
_DEFAULT_SHARES = 1024
_MEMORY = (
    ("limit", "memory.limit_in_bytes"),
    ("swap", "memory.memsw.limit_in_bytes"),
    ("kernel", "memory.kmem.limit_in_bytes"),
    ("kernelTCP", "memory.kmem.tcp.limit_in_bytes"),
    ("reservation", "memory.soft_limit_in_bytes"),
)
_CPU = (
    ("realtimePeriod", "cpu.rt_period_us"),
    ("realtimeRuntime", "cpu.rt_runtime_us"),
    ("period", "cpu.cfs_period_us"),
    ("quota", "cpu.cfs_quota_us"),
)


def memory(resources: Resources, base: str, read: Reader) -> list[Write]:
    """0 is "not set", as the peers have it. The kernel itself refuses a limit below what is
    used, so that checkBeforeUpdate asks for nothing more."""
    memory, at = resources.get("memory") or {}, f"{base}/memory"
    found = []
    if "useHierarchy" in memory:
        use = memory["useHierarchy"]
        file, text = "memory.use_hierarchy", "1" if use else "0"
        found.append(Write(f"{at}/useHierarchy", "memory", file, text, optional=use))
    for name, file in _MEMORY:
        limit, where = memory.get(name) or 0, f"{at}/{name}"
        if name == "swap" and not limit and memory.get("limit") == UNLIMITED:
            limit, where = UNLIMITED, f"{at}/limit"  # or the limit of both would stay
        if limit:
            found.append(Write(where, "memory", file, limit, optional=limit < 0))
    if "swappiness" in memory:
        text = memory["swappiness"]
        found.append(Write(f"{at}/swappiness", "memory", "memory.swappiness", text))
    if "disableOOMKiller" in memory:
        off = memory["disableOOMKiller"]
        file, text = "memory.oom_control", "1" if off else "0"
        found.append(Write(f"{at}/disableOOMKiller", "memory", file, text, optional=not off))
    return found


def cpu(resources: Resources, base: str, read: Reader) -> list[Write]:
    """0 is "not set" but for burst and idle."""
    cpu, at = resources.get("cpu") or {}, f"{base}/cpu"
    found = []
    shares, idle = cpu.get("shares") or 0, cpu.get("idle")
    low, high = _SHARES
    if shares and not low <= shares <= high:  # the kernel would take the nearest one
        raise OcirtError(f"must be from {low} to {high}, not {shares}", at=f"{at}/shares")
    # The weight of an idle cgroup can't be set, and is the default when it is idle no more.
    if shares and idle != 1:
        default = shares == _DEFAULT_SHARES
        found.append(Write(f"{at}/shares", "cpu", "cpu.shares", shares, optional=default))
    if idle is not None:
        found.append(Write(f"{at}/idle", "cpu", "cpu.idle", idle, optional=idle == 0))
    for name, file in _CPU:
        value = cpu.get(name) or 0
        if value:
            found.append(Write(f"{at}/{name}", "cpu", file, value, optional=value < 0))
    burst = cpu.get("burst")
    if burst is not None:
        found.append(Write(f"{at}/burst", "cpu", "cpu.cfs_burst_us", burst, optional=burst == 0))
    return found


def cpuset(resources: Resources, base: str, read: Reader) -> list[Write]:
    """An empty list is "not set". A hierarchy mounted "noprefix" has shorter names."""
    cpu = resources.get("cpu") or {}
    found = []
    for name in ("cpus", "mems"):
        text = cpu.get(name, "").strip()
        if text:
            file = f"cpuset.{name}"
            if not read(file) and read(name):
                file = name
            found.append(Write(f"{base}/cpu/{name}", "cpuset", file, text))
    return found


def block_io(resources: Resources, base: str, read: Reader) -> list[Write]:
    """The weights are CFQ's up to Linux 4.20, and BFQ's since then."""
    block_io, at = resources.get("blockIO") or {}, f"{base}/blockIO"
    prefix, unset = ("blkio", "0") if read("blkio.weight") else ("blkio.bfq", "default")
    files = (("weight", f"{prefix}.weight"), ("leafWeight", "blkio.leaf_weight"))
    found = []
    for name, file in files:
        if block_io.get(name):
            found.append(Write(f"{at}/{name}", "blkio", file, block_io[name]))
    for index, device in enumerate(block_io.get("weightDevice") or []):
        key = device_key(device)
        for name, file in files:
            if device.get(name):
                here, text = f"{at}/weightDevice/{index}/{name}", f"{key} {device[name]}"
                file += "_device"
                found.append(Write(here, "blkio", file, text, key=key, unset=unset))
    for kind, name in _THROTTLES:
        member, file = f"throttle{kind}Device", f"blkio.throttle.{name}_device"
        for index, device in enumerate(block_io.get(member) or []):
            key = device_key(device)
            here, text = f"{at}/{member}/{index}", f"{key} {device['rate']}"
            found.append(Write(here, "blkio", file, text, key=key, unset="0"))
    return found


_THROTTLES = (
    ("ReadBps", "read_bps"),
    ("WriteBps", "write_bps"),
    ("ReadIOPS", "read_iops"),
    ("WriteIOPS", "write_iops"),
)


def huge_pages(resources: Resources, base: str, read: Reader) -> list[Write]:
    """Both what is used and what is reserved (config-linux.md, "Huge page limits")."""
    return huge_page_writes(resources, base, "limit_in_bytes")


def net_cls(resources: Resources, base: str, read: Reader) -> list[Write]:
    """0 is what every cgroup has."""
    class_id = (resources.get("network") or {}).get("classID") or 0
    if not class_id:
        return []
    return [Write(f"{base}/network/classID", "net_cls", "net_cls.classid", class_id)]


def net_prio(resources: Resources, base: str, read: Reader) -> list[Write]:
    """The interfaces are those of the network namespace of who writes, the host's."""
    priorities = (resources.get("network") or {}).get("priorities") or []
    found = []
    for index, entry in enumerate(priorities):
        at, name = f"{base}/network/priorities/{index}", entry["name"]
        text = f"{name} {entry['priority']}"
        found.append(Write(at, "net_prio", "net_prio.ifpriomap", text, key=name, unset="0"))
    return found


# As limits_v2.GROUPS.
GROUPS: dict[str, tuple[str, Callable[[Resources, str, Reader], list[Write]]]] = {
    "pids": ("pids", pids),
    "memory": ("memory", memory),
    "blockIO": ("blkio", block_io),
    "cpu": ("cpu", cpu),
    "cpuset": ("cpuset", cpuset),
    "hugepageLimits": ("hugetlb", huge_pages),
    "network": ("net_cls", net_cls),
    "priorities": ("net_prio", net_prio),
    "rdma": ("rdma", rdma),
}
