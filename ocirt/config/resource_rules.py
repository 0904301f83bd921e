"""What the schema can't say about linux.resources (config-linux.md, "Control groups").

Only what is wrong on every host: what a controller can't do is said when its files are written.
The same rules are for the document of ``update --resources``, whose pointers start at the object.
"""

from __future__ import annotations

from ocirt.config.report import Report
from ocirt.config.schema import shown
from ocirt.errors import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZES = ("limit", "reservation", "swap", "kernel", "kernelTCP")
_WEIGHTS = (10, 1000)  # of cgroup v1; what v2 gets is computed from them
_SHARES_MAX = 262144
_CPUS_MAX = 1 << 16  # more than any kernel is built for
_INTERFACE_MAX = 15  # IFNAMSIZ - 1
# Files of cgroup v2 that are limits; with the others ("cgroup.procs", "cgroup.kill") a config
# could reach processes that are none of the container's.
_CORE_FILES = ("cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure")


def _memory(resources: dict[str, Any], base: str, report: Report) -> None:
    memory = resources.get("memory") or {}
    at = f"{base}/memory"
    for name in _SIZES:
        _at_least(memory, name, -1, at, report)
    if memory.get("swappiness", 0) > 100:
        report.wrong(f"{at}/swappiness", f"must be from 0 to 100, not {memory['swappiness']}")
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if 0 < swap < limit:
        text = f"memory and swap together, {swap}, are less than the memory, {limit}"
        report.wrong(f"{at}/swap", text)


def _cpu(resources: dict[str, Any], base: str, report: Report) -> None:
    cpu = resources.get("cpu") or {}
    at = f"{base}/cpu"
    for name in ("quota", "realtimeRuntime"):
        _at_least(cpu, name, -1, at, report)
    if cpu.get("shares", 0) > _SHARES_MAX:
        report.wrong(f"{at}/shares", f"must be at most {_SHARES_MAX}, not {cpu['shares']}")
    if cpu.get("idle", 0) not in (0, 1):
        report.wrong(f"{at}/idle", f"must be 0 or 1, not {cpu['idle']}")
    if 0 < cpu.get("quota", 0) < cpu.get("burst", 0):
        text = f"{cpu['burst']} is more than the quota, {cpu['quota']}"
        report.wrong(f"{at}/burst", text)
    for name in ("cpus", "mems"):
        text = numbers_problem(cpu.get(name, ""))
        if text:
            report.wrong(f"{at}/{name}", text, hint='such as "0-3,7"')


def numbers_problem(text: str) -> str:
    """What is wrong with a list of CPUs or memory nodes, "" if nothing is (cpuset(7), "List
    format"; the stride of "0-10:2" is left to the kernel)."""
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        last = last.partition(":")[0] if dash else first
        for number in (first, last):
            if not (number.isascii() and number.isdigit() and len(number) < 10):
                return f"{shown(part.strip())} is no number or range"
        if not int(first) <= int(last) < _CPUS_MAX:
            return f"{part.strip()} is no range of numbers below {_CPUS_MAX}"
    return ""


def _block_io(resources: dict[str, Any], base: str, report: Report) -> None:
    block_io = resources.get("blockIO") or {}
    at = f"{base}/blockIO"
    for name in ("weight", "leafWeight"):
        _weight(block_io, name, at, report)
    for index, device in enumerate(block_io.get("weightDevice") or []):
        here = f"{at}/weightDevice/{index}"
        if not device.get("weight") and not device.get("leafWeight"):
            report.wrong(here, "has neither weight nor leafWeight")
        for name in ("weight", "leafWeight"):
            _weight(device, name, here, report)
        _device(device, here, report)
    for kind in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"):
        name = f"throttle{kind}Device"
        for index, device in enumerate(block_io.get(name) or []):
            here = f"{at}/{name}/{index}"
            if "rate" not in device:
                report.wrong(f"{here}/rate", "is required")
            _device(device, here, report)


def _weight(value: dict[str, Any], name: str, at: str, report: Report) -> None:
    low, high = _WEIGHTS
    weight = value.get(name) or 0  # 0: not set, as the peers have it
    if weight and not low <= weight <= high:
        report.wrong(f"{at}/{name}", f"must be from {low} to {high}, not {weight}")


def _device(device: dict[str, Any], at: str, report: Report) -> None:
    for name in ("major", "minor"):
        _at_least(device, name, 0, at, report)


def _pids(resources: dict[str, Any], base: str, report: Report) -> None:
    _at_least(resources.get("pids") or {}, "limit", -1, f"{base}/pids", report)


def _network(resources: dict[str, Any], base: str, report: Report) -> None:
    priorities = (resources.get("network") or {}).get("priorities") or []
    for index, entry in enumerate(priorities):
        name = entry["name"]
        if not 0 < len(name.encode("utf-8", "replace")) <= _INTERFACE_MAX or not _is_word(name):
            at = f"{base}/network/priorities/{index}/name"
            report.wrong(at, f"{shown(name)} is no name of a network interface")


def _rdma(resources: dict[str, Any], base: str, report: Report) -> None:
    for name, limits in (resources.get("rdma") or {}).items():
        at = f"{base}/rdma{pointer(name)}"
        if not name or not _is_word(name):
            report.wrong(at, "is no name of an RDMA device")
        elif not limits:
            report.wrong(at, "has neither hcaHandles nor hcaObjects")


def _unified(resources: dict[str, Any], base: str, report: Report) -> None:
    for key in resources.get("unified") or {}:
        at = f"{base}/unified{pointer(key)}"
        controller, dot, parameter = key.partition(".")
        if "/" in key or not _is_word(key):
            report.wrong(at, "is no name of a file of a cgroup")
        elif not (controller and dot and parameter):
            report.wrong(at, "is not CONTROLLER.PARAMETER", hint='such as "memory.high"')
        elif controller == "cgroup" and key not in _CORE_FILES:
            report.wrong(at, f"is no limit; of cgroup.* only {', '.join(_CORE_FILES)} are")


def _is_word(text: str) -> bool:
    """Printable and without spaces: one word of a line that the kernel splits."""
    return text.isprintable() and " " not in text and "/" not in text


def _at_least(value: dict[str, Any], name: str, least: int, at: str, report: Report) -> None:
    if value.get(name, least) < least:
        report.wrong(f"{at}/{name}", f"must be at least {least}, not {value[name]}")


# Each with the members of linux.resources that it reads.
RULES = (
    (("memory",), _memory),
    (("cpu",), _cpu),
    (("blockIO",), _block_io),
    (("pids",), _pids),
    (("network",), _network),
    (("rdma",), _rdma),
    (("unified",), _unified),
)
