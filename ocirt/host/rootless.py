"""Whose rights ocirt has: the host's root, that of a user namespace alone, or an ordinary user."""

from __future__ import annotations

import os

_ALL_IDS = ["0", "0", "4294967295"]


def is_ordinary() -> bool:
    """Not root at all: what needs a capability works in a new user namespace only."""
    return os.geteuid() != 0


def in_user_namespace() -> bool:
    """Is ocirt in another user namespace than the initial one? Podman's rootless containers are made
    by the root of such a one."""
    try:
        with open("/proc/self/uid_map") as file:
            return file.read().split() != _ALL_IDS
    except FileNotFoundError:
        return False  # a kernel without user namespaces


def is_rootless() -> bool:
    """Does ocirt lack the rights of the host's root?"""
    return is_ordinary() or in_user_namespace()
