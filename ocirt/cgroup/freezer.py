"""The freezer: all processes of a cgroup stop where they are, and go on.

v2: cgroup.freeze, and "frozen" in cgroup.events (cgroup-v2.rst). v1: freezer.state, which is
FREEZING until the last one has stopped, and may stay so for ever (freezer-subsystem.rst).
"""

from __future__ import annotations

import os
import time

from ocirt.cgroup import folder_of
from ocirt.errors import KernelError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE = 10.0  # seconds
_PAUSE = 0.001
_AGAIN = 50  # tries until a v1 freezer is thawed and frozen again: a fork can make it miss one


class Freezer:
    """``file``: what is written, and read; ``frozen``, ``thawed``: its texts."""

    __slots__ = ("file", "folder", "frozen", "thawed", "v2")

    def __init__(self, folder: str, v2: bool) -> None:
        self.folder = folder
        self.v2 = v2
        self.file = f"{folder}/cgroup.freeze" if v2 else f"{folder}/freezer.state"
        self.thawed, self.frozen = ("0", "1") if v2 else ("THAWED", "FROZEN")

    def is_frozen(self) -> bool:
        """Was it asked for, and by the cgroup itself? False where there is no such cgroup."""
        try:
            return _read(self.file) not in (self.thawed, "")
        except OSError:
            return False

    def holds_new(self) -> bool:
        """Would a process stop that is put here? There may be no such cgroup yet."""
        folder = self.folder
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        nearest = Freezer(folder, self.v2)
        try:
            return nearest.is_frozen() or nearest.has_stopped()
        except OSError:
            return False  # the root can't be frozen

    def freeze(self) -> None:
        """Returns when every process has stopped. Raises KernelError, and thaws them then."""
        self._write(self.frozen)
        end = time.monotonic() + _PATIENCE
        tries = 0
        while not self.has_stopped():
            tries += 1
            if time.monotonic() > end:
                self.thaw()
                raise KernelError(f"{self.folder}: its processes do not freeze")
            if not self.v2 and tries % _AGAIN == 0:
                self._write(self.thawed)
                time.sleep(_PAUSE)
                self._write(self.frozen)
            time.sleep(_PAUSE)

    def thaw(self) -> None:
        """Lets them go on. Raises KernelError."""
        self._write(self.thawed)

    def has_stopped(self) -> bool:
        """Has every process, whichever cgroup was frozen, this one or one above?"""
        if self.v2:
            return "frozen 1" in _read(f"{self.folder}/cgroup.events").splitlines()
        return _read(self.file) == self.frozen

    def _write(self, text: str) -> None:
        try:
            fd = os.open(self.file, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        except OSError as error:
            text = f"write {text} to {self.file}: {error.strerror}"
            raise KernelError(text, errno=error.errno or 0) from None


def find(cgroup: dict[str, Any]) -> Freezer | None:
    """Of a container's cgroup as ``Manager.state`` tells it; None if this host has none."""
    folder = folder_of(cgroup.get("folders") or {}, "freezer")
    if folder:
        return Freezer(folder, v2=False)
    unified = cgroup.get("unified")
    return Freezer(unified, v2=True) if unified else None


def require(cgroup: dict[str, Any]) -> Freezer:
    """The same. Raises StateError where there is none."""
    freezer = find(cgroup)
    if freezer is None:
        where = "this host has" if cgroup.get("folders") else "the container has no cgroup, and so"
        raise StateError(f"{where} no freezer cgroup")
    return freezer


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)
