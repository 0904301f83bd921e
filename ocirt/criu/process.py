"""``criu swrk``: one CRIU process that serves one request over a socket of its own."""

from __future__ import annotations

import os

from ocirt import log
from ocirt.criu import messages
from ocirt.criu.protobuf import decode, encode
from ocirt.errors import OcirtError, StateError
from ocirt.host import kernel
from ocirt.host.constants import PR_SET_PDEATHSIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    # A notice's script, its pid (0: none) and its descriptor (-1: none).
    Notify = Callable[[str, int, int], None]

_OLDEST = (3, 15)  # external pid namespaces
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SIZE = 1 << 16  # of a message; CRIU's own buffer is smaller
_ANSWER_MAX = 1 << 17
_SOCKET = 3  # its number in CRIU, and then come the descriptors of ``start``
_HIGH = 500  # higher than the numbers of all that CRIU is given
_MAX = 1 << 20
_SIGKILL = 9
_NO_CRIU = "criu is not installed: containers can't be checkpointed or restored"


def find() -> str:
    """The path of the program. Raises StateError where there is none."""
    for folder in (os.environ.get("PATH") or _PATH).split(":"):
        path = os.path.join(folder, "criu")
        if folder.startswith("/") and os.access(path, os.X_OK):
            return path
    raise StateError(_NO_CRIU, hint="Debian package criu, 3.15 or newer")


def check_version() -> tuple[int, int]:
    """(major, minor). Raises StateError where it is too old, OcirtError where it does not work."""
    response = Criu().call({"type": messages.VERSION})
    numbers = response.get("version") or {}
    version = numbers.get("major_number", 0), numbers.get("minor_number", 0)
    if version < _OLDEST:
        wanted, found = (".".join(map(str, v)) for v in (_OLDEST, version))
        raise StateError(f"criu {found} is too old, {wanted} is the oldest that will do")
    return version


def check_feature(name: str, what: str) -> None:
    """Can CRIU do on this kernel what ``name`` (of FEATURES) stands for? Raises StateError."""
    response = Criu().call({"type": messages.FEATURE_CHECK, "features": {name: True}})
    if not (response.get("features") or {}).get(name):
        raise StateError(f"{what}: criu says that this kernel has no {name}")


class Criu:
    """``pid`` is that of the process. It has /dev/null as its standard streams unless
    ``streams``, and then descriptors ``fds``, in order, from ``first_fd`` on."""

    __slots__ = ("_program", "_socket", "fds", "pid", "streams")

    first_fd = _SOCKET + 1

    def __init__(self) -> None:
        """Raises StateError where there is no CRIU."""
        self._program = find()
        self._socket = -1
        self.pid = 0
        self.fds: list[int] = []
        self.streams = False

    def inherit(self, fd: int) -> int:
        """Descriptor ``fd`` is to be CRIU's as well: its number there."""
        self.fds.append(fd)
        return self.first_fd + len(self.fds) - 1

    def replace(self, old: int, new: int) -> None:
        """In ``prepare``: descriptor ``new`` is CRIU's instead of ``old``."""
        self.fds = [new if fd == old else fd for fd in self.fds]

    def start(self, prepare: Callable[[], bytes] | None = None, die: bool = False) -> bytes:
        """Starts the process. ``prepare`` runs in it, before the program, and may not raise: what it
        returns is the answer here. ``die``: with this process. Raises OSError, OcirtError."""
        ours, theirs = kernel.socketpair()
        try:
            self.pid = os.fork()
            if not self.pid:
                try:
                    if die:
                        kernel.prctl(PR_SET_PDEATHSIG, _SIGKILL)
                    answer = prepare() if prepare else b""
                    # CRIU reads descriptors in a request as those of who has made its socket.
                    client, server = kernel.socketpair()
                    kernel.send(theirs, b"=" + answer, [client])
                    self._execute(server)
                finally:
                    os._exit(127)
            os.close(theirs)
            theirs = -1
            data, self._socket = kernel.recv(ours, _ANSWER_MAX)
        finally:
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)
        if not data:
            raise OcirtError("the process for criu has ended too early")
        return data[1:]

    def _execute(self, socket: int) -> None:
        import fcntl

        if not self.streams:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in (socket, *self.fds)]
        for number, fd in enumerate(copies, _SOCKET):
            os.dup2(fd, number)
        os.closerange(_SOCKET + len(copies), _MAX)  # what our caller has left open
        # What CRIU calls itself, iptables and tar for instance, it looks for in PATH.
        environment = {"PATH": _PATH, **os.environ}
        os.execve(self._program, ["criu", "swrk", str(_SOCKET)], environment)

    def call(self, request: dict[str, Any], notify: Notify | None = None) -> dict[str, Any]:
        """The answer to ``request``. ``notify`` is called for every notice on the way; what it
        raises ends CRIU's work, and is raised here in the end. Raises OcirtError."""
        if not self.pid:
            self.start()
        failure: BaseException | None = None
        try:
            kernel.send(self._socket, encode(messages.REQUEST, request))
            while True:
                response, fd = self._receive()
                if response.get("type") != messages.NOTIFY:
                    break
                try:
                    self._notice(response.get("notify") or {}, fd, notify)
                except BaseException as error:
                    failure = failure or error
                finally:
                    if fd >= 0:
                        os.close(fd)
                answer = {"type": messages.NOTIFY, "notify_success": failure is None}
                kernel.send(self._socket, encode(messages.REQUEST, answer))
        except (OSError, OcirtError) as error:
            failure = failure or error
        finally:
            self.close()
        if isinstance(failure, OSError):
            raise OcirtError(f"criu: {failure.strerror}", errno=failure.errno or 0) from None
        if failure:
            raise failure
        if not response.get("success"):
            raise OcirtError(_words(response), errno=response.get("cr_errno") or 0)
        return response

    def _receive(self) -> tuple[dict[str, Any], int]:
        data, fd = kernel.recv(self._socket, _SIZE)
        if not data:
            raise OcirtError("criu has ended without an answer")
        return decode(messages.RESPONSE, data), fd

    def _notice(self, notice: dict[str, Any], fd: int, notify: Notify | None) -> None:
        script = notice.get("script") or ""
        log.debug(f"criu: {script}")
        if notify:
            notify(script, notice.get("pid") or 0, fd)

    def close(self) -> None:
        """Waits for its end: without us it gives up, and puts back what it has begun."""
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1
        if self.pid:
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass
            self.pid = 0


def _words(response: dict[str, Any]) -> str:
    said = response.get("cr_errmsg") or ""
    number = response.get("cr_errno") or 0
    reason = said.strip() or (os.strerror(number).lower() if number else "")
    return f"criu failed: {reason}" if reason else "criu failed"
