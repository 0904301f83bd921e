"""What may be behind the failure of an operation, where that is known."""

from __future__ import annotations

from ocirt.errors import errno_name
from ocirt.host.constants import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.plan.program import Instruction, Plan

_OF_PLACES = {
    "apparmorProfile": "AppArmor is not enabled on this machine, or has no such profile",
    "selinuxLabel": "SELinux is not enabled on this machine, or has no such label",
    "memoryPolicy": "the kernel must have NUMA and this mode, and the cgroup's cpuset these nodes",
    "mountLabel": "SELinux is not enabled on this machine, or has no such label",
}
# File systems that show a namespace, which must belong to the same user namespace.
_SHOW = {
    "cgroup": "cgroup",
    "cgroup2": "cgroup",
    "mqueue": "ipc",
    "own": "pid",  # "own procfs"
    "proc": "pid",
    "sysfs": "network",
}
_NOT_MAPPED = "it is not mapped in the user namespace"
_LOCKED = (
    "the ro, nosuid, nodev, noexec and atime options of the host's mounts are locked in a user"
    " namespace"
)
_NEW = {
    "EPERM": "is ocirt in a chroot? There the kernel makes no user namespace",
    "ENOSPC": "the sysctl user.max_user_namespaces says how many there may be",
}
_OWNER = "is the owner of the root file system mapped in the user namespace?"


def hint(plan: Plan, instruction: Instruction, errno: int) -> str:
    """A sentence, or "" for none."""
    found = _OF_PLACES.get(instruction.at.rpartition("/")[2], "")
    if not found and plan.mapped:
        return _in_user_namespace(instruction, errno_name(errno))
    return found


def _in_user_namespace(instruction: Instruction, error: str) -> str:
    op = instruction.op.name
    if error == "EINVAL":
        key = instruction.value("key") if op == "FSCONFIG" else ""
        if op in ("GROUPS", "SETGID", "SETUID", "MKNOD") or key in ("uid", "gid"):
            return _NOT_MAPPED
    if error == "EPERM" and op == "GROUPS":
        return "in this user namespace nobody may change groups: only one gid is mapped"
    if error == "EPERM" and op == "SETNS":
        return "it must belong to a user namespace in which ocirt has rights"
    if op == "UNSHARE" and instruction.value("flags") == CLONE_NEWUSER:
        return _NEW.get(error, "")
    if error == "EPERM" and op == "SETATTR":
        return _LOCKED
    if error == "EPERM" and op in ("FSOPEN", "FSMOUNT"):
        kind = instruction.note.partition(" ")[0]
        if kind in _SHOW:
            return f"in a user namespace this needs a new {_SHOW[kind]} namespace"
    if error in ("EACCES", "EOVERFLOW", "EPERM") and op in ("TARGET", "MKNOD", "SYMLINK", "PIVOT"):
        return _OWNER
    return ""
