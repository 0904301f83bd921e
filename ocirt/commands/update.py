"""``update [--resources FILE | LIMIT...] ID`` (CONTRACT.md row 24)."""

from __future__ import annotations

import os
import sys

from ocirt.errors import OcirtError, UsageError
from ocirt.runtime.store import Store
from ocirt.runtime.update import update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
# option, member of LinuxResources, member of that, a size in bytes
_LIMITS = (
    ("memory", "memory", "limit", True),
    ("memory-reservation", "memory", "reservation", True),
    ("memory-swap", "memory", "swap", True),
    ("kernel-memory", "memory", "kernel", True),
    ("kernel-memory-tcp", "memory", "kernelTCP", True),
    ("cpu-period", "cpu", "period", False),
    ("cpu-quota", "cpu", "quota", False),
    ("cpu-burst", "cpu", "burst", False),
    ("cpu-share", "cpu", "shares", False),
    ("cpu-rt-period", "cpu", "realtimePeriod", False),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", False),
    ("blkio-weight", "blockIO", "weight", False),
    ("pids-limit", "pids", "limit", False),
)
_SIZE_MAX = 16 << 20


def run(options: Options) -> int:
    """The pointers of its errors start at the resources."""
    resources, name = _resources(options)
    rdt = _schemata(options)
    update(Store(options.globals.root).open(options.id), resources, name, rdt)
    return 0


def _resources(options: Options) -> tuple[dict[str, Any], str]:
    """The object, and what errors call it."""
    from ocirt.config.load import check_resources, load_resources

    if not options.resources:
        resources = _from_flags(options)
        check_resources(resources, "update")
        return resources, "update"
    name = "resources" if options.resources == "-" else os.path.basename(options.resources)
    try:
        if options.resources == "-":
            data = sys.stdin.buffer.read(_SIZE_MAX)
        else:
            with open(options.resources, "rb") as file:
                data = file.read(_SIZE_MAX)
    except OSError as error:
        text = f"{options.resources}: {(error.strerror or '').lower()}"
        raise OcirtError(text, errno=error.errno or 0) from None
    return load_resources(data, name), name


def _schemata(options: Options) -> dict[str, str]:
    """They are no resources: their flags count beside a file, too."""
    l3_cache, bandwidth = options.l3_cache_schema, options.mem_bw_schema
    if bandwidth and ("\n" in bandwidth or not bandwidth.startswith("MB:")):
        raise UsageError("--mem-bw-schema: not a line that starts with MB:")
    found = (("--l3-cache-schema", l3_cache), ("--mem-bw-schema", bandwidth))
    return {flag: lines for flag, lines in found if lines}


def _from_flags(options: Options) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    for option, group, member, is_size in _LIMITS:
        text = getattr(options, option.replace("-", "_"))
        if text:
            value = size(option, text) if is_size else number(option, text)
            resources.setdefault(group, {})[member] = value
    for member, text in (("cpus", options.cpuset_cpus), ("mems", options.cpuset_mems)):
        if text:
            resources.setdefault("cpu", {})[member] = text
    if options.cpu_idle:
        resources.setdefault("cpu", {})["idle"] = number("cpu-idle", options.cpu_idle)
    return resources


def number(option: str, text: str) -> int:
    """Raises UsageError."""
    if not text.removeprefix("-").isdecimal() or not text.isascii() or len(text) > 20:
        raise UsageError(f"--{option}: {text!r} is no number")
    return int(text)


def size(option: str, text: str) -> int:
    """``512m``, ``1.5GiB``, ``-1``: bytes. Raises UsageError."""
    digits = text.lower().removesuffix("b").removesuffix("i")
    unit = digits[-1:] if digits[-1:].isalpha() else ""
    whole, dot, fraction = digits.removesuffix(unit).rstrip().partition(".")
    if unit not in _UNITS or dot and not (fraction.isdecimal() and fraction.isascii()):
        raise UsageError(f"--{option}: {text!r} is no size")
    value = number(option, whole) * _UNITS[unit]
    return value + (int(fraction) * _UNITS[unit] // 10 ** len(fraction) if dot else 0)
