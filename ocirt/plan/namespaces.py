"""linux.namespaces to clone flags and operations (config-linux.md, "Namespaces").

Most new namespaces are flags of the clone3 that starts the machine. Three are not: the
cgroup namespace (its root is the cgroup that the process is in when it is made, and on
cgroup v1 the host moves it after the clone), the time namespace (its offsets must be
written before anything runs in it) and with it the pid namespace. With a user namespace none is:
it has to own the others, and who is born in it, without an id yet, loses its capabilities when
it executes the machine (user_namespaces(7)).
"""

from __future__ import annotations

from ocirt.host.constants import (
    CLONE_NEWCGROUP,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    NAMESPACE_FLAGS,
)
from ocirt.plan.groups import SET, set_groups
from ocirt.plan.host_work import ID_MAPS, TIME_OFFSETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan


class Namespaces:
    """``new``: {type: pointer}; ``joined``: {type: (path, pointer)}."""

    __slots__ = ("joined", "new")

    def __init__(self, linux: dict[str, Any]) -> None:
        self.new: dict[str, str] = {}
        self.joined: dict[str, tuple[str, str]] = {}
        for index, namespace in enumerate(linux.get("namespaces") or []):
            at = f"/linux/namespaces/{index}"
            if namespace.get("path"):
                self.joined[namespace["type"]] = (namespace["path"], f"{at}/path")
            else:
                self.new[namespace["type"]] = at

    def has(self, kind: str) -> bool:
        """Is it the container's own, new or joined, and not that of ocirt?"""
        return kind in self.new or kind in self.joined

    def flags(self) -> int:
        """CLONE_NEW* of every namespace that the container has."""
        return sum(NAMESPACE_FLAGS[kind] for kind in (*self.new, *self.joined))


def compile_namespaces(
    plan: Plan,
    namespaces: Namespaces,
    linux: dict[str, Any],
    process: dict[str, Any],
    groups: int = SET,
    ordinary: bool = False,
) -> None:
    """The container's namespaces; ends with the process as leader of its own session.

    ``linux``, ``process``: the container's, for the ids in a user namespace; ``groups``: of
    ocirt.plan.groups; ``ordinary``: see Request. The machine of an ordinary user is born in a user
    namespace that is new; not in one that is joined, whose root could trace it then.
    """
    if ordinary and "user" in namespaces.new:
        plan.born = namespaces.new["user"]
        set_groups(plan, (), groups, plan.born, "user namespace")
        # What is joined can only be what belongs to that namespace: nothing, as yet.
        for kind in namespaces.joined:
            _join(plan, namespaces, kind)
        forks = _unshare_rest(plan, namespaces)
    elif namespaces.has("user"):
        forks = _with_user_namespace(plan, namespaces, linux, process, groups, ordinary)
    else:
        forks = _without_user_namespace(plan, namespaces)
    if forks:
        plan.add("FORK", at="/linux/namespaces", note="pid and time namespaces")
    plan.add("SETSID", at="", note="session")
    if "network" in namespaces.new:
        plan.add("LOOPBACK_UP", at=namespaces.new["network"], note="network namespace")


def _without_user_namespace(plan: Plan, namespaces: Namespaces) -> bool:
    """Must the process fork, to be in the pid and time namespaces that it entered?"""
    forks = "time" in namespaces.new or "pid" in namespaces.joined
    unshared = {"cgroup", "time"} | ({"pid"} if forks else set())
    for kind in namespaces.new:
        if kind not in unshared:
            plan.clone_flags |= NAMESPACE_FLAGS[kind]
    for kind in namespaces.joined:
        _join(plan, namespaces, kind)
    if "cgroup" in namespaces.new:
        at = namespaces.new["cgroup"]
        plan.add("UNSHARE", CLONE_NEWCGROUP, at=at, note="cgroup namespace")
    if "time" in namespaces.new:
        flags = CLONE_NEWTIME | (CLONE_NEWPID if "pid" in namespaces.new else 0)
        plan.add("UNSHARE", flags, at=namespaces.new["time"], note="time namespace")
        plan.sync(TIME_OFFSETS, "/linux/timeOffsets")
    return forks


def _with_user_namespace(
    plan: Plan,
    namespaces: Namespaces,
    linux: dict[str, Any],
    process: dict[str, Any],
    groups: int,
    ordinary: bool,
) -> bool:
    """The same. What is joined is joined first, with the rights of the host: it may belong to
    another user namespace. An ordinary user has no rights but in the user namespace."""
    from ocirt.plan.user_namespace import become_root

    if ordinary:
        at = namespaces.joined["user"][1]
        _join(plan, namespaces, "user")
        plan.sync(ID_MAPS, at)
        become_root(plan, linux, process, at, groups)
    for kind in namespaces.joined:
        if kind != "user":
            _join(plan, namespaces, kind)
    if ordinary:
        return _unshare_rest(plan, namespaces)
    if "user" in namespaces.joined:
        _join(plan, namespaces, "user")
        at = namespaces.joined["user"][1]
    else:
        at = namespaces.new["user"]
        plan.add("UNSHARE", CLONE_NEWUSER, at=at, note="user namespace")
    plan.sync(ID_MAPS, at)
    become_root(plan, linux, process, at, groups)
    return _unshare_rest(plan, namespaces)


def _unshare_rest(plan: Plan, namespaces: Namespaces) -> bool:
    """Those that belong to the user namespace that the process is in; must it fork then?"""
    flags = sum(NAMESPACE_FLAGS[kind] for kind in namespaces.new if kind != "user")
    if flags:
        plan.add("UNSHARE", flags, at="/linux/namespaces", note="namespaces")
    if "time" in namespaces.new:
        plan.sync(TIME_OFFSETS, "/linux/timeOffsets")
    return "time" in namespaces.new or namespaces.has("pid")


def _join(plan: Plan, namespaces: Namespaces, kind: str) -> None:
    path, at = namespaces.joined[kind]
    slot = plan.pin(f"{kind} namespace", "namespace", path, at, kind)
    plan.add("SETNS", slot, NAMESPACE_FLAGS[kind], at=at, note=f"{kind} namespace {path}")
    plan.add("CLOSE", slot, at=at)
