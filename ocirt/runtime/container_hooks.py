"""Hooks that run inside the container: a second machine joins it, then becomes the hook.

createContainer: programs of the host, while the old root is still there.
startContainer: programs of the container's root, as the container's user.
"""

from __future__ import annotations

import os

from ocirt.cgroup.manager import from_state
from ocirt.host.rootless import is_rootless
from ocirt.plan.exec import compile_host_hook, compile_join_exec
from ocirt.plan.groups import rule
from ocirt.plan.host_work import READY, TAG_HOST_ROOT
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.process import environment_of
from ocirt.runtime import capabilities, schedule
from ocirt.runtime.environment import complete
from ocirt.runtime.filters import filter_of, give_listener
from ocirt.runtime.hooks import run_hook
from ocirt.runtime.session import Session
from ocirt.runtime.spec_state import spec_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.cgroup.manager import Manager
    from ocirt.plan.program import Plan
    from ocirt.runtime.store import Container, State


def run_create_container(
    hooks: list[dict[str, Any]], session: Session, document: dict[str, Any], state: dict[str, Any]
) -> None:
    """Runs them in order. Raises OcirtError for the first that fails."""
    namespaces = Namespaces(document.get("linux") or {})
    host_root = session.received.pop(TAG_HOST_ROOT)

    def start(hook: dict[str, Any], at: str, standard: tuple[int, int, int]) -> tuple[int, int]:
        plan = compile_host_hook(
            hook, at, namespaces, document, state["bundle"], rule(False, is_rootless())
        )
        return _start(plan, {"pidfd": session.pidfd, "sent": host_root}, standard)

    try:
        for index, hook in enumerate(hooks):
            name = f"createContainer hook #{index}"
            run_hook(hook, f"/hooks/createContainer/{index}", name, state, start)
    finally:
        os.close(host_root)


def run_start_container(container: Container, state: State, document: dict[str, Any]) -> None:
    """Runs them in order, in the container's cgroup and with the filter of system calls and the
    limits of its processes: the programs are the container's. Raises OcirtError for the first that
    fails."""
    from ocirt.runtime.kill import open_process, open_root

    linux = document.get("linux") or {}
    namespaces = Namespaces(linux)
    if not namespaces.has("user"):
        capabilities.leave_out(document["process"], "/process")
    filter = filter_of(linux, os.path.dirname(container.folder))
    pidfd = open_process(state)

    def give(listener: int, pid: int) -> None:
        give_listener(listener, linux, pid, state, "created")

    def start(hook: dict[str, Any], at: str, standard: tuple[int, int, int]) -> tuple[int, int]:
        wanted = dict(document["process"], terminal=False, cwd="/")
        wanted["args"] = hook.get("args") or [hook["path"]]
        if "env" in hook:  # else it has that of the container's program, as with runc
            wanted["env"] = hook["env"] or []
        plan = compile_join_exec(
            wanted,
            linux,
            namespaces,
            first_fd=3,
            keyring=state.keyring,
            base=at,
            filter=filter,
            groups=rule(False, is_rootless()),
        )
        if "env" not in hook:
            complete(environment_of(plan), wanted, lambda: open_root(state, pidfd))
        # The file to execute is `path`; args[0] is only what it is called.
        _set_program(plan, hook["path"])
        root = open_root(state, pidfd)
        try:
            pins = {"pidfd": pidfd, "folder": root}
            return _start_confined(plan, pins, standard, give, state, wanted)
        finally:
            os.close(root)

    try:
        for index, hook in enumerate(document["hooks"]["startContainer"]):
            name = f"startContainer hook #{index}"
            at = f"/hooks/startContainer/{index}"
            run_hook(hook, at, name, spec_state(state, "created"), start)
    finally:
        os.close(pidfd)


def _set_program(plan: Plan, path: str) -> None:
    for instruction in plan.instructions:
        if instruction.op.name == "FIND_EXEC":
            instruction.values = ([path],)


def _start_confined(
    plan: Plan,
    pins: dict[str, int],
    standard: tuple[int, int, int],
    give: Callable[[int, int], None],
    state: State,
    wanted: dict[str, Any],
) -> tuple[int, int]:
    """As ``_start``, as a process of the container. ``give`` takes the listener of its filter, and
    the pid; ``wanted``: the process object."""
    manager = from_state(state.cgroup)
    cgroup = manager.open()
    try:
        with _Standard(standard):
            session = Session(plan, cgroup)
    finally:
        if cgroup >= 0:
            os.close(cgroup)
    session.hand_over = lambda listener: give(listener, session.pid)

    def ready() -> None:
        schedule.apply(session.pid, wanted, "/process")

    return _run(session, pins, ready, manager if cgroup < 0 else None)


def _start(plan: Plan, pins: dict[str, int], standard: tuple[int, int, int]) -> tuple[int, int]:
    """Runs the plan with these standard descriptors; the hook's pid and pidfd."""
    with _Standard(standard):
        session = Session(plan)
    return _run(session, pins)


def _run(
    session: Session,
    pins: dict[str, int],
    ready: Callable[[], None] = lambda: None,
    manager: Manager | None = None,
) -> tuple[int, int]:
    """``manager``: of a cgroup that it has to join."""
    fds = {pin.slot: pins[pin.kind] for pin in session.plan.pins}
    try:
        if manager:
            manager.join(session.pid)
        session.run(fds, {READY: ready})
    except BaseException:
        session.kill()
        raise
    pidfd = os.dup(session.pidfd)
    session.close()
    return session.pid, pidfd


class _Standard:
    """The machine inherits 0, 1 and 2: for the moment of its start they are the hook's."""

    __slots__ = ("_new", "_old")

    def __init__(self, standard: tuple[int, int, int]) -> None:
        self._new = standard
        self._old: list[int] = []

    def __enter__(self) -> None:
        self._old = [os.dup(fd) for fd in range(3)]
        for fd, new in enumerate(self._new):
            os.dup2(new, fd)

    def __exit__(self, *_: object) -> None:
        for fd in (2, 1, 0):  # first where an error is said
            os.dup2(self._old[fd], fd)
            os.close(self._old[fd])
