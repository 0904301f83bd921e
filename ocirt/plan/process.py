"""process to operations: terminal, user, capabilities, labels and the program itself.

The same for a container's first process and for exec (config.md, "Process").
"""

from __future__ import annotations

import errno
import posixpath

from ocirt.config.process_rules import cpu_list
from ocirt.host.constants import (
    CAPABILITIES,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    PERSONALITY_DOMAINS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_SECUREBITS,
)
from ocirt.plan.groups import SET, set_groups
from ocirt.plan.host_work import TAG_MASTER
from ocirt.plan.ops import KIND_DIR, KIND_FILE, NO_SLOT, TARGET_ORDINARY
from ocirt.plan.paths import inside, open_procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan
    from ocirt.seccomp.filter import Filter

# What a program without a "/" is looked for in when its environment has no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Capabilities stay as they are when the uid changes (capabilities(7)): chdir works as the
# user on a root-squashing NFS and as root elsewhere, and the final set is chosen afterwards.
SECBIT_NO_SETUID_FIXUP = 4
_SYS_ADMIN = 1 << CAPABILITIES["CAP_SYS_ADMIN"]


def join_keyring(plan: Plan, name: str, process: dict[str, Any], base: str) -> None:
    """A session keyring of its own: the caller's keys are not the container's. It is new unless there
    is one called ``name``. It has the process's SELinux label; the next execve(2) ends that this is
    so of new keys."""
    label = process.get("selinuxLabel")
    if label:
        at = f"{base}/selinuxLabel"
        proc = open_procfs(plan, at)
        path = "self/attr/keycreate"
        plan.add("WRITE", proc, path, label.encode(), at=at, note="SELinux label")
    # ENOSYS: no keyrings in this kernel. EDQUOT is an error: sharing one would be a leak.
    plan.add("KEYRING", name, at="", note="keyring", skip=(errno.ENOSYS,))


def compile_personality(plan: Plan, linux: dict[str, Any]) -> None:
    """linux.personality: 32-bit programs see a 32-bit kernel."""
    wanted = linux.get("personality")
    if wanted:
        domain = PERSONALITY_DOMAINS[wanted["domain"]]
        at = "/linux/personality/domain"
        plan.add("PERSONALITY", domain, at=at, note="personality")


def compile_memory_policy(plan: Plan, linux: dict[str, Any]) -> None:
    """linux.memoryPolicy: which NUMA nodes the program's memory comes from."""
    wanted = linux.get("memoryPolicy")
    if wanted:
        policy = MEMORY_POLICIES[wanted["mode"]]
        for flag in wanted.get("flags") or ():
            policy |= MEMORY_POLICY_FLAGS[flag]
        mask = sum(1 << node for node in cpu_list(wanted.get("nodes") or ""))
        nodes = mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
        at = "/linux/memoryPolicy"
        plan.add("MEMORY_POLICY", policy, nodes, at=at, note="memory policy")


def compile_terminal(plan: Plan, root: int, base: str, console: bool) -> None:
    """A new terminal as stdin, stdout and stderr; ``console``: and as /dev/console."""
    at, note = f"{base}/terminal", "terminal"
    master, slave = plan.slot("terminal master"), plan.slot("terminal")
    plan.add("PTY", root, master, slave, at=at, note=note)
    if console:
        # No link may lead it elsewhere (CVE-2025-52565, CVE-2026-88264).
        target, copy = plan.slot("target"), plan.slot("console")
        flags = TARGET_ORDINARY
        plan.add("TARGET", root, "dev/console", KIND_FILE, NO_SLOT, flags, target, at=at, note=note)
        plan.add("CLONE_TREE", slave, 0, copy, at=at, note=note)
        plan.add("ATTACH", copy, target, at=at, note=note)
        plan.add("CLOSE", copy, at=at)
    plan.add("SEND", master, TAG_MASTER, at=at, note=note)
    plan.add("CLOSE", master, at=at)
    plan.add("STDIO", slave, at=at, note=note)
    plan.add("CTTY", slave, at=at, note=note)
    plan.add("CLOSE", slave, at=at)


def make_cwd(plan: Plan, process: dict[str, Any], root: int) -> None:
    """A working directory that the image lacks is made, as the peers do."""
    path = inside(process["cwd"])
    if path != ".":
        slot = plan.slot("target")
        at = "/process/cwd"
        plan.add("TARGET", root, path, KIND_DIR, NO_SLOT, 0, slot, at=at, note="working directory")


def compile_settings(plan: Plan, process: dict[str, Any], base: str) -> None:
    """umask and no_new_privs."""
    user = process.get("user") or {}
    mask = user.get("umask")
    at = f"{base}/user/umask"
    plan.add("UMASK", 0o022 if mask is None else mask, at=at, note="umask")
    if process.get("noNewPrivileges"):
        at = f"{base}/noNewPrivileges"
        plan.add("PRCTL", PR_SET_NO_NEW_PRIVS, 1, at=at, note="no new privileges")


def open_procfs_for_labels(plan: Plan, process: dict[str, Any], base: str) -> None:
    """The procfs that ``compile_labels`` writes to."""
    for key in ("apparmorProfile", "selinuxLabel"):
        if process.get(key):
            open_procfs(plan, f"{base}/{key}")


def compile_labels(plan: Plan, process: dict[str, Any], base: str) -> None:
    """The label that the kernel gives to the next program (proc_pid_attr(5)).

    AppArmor's file of its own is older than every kernel that ocirt runs on (Linux 5.8); the
    one that all modules share belongs to the first of them.
    """
    profile, label = process.get("apparmorProfile"), process.get("selinuxLabel")
    if profile:
        at, data = f"{base}/apparmorProfile", f"exec {profile}".encode()
        proc = open_procfs(plan, at)
        plan.add("WRITE", proc, "self/attr/apparmor/exec", data, at=at, note="AppArmor profile")
    if label:
        at = f"{base}/selinuxLabel"
        proc = open_procfs(plan, at)
        plan.add("WRITE", proc, "self/attr/exec", label.encode(), at=at, note="SELinux label")


def compile_program(
    plan: Plan,
    process: dict[str, Any],
    base: str,
    first_fd: int,
    park: tuple[int, int] | None = None,
    filter: Filter | None = None,
    groups: int = SET,
) -> None:
    """Privileges, filter of system calls, and the program; ``park``: the slots (start, report)
    of a container that waits for start; ``groups``: of ocirt.plan.groups.

    After the filter comes as little as can be: it may forbid what the machine needs. Without
    no_new_privs only CAP_SYS_ADMIN may load it (seccomp(2)), which is kept until then.
    """
    at = f"{base}/capabilities"
    sets = process.get("capabilities") or {}
    inheritable = capability_mask(sets.get("inheritable"))
    permitted = capability_mask(sets.get("permitted"))
    effective = capability_mask(sets.get("effective")) & permitted
    kept = _SYS_ADMIN if filter and not process.get("noNewPrivileges") else 0
    _compile_user(plan, process, base, groups)
    plan.add("CAPSET", effective | kept, permitted | kept, inheritable, at=at, note="capabilities")
    # The kernel refuses ambient ones that are not both permitted and inheritable.
    ambient = capability_mask(sets.get("ambient")) & permitted & inheritable
    plan.add("AMBIENT", ambient, at=f"{at}/ambient", note="capabilities")
    args, program, at_program = process["args"], f"program {process['args'][0]}", f"{base}/args/0"
    environment = list(process.get("env") or [])
    plan.add("FIND_EXEC", candidates(args[0], environment), at=at_program, note=program)
    if filter:
        plan.add("CLOEXEC", first_fd, at="", note="descriptors")
        first_fd = NO_SLOT
        plan.add("SECCOMP", filter.program, filter.flags, at="/linux/seccomp", note=filter.text)
        if kept & ~effective:
            plan.add("CAPSET", effective, permitted, inheritable, at=at, note="capabilities")
    if park:
        plan.add("PARK", *park, at="", note="start")
    plan.add("EXEC", args, environment, first_fd, at=at_program, note=program)


def _compile_user(plan: Plan, process: dict[str, Any], base: str, groups: int) -> None:
    """User, groups and working directory, with all capabilities but those that the bounding set
    takes from the program."""
    user = process.get("user") or {}
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    sets = process.get("capabilities")
    at, note = f"{base}/user", "user"
    if sets is not None:
        keep = capability_mask(sets.get("bounding"))
        plan.add("BOUNDING", keep, at=f"{base}/capabilities/bounding", note="capabilities")
    plan.add("PRCTL", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, at=at, note=note)
    plan.add("OWN_STDIO", uid, at=f"{at}/uid", note=note)
    set_groups(plan, user.get("additionalGids") or [], groups, f"{at}/additionalGids", note)
    plan.add("SETGID", gid, at=f"{at}/gid", note=note)
    plan.add("SETUID", uid, at=f"{at}/uid", note=note)
    plan.add("CHDIR", process["cwd"], at=f"{base}/cwd", note="working directory")
    plan.add("PRCTL", PR_SET_SECUREBITS, 0, at=at, note=note)


def capability_mask(names: list[str] | None) -> int:
    """The bits of CAP_* names; the rules have warned of those that no kernel knows."""
    mask = 0
    for name in names or ():
        if name in CAPABILITIES:
            mask |= 1 << CAPABILITIES[name]
    return mask


def candidates(program: str, environment: list[str]) -> list[str]:
    """The paths that the program may be at, as execvp(3) tries them."""
    if "/" in program:
        return [program]
    found = DEFAULT_PATH
    for entry in environment:
        if entry.startswith("PATH="):
            found = entry[5:]
    return [posixpath.join(folder or ".", program) for folder in found.split(":")]


def environment_of(plan: Plan) -> list[str]:
    """The program's environment: a list that the host may add to before the last segment."""
    value = plan.instructions[-1].value("env")
    assert isinstance(value, list)
    return value
