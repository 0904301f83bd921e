"""Calls that are newer than a profile fail with ENOSYS, whatever its default action.

A C library that meets ENOSYS falls back to the older call; EPERM it takes for an answer. "Newer"
is every number above the greatest that the profile names, for each architecture, as runc has it.
"""

from __future__ import annotations

from ocirt.seccomp.bpf import IF_GREATER, RETURN
from ocirt.seccomp.names import ALLOW, ERRNO, LOG, TRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.seccomp.bpf import Instruction

_ENOSYS = ERRNO | 38


def wanted(default_action: int) -> bool:
    """Not where every other call goes on anyhow (a tracer answers for itself), or already fails
    like this."""
    return default_action & 0x7FFF0000 not in (ALLOW, LOG, TRACE) and default_action != _ENOSYS


def newer_than(greatest: int) -> list[Instruction]:
    """ENOSYS for numbers above ``greatest``; the number is loaded, and stays so."""
    return [(IF_GREATER, 0, 1, greatest), (RETURN, 0, 0, _ENOSYS)]
