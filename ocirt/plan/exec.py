"""The program of ``exec``: join a running container, then become the process.

Also of startContainer and createContainer hooks, which run in the container's namespaces.
"""

from __future__ import annotations

import errno

from ocirt.host.constants import CLONE_NEWPID
from ocirt.plan import process
from ocirt.plan.groups import SET
from ocirt.plan.host_work import READY
from ocirt.plan.ops import NO_SLOT
from ocirt.plan.program import Plan
from ocirt.plan.root import root_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.namespaces import Namespaces
    from ocirt.seccomp.filter import Filter


def join(
    plan: Plan,
    namespaces: Namespaces,
    linux: dict[str, Any],
    wanted: dict[str, Any],
    groups: int,
) -> None:
    """Enter the namespaces of the container, as a new process in them.

    By the pidfd of its first process and not by paths: what is joined is that container,
    or the call fails.
    """
    init = plan.pin("container", "pidfd", "", "")
    flags = namespaces.flags()
    if flags:
        plan.add("SETNS", init, flags, at="/linux/namespaces", note="container")
    _enter_user_namespace(plan, namespaces, linux, wanted, groups)
    plan.add("CLOSE", init, at="")
    if not namespaces.has("mount"):
        folder = plan.pin("container root", "folder", "/proc/PID/root", "/root/path")
        plan.add("CHROOT", folder, at="/root/path", note="root")
        plan.add("CLOSE", folder, at="")
    if flags & CLONE_NEWPID:
        plan.add("FORK", at="/linux/namespaces", note="container")
    plan.add("SETSID", at="", note="session")


def _enter_user_namespace(
    plan: Plan,
    namespaces: Namespaces,
    linux: dict[str, Any],
    wanted: dict[str, Any],
    groups: int,
) -> None:
    if namespaces.has("user"):
        from ocirt.plan.user_namespace import become_root

        plan.mapped = True
        become_root(plan, linux, wanted, "/linux/namespaces", groups)


def compile_join_exec(
    wanted: dict[str, Any],
    linux: dict[str, Any],
    namespaces: Namespaces,
    *,
    first_fd: int,
    keyring: str,
    base: str,
    filter: Filter | None = None,
    groups: int = SET,
) -> Plan:
    """The plan of one process in a container.

    ``wanted``: a process object; ``base``: its JSON pointer, "" where it is a document of
    its own; ``linux``: the container's; ``keyring``: what its session keyring is called, or "";
    ``filter``: of system calls; ``groups``: of ocirt.plan.groups.
    """
    plan = Plan()
    join(plan, namespaces, linux, wanted, groups)
    if keyring:
        process.join_keyring(plan, keyring, wanted, base)
    process.open_procfs_for_labels(plan, wanted, base)
    if wanted.get("terminal"):
        root = plan.slot("root")
        plan.add("OPEN_ROOT", root, at="", note="terminal")
        process.compile_terminal(plan, root, base, console=False)
        plan.add("CLOSE", root, at="")
    process.compile_personality(plan, linux)
    process.compile_memory_policy(plan, linux)
    process.compile_settings(plan, wanted, base)
    plan.sync(READY, base)
    process.compile_labels(plan, wanted, base)
    plan.add("KEEP", NO_SLOT, NO_SLOT, NO_SLOT, NO_SLOT, at="")
    process.compile_program(plan, wanted, base, first_fd, filter=filter, groups=groups)
    return plan


def compile_host_hook(
    hook: dict[str, Any],
    at: str,
    namespaces: Namespaces,
    document: dict[str, Any],
    bundle: str,
    groups: int = SET,
) -> Plan:
    """A createContainer hook: a program of the host's root, run in the container's
    namespaces while that root is still there (config.md, "createContainer Hooks"). Its working
    directory is the container's root file system, as with runc, if it may go there."""
    plan = Plan()
    init = plan.pin("container", "pidfd", "", "")
    host = plan.pin("host root", "sent", "", at)
    flags = namespaces.flags()
    if flags:
        plan.add("SETNS", init, flags, at="/linux/namespaces", note="container")
    linux: dict[str, Any] = document.get("linux") or {}
    _enter_user_namespace(plan, namespaces, linux, document["process"], groups)
    plan.add("CHROOT", host, at=at, note="hook")
    skip = (errno.EACCES, errno.ENOENT)
    plan.add("CHDIR", root_path(document, bundle), at=at, note="hook", skip=skip)
    if flags & CLONE_NEWPID:
        plan.add("FORK", at=at, note="hook")
    plan.add("SETSID", at=at, note="hook")
    plan.add("KEEP", NO_SLOT, NO_SLOT, NO_SLOT, NO_SLOT, at=at)
    plan.add("UMASK", 0o022, at=at, note="hook")
    args = [*(hook.get("args") or [hook["path"]])]
    plan.add("FIND_EXEC", [hook["path"]], at=f"{at}/path", note="hook")
    plan.add("EXEC", args, list(hook.get("env") or []), 3, at=f"{at}/path", note="hook")
    return plan
