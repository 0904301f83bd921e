"""Calls that are newer than a profile fail with ENOSYS, whatever its default action.

A C library that meets ENOSYS falls back to the older call; EPERM it takes for an answer. "Newer"
is every number above the greatest that the profile names, for each architecture, as runc has it.
"""

from __future__ import annotations

from ocirt.seccomp.names import ALLOW, ERRNO, LOG, TRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    _Instruction = tuple[int, int, int, int]  # code, instructions to skip if it holds, if not, k

# classic BPF: linux/bpf_common.h
_LOAD, _RETURN = 0x20, 0x06  # ld [k]; ret k
_JUMP, _IF_EQUAL, _IF_GREATER, _IF_BITS = 0x05, 0x15, 0x25, 0x45
# struct seccomp_data
_NUMBER, _ARCHITECTURE = 0, 4

X32_BIT = 0x40000000  # of a call's number: it is made by x32, which shares x86_64's AUDIT_ARCH_*
X86_64, X32 = 0xC000003E, 0x4000003E  # tokens; all others are the kernel's AUDIT_ARCH_*
_ENOSYS = ERRNO | 38
_TO_THE_END = -1


def wanted(default_action: int) -> bool:
    """Not where every other call goes on anyhow (a tracer answers for itself), or already fails
    like this."""
    return default_action & 0x7FFF0000 not in (ALLOW, LOG, TRACE) and default_action != _ENOSYS


def prelude(greatest: Mapping[int, int]) -> bytes:
    """What goes before a filter. ``greatest``: {token of an architecture: greatest number of a
    call that the profile names}."""
    program: list[_Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for token in sorted({X86_64 if token == X32 else token for token in greatest}):
        body: list[_Instruction] = [(_LOAD, 0, 0, _NUMBER)]
        if token == X86_64:
            own = _limit(greatest.get(X86_64))
            body += [(_IF_BITS, len(own), 0, X32_BIT), *own, *_limit(greatest.get(X32))]
        else:
            body += _limit(greatest[token])
        program += [(_IF_EQUAL, 0, len(body), token), *body]
    return b"".join(_encode(*each, after=len(program) - i - 1) for i, each in enumerate(program))


def _limit(greatest: int | None) -> list[_Instruction]:
    """Numbers up to ``greatest`` (None: all) are left to the filter."""
    go_on = (_JUMP, 0, 0, _TO_THE_END)
    if greatest is None:
        return [go_on]
    return [(_IF_GREATER, 0, 1, greatest), (_RETURN, 0, 0, _ENOSYS), go_on]


def _encode(code: int, yes: int, no: int, k: int, after: int) -> bytes:
    """A struct sock_filter; ``after``: how many instructions follow it."""
    number = after if k == _TO_THE_END else k
    return code.to_bytes(2, "little") + bytes((yes, no)) + number.to_bytes(4, "little")
