"""Hooks that run on the host (config.md, "POSIX-platform Hooks").

Each gets the container's state as JSON on stdin. Those that run inside the container are
started by ``ocirt.runtime.container_hooks``, which uses ``wait`` of this module.
"""

from __future__ import annotations

import os

from ocirt import log
from ocirt.config.annotation_rules import HOOKS_STDERR, HOOKS_STDOUT
from ocirt.errors import KernelError, OcirtError
from ocirt.host import kernel
from ocirt.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OUTPUT_MAX = 1024


def run_hooks(hooks: list[dict[str, Any]], kind: str, state: dict[str, Any]) -> None:
    """Runs hooks in order; raises OcirtError for the first that fails."""
    for index, hook in enumerate(hooks):
        run_hook(hook, f"/hooks/{kind}/{index}", f"{kind} hook #{index}", state, start_on_host)


def run_lenient(hooks: list[dict[str, Any]], kind: str, state: dict[str, Any]) -> None:
    """The same for poststop: a failure is logged, the rest runs all the same (runtime.md,
    "Lifecycle", step 13)."""
    for index, hook in enumerate(hooks):
        try:
            run_hook(hook, f"/hooks/{kind}/{index}", f"{kind} hook #{index}", state, start_on_host)
        except OcirtError as error:
            log.warning(str(error))


def run_hook(
    hook: dict[str, Any],
    at: str,
    name: str,
    state: dict[str, Any],
    start: Callable[[dict[str, Any], str, tuple[int, int, int]], tuple[int, int]],
) -> None:
    """Runs one hook; ``start(hook, at, its stdin, stdout and stderr)`` starts its program:
    (pid, pidfd). What errors begin with is runc's."""
    name = f"error running {name}: {hook['path']}"
    output = _memory_file(b"")
    opened = [output]
    try:
        standard = _standard(state, output, opened)
        try:
            pid, pidfd = start(hook, at, standard)
        except OSError as error:
            text = f"{name}: {error.strerror}"
            raise KernelError(text, at=f"{at}/path", errno=error.errno or 0) from None
        try:
            problem = wait(pid, pidfd, hook.get("timeout") or 0)
        finally:
            os.close(pidfd)
        if problem:
            said = _tail(output)
            raise OcirtError(f"{name}: {problem}" + (f": {said}" if said else ""), at=at)
    finally:
        for fd in opened:
            os.close(fd)


def _standard(state: dict[str, Any], output: int, opened: list[int]) -> tuple[int, int, int]:
    """A hook's stdin, stdout and stderr: the latter two are ``output`` where no annotation names
    a file. Adds to ``opened`` what it opens. Raises KernelError."""
    stdin = _memory_file(dumps(state).encode())
    opened.append(stdin)
    streams = []
    for name in (HOOKS_STDOUT, HOOKS_STDERR):
        path = (state.get("annotations") or {}).get(name)
        if not path:
            streams.append(output)
            continue
        # A FIFO without a reader is refused: with the container locked we wait for nobody.
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            text, at = f"{path}: {error.strerror}", f"/annotations/{name}"
            raise KernelError(text, at=at, errno=error.errno or 0) from None
        opened.append(fd)
        os.set_blocking(fd, True)  # for the hook
        streams.append(fd)
    return stdin, streams[0], streams[1]


def start_on_host(hook: dict[str, Any], at: str, standard: tuple[int, int, int]) -> tuple[int, int]:
    """Starts the hook's program in a session of its own, with the environment that the hook
    lists and no other."""
    environment = dict(entry.partition("=")[::2] for entry in hook.get("env") or [])
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(standard)]
    pid = os.posix_spawn(
        hook["path"],
        hook.get("args") or [hook["path"]],
        environment,
        file_actions=actions,
        setpgroup=0,
        setsigmask=(),
        setsigdef=(13, 25),  # SIGPIPE and SIGXFSZ, which the interpreter ignores
    )
    return pid, kernel.pidfd_open(pid)


def wait(pid: int, pidfd: int, timeout: int) -> str:
    """Waits for a hook, ``timeout`` seconds at most (0: for ever); "" or what went wrong."""
    if not kernel.pidfd_wait(pidfd, timeout * 1000 if timeout else None):
        for target in (-pid, pid):
            try:
                os.kill(target, 9)
            except ProcessLookupError:
                pass
        os.waitpid(pid, 0)
        return f"killed after its timeout of {timeout} s"
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        import _signal  # type: ignore[import-not-found]

        number = os.WTERMSIG(status)
        return f"killed by signal {number} ({_signal.strsignal(number).lower()})"
    code = os.WEXITSTATUS(status)
    return f"exit status {code}" if code else ""


def _memory_file(data: bytes) -> int:
    """A file that needs no reader: a hook that leaves its stdin alone blocks nobody."""
    fd = os.memfd_create("ocirt-hook", os.MFD_CLOEXEC)
    if data:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, _OUTPUT_MAX, max(0, size - _OUTPUT_MAX)).decode(errors="replace").strip()
