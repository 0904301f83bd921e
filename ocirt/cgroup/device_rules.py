"""linux.resources.devices: which devices a container may open and make (config-linux.md,
"Allowed Device list").

What a list means: for each kind of access (r, w, m) of a device, the last rule that matches
decides, because "the runtime MUST apply entries in the listed order". A request is granted if
every kind of access in it is. Before the first rule all is denied, as with runc
(opencontainers/cgroups, devices/v1.go: "defaults to a white-list").

Where this differs from runc: a rule of type "a" with numbers or with part of the access means
that, and not every device; a denial that covers earlier rules takes them back; what a list that
allows all denies afterwards stays denied, even if it is a default device.
"""

from __future__ import annotations

from ocirt.errors import OcirtError
from ocirt.host import constants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Key = tuple[str, int, int]

AT = "/linux/resources/devices"
ANY = -1  # instead of a number
MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*; device_cgroup.h of the kernel has the same
RWM = MKNOD | READ | WRITE

_BITS = {"r": READ, "w": WRITE, "m": MKNOD}
_KINDS = ("a", "b", "c")
_MAJOR_MAX, _MINOR_MAX = (1 << 12) - 1, (1 << 20) - 1  # the bits of a dev_t

# What runc (specconv, AllowedDevices) and crun (cgroup-resources.c, default_devices) both allow
# after every list that denies by default: making any node, the default devices, terminals, and
# /dev/net/tun (which runc 1.2 tried to do without). Only crun has 5:1; a container's /dev/console
# is a pts.
DEFAULTS = (
    ("c", ANY, ANY, MKNOD),
    ("b", ANY, ANY, MKNOD),
    ("c", *constants.DEV_NULL, RWM),
    ("c", *constants.DEV_RANDOM, RWM),
    ("c", *constants.DEV_FULL, RWM),
    ("c", *constants.DEV_TTY, RWM),
    ("c", *constants.DEV_ZERO, RWM),
    ("c", *constants.DEV_URANDOM, RWM),
    ("c", 136, ANY, RWM),
    ("c", *constants.DEV_PTMX, RWM),
    ("c", 10, 200, RWM),
)


class Rule:
    """``kind``: "a" (both), "b" or "c"; ``major``, ``minor``: a number or ANY; ``access``: bits
    of RWM; ``at``: the JSON pointer of who asked for it."""

    __slots__ = ("access", "allow", "at", "kind", "major", "minor")

    def __init__(
        self, allow: bool, kind: str, major: int, minor: int, access: int, at: str
    ) -> None:
        self.allow = allow
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access
        self.at = at

    def __str__(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {_line(self._key(), self.access)}"

    def overlaps(self, other: Rule) -> bool:
        """Is there an access to a device that both match?"""
        return bool(
            self.access & other.access
            and (self.kind == other.kind or "a" in (self.kind, other.kind))
            and (self.major == other.major or ANY in (self.major, other.major))
            and (self.minor == other.minor or ANY in (self.minor, other.minor))
        )

    def is_all(self) -> bool:
        """Does it match every access to every device?"""
        return self._key() == ("a", ANY, ANY) and self.access == RWM

    def _key(self) -> Key:
        return self.kind, self.major, self.minor

    def keys(self) -> list[Key]:
        """Without "a": one or two."""
        kinds = "bc" if self.kind == "a" else self.kind
        return [(kind, self.major, self.minor) for kind in kinds]

    def covering(self) -> Iterator[Key]:
        """The keys of all rules that match whatever this one matches."""
        for kind in {self.kind, "a"}:
            for major in {self.major, ANY}:
                for minor in {self.minor, ANY}:
                    yield kind, major, minor


class Rules:
    """``default_allow``: of what no rule matches; ``rules``: the last that matches decides.
    None of them is without effect."""

    __slots__ = ("default_allow", "rules")

    def __init__(self, default_allow: bool, rules: list[Rule]) -> None:
        self.default_allow = default_allow
        self.rules = rules

    @property
    def allow_all(self) -> bool:
        """Then no filter is needed (privileged containers)."""
        return self.default_allow and not self.rules


def normalise(listed: Iterable[dict[str, Any]], at: str = AT) -> Rules:
    """``listed``: linux.resources.devices as it passed the schema; ``at``: its JSON pointer.

    An empty list denies all but DEFAULTS, as with runc. Raises OcirtError at ``{at}/N...`` for
    a type, number or access that doesn't exist, and for an allowance that doesn't say of what.
    """
    default_allow = False
    rules: list[Rule] = []
    for index, entry in enumerate(listed):
        rule = _rule(entry, f"{at}/{index}")
        if rule.is_all():
            default_allow = rule.allow
            rules.clear()
        else:
            rules.append(rule)
    if not default_allow:
        rules += [Rule(True, *row, at) for row in DEFAULTS]
    return Rules(default_allow, _effective(default_allow, _unshadowed(rules)))


def v1_lines(rules: Rules, current: Rules | None = None) -> list[tuple[str, str]]:
    """What to write to a cgroup of version 1, one write for each: (file, line).

    ``current``: the rules that it has; None for a cgroup without processes, which has those of
    its parent. What takes access away comes first, so that there is never more than one of the
    two allows. Raises OcirtError for rules that version 1 can't express, which its kernel would
    ignore (security/device_cgroup.c), and for a change that is impossible without a moment of
    more access.

    In a cgroup that denies by default the kernel wants one rule for all of a request: with
    "c *:3 r" and "c 1:* w", 1:3 can be read and written, but not opened for both at once.
    """
    new = _exceptions(rules)
    old: dict[Key, int] = {}
    lines = []
    if current is None or current.default_allow != rules.default_allow:
        if current is not None and rules.default_allow and new:
            text = "cgroup v1 can't go from denying to allowing by default and deny some devices"
            raise OcirtError(text, at=AT, hint="list what is allowed instead")
        lines.append(("devices.allow" if rules.default_allow else "devices.deny", "a"))
    else:
        old = _exceptions(current)
    more = [(key, access & ~old.get(key, 0)) for key, access in new.items()]
    less = [(key, access & ~new.get(key, 0)) for key, access in old.items()]
    # By default all is denied: the exceptions are allowances. Else they are denials.
    denied, allowed = (more, less) if rules.default_allow else (less, more)
    lines += [("devices.deny", _line(key, access)) for key, access in denied if access]
    lines += [("devices.allow", _line(key, access)) for key, access in allowed if access]
    return lines


def _rule(entry: dict[str, Any], at: str) -> Rule:
    kind = entry.get("type") or "a"
    if kind not in _KINDS:
        raise OcirtError(f"{kind!r} is none of a, b, c", at=f"{at}/type")
    letters = entry.get("access") or ""
    access = sum(_BITS[letter] for letter in {*letters} & {*_BITS})
    if {*letters} - {*_BITS}:
        text = f"{letters!r} has letters other than r, w, m"
        if not access:
            raise OcirtError(text, at=f"{at}/access")
        from ocirt import log

        log.warning(f"config.json#{at}/access: {text}, which are ignored")  # as runc does
    allow = bool(entry["allow"])
    if not access:
        # The specification doesn't say what this means. runc refuses it; to deny too much is safe.
        if allow:
            hint = 'write "access": "rwm" to allow all of it'
            raise OcirtError("allows no access", at=f"{at}/access", hint=hint)
        access = RWM
    major = _number(entry, "major", _MAJOR_MAX, at)
    minor = _number(entry, "minor", _MINOR_MAX, at)
    return Rule(allow, kind, major, minor, access, at)


def _number(entry: dict[str, Any], name: str, greatest: int, at: str) -> int:
    value = entry.get(name)
    if value is None:
        return ANY
    # 4294967295 would be "any" to cgroup v1.
    if not ANY <= value <= greatest:
        text = f"must be from 0 to {greatest}, or -1 for any, not {value}"
        raise OcirtError(text, at=f"{at}/{name}")
    return int(value)


def _unshadowed(rules: list[Rule]) -> list[Rule]:
    """Leaves out the rules that later ones make pointless, and takes from the others the access
    that a later one decides the other way."""
    decided: dict[tuple[Key, int], tuple[int, bool]] = {}  # by which rule, and how
    kept = []
    for index in reversed(range(len(rules))):
        rule, access, decides = rules[index], rules[index].access, False
        covering = list(rule.covering())
        for bit in _BITS.values():
            if not access & bit:
                continue
            later = [decided[key, bit] for key in covering if (key, bit) in decided]
            if not later:
                decided[(rule.kind, rule.major, rule.minor), bit] = index, rule.allow
                decides = True
            elif max(later)[1] != rule.allow:
                access &= ~bit
        if decides:
            kept.append(Rule(rule.allow, rule.kind, rule.major, rule.minor, access, rule.at))
    return kept[::-1]


def _effective(default_allow: bool, rules: list[Rule]) -> list[Rule]:
    """Without those that decide as if nothing had matched."""
    kept: list[Rule] = []
    for rule in rules:
        if rule.allow != default_allow or any(
            earlier.allow != default_allow and earlier.overlaps(rule) for earlier in kept
        ):
            kept.append(rule)
    return kept


def _exceptions(rules: Rules) -> dict[Key, int]:
    """The exceptions from the default as the kernel keeps them for version 1."""
    found: dict[Key, int] = {}
    for rule in rules.rules:
        if rule.allow == rules.default_allow:
            # The kernel takes back only what was said with the same words.
            text = f"cgroup v1 can't {rule}: it is a part of what an earlier rule says"
            raise OcirtError(text, at=rule.at)
        for key in rule.keys():
            found[key] = found.get(key, 0) | rule.access
    return found


def _line(key: Key, access: int) -> str:
    """``c 1:3 rwm``, ``c 136:* rw``: Documentation/admin-guide/cgroup-v1/devices.rst."""
    kind, major, minor = key
    numbers = ":".join("*" if number == ANY else str(number) for number in (major, minor))
    return f"{kind} {numbers} {letters(access)}"


def letters(access: int) -> str:
    """``rwm`` for RWM."""
    return "".join(letter for letter, bit in _BITS.items() if access & bit)
