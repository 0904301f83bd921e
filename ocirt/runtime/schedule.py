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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# sched_setattr(2), EPERM. The words are runc's.
_ALL_CPUS = "process scheduler can't be used together with AllowedCPUs, linux.resources.cpu.cpus"
_CPUS = 1024  # as many as a cpu_set_t has (CPU_SET(3))


def apply(pid: int, process: dict[str, Any], base: str, in_exec: bool = False) -> None:
    """process.rlimits, oomScoreAdj, scheduler, ioPriority and execCPUAffinity: without one, none.

    ``base``: JSON pointer of ``process``. Raises KernelError at the place of what failed.
    """
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
    affinity = process.get("execCPUAffinity") or {}
    cpus = affinity.get("final") or affinity.get("initial")
    if cpus and in_exec:  # config.md: not of the container's first process
        at = f"{base}/execCPUAffinity"
        _try(at, f"CPUs {cpus}", os.sched_setaffinity, pid, cpu_list(cpus))
    else:
        _free_from_affinity(pid)


def _free_from_affinity(pid: int) -> None:
    """Our caller's is not the container's, which may use all CPUs that its cpuset has. Since Linux
    6.2 joining a cpuset does not do that any more; the kernel leaves out what the cpuset lacks."""
    try:
        os.sched_setaffinity(pid, range(_CPUS))
    except OSError as error:
        from ocirt import log

        log.warning(f"the CPU affinity of our caller stays: {error.strerror}")


def _try(at: str, note: str, call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except OSError as error:
        text = f"{note}: {error.strerror}"
        raise KernelError(text, at=at, errno=error.errno or 0) from None


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
