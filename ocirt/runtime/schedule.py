"""What the host sets on a process from outside: limits, OOM score, scheduler, CPUs.

DESIGN.md: what the kernel lets the parent do to a pid, Python does.
"""

from __future__ import annotations

import errno
import os

from ocirt.config.process_rules import cpu_list
from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.host.constants import (
    IOPRIO_CLASS_SHIFT,
    IOPRIO_CLASSES,
    RLIM_INFINITY,
    RLIMITS,
    SCHED_FLAGS,
    SCHED_POLICIES,
)
from ocirt.host.rootless import is_rootless

_RIGHTS = "only the host's root may raise limits and priorities, or lower an OOM score"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# sched_setattr(2), EPERM. The words are runc's.
_ALL_CPUS = "process scheduler can't be used together with AllowedCPUs, linux.resources.cpu.cpus"
_CPUS = 1024  # as many as a cpu_set_t has (CPU_SET(3))


def apply(pid: int, process: dict[str, Any], base: str, in_exec: bool = False) -> None:
    """process.rlimits, oomScoreAdj, scheduler, ioPriority and, ``in_exec``, execCPUAffinity.

    ``base``: JSON pointer of ``process``. Raises KernelError at the place of what failed.
    """
    _affinity(pid, process, base, in_exec)
    for index, limit in enumerate(process.get("rlimits") or []):
        at = f"{base}/rlimits/{index}"
        name, soft, hard = limit["type"], limit["soft"], limit["hard"]
        note = f"limit {name} soft {soft} hard {hard}"
        _try(
            at, note, kernel.prlimit, pid, RLIMITS[name], soft & RLIM_INFINITY, hard & RLIM_INFINITY
        )
    score = process.get("oomScoreAdj")
    if score is not None:
        _try(f"{base}/oomScoreAdj", f"OOM score {score}", _write_oom_score, pid, score)
    scheduler = process.get("scheduler")
    if scheduler:
        try:
            _try(f"{base}/scheduler", f"scheduler {scheduler['policy']}", _schedule, pid, scheduler)
        except KernelError as error:
            if error.errno == errno.EPERM and scheduler["policy"] == "SCHED_DEADLINE":
                error.hint = _ALL_CPUS
            raise
    priority = process.get("ioPriority")
    if priority:
        value = IOPRIO_CLASSES[priority["class"]] << IOPRIO_CLASS_SHIFT | priority.get(
            "priority", 0
        )
        _try(f"{base}/ioPriority", "I/O priority", kernel.ioprio_set, pid, value)


class InitialAffinity:
    """While it is entered this process runs on the CPUs of execCPUAffinity.initial, and so does
    what it starts, until that is in the container's cgroup (config.md, "Linux Process")."""

    __slots__ = ("_at", "_before", "_cpus")

    def __init__(self, process: dict[str, Any], base: str) -> None:
        self._cpus: str = (process.get("execCPUAffinity") or {}).get("initial") or ""
        self._at = f"{base}/execCPUAffinity/initial"
        self._before: set[int] = set()

    def __enter__(self) -> None:
        if self._cpus:
            self._before = os.sched_getaffinity(0)
            _try(self._at, f"CPUs {self._cpus}", os.sched_setaffinity, 0, cpu_list(self._cpus))

    def __exit__(self, *_: object) -> None:
        if self._before:
            os.sched_setaffinity(0, self._before)


def _affinity(pid: int, process: dict[str, Any], base: str, in_exec: bool) -> None:
    """Before the scheduler: SCHED_DEADLINE wants all CPUs (sched(7))."""
    affinity = (process.get("execCPUAffinity") or {}) if in_exec else {}
    final = affinity.get("final")
    if final:
        at = f"{base}/execCPUAffinity/final"
        _try(at, f"CPUs {final}", os.sched_setaffinity, pid, cpu_list(final))
    elif not affinity.get("initial"):
        # The CPUs that we were given are not the container's, as the peers see it; the kernel
        # leaves out those that its cpuset lacks.
        try:
            os.sched_setaffinity(pid, range(_CPUS))
        except OSError as error:
            from ocirt import log

            log.warning(f"the process keeps the CPUs of ocirt: {error.strerror}")


def _try(at: str, note: str, call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except OSError as error:
        text = f"{note}: {error.strerror}"
        hint = _RIGHTS if isinstance(error, PermissionError) and is_rootless() else ""
        raise KernelError(text, at=at, errno=error.errno or 0, hint=hint) from None


def _write_oom_score(pid: int, score: int) -> None:
    fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(score).encode())
    finally:
        os.close(fd)


def _schedule(pid: int, scheduler: dict[str, Any]) -> None:
    flags = 0
    for name in scheduler.get("flags") or ():
        flags |= SCHED_FLAGS[name]
    kernel.sched_setattr(
        pid,
        SCHED_POLICIES[scheduler["policy"]],
        flags=flags,
        nice=scheduler.get("nice") or 0,
        priority=scheduler.get("priority") or 0,
        runtime=scheduler.get("runtime") or 0,
        deadline=scheduler.get("deadline") or 0,
        period=scheduler.get("period") or 0,
    )
