"""The words of linux.seccomp and the kernel's numbers for them (linux/seccomp.h, seccomp(2))."""

from __future__ import annotations

ALLOW, LOG, TRACE, NOTIFY = 0x7FFF0000, 0x7FFC0000, 0x7FF00000, 0x7FC00000
ERRNO, TRAP, KILL_THREAD, KILL_PROCESS = 0x00050000, 0x00030000, 0x00000000, 0x80000000
ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
}
_WITH_NUMBER = (ERRNO, TRACE)
_EPERM = 1

# enum scmp_compare of seccomp.h
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

ARCHITECTURES = tuple(
    "SCMP_ARCH_" + name
    for name in (
        "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 "
        "MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X SH SHEB PARISC PARISC64 RISCV64"
    ).split()
)

INSTRUCTION = 8  # bytes: struct sock_filter
INSTRUCTIONS_MAX = 4096  # BPF_MAXINSNS


def action_number(action: str, number: int | None) -> int:
    """What a filter returns for an action; ``number``: errnoRet, EPERM where there is none."""
    value = ACTIONS[action]
    if value in _WITH_NUMBER:
        value |= _EPERM if number is None else number
    return value
