"""Gives a container's cgroup of version 2 to the container's root (cgroups(7), "Cgroups
delegation"): it may then make cgroups below, and move its processes between them."""

from __future__ import annotations

import os

from ocirt.errors import KernelError

_LIST = "/sys/kernel/cgroup/delegate"
# What the kernels without that list had.
_FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def give(folder: str, uid: int) -> None:
    """Raises KernelError. The limits stay the host's."""
    try:
        os.chown(folder, uid, -1)
        for name in _names():
            try:
                os.chown(f"{folder}/{name}", uid, -1)
            except FileNotFoundError:
                pass  # of a controller that is not here
    except OSError as error:
        text = f"give cgroup {folder} to uid {uid}: {error.strerror}"
        raise KernelError(text, at="/linux/cgroupsPath", errno=error.errno or 0) from None


def _names() -> list[str]:
    try:
        with open(_LIST, encoding="ascii") as file:
            # No name of a file leads elsewhere.
            return [name for name in file.read().split() if "/" not in name]
    except FileNotFoundError:
        return list(_FILES)
