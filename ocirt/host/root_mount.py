"""What a container without a mount namespace of its own has mounted on the host.

That is a private copy of the root file system over the root file system, on another one (``mount_root``
of ocirt.plan.root); everything else is mounted below it, and goes with it. Both are known by numbers
that the kernel gives to no other mount (statx(2), STATX_MNT_ID_UNIQUE), so what is unmounted are these,
whatever a path may lead to by now.
"""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.host.constants import AT_RECURSIVE, MNT_DETACH, MS_PRIVATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HINT = 'add {"type": "mount"} to linux.namespaces'


def describe(mounts: list[int]) -> dict[str, Any]:
    """What the state keeps of them: descriptors of both, the upper one first. Raises KernelError."""
    if os.path.samestat(os.fstat(mounts[0]), os.stat("/")):
        # Whoever asks for "/" gets what is below the copy, so nobody could take it away.
        text = "the host's own root file system needs a mount namespace of the container's own"
        raise KernelError(text, at="/root/path", hint=_HINT)
    try:
        return {"ids": [kernel.mount_id(fd) for fd in mounts], "boot": _boot()}
    except OSError as error:
        text = "a container without a mount namespace can have mounts on Linux 6.8 and newer"
        at = "/linux/namespaces"
        raise KernelError(text, at=at, errno=error.errno or 0, hint=_HINT) from None


def unmount(known: dict[str, Any], force: bool) -> None:
    """Those of ``describe`` that are there, with all below them.

    ``force``: also what was mounted over the topmost, as its container can: that is its root.
    Raises KernelError.
    """
    if known.get("boot") != _boot():
        return
    root, under = known["ids"]
    while (found := _find(root)) is not None:
        _unmount_top(found[1], root, force)
    while (found := _find(under)) is not None:
        _unmount_top(found[1], under, False)


def _unmount_top(path: str, id: int, force: bool) -> None:
    """At ``path``, if that is ``id``, or if it is on ``id`` and ``force``."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            top = kernel.mount_id(fd)
            if top != id and not (force and _is_on(top, id)):
                text = f"something else is mounted over the root file system at {path}"
                raise KernelError(text, errno=errno.EBUSY, hint="unmount it first")
            # Or the peers of what is mounted here, which are the host's, would be unmounted with it.
            kernel.mount_setattr(fd, 0, propagation=MS_PRIVATE, flags=AT_RECURSIVE)
            kernel.umount(f"/proc/self/fd/{fd}", MNT_DETACH)
        finally:
            os.close(fd)
    except OSError as error:
        text = f"unmount the root file system at {path}: {error.strerror}"
        raise KernelError(text, errno=error.errno or 0) from None


def _find(id: int) -> tuple[int, str] | None:
    """(the mount below it, its path), None where it is not in our mount namespace."""
    try:
        return kernel.statmount(id)
    except FileNotFoundError:
        return None


def _is_on(top: int, id: int) -> bool:
    """Is ``top`` mounted on ``id``, or on what is mounted on it?"""
    while top != id:
        found = _find(top)
        if found is None or found[0] == top:
            return False
        top = found[0]
    return True


def _boot() -> str:
    """Numbers begin anew when the host does; this one does not."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
