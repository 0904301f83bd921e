"""The processes that CRIU saves together, and where they are."""

from __future__ import annotations

import os


def tree(pid: int) -> list[int]:
    """A process and all below it. Raises OSError where it is gone."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            for child in file.read().split():
                try:
                    found += tree(int(child))
                except OSError:
                    pass  # it has just ended
    return found


def cgroup_roots(pid: int) -> list[dict[str, str]]:
    """The cgroups of a process, in the words of CRIU: [{"ctrl": controller, "path": cgroup}]."""
    return [
        {"ctrl": name, "path": path}
        for controllers, path in hierarchies(pid)
        for name in controllers.split(",")
    ]


def hierarchies(pid: int) -> list[tuple[str, str]]:
    """(names of the controllers, cgroup of a process), of every hierarchy (proc_pid_cgroup(5))."""
    found = []
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _number, controllers, path = line.rstrip("\n").split(":", 2)
            found.append((controllers, path))
    return found
