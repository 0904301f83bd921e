"""Terminals: --console-socket, sizes, and the caller's own terminal in the foreground."""

from __future__ import annotations

import fcntl
import os

from ocirt.errors import KernelError, OcirtError
from ocirt.host import kernel
from ocirt.host.constants import TIOCGWINSZ, TIOCSWINSZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_console(process: dict[str, Any], socket: str, keep: bool) -> None:
    """Either side without the other is a mistake of the caller. ``socket``: --console-socket;
    ``keep``: the caller keeps the terminal's master side."""
    terminal = process.get("terminal")
    if terminal and not socket and not keep:
        raise OcirtError(
            "cannot allocate tty if runtime will detach without setting console socket",
            at="/process/terminal",
            hint="--console-socket PATH, or ocirt run without --detach",
        )
    if socket and not terminal:
        raise OcirtError("--console-socket is given, but no terminal is asked for", at="/process")


def hand_over(master: int, process: dict[str, Any], socket: str) -> bool:
    """Gives a new terminal its size, and its master side to --console-socket. False without one:
    then the caller keeps it."""
    size = process.get("consoleSize")
    if size:
        set_size(master, size["width"], size["height"])
    elif not socket:
        copy_size(0, master)
    if not socket:
        _print_as_written(master)
        return False
    send_fd(socket, master, "/dev/ptmx")
    return True


def send_fd(path: str, fd: int, name: str) -> None:
    """Sends one message with one descriptor to the socket ``path`` (CONTRACT.md row 9)."""
    try:
        socket = kernel.connect(path)
        try:
            kernel.send(socket, name.encode()[:4095], [fd])
        finally:
            os.close(socket)
    except OSError as error:
        text = f"hand {name} to the socket {path}: {error.strerror}"
        raise KernelError(text, errno=error.errno or 0) from None


def set_size(fd: int, width: int, height: int) -> None:
    """The size of a terminal in characters (ioctl_tty(2), TIOCSWINSZ)."""
    size = height.to_bytes(2, "little") + width.to_bytes(2, "little") + bytes(4)
    fcntl.ioctl(fd, TIOCSWINSZ, size)


def copy_size(source: int, target: int) -> None:
    """Gives terminal ``target`` the size of terminal ``source``; nothing if that is none."""
    try:
        fcntl.ioctl(target, TIOCSWINSZ, fcntl.ioctl(source, TIOCGWINSZ, bytes(8)))
    except OSError:
        pass


def _print_as_written(fd: int) -> None:
    """The container's terminal adds no carriage returns: the caller's does (``Raw``), and what
    goes to a file instead is to have none."""
    import termios

    iflag, oflag, *rest = termios.tcgetattr(fd)
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag & ~termios.ONLCR, *rest])


class Raw:
    """The caller's terminal hands on every key as it is, until ``restore``. It prints as before."""

    __slots__ = ("_fd", "_old")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._old: list[Any] | None = None
        if not os.isatty(fd):
            return
        import termios

        self._old = termios.tcgetattr(fd)
        iflag, oflag, cflag, lflag, *rest = termios.tcgetattr(fd)
        iflag &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, *rest])

    def restore(self) -> None:
        """As it was before."""
        if self._old is not None:
            import termios

            termios.tcsetattr(self._fd, termios.TCSANOW, self._old)
