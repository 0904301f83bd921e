"""Whose rights ocirt has: the host's root, that of a user namespace alone, or an ordinary user."""

from __future__ import annotations

import os

_ALL_IDS = [b"0", b"0", b"4294967295"]


def is_ordinary() -> bool:
    """Not root at all: what needs a capability works in a new user namespace only."""
    return os.geteuid() != 0


def in_user_namespace() -> bool:
    """Is ocirt in another user namespace than the initial one? Podman's rootless containers are made
    by the root of such a one."""
    try:
        fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # a kernel without user namespaces
    try:
        return os.read(fd, 4096).split() != _ALL_IDS
    finally:
        os.close(fd)


def is_rootless() -> bool:
    """Does ocirt lack the rights of the host's root?"""
    return is_ordinary() or in_user_namespace()
