"""Gives mounts that are attached nowhere yet their id maps (mount_setattr(2))."""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError
from ocirt.host import id_maps, kernel
from ocirt.host.constants import AT_RECURSIVE, MOUNT_ATTR_IDMAP
from ocirt.host.rootless import in_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import IdMap, Pin

_HINTS = {
    errno.EINVAL: "its file system has no id-mapped mounts",
    errno.EPERM: "a mount can be id-mapped once",
}


def id_map(pins: list[Pin], fds: dict[int, int]) -> None:
    """Of every pin that wants one; ``fds``: of the slots. Raises KernelError."""
    made: dict[Any, int] = {}  # mounts with the same map share a user namespace
    try:
        for pin in pins:
            wanted = pin.id_map
            if not wanted:
                continue
            if not wanted.uids:
                _apply(pin, wanted, fds[pin.slot], fds[wanted.namespace])
                continue
            key = (*wanted.uids, None, *wanted.gids)
            if key not in made:
                made[key] = id_maps.new_namespace(wanted.uids, wanted.gids, wanted.at)
            _apply(pin, wanted, fds[pin.slot], made[key])
    finally:
        for fd in made.values():  # they live on in the mounts
            os.close(fd)


def _apply(pin: Pin, wanted: IdMap, mount: int, namespace: int) -> None:
    flags = AT_RECURSIVE if wanted.recursive else 0
    try:
        kernel.mount_setattr(mount, MOUNT_ATTR_IDMAP, flags=flags, userns=namespace)
    except OSError as error:
        number = error.errno or 0
        text = f"id-mapped mount of {pin.path}: {error.strerror}"
        hint = _HINTS.get(number, "")
        if number == errno.EPERM and in_user_namespace():
            hint = "its file system belongs to the host, and ocirt is not the host's root"
        raise KernelError(text, at=wanted.at, errno=number, hint=hint) from None
