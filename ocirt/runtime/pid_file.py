"""--pid-file: decimal, no newline, there or not there but never half written (CONTRACT 8)."""

from __future__ import annotations

import os

from ocirt.errors import KernelError


def write_pid_file(path: str, pid: int) -> None:
    """Writes it beside ``path`` and renames it. Raises KernelError."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        text = f"write the pid file {path}: {error.strerror}"
        raise KernelError(text, errno=error.errno or 0) from None


def remove_pid_file(path: str) -> None:
    """If it is there. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
