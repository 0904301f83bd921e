"""Which devices a container may use: linux.resources.devices for its cgroup."""

from __future__ import annotations

import errno
import os

from ocirt.cgroup import folder_of
from ocirt.cgroup.device_rules import AT, v1_lines
from ocirt.errors import KernelError, errno_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroup.device_rules import Rules
    from ocirt.cgroup.manager import Manager

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def apply(manager: Manager, rules: Rules, current: Rules | None = None) -> None:
    """Makes ``rules`` those of the container; ``current``: those that it has already, None for
    a new one. Raises OcirtError."""
    folder = "" if manager.pure else folder_of(manager.folders, "devices")
    if folder:
        _version_1(folder, v1_lines(rules, current))
    elif manager.unified:
        if not rules.allow_all or current:
            _version_2(manager.unified, rules)
    elif not rules.allow_all:
        text = "the cgroup controller devices is not available: every device would be allowed"
        raise KernelError(text, at=AT, errno=errno.ENOENT)


def check(manager: Manager, rules: Rules, current: Rules | None = None) -> None:
    """Can the host express them? Writes nothing. Raises OcirtError."""
    if not manager.pure and folder_of(manager.folders, "devices"):
        v1_lines(rules, current)
    else:
        from ocirt.cgroup.device_program import compile_rules

        compile_rules(rules)


def _version_1(folder: str, lines: list[tuple[str, str]]) -> None:
    fds: dict[str, int] = {}
    try:
        for name, line in lines:
            path = f"{folder}/{name}"
            try:
                if name not in fds:
                    fds[name] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                os.write(fds[name], line.encode())
            except OSError as error:
                number = error.errno or 0
                text = f"write {line} to {path}: {errno_name(number)} ({error.strerror})"
                raise KernelError(text, at=AT, errno=number) from None
    finally:
        for fd in fds.values():
            os.close(fd)


def _version_2(folder: str, rules: Rules) -> None:
    from ocirt.cgroup.device_filter import attach
    from ocirt.cgroup.device_program import compile_rules

    try:
        fd = os.open(folder, _FOLDER)
    except OSError as error:
        text = f"open {folder}: {error.strerror}"
        raise KernelError(text, at=AT, errno=error.errno or 0) from None
    try:
        attach(fd, compile_rules(rules))
    finally:
        os.close(fd)
