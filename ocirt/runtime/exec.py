"""``exec``: one more process in a container that is created or runs."""

from __future__ import annotations

import errno
import os

from ocirt.cgroup.freezer import find
from ocirt.cgroup.manager import from_state
from ocirt.config.annotation_rules import keeps_groups
from ocirt.errors import KernelError, OcirtError, StateError
from ocirt.host.rootless import is_rootless
from ocirt.plan.exec import compile_join_exec
from ocirt.plan.groups import rule
from ocirt.plan.host_work import READY, TAG_MASTER
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.process import environment_of
from ocirt.plan.verify import verify
from ocirt.runtime import capabilities, schedule
from ocirt.runtime.environment import complete
from ocirt.runtime.filters import filter_of, give_listener
from ocirt.runtime.kill import open_process, open_root
from ocirt.runtime.session import Session
from ocirt.runtime.status import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.manager import Manager
    from ocirt.plan.program import Plan
    from ocirt.runtime.store import Container, State


class Options:
    """What the command line says about how to run it; ``base``: JSON pointer of ``process``;
    ``cgroups``: of ``Manager.sub``; ``keep_console``: the caller keeps the terminal's master
    side."""

    __slots__ = (
        "base",
        "cgroups",
        "console_socket",
        "ignore_paused",
        "keep_console",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
    )

    def __init__(self) -> None:
        self.base = "/process"
        self.cgroups: dict[str, str] = {}
        self.console_socket = ""
        self.ignore_paused = False
        self.keep_console = False
        self.pid_file = ""
        self.pidfd_socket = ""
        self.preserve_fds = 0


def execute(
    container: Container,
    state: State,
    document: dict[str, Any],
    process: dict[str, Any],
    options: Options,
) -> Session:
    """Runs ``process``; returns once its program runs. Raises OcirtError, and leaves neither a
    process nor a pid file then.

    ``document``: the container's config.json.
    """
    now = status(container, state)
    if now == "stopped":
        raise _stopped()
    if now == "paused" and not options.ignore_paused:
        raise _paused()
    if process.get("terminal") and not options.console_socket and not options.keep_console:
        text = "cannot allocate tty if runtime will detach without setting console socket"
        raise OcirtError(text, hint="--console-socket PATH, or leave --detach out")
    linux = document.get("linux") or {}
    namespaces = Namespaces(linux)
    if not namespaces.has("user"):
        capabilities.leave_out(process, options.base)
    plan = compile_join_exec(
        process,
        linux,
        namespaces,
        first_fd=3 + options.preserve_fds,
        keyring=state.keyring,
        base=options.base,
        filter=filter_of(linux, os.path.dirname(container.folder)),
        groups=rule(keeps_groups(document), is_rootless()),
    )
    verify(plan)
    manager = from_state(state.cgroup)
    if options.cgroups:
        manager = manager.sub(options.cgroups)
    pins = {}
    try:
        pidfd = pins["pidfd"] = open_process(state)
        if not namespaces.has("mount"):
            pins["folder"] = open_root(state, pidfd)
        with schedule.InitialAffinity(process, options.base):
            session = _start(plan, manager, state, options)
        try:
            if state.intel_rdt:
                _join_rdt(session.pid, state)
            fds = {pin.slot: pins[pin.kind] for pin in plan.pins}
            session.hand_over = lambda fd: give_listener(fd, linux, session.pid, state, now)
            session.run(fds, {READY: lambda: _ready(session, state, pidfd, process, options)})
            _hand_out(session, options)
        except KernelError as error:
            session.kill()
            if error.errno == errno.ESRCH and error.at == "/linux/namespaces":
                raise _stopped() from None  # it is ending, and has left its namespaces
            raise
        except BaseException:
            session.kill()
            raise
    except ProcessLookupError:
        raise _stopped() from None
    finally:
        for fd in pins.values():
            os.close(fd)
    return session


def _paused() -> StateError:
    hint = "--ignore-paused waits until it goes on"
    return StateError("cannot exec in a paused container: container paused", hint=hint)


def _stopped() -> StateError:
    return StateError("cannot exec in a stopped container: container not running")


def _start(plan: Plan, manager: Manager, state: State, options: Options) -> Session:
    """In the container's cgroup."""
    if not options.ignore_paused:
        _refuse_frozen(manager)
    first_fd = 3 + options.preserve_fds
    cgroup = manager.open()
    try:
        session = Session(plan, cgroup, first_fd)
    except KernelError as error:
        inner = manager if options.cgroups else manager.where(state.pid)
        if error.errno != errno.EBUSY or inner is manager:
            raise
        return _start(plan, inner, state, options)
    finally:
        if cgroup >= 0:
            os.close(cgroup)
    try:
        if cgroup < 0:
            manager.join(session.pid)
    except BaseException:
        session.kill()
        raise
    return session


def _refuse_frozen(manager: Manager) -> None:
    """Also one below the container's, which may be its own to freeze: we would wait for the new
    process, which is born there, and nothing but SIGKILL would end that."""
    freezer = find(manager.state())
    try:
        if freezer and freezer.has_stopped():
            raise _paused()
    except OSError:
        pass  # no such cgroup: what comes says so


def _join_rdt(pid: int, state: State) -> None:
    """A group that somebody has removed meanwhile is no error: the container's processes went to
    the default one, which a new process is in."""
    from ocirt import log
    from ocirt.cgroup import intel_rdt

    try:
        intel_rdt.from_state(state.intel_rdt).join(pid)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        log.warning(str(error))


def _ready(
    session: Session, state: State, pidfd: int, process: dict[str, Any], options: Options
) -> None:
    schedule.apply(session.pid, process, options.base, in_exec=True)
    complete(environment_of(session.plan), process, lambda: open_root(state, pidfd))
    if process.get("terminal"):
        from ocirt.runtime.console import hand_over

        if hand_over(session.received[TAG_MASTER], process, options.console_socket):
            os.close(session.received.pop(TAG_MASTER))


def _hand_out(session: Session, options: Options) -> None:
    """Only now, when the program runs: a failed exec leaves no pid file (CONTRACT.md row 16)."""
    if options.pidfd_socket:
        from ocirt.runtime.console import send_fd

        send_fd(options.pidfd_socket, session.pidfd, "pidfd")
    if options.pid_file:
        from ocirt.runtime.pid_file import write_pid_file

        write_pid_file(options.pid_file, session.pid)
