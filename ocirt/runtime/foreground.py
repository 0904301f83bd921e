"""Wait for a process as a shell would: signals go to it, a terminal is carried both ways."""

from __future__ import annotations

# Not signal: that makes enums of its numbers, for milliseconds.
import _signal as signal  # type: ignore[import-not-found]
import fcntl
import os
import select

from ocirt.host import kernel
from ocirt.host.helper import reap_helper
from ocirt.runtime.console import Raw, copy_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.runtime.notify import Proxy

_CHUNK = 32 << 10
# SIGKILL and SIGSTOP can't be caught, SIGCHLD and SIGPIPE are about this process; a fault
# in ocirt itself is no message for the container.
_OWN = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGURG,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
}


class Signals:
    """Writes the number of every signal that arrives to a pipe, whose end is ``fd``."""

    __slots__ = ("_writer", "fd")

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in signal.valid_signals() - _OWN:
            try:
                signal.signal(number, lambda _number, _frame: None)
            except (OSError, ValueError):
                pass  # two of the real-time signals are libc's own

    def arrived(self) -> bytes:
        """The numbers, a byte each."""
        try:
            return os.read(self.fd, 256)
        except BlockingIOError:
            return b""


def wait(pid: int, pidfd: int, master: int, signals: Signals, proxy: Proxy | None = None) -> int:
    """The exit status of ``pid``, a child: 128+n where a signal ended it.

    ``master``: of its terminal, or -1; the caller's stdin and stdout are connected to it.
    ``proxy``: of NOTIFY_SOCKET; the service's main process is this one.
    """
    reap_helper()
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(signals.fd, select.POLLIN)
    if proxy:
        poll.register(proxy.fd, select.POLLIN)
    terminal = Terminal(master, poll) if master >= 0 else None
    try:
        while True:
            ready = dict(poll.poll())
            if signals.fd in ready:
                for number in signals.arrived():
                    _forward(number, pidfd, master)
            if proxy and proxy.fd in ready:
                proxy.forward(os.getpid())
            if terminal:
                terminal.carry(ready)
            if pidfd in ready:
                break
        if terminal:
            terminal.drain()
    finally:
        if terminal:
            terminal.close()
    status = os.waitpid(pid, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _forward(number: int, pidfd: int, master: int) -> None:
    if number == signal.SIGWINCH and master >= 0:
        copy_size(0, master)
        return
    try:
        kernel.pidfd_send_signal(pidfd, number)
    except OSError:
        pass  # it has just ended


class Terminal:
    """Carries what is typed to the container, and what it prints back."""

    __slots__ = ("_master", "_pending", "_poll", "_raw")

    def __init__(self, master: int, poll: select.poll) -> None:
        self._master = master
        self._poll = poll
        self._pending = b""
        self._raw = Raw(0)
        copy_size(0, master)
        flags = fcntl.fcntl(master, fcntl.F_GETFL)
        fcntl.fcntl(master, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        poll.register(master, select.POLLIN)
        try:
            os.fstat(0)
            poll.register(0, select.POLLIN)
        except OSError:
            pass  # no stdin

    def carry(self, ready: dict[int, int]) -> None:
        """What ``ready`` (of poll) says can be carried now."""
        if ready.get(0):
            self._typed()
        if ready.get(self._master, 0) & select.POLLOUT:
            self._send()
        if ready.get(self._master, 0) & (select.POLLIN | select.POLLHUP) and not self._print():
            self._poll.unregister(self._master)

    def drain(self) -> None:
        """What it printed last; a process that lives on with the terminal is not waited for."""
        while self._print():
            pass

    def close(self) -> None:
        """Gives the caller's terminal back."""
        self._raw.restore()

    def _typed(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(0)
            data = b"\x04"  # end of file, as a terminal says it
        self._pending += data
        self._send()

    def _send(self) -> None:
        try:
            self._pending = self._pending[os.write(self._master, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""
        try:
            events = select.POLLIN | (select.POLLOUT if self._pending else 0)
            self._poll.modify(self._master, events)
        except OSError:
            pass

    def _print(self) -> bool:
        try:
            data = os.read(self._master, _CHUNK)
        except OSError:
            return False  # EAGAIN: nothing now; EIO: nobody has it open
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(1, rest) :]
            except OSError:
                break
        return bool(data)
