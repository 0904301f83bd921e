"""What a seccomp profile means, and what a program does: two ways to the same decision.

``decide`` reads the profile as config-linux.md and seccomp(2) have it; ``simulate`` runs the bytes
as the kernel does. Neither knows libseccomp or ocirt.
"""

from __future__ import annotations

from typing import Any

MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
X32_BIT = 0x40000000
ENOSYS = 0x00050000 | 38
KILL = 0

# AUDIT_ARCH_* of linux/audit.h; x32 shares x86_64's.
AUDIT = {"X86_64": 0xC000003E, "X86": 0x40000003, "X32": 0xC000003E, "AARCH64": 0xC00000B7}
WIDE = {"X86_64", "AARCH64"}  # have arguments of 64 bits

# asm/unistd_64.h, unistd_32.h, asm-generic/unistd.h; x32's numbers are x86_64's but for ioctl.
_TABLE = """
             read write open close ioctl getpid clone kill fcntl mkdir personality prctl unshare
    X86_64   0    1     2    3     16    39     56    62   72    83    135         157   272
    X86      3    4     5    6     54    20     120   37   55    39    136         172   310
    AARCH64  63   64    -    57    29    172    220   129  25    -     92          167   97
             setns bpf statx clone3 openat2
    X86_64   308   321 332   435    437
    X86      346   357 383   435    437
    AARCH64  268   280 291   435    437
"""


def _numbers() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    names: list[str] = []
    for line in _TABLE.splitlines():
        first, *rest = line.split() or [""]
        if first in AUDIT:
            row = found.setdefault(first, {})
            row.update((name, int(word)) for name, word in zip(names, rest) if word != "-")
        else:
            names = [first, *rest]
    return found


NUMBERS = _numbers()
NUMBERS["X32"] = {
    name: X32_BIT | (514 if name == "ioctl" else number)
    for name, number in NUMBERS["X86_64"].items()
}
ACTIONS = {
    "ALLOW": 0x7FFF0000,
    "LOG": 0x7FFC0000,
    "TRACE": 0x7FF00000,
    "NOTIFY": 0x7FC00000,
    "ERRNO": 0x00050000,
    "TRAP": 0x00030000,
    "KILL": KILL,
    "KILL_THREAD": KILL,
    "KILL_PROCESS": 0x80000000,
}


def action(name: str, number: int | None) -> int:
    word = name.removeprefix("SCMP_ACT_")
    if word in ("ERRNO", "TRACE"):
        return ACTIONS[word] | (1 if number is None else number)
    return ACTIONS[word]


def holds(condition: dict[str, Any], arguments: list[int], wide: bool) -> bool:
    mask = MASK64 if wide else MASK32
    given = arguments[condition["index"]] & mask
    value, second = condition["value"] & mask, condition.get("valueTwo", 0) & mask
    outcome: dict[str, bool] = {
        "NE": given != value,
        "LT": given < value,
        "LE": given <= value,
        "EQ": given == value,
        "GE": given >= value,
        "GT": given > value,
        "MASKED_EQ": given & value == second & value,
    }
    return outcome[condition["op"].removeprefix("SCMP_CMP_")]


def matches(rule: dict[str, Any], arguments: list[int], wide: bool) -> bool:
    """Two conditions on one argument make all of them alternatives."""
    conditions = rule.get("args") or []
    found = [holds(condition, arguments, wide) for condition in conditions]
    if len({condition["index"] for condition in conditions}) < len(conditions):
        return any(found)
    return all(found)


def architecture_of(profile: dict[str, Any], audit: int, number: int, native: str) -> str | None:
    """By which of the profile's architectures a call is made."""
    listed = {name.removeprefix("SCMP_ARCH_") for name in profile.get("architectures") or []}
    for name in sorted(listed | {native}):
        x32 = bool(number & X32_BIT) and audit == AUDIT["X86_64"]
        if AUDIT[name] == audit and x32 == (name == "X32"):
            return name
    return None


def decide(
    profile: dict[str, Any], audit: int, number: int, arguments: list[int], native: str
) -> int:
    """What becomes of a call. Of rules for one call that have different actions the result is
    not defined."""
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    name = architecture_of(profile, audit, number, native)
    if name is None:
        return KILL
    numbers = NUMBERS[name]
    rules = profile.get("syscalls") or []
    known = [numbers[call] for rule in rules for call in rule["names"] if call in numbers]
    permissive = profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    if not permissive and max(known, default=0) and number > max(known):
        return ENOSYS
    for rule in rules:
        if number in [numbers.get(call) for call in rule["names"]]:
            if matches(rule, arguments, name in WIDE):
                return action(rule["action"], rule.get("errnoRet"))
    return default


def simulate(program: bytes, audit: int, number: int, arguments: list[int]) -> int:
    """Runs a program: the classic BPF that filters may have (kernel/seccomp.c)."""
    data = number.to_bytes(4, "little") + audit.to_bytes(4, "little") + bytes(8)
    data += b"".join(argument.to_bytes(8, "little") for argument in arguments)
    assert len(data) == 64 and program and len(program) % 8 == 0
    at = accumulator = 0
    while True:
        code = int.from_bytes(program[8 * at : 8 * at + 2], "little")
        yes, no = program[8 * at + 2], program[8 * at + 3]
        k = int.from_bytes(program[8 * at + 4 : 8 * at + 8], "little")
        at += 1
        if code == 0x20:  # ld [k]
            assert k % 4 == 0 and k < 64
            accumulator = int.from_bytes(data[k : k + 4], "little")
        elif code == 0x54:  # and #k
            accumulator &= k
        elif code == 0x06:  # ret #k
            return k
        elif code == 0x05:  # ja
            at += k
        else:
            test = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }
            at += yes if test[code] else no
