"""linux.resources as a list of writes to the files of a cgroup, and how that list is carried out.

What is written is decided in limits_v1.py and limits_v2.py, which see no host but the text of the
files. The order of two files that depend on each other (quota and period, memory and swap) is not
decided at all: the kernel refuses the wrong one first, and takes it after the other.
"""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError, errno_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    # The text of a file of the cgroup, "" where it is missing or empty.
    Reader = Callable[[str], str]

UNLIMITED = -1  # of most limits in linux.resources
# Of a file that is not there, or that the kernel no longer supports (memory.kmem.limit_in_bytes).
_MISSING = (errno.ENOENT, errno.EOPNOTSUPP)
# Of a limit that doesn't fit the present one of another file.
_UNFITTING = (errno.EINVAL, errno.EBUSY, errno.ERANGE)
_SIZE_MAX = 1 << 16


class Write:
    """``at``: the JSON pointer of who asks; ``controller``: whose file it is; ``file``: its name;
    ``text``: what is written, one line; ``folder``: the cgroup, "" where the host has no such
    controller.

    ``optional``: where the file is missing nothing is lost, because the text asks for no limit.
    ``key``: the line of the file that the text replaces (a device's numbers, or "default" for all
    others), "" for all of it; ``unset``: what stands behind the key where there is no such line.
    """

    __slots__ = ("at", "controller", "file", "folder", "key", "optional", "text", "unset")

    def __init__(
        self,
        at: str,
        controller: str,
        file: str,
        text: object,
        *,
        optional: bool = False,
        key: str = "",
        unset: str = "",
    ) -> None:
        self.at = at
        self.controller = controller
        self.file = file
        self.folder = ""
        self.text = str(text)
        self.optional = optional
        self.key = key
        self.unset = unset

    def __repr__(self) -> str:
        return f"{self.file}={self.text!r} ({self.at}{', optional' if self.optional else ''})"


def carry_out(writes: Sequence[Write]) -> list[tuple[str, str]]:
    """Writes them all, or puts back what was there and raises KernelError at the pointer of the
    one that failed. Returns what ``put_back`` wants."""
    done: list[tuple[str, str]] = []  # (path, its old text)
    pending = list(writes)
    try:
        while pending:
            refused = [(write, error) for write in pending if (error := _try(write, done))]
            # A pass that changed nothing will not do better next time.
            if len(refused) == len(pending):
                raise _failure(*refused[0])
            pending = [write for write, _ in refused]
    except BaseException:
        put_back(done)
        raise
    return done


def _try(write: Write, done: list[tuple[str, str]]) -> OSError | None:
    """The error, if another write may be what this one waits for. Raises KernelError."""
    path = f"{write.folder}/{write.file}"
    try:
        if not write.folder:
            raise FileNotFoundError(errno.ENOENT, "")
        old = _old_text(write, path)
        write_file(path, write.text)
    except OSError as error:
        if error.errno in _MISSING and write.optional:
            return None
        if error.errno in _UNFITTING:
            return error
        raise _failure(write, error) from None
    done.append((path, old))
    return None


def _old_text(write: Write, path: str) -> str:
    """What has to be written to undo it."""
    lines = read_file(path).splitlines()
    if write.key:
        found = [line for line in lines if line.startswith(f"{write.key} ")]
        return found[0] if found else f"{write.key} {write.unset}"
    if write.file == "memory.oom_control":
        return lines[0].split()[-1]
    return lines[0] if lines else ""


def put_back(done: Sequence[tuple[str, str]]) -> None:
    """Undoes ``carry_out``."""
    for path, text in reversed(done):
        try:
            write_file(path, text)
        except OSError:
            pass  # it was the kernel's own text, or the cgroup is gone


def _failure(write: Write, error: OSError) -> KernelError:
    number, path = error.errno or 0, f"{write.folder}/{write.file}"
    if number == errno.ENOENT and not (write.folder and os.path.exists(path)):
        return _missing(write)
    text = f"write {write.text} to {path}: {errno_name(number)} ({error.strerror})"
    hint = ""
    if number == errno.EBUSY and write.controller == "memory":
        used = read_file(f"{write.folder}/memory.usage_in_bytes").strip()
        hint = f"the container uses {used} bytes at this moment" if used else ""
    return KernelError(text, at=write.at, errno=number, hint=hint)


def _missing(write: Write) -> KernelError:
    """The file is not there: has the cgroup its controller?"""
    controller, folder, hint = write.controller, write.folder, ""
    version2 = os.path.exists(f"{folder}/cgroup.controllers")
    if folder and not version2 or controller in read_file(f"{folder}/cgroup.controllers").split():
        text = f"this kernel has no {write.file}"
    else:
        text = f"the cgroup controller {controller} is not available, {write.file} can't be set"
        parent = os.path.dirname(folder)
        if controller in read_file(f"{parent}/cgroup.controllers").split():
            hint = f"{parent} does not hand it down, for instance because processes are in it"
    return KernelError(text, at=write.at, errno=errno.ENOENT, hint=hint)


def read_file(path: str) -> str:
    """ "" where there is none or it can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, _SIZE_MAX).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def reader(folder: str) -> Reader:
    """Of the files of a cgroup; every one is missing where ``folder`` is ""."""
    return lambda name: read_file(f"{folder}/{name}") if folder else ""


def device_key(device: dict[str, Any]) -> str:
    """What the line of a device begins with: its numbers."""
    return f"{device['major']}:{device['minor']}"


def write_file(path: str, text: str) -> None:
    """One write(2), which is how cgroup files want it. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        # An empty write never reaches the kernel's file.
        os.write(fd, (text or "\n").encode())
    finally:
        os.close(fd)
