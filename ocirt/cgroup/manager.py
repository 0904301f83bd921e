"""A container's cgroup: one folder in every hierarchy (cgroupfs driver).

Where it lies is known, and saved, before anything is made: a create that is cut short can be
cleaned up.
"""

from __future__ import annotations

import errno
import os
import posixpath
import time

from ocirt.cgroup.freezer import find
from ocirt.cgroup.layout import Layout
from ocirt.errors import KernelError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.freezer import Freezer

_AT = "/linux/cgroupsPath"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 100
_PAUSE = 0.02  # seconds


class Manager:
    """``folders``: {name of the hierarchy: folder}; ``unified``: that of the v2 hierarchy or "";
    ``pure``: there is no other; ``cgroups``: {name of the hierarchy: cgroup}."""

    __slots__ = ("cgroups", "folders", "pure", "unified")

    def __init__(
        self, folders: dict[str, str], cgroups: dict[str, str], unified: str, pure: bool
    ) -> None:
        self.folders = folders
        self.cgroups = cgroups
        self.unified = unified
        self.pure = pure

    def state(self) -> dict[str, Any]:
        """For state.json; see ``from_state``."""
        return {
            "folders": self.folders,
            "cgroups": self.cgroups,
            "unified": self.unified,
            "pure": self.pure,
        }

    def create(self) -> None:
        """Makes the folders. Raises OcirtError, also where processes are in one already."""
        for folder in self.folders.values():
            try:
                os.makedirs(folder, 0o755, exist_ok=True)
                if _read(folder, "cgroup.procs"):
                    raise StateError(f"container's cgroup is not empty: {folder}", at=_AT)
                if folder == self.unified:
                    _enable_controllers(folder)
                elif os.path.exists(f"{folder}/cpuset.cpus"):
                    _inherit_cpuset(folder)
            except OSError as error:
                raise _failure("make cgroup", folder, error) from None

    def open(self) -> int:
        """The folder as clone3(CLONE_INTO_CGROUP) wants it: -1 where that is not enough."""
        return os.open(self.unified, _FOLDER) if self.pure else -1

    def join(self, pid: int) -> None:
        """Moves a process here. Raises KernelError."""
        for folder in self.folders.values():
            try:
                _write(folder, "cgroup.procs", str(pid))
            except OSError as error:
                raise _failure(f"move process {pid} to cgroup", folder, error) from None

    def sub(self, path: str) -> Manager:
        """The cgroup ``path`` below this one (exec --cgroup). Raises StateError for a path that
        leads out of it."""
        inner = posixpath.normpath("/" + path).lstrip("/")
        if ".." in path.split("/"):
            raise StateError(f"--cgroup {path}: it has a ..")
        folders = {n: posixpath.join(f, inner).rstrip("/") for n, f in self.folders.items()}
        cgroups = {n: posixpath.join(c, inner).rstrip("/") for n, c in self.cgroups.items()}
        unified = posixpath.join(self.unified, inner).rstrip("/") if self.unified else ""
        for folder in folders.values():
            if not os.path.isdir(folder):
                raise StateError(f"--cgroup {path}: {folder} does not exist")
        return Manager(folders, cgroups, unified, self.pure)

    def processes(self) -> list[int]:
        """Every process here and below."""
        for folder in self.folders.values():
            if os.path.isdir(folder):
                found: set[int] = set()
                for path, _folders, _files in os.walk(folder):
                    found.update(int(pid) for pid in _read(path, "cgroup.procs").split())
                return sorted(found - {0})
        return []

    def kill(self, signal: int = 9) -> None:
        """Sends ``signal`` to every process here and below; SIGKILL until none is left."""
        if self.pure and signal == 9:
            try:
                _write(self.unified, "cgroup.kill", "1")
                return
            except FileNotFoundError:
                pass
        freezer = find(self.state())
        for _ in range(_TRIES if signal == 9 else 1):
            processes = self._signal(signal, freezer)
            if not processes or signal != 9:
                return
            time.sleep(_PAUSE)

    def _signal(self, signal: int, freezer: Freezer | None) -> list[int]:
        """To every process: frozen, none can fork away from it. They stay frozen if they were,
        but SIGKILL has to reach them."""
        was_frozen = freezer is not None and freezer.is_frozen()
        if freezer and not was_frozen and self.processes():
            try:
                freezer.freeze()
            except KernelError:
                pass  # the next round gets those that were missed
        processes = self.processes()
        for pid in processes:
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                pass
        if freezer and processes and (signal == 9 or not was_frozen):
            freezer.thaw()
        return processes

    def destroy(self) -> None:
        """Removes the folders and all below them. Raises KernelError if that can't be done."""
        for folder in self.folders.values():
            _remove(folder)


def from_state(state: dict[str, Any]) -> Manager:
    """The manager that ``state`` was taken from."""
    unified, pure = state.get("unified", ""), state.get("pure", False)
    return Manager(state.get("folders", {}), state.get("cgroups", {}), unified, pure)


def plan_paths(layout: Layout, cgroups_path: str, id: str) -> Manager:
    """Where the container's cgroups will be; makes nothing.

    config-linux.md, "Cgroups Path", as runc's cgroupfs driver has it: an absolute path is
    below the hierarchy's mount, a relative one below the cgroup of the caller (v2: beside it,
    because a cgroup with processes can't hand controllers down); without a path the container
    is called by its id.
    """
    wanted = cgroups_path or id
    clean = "/" + posixpath.normpath("/" + wanted).lstrip("/")
    folders, cgroups, unified = {}, {}, ""
    for hierarchy in layout.hierarchies:
        if wanted.startswith("/"):
            cgroup = clean
        else:
            own = hierarchy.own
            if layout.pure_v2:
                own = posixpath.dirname(own)
            cgroup = own.rstrip("/") + clean
        folder = hierarchy.folder(cgroup)
        if folder == hierarchy.point:
            text = f"cgroup {wanted} is the root of the hierarchy"
            raise StateError(text, at=_AT)
        folders[hierarchy.name] = folder
        cgroups[hierarchy.name] = cgroup
        if hierarchy.v2:
            unified = folder
    return Manager(folders, cgroups, unified, layout.pure_v2)


def _read(folder: str, name: str) -> str:
    try:
        with open(f"{folder}/{name}") as file:
            return file.read()
    except (FileNotFoundError, OSError) as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return ""
        raise


def _write(folder: str, name: str, text: str) -> None:
    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _enable_controllers(folder: str) -> None:
    """Best effort, from the top: limits come later, and say what they miss."""
    top = folder
    parents = []
    while os.path.exists(f"{posixpath.dirname(top)}/cgroup.controllers"):
        top = posixpath.dirname(top)
        parents.append(top)
    for parent in reversed(parents):
        for name in _read(parent, "cgroup.controllers").split():
            try:
                if name not in _read(parent, "cgroup.subtree_control").split():
                    _write(parent, "cgroup.subtree_control", f"+{name}")
            except OSError:
                pass


def _inherit_cpuset(folder: str) -> None:
    """v1: nothing can join a cpuset that has no cpus and memory nodes yet."""
    parent = posixpath.dirname(folder)
    for name in ("cpuset.cpus", "cpuset.mems"):
        if _read(folder, name).strip():
            continue
        if not _read(parent, name).strip():
            _inherit_cpuset(parent)
        _write(folder, name, _read(parent, name).strip())


def _remove(folder: str) -> None:
    """A cgroup stays busy for a moment after its last process was reaped."""
    for attempt in range(_TRIES):
        try:
            _remove_tree(folder)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == _TRIES - 1:
                raise _failure("remove cgroup", folder, error) from None
            time.sleep(_PAUSE)


def _remove_tree(folder: str) -> None:
    try:
        os.rmdir(folder)
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(entry.path)
    os.rmdir(folder)


def _failure(what: str, folder: str, error: OSError) -> KernelError:
    return KernelError(f"{what} {folder}: {error.strerror}", at=_AT, errno=error.errno or 0)
