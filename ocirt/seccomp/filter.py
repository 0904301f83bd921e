"""What a process's filter is made of: linux.seccomp to a Filter."""

from __future__ import annotations

import os

from ocirt import __version__
from ocirt.errors import OcirtError
from ocirt.host.kernel import seccomp_has_flags
from ocirt.seccomp import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux/seccomp.h
FLAG_TSYNC, FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_NEW_LISTENER = 1, 2, 4, 8
FLAG_WAIT_KILLABLE_RECV = 32
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}

# What a program depends on; flags are given to the kernel beside it.
_MEMBERS = ("defaultAction", "defaultErrnoRet", "architectures", "syscalls")


class Filter:
    """``program``: struct sock_filter, 8 bytes each; ``flags``: SECCOMP_FILTER_FLAG_*; ``text``:
    what it is, for people."""

    __slots__ = ("flags", "program", "text")

    def __init__(self, program: bytes, flags: int, text: str) -> None:
        self.program = program
        self.flags = flags
        self.text = text


def has_agent(profile: dict[str, Any]) -> bool:
    """Are there calls that an agent decides on?"""
    return any(rule["action"] == "SCMP_ACT_NOTIFY" for rule in profile.get("syscalls") or [])


def make_filter(profile: dict[str, Any], folder: str = "") -> Filter:
    """The Filter of linux.seccomp; ``folder`` of the cache, "" for none. Raises OcirtError for
    what this host can't do."""
    flags = _flags(profile)
    number = profile.get("defaultErrnoRet")
    text = f"seccomp filter, default {profile['defaultAction']}"
    if number is not None:
        text += f" {number}"
    return Filter(_program(profile, folder), flags, text)


def _program(profile: dict[str, Any], folder: str) -> bytes:
    host = os.uname()
    content = [_compiler(), host.machine, host.release, [profile.get(m) for m in _MEMBERS]]
    key = cache.key_of(content)
    program = cache.read(folder, key) if folder else None
    if program is None:
        from ocirt.seccomp.compile import compile_profile
        from ocirt.seccomp.library import Library

        library = Library()
        program = compile_profile(profile, library)
        if folder:
            cache.write(folder, key, library.path(), program)
    return program


def _compiler() -> list[object]:
    """What tells it from a mended one."""
    found: list[object] = [__version__]
    for name in ("bpf", "compile", "enosys", "exact"):
        try:
            status = os.stat(f"{os.path.dirname(__file__)}/{name}.py")
            found += [status.st_size, status.st_mtime_ns]
        except OSError:
            found.append(name)  # a package without sources
    return found


def _flags(profile: dict[str, Any]) -> int:
    """Without flags the peers take SPEC_ALLOW: no mitigation of speculative store bypass, which
    costs most programs much and protects few."""
    if not seccomp_has_flags(0):
        raise OcirtError("this kernel has no seccomp filters", at="/linux/seccomp")
    names = profile.get("flags")
    flags = FLAG_SPEC_ALLOW if names is None else 0
    for index, name in enumerate(names or []):
        if not seccomp_has_flags(FLAGS[name]):
            text = f"this kernel has no {name}"
            raise OcirtError(text, at=f"/linux/seccomp/flags/{index}")
        flags |= FLAGS[name]
    flags &= ~FLAG_TSYNC  # the machine has one thread
    if has_agent(profile):
        return flags | FLAG_NEW_LISTENER
    return flags & ~FLAG_WAIT_KILLABLE_RECV  # says how calls wait for an agent
