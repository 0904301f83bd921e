"""Notices that the kernel ran out of a cgroup's memory and killed a process for that.

v1: an eventfd that cgroup.event_control connects to memory.oom_control (memory.rst, "OOM
Control"). v2: poll(2) tells that memory.events or cgroup.events has changed (cgroup-v2.rst,
"[Un]populated Notification"). Unlike inotify that costs none of the few watches of a user.
"""

from __future__ import annotations

import os
import select

from ocirt.cgroup import folder_of
from ocirt.cgroup.limits import read_file
from ocirt.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroup.manager import Manager


class Notifier:
    """``fileno()`` is readable when ``read()`` has something to tell; ``gone``, which ``read``
    sets: the cgroup was removed, or (v2) has no process any more."""

    __slots__ = ("gone",)

    def __init__(self) -> None:
        self.gone = False

    def fileno(self) -> int:
        """For poll(2)."""
        raise NotImplementedError

    def read(self) -> int:
        """How many there were since the last call; does not wait."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives the descriptors back."""
        raise NotImplementedError


class _Version1(Notifier):
    __slots__ = ("_control", "_event")

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._control = f"{folder}/cgroup.event_control"
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            memory = os.open(f"{folder}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                control = os.open(self._control, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(control, f"{self._event} {memory}".encode())
                finally:
                    os.close(control)
            finally:
                os.close(memory)
        except BaseException:
            os.close(self._event)
            raise

    def fileno(self) -> int:
        return self._event

    def read(self) -> int:
        """The removal of the cgroup is an event too."""
        try:
            count = os.eventfd_read(self._event)
        except BlockingIOError:
            count = 0
        self.gone = not os.path.exists(self._control)
        return 0 if self.gone else count

    def close(self) -> None:
        os.close(self._event)


class _Version2(Notifier):
    """``_memory``: -1 where the controller is off, and there is no limit to run into."""

    __slots__ = ("_cgroup", "_memory", "_poll", "_seen")

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._memory = -1
        self._cgroup = os.open(f"{folder}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                self._memory = os.open(f"{folder}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                pass
            self._seen = self._kills()
            self._poll = select.epoll()
        except BaseException:
            self._close_files()
            raise
        for fd in self._files():
            self._poll.register(fd, select.EPOLLPRI)

    def fileno(self) -> int:
        return self._poll.fileno()

    def read(self) -> int:
        """Reading the files is also what makes poll wait for the next change."""
        try:
            before, self._seen = self._seen, self._kills()
            self.gone = value(self._cgroup, "populated") == 0
            return max(0, self._seen - before)
        except OSError:  # ENODEV
            self.gone = True
            return 0

    def close(self) -> None:
        self._poll.close()
        self._close_files()

    def _kills(self) -> int:
        return value(self._memory, "oom_kill") if self._memory >= 0 else 0

    def _files(self) -> list[int]:
        return [fd for fd in (self._cgroup, self._memory) if fd >= 0]

    def _close_files(self) -> None:
        for fd in self._files():
            os.close(fd)


def value(fd: int, key: str) -> int:
    """The number of the line ``key number``; 0 without such a line. Raises OSError."""
    for line in os.pread(fd, 4096, 0).decode().splitlines():
        name, _space, number = line.partition(" ")
        if name == key:
            return int(number)
    return 0


def kills(manager: Manager) -> int:
    """How many processes of the cgroup the kernel has killed for its memory so far."""
    folder = manager.unified if manager.pure else folder_of(manager.folders, "memory")
    for line in read_file(f"{folder}/{_KILLS[manager.pure]}").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


_KILLS = ("memory.oom_control", "memory.events")


def open_notifier(manager: Manager) -> Notifier:
    """What happened before is not told. Raises KernelError where there is no memory cgroup."""
    folder = manager.unified if manager.pure else folder_of(manager.folders, "memory")
    if not folder:
        raise KernelError("this host has no memory cgroup")
    try:
        return _Version2(folder) if manager.pure else _Version1(folder)
    except OSError as error:
        text = f"{folder}: no notice of a lack of memory: {error.strerror}"
        raise KernelError(text, errno=error.errno or 0) from None
