"""A user namespace that an ordinary user makes.

The kernel lets such a user map one id, the user's own (user_namespaces(7)). For more there are
newuidmap(1) and newgidmap(1), which map the ranges that /etc/subuid and /etc/subgid give the user.
"""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError
from ocirt.host import id_maps, kernel
from ocirt.host.constants import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.host.id_maps import Row

_HELPERS = {"uidMappings": "newuidmap", "gidMappings": "newgidmap"}
_RANGES = {"uidMappings": "/etc/subuid", "gidMappings": "/etc/subgid"}
# Engines call with an empty environment.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TEXT_MAX = 4096


def make(mappings: dict[str, list[Row]], at: str) -> int:
    """A descriptor of a new user namespace that nobody is in. ``mappings``: by the keys of linux;
    ``at``: the pointer of the namespace. Raises OcirtError."""
    pid, hold = _start_child(at)
    try:
        for key, rows in mappings.items():
            _write(pid, key, rows, f"/linux/{key}")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(hold)
        os.waitpid(pid, 0)


def _start_child(at: str) -> tuple[int, int]:
    """(pid, descriptor) of a process in the namespace, which ends when the descriptor is closed."""
    said, say = os.pipe2(os.O_CLOEXEC)
    held, hold = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        number = 0
        try:
            kernel.unshare(CLONE_NEWUSER)
        except OSError as error:
            number = error.errno or 0
        os.write(say, bytes([number]))
        os.read(held, 1)
        os._exit(0)
    os.close(say)
    os.close(held)
    answer = os.read(said, 1)
    os.close(said)
    if answer == b"\0":
        return pid, hold
    os.close(hold)
    os.waitpid(pid, 0)
    number, hint = answer[0] if answer else errno.ESRCH, ""
    if number in (errno.EPERM, errno.EACCES):
        hint = "does this host let ordinary users make them? see sysctl kernel.*userns*"
    elif number in (errno.ENOSPC, errno.EUSERS):
        hint = "see sysctl user.max_user_namespaces"
    text = f"make a user namespace: {os.strerror(number)}"
    raise KernelError(text, at=at, errno=number, hint=hint)


def _write(pid: int, key: str, rows: list[Row], at: str) -> None:
    own = os.geteuid() if key == "uidMappings" else os.getegid()
    if len(rows) != 1 or rows[0][1:] != (own, 1):
        _run_helper(pid, key, rows, at)
        return
    if key == "gidMappings":
        # Else who is denied something as a member of a group could leave that group.
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
    id_maps.write(pid, key, rows, at)


def _run_helper(pid: int, key: str, rows: list[Row], at: str) -> None:
    name = _HELPERS[key]
    program = _find(name)
    if not program:
        text = f"to map other ids than one's own {name} is needed, which is not in PATH"
        raise KernelError(text, at=at, errno=errno.ENOENT, hint="install it (Debian: uidmap)")
    numbers = [str(number) for row in rows for number in row]
    said = os.memfd_create(name)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, said, 1),
            (os.POSIX_SPAWN_DUP2, said, 2),
        ]
        environment = {"PATH": _PATH, "LC_ALL": "C"}
        child = os.posix_spawn(
            program, [name, str(pid), *numbers], environment, file_actions=actions
        )
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = os.pread(said, _TEXT_MAX, 0).decode(errors="replace").strip()
    except OSError as error:
        raise KernelError(f"{program}: {error.strerror}", at=at, errno=error.errno or 0) from None
    finally:
        os.close(said)
    if status:
        first = text.split("\n")[0].removeprefix(f"{name}: ") or f"exit status {status}"
        hint = f"the ranges that the user may map are in {_RANGES[key]}"
        raise KernelError(f"{name}: {first}", at=at, errno=errno.EPERM, hint=hint)


def _find(name: str) -> str:
    """In PATH; "" if it is not there."""
    for folder in (os.environ.get("PATH") or _PATH).split(":"):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return ""
