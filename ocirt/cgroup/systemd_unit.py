"""What systemd is told about a container: the unit's name, its slice, and its properties.

Nothing here calls anything; systemd_bus.py does. Names and properties are those of runc's systemd
driver (its docs/systemd.md), so that engines find the cgroup where they look for it. systemd.slice(5),
systemd.resource-control(5) and org.freedesktop.systemd1(5) tell what they mean.
"""

from __future__ import annotations

from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Property = tuple[str, str, Any]  # name, D-Bus type, value

INFINITY = (1 << 64) - 1

_AT = "/linux/cgroupsPath"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_NAME_MAX = 255  # UNIT_NAME_MAX

# The versions of systemd that have a property first.
_QUOTA_PERIOD, _ALLOWED, _IDLE, _OOM_POLICY = 242, 244, 252, 253
_DEFAULT_PERIOD = 100_000  # µs: the kernel's
_CENTISECOND = 10_000  # µs
_CPUS = 1 << 16  # more than any kernel is built for
_MAJOR = 240  # from then on char-136 will do for a major number, and char-pts is not needed
_PTS = 136

# What every container may use, whatever its rules say: the nodes of config-linux.md, "Default
# Devices", ptys, making nodes; /dev/net/tun, which runc allows for the sake of old callers.
_RWM = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (_PTS, -1), (10, 200))
DEFAULT_DEVICES: tuple[Mapping[str, Any], ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _RWM
    ),
)

_UNIFIED = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


class Unit:
    """``name``: of the unit, with its suffix; ``slice``: the name of the slice that it is in."""

    __slots__ = ("name", "slice")

    def __init__(self, name: str, slice: str) -> None:
        self.name = name
        self.slice = slice

    @property
    def is_slice(self) -> bool:
        """Then it can't be given processes: they have to be moved into its cgroup."""
        return self.name.endswith(".slice")

    def cgroup(self, manager: str = "/") -> str:
        """Its cgroup, the same in every hierarchy, v2's and v1's, from the root.

        ``manager``: the cgroup of a user's manager, below which its units are
        (``Bus.control_group()``).
        """
        path = expand(self.name if self.is_slice else self.slice)
        if not self.is_slice:
            path = f"{path.rstrip('/')}/{self.name}"
        return manager.rstrip("/") + path


def parse(cgroups_path: str, id: str, rootless: bool, prefix: str = "ocirt") -> Unit:
    """The unit of linux.cgroupsPath, "slice:prefix:name", or of none: ":PREFIX:ID".

    An empty slice is the system's or the user's. Raises OcirtError.
    """
    parts = (cgroups_path or f":{prefix}:{id}").split(":")
    if len(parts) != 3:
        text = f'{cgroups_path!r} is not "slice:prefix:name", as the systemd driver needs it'
        raise OcirtError(text, at=_AT, hint="give --cgroup-manager cgroupfs, if it is a path")
    slice, prefix, name = parts
    slice = slice or ("user.slice" if rootless else "system.slice")
    expand(slice)
    if not name.endswith(".slice"):
        name = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        if name == ".scope" or len(name) > _NAME_MAX or not _LETTERS.issuperset(name):
            raise OcirtError(f"{name!r} is no name of a systemd unit", at=_AT)
    elif expand(name) == "/":
        raise OcirtError(f"{name} is the root of the hierarchy", at=_AT)
    return Unit(name, slice)


def expand(slice: str) -> str:
    """The cgroup of a slice: "a-b.slice" is "/a.slice/a-b.slice", "-.slice" is "/".

    Raises OcirtError for what is no slice's name.
    """
    stem, dot, suffix = slice.rpartition(".")
    if (dot, suffix) == (".", "slice") and stem == "-":
        return "/"
    parts = stem.split("-")
    good = "" not in parts and len(slice) <= _NAME_MAX and _LETTERS.issuperset(stem)
    if (dot, suffix) != (".", "slice") or not good:
        raise OcirtError(f"{slice!r} is no name of a systemd slice", at=_AT)
    names = ("-".join(parts[: i + 1]) for i in range(len(parts)))
    return "".join(f"/{name}.slice" for name in names)


def properties(
    unit: Unit,
    v2: bool,
    pids: Sequence[int],
    version: int,
    resources: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    allow_annotations: bool = True,
    devices: Sequence[Mapping[str, Any]] | None = None,
) -> list[Property]:
    """All that StartTransientUnit is told: (name, D-Bus type, value).

    ``version``: systemd's; ``resources``: linux.resources, or None to set them later;
    ``annotations``: those whose names begin with org.systemd.property. are properties too, and
    ``allow_annotations`` False refuses them; ``devices``: see ``resource_properties``.
    Raises OcirtError.
    """
    found: list[Property] = [("Description", "s", f"ocirt container {unit.name}")]
    if unit.is_slice:
        found.append(("Wants", "as", [unit.slice]))
    else:
        found += [("Slice", "s", unit.slice), ("Delegate", "b", True)]
        if pids:
            found.append(("PIDs", "au", list(pids)))
    # All of them: a controller that is enabled later has missed what was before.
    for name in ("Memory", "CPU", "IO" if v2 else "BlockIO", "Tasks"):
        found.append((f"{name}Accounting", "b", True))
    found.append(("DefaultDependencies", "b", False))
    if annotations:
        from ocirt.cgroup.systemd_annotations import annotated

        found += annotated(annotations, allow_annotations)
    resources = resources or {}
    group = (resources.get("unified") or {}).get("memory.oom.group", "").strip()
    # It can't be changed later (runc).
    if v2 and group in ("0", "1") and version >= _OOM_POLICY and not unit.is_slice:
        found.append(("OOMPolicy", "s", "kill" if group == "1" else "continue"))
    return found + resource_properties(resources, v2, version, devices)


def resource_properties(
    resources: Mapping[str, Any],
    v2: bool,
    version: int,
    devices: Sequence[Mapping[str, Any]] | None = None,
) -> list[Property]:
    """What SetUnitProperties is told, of linux.resources; (name, D-Bus type, value).

    It is not all: systemd has no property for some limits, and rounds one. The files of the cgroup
    have to be written after it. ``devices``: rules like those of linux.resources.devices, of which
    the last that fits counts (those of the config, then DEFAULT_DEVICES), or None to leave devices
    alone. Raises OcirtError.
    """
    found: list[Property] = []
    if devices is not None:
        found += _devices(devices, v2, version)
    found += _memory(resources.get("memory") or {}, v2)
    cpu = resources.get("cpu") or {}
    found += _cpu_share(cpu, v2, version)
    found += _quota(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    weight = (resources.get("blockIO") or {}).get("weight")
    if weight:
        found.append(("IOWeight", "t", io_weight(weight)) if v2 else ("BlockIOWeight", "t", weight))
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        found.append(("TasksMax", "t", _tasks(limit)))
    for key, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
        if cpu.get(key) and version >= _ALLOWED:
            found.append(
                (name, "ay", bit_mask(cpu[key], pointer("linux", "resources", "cpu", key)))
            )
    if v2:
        found += _unified(resources.get("unified") or {}, version)
    return found


def round_quota(quota: int, period: int) -> int:
    """The quota (µs) that systemd makes of it: a whole percent of a CPU, never less. What is
    written to the cgroup's file afterwards must be the same. 0 and less is no limit."""
    if quota <= 0:
        return quota
    period = period or _DEFAULT_PERIOD
    exact = quota * 1_000_000 // period
    rounded = _per_second(quota, period)
    return quota if rounded == exact else rounded * period // 1_000_000


def cpu_weight(shares: int) -> int:
    """cpu.weight of v2 for cpu.shares of v1 (0 for 0): the curve through 2 -> 1, 1024 -> 100 and
    262144 -> 10000 that runc and crun have."""
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    log = log2(shares)
    power: float = 10 ** ((log * log + 125 * log) / 612 - 7 / 34)
    return ceil(power)


def io_weight(weight: int) -> int:
    """IOWeight (1 to 10000) for blockIO.weight (10 to 1000): that of which systemd makes just
    that io.bfq.weight (BFQ_WEIGHT() in its cgroup.c, backwards)."""
    if weight <= 100:
        return weight
    return 100 + (weight - 100) * 9900 // 900


def bit_mask(text: str, at: str) -> bytes:
    """A list of CPUs or memory nodes, "0-2,5", as bits: CPU n is bit n % 8 of byte n // 8.

    ``at``: the pointer for errors. Raises OcirtError.
    """
    bits = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first and not dash:
            continue  # the kernel has nothing against commas either
        low, high = _number(first), _number(last if dash else first)
        if low is None or high is None or not low <= high < _CPUS:
            raise OcirtError(f"{part.strip()!r} is no number or range", at=at)
        bits |= (1 << high + 1) - (1 << low)
    if not bits:
        raise OcirtError("it names none", at=at)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _limit(value: int) -> int:
    return INFINITY if value < 0 else value


def _tasks(limit: int) -> int:
    return _limit(limit) or 1  # systemd knows no 0


def _memory(memory: Mapping[str, Any], v2: bool) -> list[Property]:
    """0 is "not set", as runc has it."""
    found: list[Property] = []
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit:
        found.append(("MemoryMax" if v2 else "MemoryLimit", "t", _limit(limit)))
    if not v2:
        return found
    if memory.get("reservation"):
        found.append(("MemoryLow", "t", _limit(memory["reservation"])))
    if limit < 0 and swap == 0:
        swap = -1  # all is unlimited, as on v1
    if swap > 0 and limit >= 0:  # memory and swap together, but v2 counts them apart
        at = "/linux/resources/memory/swap"
        if limit == 0:
            raise OcirtError("a limit of swap needs one of memory", at=at)
        if swap < limit:
            raise OcirtError(f"memory and swap, {swap}, are less than memory, {limit}", at=at)
        found.append(("MemorySwapMax", "t", swap - limit))
    elif swap:
        found.append(("MemorySwapMax", "t", _limit(swap)))
    return found


def _cpu_share(cpu: Mapping[str, Any], v2: bool, version: int) -> list[Property]:
    shares = cpu.get("shares") or 0
    if not v2:
        return [("CPUShares", "t", shares)] if shares else []
    if cpu.get("idle") == 1 and version >= _IDLE:
        return [("CPUWeight", "t", 0)]  # "idle"; the weight has no meaning then
    return [("CPUWeight", "t", cpu_weight(shares))] if shares else []


def _quota(quota: int, period: int, version: int) -> list[Property]:
    """Of µs, each 0 where it is not set. A quota of -1 is no limit."""
    found: list[Property] = []
    if period and version >= _QUOTA_PERIOD:
        found.append(("CPUQuotaPeriodUSec", "t", period))
    if quota > 0:
        found.append(("CPUQuotaPerSecUSec", "t", _per_second(quota, period or _DEFAULT_PERIOD)))
    elif quota or period:
        found.append(("CPUQuotaPerSecUSec", "t", INFINITY))
    return found


def _per_second(quota: int, period: int) -> int:
    """CPU time (µs) in a second, up to the next whole percent."""
    percent = -(-(quota * 1_000_000 // period) // _CENTISECOND)
    return max(percent, 1) * _CENTISECOND


def _unified(unified: Mapping[str, str], version: int) -> list[Property]:
    """linux.resources.unified: the files of which systemd knows what they mean."""
    found: list[Property] = []
    for key, text in unified.items():
        at = pointer("linux", "resources", "unified", key)
        if "/" in key or key.find(".") <= 0:
            raise OcirtError(f"{key!r} is not CONTROLLER.PARAMETER", at=at)
        value = text.strip()  # the kernel does not mind either
        if key == "cpu.max":
            found += _cpu_max(value, version, at)
        elif key == "cpu.idle" and value == "1" and version >= _IDLE:
            found.append(("CPUWeight", "t", 0))
        elif key == "cpu.weight":
            if unified.get("cpu.idle", "").strip() != "1" or version < _IDLE:
                found.append(("CPUWeight", "t", _positive(value, at)))
        elif key in _SETS and version >= _ALLOWED:
            found.append((_SETS[key], "ay", bit_mask(value, at)))
        elif key in _UNIFIED:
            limit = INFINITY if value == "max" else _positive(value, at)
            found.append((_UNIFIED[key], "t", _tasks(limit) if key == "pids.max" else limit))
    return found


def _cpu_max(value: str, version: int, at: str) -> list[Property]:
    words = value.split()
    if len(words) not in (1, 2):
        raise OcirtError(f"{value!r} is not QUOTA PERIOD", at=at)
    quota = 0 if words[0] == "max" else _positive(words[0], at)
    period = _positive(words[1], at) if len(words) == 2 else _DEFAULT_PERIOD
    return _quota(quota, period, version)


def _positive(text: str, at: str) -> int:
    number = _number(text)
    if number is None or number > INFINITY:
        raise OcirtError(f"{text!r} is no number", at=at)
    return number


# ---- devices: systemd has a list of what is allowed, and nothing else


def _devices(rules: Sequence[Mapping[str, Any]], v2: bool, version: int) -> list[Property]:
    """DeviceAllow is emptied first: systemd adds to it.

    Rules that are no such list: on v2 systemd's program would stay beside the runtime's own, and
    both have to allow a device, so that systemd is told to attach none. On v1 there is one list,
    which the runtime writes next: nothing is allowed for that moment, as runc has it.
    """
    everything, allowed = _allowed(rules)
    entries = None if everything or allowed is None else _entries(allowed, version)
    found: list[Property] = [("DeviceAllow", "a(ss)", [])]
    if entries is not None:
        return [*found, ("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", entries)]
    auto = v2 or (everything and allowed is not None)
    return [*found, ("DevicePolicy", "s", "auto" if auto else "strict")]


def _allowed(
    rules: Sequence[Mapping[str, Any]],
) -> tuple[bool, dict[tuple[int, int, str], set[str]] | None]:
    """(is all allowed that is not told?, {(major, minor, type): access}); -1 is a wildcard.

    None instead of the second: a list can't tell it.
    """
    everything, found = False, {}
    exact = True
    for rule in rules:
        allow, access = rule["allow"], set(rule.get("access") or "rwm")
        major, minor = (_wildcard(rule.get(key)) for key in ("major", "minor"))
        kind = rule.get("type") or "a"
        if (kind, major, minor, len(access)) == ("a", -1, -1, 3):
            everything, exact, found = allow, True, {}
            continue
        if everything:
            exact = exact and allow
            continue
        for letter in "bc" if kind == "a" else kind.replace("u", "c"):
            key = (major, minor, letter)
            if allow:
                found.setdefault(key, set()).update(access)
            else:
                exact = _take(found, key, access) and exact
    return everything, {k: v for k, v in found.items() if v} if exact else None


def _wildcard(number: int | None) -> int:
    return -1 if number is None or number < 0 else number


def _take(
    allowed: dict[tuple[int, int, str], set[str]], key: tuple[int, int, str], access: set[str]
) -> bool:
    """Takes ``access`` to ``key`` away; False where a wider rule allows it."""
    exact = True
    for other, rights in allowed.items():
        pairs = list(zip(key, other))
        if all(mine in (-1, theirs) for mine, theirs in pairs):
            rights -= access
        elif all(mine in (-1, theirs) or theirs == -1 for mine, theirs in pairs):
            exact = exact and not rights & access
    return exact


def _entries(
    allowed: Mapping[tuple[int, int, str], set[str]], version: int
) -> list[tuple[str, str]] | None:
    """As DeviceAllow: (name, access). None where systemd has no name for one."""
    found = []
    for (major, minor, kind), rights in sorted(allowed.items()):
        word = "char" if kind == "c" else "block"
        if minor >= 0:
            name = f"/dev/{word}/{major}:{minor}"
        elif major < 0 or version >= _MAJOR:
            name = f"{word}-{'*' if major < 0 else major}"
        else:
            name = "char-pts" if (kind, major) == ("c", _PTS) else ""
        if not name or (major < 0 <= minor):
            return None
        found.append((name, "".join(c for c in "rwm" if c in rights)))
    return found
