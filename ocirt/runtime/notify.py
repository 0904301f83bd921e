"""NOTIFY_SOCKET: a container of a systemd service says that it is ready (sd_notify(3)).

It sees /run/notify/notify.sock, never the host's socket: ``READY=`` is all that is handed on, with
the pid that the service manager then watches (CONTRACT.md row 39).
"""

from __future__ import annotations

import os
import select
import socket

from ocirt.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.store import Container

FOLDER, NAME = "notify", "notify.sock"
_INSIDE = "/run/notify"
_SIZE = 4096
_BARRIER_PATIENCE = 30_000  # milliseconds


def add_mount(document: dict[str, Any], state_folder: str) -> None:
    """Gives the container its side of it: the folder ``FOLDER`` of its state folder."""
    options = ["bind", "nosuid", "noexec", "nodev", "ro"]
    source = os.path.join(state_folder, FOLDER)
    mount = {"destination": _INSIDE, "source": source, "options": options}
    document["mounts"] = [*(document.get("mounts") or []), mount]
    process = document["process"]
    process["env"] = [*(process.get("env") or []), f"NOTIFY_SOCKET={_INSIDE}/{NAME}"]


def has_folder(container: Container) -> bool:
    """Was it created so?"""
    try:
        os.stat(FOLDER, dir_fd=container.fd)
    except FileNotFoundError:
        return False
    return True


def make_folder(container: Container) -> None:
    """Raises OSError."""
    os.mkdir(FOLDER, 0o755, dir_fd=container.fd)
    os.chmod(FOLDER, 0o755, dir_fd=container.fd)  # whatever the umask is


def open_proxy(container: Container) -> Proxy | None:
    """None where create was not called with NOTIFY_SOCKET. Raises KernelError."""
    try:
        return Proxy(container, os.environ["NOTIFY_SOCKET"])
    except FileNotFoundError:
        return None
    except OSError as error:
        text = f"{container.folder}/{FOLDER}/{NAME}: {error.strerror}"
        raise KernelError(text, errno=error.errno or 0) from None


class Proxy:
    """``fd`` can be read when the container has said something."""

    __slots__ = ("_host", "_socket", "fd")

    def __init__(self, container: Container, host: str) -> None:
        """Raises OSError."""
        self._host = host
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.fd = self._socket.fileno()
        # By the descriptor: the path of a socket is short.
        path = f"/proc/self/fd/{container.fd}/{FOLDER}/{NAME}"
        try:
            self._socket.bind(path)
            os.chmod(path, 0o777)
        except BaseException:
            self._socket.close()
            raise

    def wait(self, pid: int, pidfd: int) -> None:
        """Until process ``pid`` of the container is ready, or has ended."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if (self.fd in ready and self.forward(pid)) or pidfd in ready:
                return

    def forward(self, main_pid: int) -> bool:
        """Hands on what the container says: was that ``READY=``?"""
        for line in self._socket.recv(_SIZE).split(b"\n"):
            if line.startswith(b"READY="):
                tell(self._host, line, main_pid)
                return True
        return False


def tell(host: str, line: bytes, main_pid: int) -> None:
    """``host``: the value of NOTIFY_SOCKET; ``line``: READY=. Raises KernelError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        try:
            peer.connect("\0" + host[1:] if host.startswith("@") else host)
            peer.send(line + b"\n")
            peer.send(b"MAINPID=%d\n" % main_pid)
            _barrier(peer)
        except OSError as error:
            text = f"NOTIFY_SOCKET: {error.strerror}"
            raise KernelError(text, errno=error.errno or 0) from None


def _barrier(host: socket.socket) -> None:
    """Until the service manager has dealt with what was sent: it forgets what a process that is
    gone said (sd_notify_barrier(3))."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        socket.send_fds(host, [b"BARRIER=1"], [writer])
    finally:
        os.close(writer)
    poll = select.poll()
    poll.register(reader, 0)
    poll.poll(_BARRIER_PATIENCE)
    os.close(reader)
