"""What systemd is told about a cgroup's limits: the properties that mean what its files say.

systemd writes the files itself whenever it sees a reason (another property, daemon-reload), from
the properties of the unit. So limits are written to the files first, where the kernel judges them
and brings them into one form, and here that form is read back. linux.resources, its "unified" and
an update of a single limit so all come to the same, on both versions of cgroups. A file that is
unknown here is unknown to systemd.

systemd.resource-control(5) and org.freedesktop.systemd1(5) tell what the properties mean.
"""

from __future__ import annotations

from ocirt.cgroup.device_rules import ANY, letters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocirt.cgroup.device_rules import Rules
    from ocirt.cgroup.limits import Reader, Write
    from ocirt.cgroup.systemd_unit import Property

    Version = Callable[[], int]

INFINITY = (1 << 64) - 1
# On v1 a unit that is not limited gets no cgroup of the devices controller: systemd takes it away.
EVERY_DEVICE: tuple[Property, ...] = (
    ("DevicePolicy", "s", "auto"),
    ("DeviceAllow", "a(ss)", [("char-*", "rwm"), ("block-*", "rwm")]),
)

_LIMITS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "memory.zswap.max": "MemoryZSwapMax",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "pids.max": "TasksMax",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_THROTTLES = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
# The versions of systemd that have a property, or a value of it, first; all others are in every
# systemd that a kernel of 5.14 comes with.
_IDLE, _ZSWAP, _OOM_POLICY = 252, 253, 253
_V1_UNLIMITED = (1 << 63) - (1 << 16)  # the kernel's number is a bit more, depending on its pages
_SECOND = 1_000_000  # µs
_PERCENT = 10_000  # µs in a second


def of_file(file: str, read: Reader, version: Version) -> list[Property]:
    """The properties: (name, D-Bus type, value); [] for a file that systemd doesn't know.

    ``read``: gives the text of a file of the cgroup, "" where there is none; ``version``:
    systemd's, asked for only where it matters.
    """
    text = read(file).strip()
    if file in _LIMITS:
        if not text or (file == "memory.zswap.max" and version() < _ZSWAP):
            return []
        limit = _limit(text)
        return [(_LIMITS[file], "t", limit or 1 if file == "pids.max" else limit)]
    if file in ("cpu.weight", "cpu.idle"):
        return _cpu_weight(read, version)
    if file == "cpu.max":
        return _quota(*text.split()) if text else []
    if file in ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
        return _quota(read("cpu.cfs_quota_us"), read("cpu.cfs_period_us"))
    if file in _SETS:
        return [(_SETS[file], "ay", _bit_mask(text))]
    if file in ("io.weight", "io.bfq.weight"):
        return _io_weights(text, bfq=file == "io.bfq.weight")
    if file in ("blkio.weight", "blkio.bfq.weight"):
        return [("BlockIOWeight", "t", int(text))] if text else []
    return _throttles(text) if file == "io.max" else []


def oom_policy(group: str, version: Version) -> list[Property]:
    """Of linux.resources.unified's memory.oom.group. It can't be changed later (runc)."""
    policy = {"0": "continue", "1": "kill"}.get(group.strip())
    return [("OOMPolicy", "s", policy)] if policy and version() >= _OOM_POLICY else []


def round_quotas(writes: Iterable[Write], read: Reader) -> None:
    """Changes quotas that systemd could only round, as it would: else its next write to the file
    would change them. ``read``: see ``of_file``."""
    files = {write.file: write for write in writes}
    both, quota = files.get("cpu.max"), files.get("cpu.cfs_quota_us")
    if both:
        words = [*both.text.split(), *read("cpu.max").split()[1:]]
        if len(words) > 1 and words[0].isdigit() and words[1].isdigit():
            both.text = f"{rounded(int(words[0]), int(words[1]))} {words[1]}"
    if quota and quota.text.isdigit():
        period = files.get("cpu.cfs_period_us")
        text = period.text if period else read("cpu.cfs_period_us").strip()
        if text.isdigit():
            quota.text = str(rounded(int(quota.text), int(text)))


def rounded(quota: int, period: int) -> int:
    """What is left of a quota in systemd: CPU time in a second, up to the next whole percent.
    One that is exact already stays as it is."""
    if period == 0 or quota * _SECOND // period % _PERCENT == 0:
        return quota
    return _per_second(quota, period) * period // _SECOND


def of_rules(rules: Rules, v2: bool) -> list[Property]:
    """For devices: a list of what is allowed is all that systemd has. DeviceAllow is emptied
    first, because systemd adds to it.

    Rules that are no such list: on v2 systemd's program would stay beside the runtime's own, and
    both have to allow a device, so that systemd is told to attach none. On v1 there is one list,
    which the runtime writes next; until then nothing is allowed, as runc has it.
    """
    found: list[Property] = [("DeviceAllow", "a(ss)", [])]
    entries = None if rules.default_allow else _entries(rules)
    if entries is not None:
        return [*found, ("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", entries)]
    if v2:
        return [*found, ("DevicePolicy", "s", "auto")]
    return [*found, *EVERY_DEVICE] if rules.allow_all else [*found, ("DevicePolicy", "s", "strict")]


def _entries(rules: Rules) -> list[tuple[str, str]] | None:
    """As DeviceAllow: (name, access). None where a rule denies, or systemd has no name for what
    it allows."""
    found: dict[str, int] = {}
    for rule in rules.rules:
        if not rule.allow or (rule.major == ANY != rule.minor):
            return None
        for kind, major, minor in rule.keys():
            word = "char" if kind == "c" else "block"
            if minor == ANY:
                name = f"{word}-{'*' if major == ANY else major}"
            else:
                name = f"/dev/{word}/{major}:{minor}"
            found[name] = found.get(name, 0) | rule.access
    return [(name, letters(access)) for name, access in found.items()]


def _limit(text: str) -> int:
    if not text.isdigit() or int(text) >= _V1_UNLIMITED:
        return INFINITY  # "max", "-1"
    return int(text)


def _cpu_weight(read: Reader, version: Version) -> list[Property]:
    """0 is "idle"; the weight has no meaning then."""
    if read("cpu.idle").strip() == "1":
        return [("CPUWeight", "t", 0)] if version() >= _IDLE else []
    weight = read("cpu.weight").strip()
    return [("CPUWeight", "t", int(weight))] if weight else []


def _quota(quota: str, period: str) -> list[Property]:
    """Of µs, of which the first may be "max" or -1."""
    if not period.strip().isdigit():
        return []
    microseconds, limit = int(period), _limit(quota.strip())
    per_second = INFINITY if limit == INFINITY else _per_second(limit, microseconds)
    return [("CPUQuotaPeriodUSec", "t", microseconds), ("CPUQuotaPerSecUSec", "t", per_second)]


def _per_second(quota: int, period: int) -> int:
    """CPU time (µs) in a second, up to the next whole percent."""
    return max(-(-(quota * _SECOND // period) // _PERCENT), 1) * _PERCENT


def _bit_mask(text: str) -> bytes:
    """The kernel's list of CPUs or memory nodes, "0-2,5", as bits: CPU n is bit n % 8 of byte
    n // 8. An empty one is no limit."""
    bits = 0
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        bits |= (1 << int(last or first) + 1) - (1 << int(first))
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _io_weights(text: str, *, bfq: bool) -> list[Property]:
    """Lines "default W" and "MAJOR:MINOR W"."""
    found: list[Property] = []
    devices = []
    for line in text.splitlines():
        key, _, number = line.rpartition(" ")
        weight = _of_bfq(int(number)) if bfq else int(number)
        if key in ("default", ""):
            found.append(("IOWeight", "t", weight))
        else:
            devices.append((f"/dev/block/{key}", weight))
    return found + _list("IODeviceWeight", devices)


def _of_bfq(weight: int) -> int:
    """IOWeight (1 to 10000) of which systemd makes just that io.bfq.weight (1 to 1000): its
    BFQ_WEIGHT() backwards."""
    return weight if weight <= 100 else 100 + (weight - 100) * 9900 // 900


def _throttles(text: str) -> list[Property]:
    """Lines "MAJOR:MINOR rbps=N wbps=max riops=max wiops=max"."""
    limits: dict[str, list[tuple[str, int]]] = {key: [] for key in _THROTTLES}
    for line in text.splitlines():
        device, *words = line.split()
        for word in words:
            key, _, limit = word.partition("=")
            if key in limits and limit != "max":
                limits[key].append((f"/dev/block/{device}", int(limit)))
    return [p for key, entries in limits.items() for p in _list(_THROTTLES[key], entries)]


def _list(name: str, entries: list[tuple[str, int]]) -> list[Property]:
    """An empty list makes systemd forget what it has: it adds to that."""
    return [(name, "a(st)", []), *([(name, "a(st)", entries)] if entries else [])]
