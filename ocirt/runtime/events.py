"""``events``: what a container uses, at intervals, and notices that its memory was not enough."""

from __future__ import annotations

import os
import select
import time

from ocirt import log
from ocirt.cgroup import intel_rdt_stats
from ocirt.cgroup.manager import from_state
from ocirt.cgroup.oom import open_notifier
from ocirt.cgroup.stats import read_stats
from ocirt.errors import KernelError
from ocirt.runtime.kill import open_process
from ocirt.runtime.status import living

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.cgroup.manager import Manager
    from ocirt.cgroup.oom import Notifier
    from ocirt.runtime.store import Container, State

_LONGEST = 1 << 30  # milliseconds: poll(2) takes an int


def events(
    container: Container, state: State | None, interval_seconds: float, stats_only: bool
) -> Iterator[dict[str, Any]]:
    """CONTRACT.md row 23: {"type": "stats", "id", "data"}, the first after one interval, and
    {"type": "oom", "id"}, until the container stops. ``stats_only``: one of the former, now.

    Raises StateError for one that has stopped, KernelError.
    """
    state, _ = living(container, state)
    manager = from_state(state.cgroup)
    if stats_only:
        yield _stats(state, manager)
        return
    try:
        pidfd = open_process(state)
    except ProcessLookupError:
        return
    notifier = _notifier(manager)
    try:
        for kind in _wait(pidfd, notifier, interval_seconds):
            if kind == "oom":
                yield {"type": "oom", "id": container.id}
                continue
            try:
                event = _stats(state, manager)
            except KernelError as error:
                log.warning(str(error))
                continue
            yield event
    finally:
        os.close(pidfd)
        if notifier:
            notifier.close()


def _stats(state: State, manager: Manager) -> dict[str, Any]:
    data = read_stats(manager)
    data["intel_rdt"] = intel_rdt_stats.read_stats(state.intel_rdt)
    # runc reads the veth devices that it made itself, which no config.json can ask for.
    data["network_interfaces"] = None
    return {"type": "stats", "id": state.id, "data": data}


def _notifier(manager: Manager) -> Notifier | None:
    try:
        return open_notifier(manager)
    except KernelError as error:
        log.warning(str(error))
        return None


def _wait(pidfd: int, notifier: Notifier | None, interval: float) -> Iterator[str]:
    """The types of the events as they come due; ends with the process, or when nothing is left
    in the cgroup. An interval that passed while the reader was slow is left out."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if notifier:
        poll.register(notifier, select.POLLIN)
    due = time.monotonic() + interval
    while True:
        left = max(0.0, due - time.monotonic()) * 1000
        ready = dict(poll.poll(min(left, _LONGEST)))
        # After the poll: the kernel counts before it kills, so none is missed at the end.
        if notifier and notifier.read():
            yield "oom"
        if pidfd in ready or (notifier and notifier.gone):
            return
        if time.monotonic() >= due:
            yield "stats"
            due = max(due + interval, time.monotonic())
