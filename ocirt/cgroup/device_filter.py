"""The device program of a cgroup v2 folder, which is what version 2 has for devices.allow.

It stays with the folder; no descriptor has to be kept. Those of the folders above are asked as
well, and each can only take away.
"""

from __future__ import annotations

import errno
import os

from ocirt.cgroup.device_rules import AT
from ocirt.errors import KernelError, errno_name
from ocirt.host import kernel

_CAPABILITIES = "bpf(2) wants CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, of the host"
_OTHERS = "this cgroup, or one above, has a program that suffers no other beside it"
_TRIES = 20


def attach(cgroup_fd: int, program: bytes) -> None:
    """Makes ``program`` (device_program.compile_rules) the only one of the folder.

    One that is there already is replaced in one step. Where there are more, all of them apply
    until the new one does. So no access is open in between that neither allows. Raises
    KernelError.
    """
    fd = _load(program)
    try:
        for tries in range(_TRIES):
            try:
                return _put(cgroup_fd, fd)
            except OSError as error:
                # ENOENT: somebody else has replaced the program that was to be replaced.
                if error.errno != errno.ENOENT or tries == _TRIES - 1:
                    raise _failure("attach device program", error, "", _OTHERS) from None
    finally:
        os.close(fd)


def _put(cgroup_fd: int, fd: int) -> None:
    old: list[int] = []
    try:
        for id in kernel.device_program_ids(cgroup_fd):
            try:
                old.append(kernel.device_program_open(id))
            except PermissionError:
                # A security module hides it (runc, ebpf_linux.go). It can only take away.
                continue
        kernel.device_program_attach(cgroup_fd, fd, old[0] if len(old) == 1 else -1)
        for other in old if len(old) > 1 else ():
            try:
                kernel.device_program_detach(cgroup_fd, other)
            except FileNotFoundError:
                pass
    finally:
        for other in old:
            os.close(other)


def _load(program: bytes) -> int:
    try:
        return kernel.device_program_load(program)
    except OSError as error:
        raise _failure("load device program", error, _reason(program), _CAPABILITIES) from None


def _reason(program: bytes) -> str:
    """The last line of the verifier's log that is no statistics."""
    lines = [line.strip() for line in kernel.device_program_log(program).splitlines()]
    told = [line for line in lines if line and not line.startswith("processed ")]
    return told[-1] if told else ""


def _failure(what: str, error: OSError, reason: str, hint: str) -> KernelError:
    """``hint``: what EPERM means here."""
    number = error.errno or 0
    text = f"{what}: {errno_name(number)}"
    if reason:
        text += f" ({reason})"
    return KernelError(text, at=AT, errno=number, hint=hint if number == errno.EPERM else "")
