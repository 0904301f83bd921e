"""Mounts that are attached nowhere yet (the new mount API), and their way to a path."""

from __future__ import annotations

import os

from ocirt.host import kernel
from ocirt.host.constants import AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE


def new_tmpfs() -> int:
    """A descriptor of the mount. Raises OSError."""
    fs = kernel.fsopen("tmpfs")
    try:
        return kernel.fsmount(fs)
    finally:
        os.close(fs)


def copy(fd: int, recursive: bool = False) -> int:
    """A copy of the mount that a descriptor was opened in, with that file or folder as its root.
    Raises OSError."""
    flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return kernel.open_tree(fd, "", flags)


def attach(mount: int, path: str) -> None:
    """Raises OSError."""
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        kernel.move_mount(mount, target)
    finally:
        os.close(target)
