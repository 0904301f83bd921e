"""linux.resources as writes to the files of a cgroup v2 folder (cgroup-v2.rst).

config-linux.md describes limits in the terms of version 1; where it says nothing about version 2
the conversions are those of runc (opencontainers/cgroups, fs2/ and utils.go). What version 2 does
not have is refused.
"""

from __future__ import annotations

from ocirt.cgroup.limits import UNLIMITED, Write, device_key
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.cgroup.limits import Reader

    Resources = dict[str, Any]

_DEFAULT_PERIOD = "100000"  # µs
_PERIOD = (1000, 1000000)  # what the kernel takes (sched/core.c, min_cfs_quota_period)
_SHARES_MAX, _WEIGHT_MAX = 262144, 10000
_DEFAULT_SHARES = 1024


def _refuse(value: object, at: str) -> None:
    if value:
        raise OcirtError("cgroup v2 has nothing like it", at=at)


def _text(limit: int) -> str:
    return "max" if limit < 0 else str(limit)


def memory(resources: Resources, base: str, read: Reader) -> list[Write]:
    """0 is "not set", as the peers have it. linux.resources.memory.swap counts memory and swap
    together, memory.swap.max swap alone."""
    memory, at = resources.get("memory") or {}, f"{base}/memory"
    for name in ("kernel", "kernelTCP"):
        _refuse(memory.get(name, 0) > 0, f"{at}/{name}")
    _refuse(memory.get("disableOOMKiller"), f"{at}/disableOOMKiller")
    _refuse("swappiness" in memory, f"{at}/swappiness")
    _refuse(memory.get("useHierarchy") is False, f"{at}/useHierarchy")
    limit = memory.get("limit") or 0
    if memory.get("checkBeforeUpdate"):
        _check_usage(memory, at, read)
    found = []
    swap = _swap(memory, at, read)
    if swap is not None:
        # Without swap accounting there is no file, and no swap to limit (runc).
        optional = swap <= 0
        where = f"{at}/{'swap' if memory.get('swap') else 'limit'}"
        found.append(Write(where, "memory", "memory.swap.max", _text(swap), optional=optional))
    if limit:
        found.append(Write(f"{at}/limit", "memory", "memory.max", _text(limit), optional=limit < 0))
    reservation = memory.get("reservation") or 0
    if reservation:
        where, optional = f"{at}/reservation", reservation < 0
        found.append(Write(where, "memory", "memory.low", _text(reservation), optional=optional))
    return found


def _swap(memory: dict[str, Any], at: str, read: Reader) -> int | None:
    """For memory.swap.max; None to leave it."""
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    old = read("memory.max").strip()
    if limit == UNLIMITED and swap == 0:
        return UNLIMITED  # as version 1: both
    if swap == 0:
        # An update of the memory alone leaves the sum of both as it is.
        swap_only = read("memory.swap.max").strip()
        if not (limit and old.isdigit() and swap_only.isdigit()):
            return None
        swap = int(old) + int(swap_only)
        if swap < limit:
            text = f"more than memory and swap together, {swap}, which are limited already"
            raise OcirtError(text, at=f"{at}/limit", hint="give memory.swap as well")
        return swap - limit
    if swap < 0 or limit < 0:
        return swap
    if limit == 0:
        if not old.isdigit():
            raise OcirtError("a limit of swap needs one of memory", at=f"{at}/swap")
        limit = int(old)
    if swap < limit:
        text = f"memory and swap together, {swap}, are less than the memory, {limit}"
        raise OcirtError(text, at=f"{at}/swap")
    return swap - limit


def _check_usage(memory: dict[str, Any], at: str, read: Reader) -> None:
    """checkBeforeUpdate: what version 1 does by itself. Version 2 would kill processes."""
    used = int(read("memory.current").strip() or 0)
    both = used + int(read("memory.swap.current").strip() or 0)
    for name, what, usage in (("swap", "memory+swap", both), ("limit", "memory", used)):
        if 0 < (memory.get(name) or 0) <= usage:
            # runc's words, and what is wrong.
            text = f"rejecting {what} limit {memory[name]}: {usage} bytes are used already"
            raise OcirtError(text, at=f"{at}/{name}")


def cpu(resources: Resources, base: str, read: Reader) -> list[Write]:
    """shares become a weight; quota and period are one file."""
    cpu, at = resources.get("cpu") or {}, f"{base}/cpu"
    for name in ("realtimeRuntime", "realtimePeriod"):
        _refuse(cpu.get(name, 0) > 0, f"{at}/{name}")
    found = []
    shares, idle = cpu.get("shares") or 0, cpu.get("idle")
    # The weight of an idle cgroup can't be set, and is the default when it is idle no more.
    if shares and idle != 1:
        default = shares == _DEFAULT_SHARES
        weight = cpu_weight(shares)
        found.append(Write(f"{at}/shares", "cpu", "cpu.weight", weight, optional=default))
    if idle is not None:
        found.append(Write(f"{at}/idle", "cpu", "cpu.idle", idle, optional=idle == 0))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota or period:
        old = [*read("cpu.max").split(), "", ""]
        text = _text(quota) if quota else old[0] or "max"
        optional = text == "max"
        text += f" {period or old[1] or _DEFAULT_PERIOD}"
        # Of the two the kernel only says that it doesn't like them.
        low, high = _PERIOD
        where = f"{at}/{'quota' if quota and low <= (period or low) <= high else 'period'}"
        found.append(Write(where, "cpu", "cpu.max", text, optional=optional))
    burst = cpu.get("burst")
    if burst is not None:
        found.append(Write(f"{at}/burst", "cpu", "cpu.max.burst", burst, optional=burst == 0))
    return found


def cpu_weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144): the curve through 2 -> 1,
    1024 -> 100 and 262144 -> 10000 that runc and crun have."""
    if shares <= 2:
        return 1
    if shares >= _SHARES_MAX:
        return _WEIGHT_MAX
    from math import ceil, log2

    log = log2(shares)
    power: float = 10 ** ((log * log + 125 * log) / 612 - 7 / 34)
    return ceil(power)


def cpuset(resources: Resources, base: str, read: Reader) -> list[Write]:
    """An empty list is "not set"."""
    cpu = resources.get("cpu") or {}
    return [
        Write(f"{base}/cpu/{name}", "cpuset", f"cpuset.{name}", cpu[name].strip())
        for name in ("cpus", "mems")
        if cpu.get(name, "").strip()
    ]


def pids(resources: Resources, base: str, read: Reader) -> list[Write]:
    """See ``tasks``."""
    limit = (resources.get("pids") or {}).get("limit")
    if limit is None:
        return []
    return [Write(f"{base}/pids/limit", "pids", "pids.max", tasks(limit), optional=limit < 0)]


def tasks(limit: int) -> str:
    """For pids.max. 0 is a limit as well, and 1 comes to the same: the container's process is
    there already. systemd knows no 0, so that both drivers write 1 (runc)."""
    return _text(limit) if limit else "1"


def block_io(resources: Resources, base: str, read: Reader) -> list[Write]:
    """The weights are BFQ's, where that scheduler is, or else those of the cost model."""
    block_io, at = resources.get("blockIO") or {}, f"{base}/blockIO"
    _refuse(block_io.get("leafWeight"), f"{at}/leafWeight")
    bfq = bool(read("io.bfq.weight"))
    file = "io.bfq.weight" if bfq else "io.weight"
    found = []
    weight = block_io.get("weight") or 0
    if weight:
        text = weight if bfq else io_weight(weight)
        found.append(Write(f"{at}/weight", "io", file, text, key="default", unset="100"))
    for index, device in enumerate(block_io.get("weightDevice") or []):
        here = f"{at}/weightDevice/{index}"
        _refuse(device.get("leafWeight"), f"{here}/leafWeight")
        weight = device["weight"]
        key = device_key(device)
        text = f"{key} {weight if bfq else io_weight(weight)}"
        found.append(Write(f"{here}/weight", "io", file, text, key=key, unset="default"))
    for kind, name in _THROTTLES:
        member = f"throttle{kind}Device"
        for index, device in enumerate(block_io.get(member) or []):
            key = device_key(device)
            text = f"{key} {name}={device['rate'] or 'max'}"
            here = f"{at}/{member}/{index}"
            found.append(Write(here, "io", "io.max", text, key=key, unset=_NO_THROTTLE))
    return found


_THROTTLES = (
    ("ReadBps", "rbps"),
    ("WriteBps", "wbps"),
    ("ReadIOPS", "riops"),
    ("WriteIOPS", "wiops"),
)
_NO_THROTTLE = " ".join(f"{name}=max" for _kind, name in _THROTTLES)


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for blockIO.weight (10 to 1000), on a straight line (runc, crun)."""
    return 1 + (weight - 10) * 9999 // 990


def huge_pages(resources: Resources, base: str, read: Reader) -> list[Write]:
    """Both what is used and what is reserved (config-linux.md, "Huge page limits")."""
    return huge_page_writes(resources, base, "max")


def huge_page_writes(resources: Resources, base: str, suffix: str) -> list[Write]:
    """``suffix``: what the files of the version end in."""
    found = []
    for index, entry in enumerate(resources.get("hugepageLimits") or []):
        at, size = f"{base}/hugepageLimits/{index}", entry["pageSize"]
        for kind, optional in (("", False), (".rsvd", True)):  # rsvd: Linux 5.7
            file = f"hugetlb.{size}{kind}.{suffix}"
            found.append(Write(at, "hugetlb", file, entry["limit"], optional=optional))
    return found


def network(resources: Resources, base: str, read: Reader) -> list[Write]:
    """Version 2 leaves that to eBPF programs and nftables."""
    network, at = resources.get("network") or {}, f"{base}/network"
    _refuse(network.get("classID"), f"{at}/classID")
    _refuse(network.get("priorities"), f"{at}/priorities")
    return []


def rdma(resources: Resources, base: str, read: Reader) -> list[Write]:
    """The same file in both versions (rdma.rst)."""
    found = []
    for name, limits in (resources.get("rdma") or {}).items():
        words = [name]
        for member, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if member in limits:
                words.append(f"{key}={limits[member]}")
        at = f"{base}/rdma{pointer(name)}"
        found.append(Write(at, "rdma", "rdma.max", " ".join(words), key=name, unset=_NO_RDMA))
    return found


_NO_RDMA = "hca_handle=max hca_object=max"


def unified(resources: Resources, base: str, read: Reader) -> list[Write]:
    """One write for each line: files with a line for each device take one at a time."""
    found = []
    for key, text in (resources.get("unified") or {}).items():
        at = f"{base}/unified{pointer(key)}"
        for line in text.splitlines() or [""]:
            unset, word = _KEYED.get(key, ""), ""
            if unset:
                word = line.split(" ")[0]
                if word == line:  # one number, for all devices
                    word = "default"
            found.append(Write(at, key.partition(".")[0], key, line, key=word, unset=unset))
    return found


# The files with a line for each of something, and what stands there for the others.
_KEYED = {
    "io.max": _NO_THROTTLE,
    "io.weight": "default",
    "io.bfq.weight": "default",
    "io.latency": "target=0",
    "rdma.max": _NO_RDMA,
    "misc.max": "max",
    "dmem.max": "max",
    "dmem.low": "0",
    "dmem.min": "0",
}


# What linux.resources has: (controller, compiler). limits_v1.py has the same names.
GROUPS: dict[str, tuple[str, Callable[[Resources, str, Reader], list[Write]]]] = {
    "pids": ("pids", pids),
    "memory": ("memory", memory),
    "blockIO": ("io", block_io),
    "cpu": ("cpu", cpu),
    "cpuset": ("cpuset", cpuset),
    "hugepageLimits": ("hugetlb", huge_pages),
    "network": ("", network),
    "rdma": ("rdma", rdma),
}
