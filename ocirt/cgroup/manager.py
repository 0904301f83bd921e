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
from ocirt.cgroup.limits import carry_out, read_file, write_file
from ocirt.errors import KernelError, StateError, errno_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ocirt.cgroup.device_rules import Rules
    from ocirt.cgroup.limits import Write

_AT = "/linux/cgroupsPath"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATIENCE = 2.0  # seconds that a cgroup may stay busy after its last process
_PAUSE = 0.0005  # the first of the pauses in that time


class Manager:
    """``folders``: {name of the hierarchy: folder}; ``unified``: that of the v2 hierarchy or "";
    ``pure``: there is no other; ``cgroups``: {name of the hierarchy: cgroup}."""

    __slots__ = ("cgroups", "folders", "pure", "unified")

    only_folders = True  # that are to be removed in the end

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

    def claim(self) -> None:
        """Raises StateError where it belongs to others: processes are in it, or it is frozen, and
        the first process would never begin. To be asked before anything is made, because they
        would not survive that it is cleaned up."""
        for folder in self.folders.values():
            if read_file(f"{folder}/cgroup.procs"):
                raise StateError(f"container's cgroup is not empty: {folder}", at=_AT)
        freezer = find(self.state())
        if freezer and freezer.holds_new():
            raise StateError(f"container's cgroup unexpectedly frozen: {freezer.folder}", at=_AT)

    def create(self) -> None:
        """Makes the folders. Raises OcirtError."""
        for folder in self.folders.values():
            try:
                os.makedirs(folder, 0o755, exist_ok=True)
                if folder == self.unified:
                    _enable_controllers(folder)
                elif os.path.exists(f"{folder}/cpuset.cpus"):
                    _inherit_cpuset(folder)
            except OSError as error:
                raise _failure("make cgroup", folder, error) from None

    def open(self) -> int:
        """The folder as clone3(CLONE_INTO_CGROUP) wants it: -1 where that is not enough."""
        return os.open(self.unified, _FOLDER) if self.pure else -1

    def enter(self, pid: int) -> None:
        """Puts the container's first process here, unless ``open`` has. Raises KernelError."""
        if not self.pure:
            self.join(pid)

    def join(self, pid: int) -> None:
        """Moves a process here. Raises KernelError."""
        for folder in self.folders.values():
            try:
                write_file(f"{folder}/cgroup.procs", str(pid))
            except OSError as error:
                raise _failure(f"move process {pid} to cgroup", folder, error) from None

    def limit(self, resources: dict[str, Any], base: str) -> None:
        """Sets limits, all or none; ``base``: the JSON pointer of ``resources``, which are
        linux.resources. Raises OcirtError."""
        if resources.keys() - {"devices"}:
            from ocirt.cgroup.resources import apply

            apply(self, resources, base)

    def write(self, writes: Sequence[Write], base: str) -> None:
        """What ``limit`` has compiled: all or nothing. Raises OcirtError."""
        carry_out(writes)

    def limit_devices(self, rules: Rules, current: Rules | None = None) -> None:
        """Which devices may be used; ``current``: the rules until now, None for a new
        container. Raises OcirtError."""
        from ocirt.cgroup.devices import apply

        apply(self, rules, current)

    def sub(self, paths: dict[str, str]) -> Manager:
        """The cgroups below these that exec --cgroup names: {controller: path}, "" for all.

        Raises StateError for a path that leads out of them, and for what does not exist.
        """
        folders, cgroups = dict(self.folders), dict(self.cgroups)
        for controller, path in paths.items():
            names = [n for n in folders if not controller or controller in n.split(",")]
            inner = posixpath.normpath("/" + path).lstrip("/")
            if ".." in path.split("/"):
                raise StateError(f"--cgroup {path} is not a sub cgroup path")
            if not names:
                raise StateError(f"--cgroup {controller}:{path}: unknown controller {controller}")
            for name in names:
                folders[name] = posixpath.join(folders[name], inner).rstrip("/")
                cgroups[name] = posixpath.join(cgroups[name], inner).rstrip("/")
                if not os.path.isdir(folders[name]):
                    raise StateError(f"--cgroup {path}: {folders[name]} does not exist")
        unified = next((folders[n] for n, f in self.folders.items() if f == self.unified), "")
        return Manager(folders, cgroups, unified, self.pure)

    def where(self, pid: int) -> Manager:
        """Version 2: the cgroup that the container itself has put its process ``pid`` in, here
        or below. A cgroup that hands controllers down can't hold processes (cgroup-v2.rst, "No
        Internal Process Constraint"), and so exec has to go where an init system went."""
        line = read_file(f"/proc/{pid}/cgroup").strip().rpartition("0::")[2]
        own = self.cgroups[""] if "" in self.cgroups else next(iter(self.cgroups.values()))
        if not line.startswith(f"{own}/") or "/../" in line:
            return self
        return self.sub({"": line[len(own) :]})

    def processes(self) -> list[int]:
        """Every process here and below: of version 1, in any hierarchy."""
        found: set[int] = set()
        for folder in self.folders.values():
            for path, _folders, _files in os.walk(folder):
                found.update(_processes(path))
        return sorted(found)

    def kill(self, signal: int = 9) -> None:
        """Sends ``signal`` to every process here and below; SIGKILL until none is left, but not
        for ever. Raises OcirtError."""
        from ocirt.cgroup.kill import kill

        kill(self, signal)

    def destroy(self) -> None:
        """Removes the folders and all below them, what can be removed of them. Raises KernelError
        for the first that can't."""
        failure = None
        for folder in self.folders.values():
            try:
                _remove(folder)
            except KernelError as error:
                failure = failure or error
        if failure:
            raise failure

    def close(self) -> None:
        """Ends connections; another call that needs one makes it again."""


class NoCgroup(Manager):
    """The container stays in its caller's cgroup, and has no limits (--cgroup-manager disabled).
    Its manager in later verbs is a plain one, of no folders."""

    __slots__ = ()

    reason = "with --cgroup-manager disabled there is no cgroup to limit"
    hint = ""

    def __init__(self) -> None:
        super().__init__({}, {}, "", False)

    def write(self, writes: Sequence[Write], base: str) -> None:
        for write in writes:
            if not write.optional:
                raise StateError(self.reason, at=write.at, hint=self.hint)

    def limit_devices(self, rules: Rules, current: Rules | None = None) -> None:
        """The caller of create warns about them: engines always have some."""


def from_state(state: dict[str, Any]) -> Manager:
    """The manager that ``state`` was taken from."""
    if "unit" in state:
        from ocirt.cgroup.systemd import restore

        return restore(state)
    unified, pure = state.get("unified", ""), state.get("pure", False)
    return Manager(state.get("folders", {}), state.get("cgroups", {}), unified, pure)


def plan(
    driver: str,
    layout: Layout,
    document: dict[str, Any],
    id: str,
    annotations: bool = True,
    rootless: bool = False,
) -> Manager:
    """Where the cgroups of a container will be; makes nothing.

    ``driver``: cgroupfs, systemd or disabled; ``document``: config.json; ``annotations``: may
    they set properties of systemd's unit? ``rootless``: only what is delegated can be had. Raises
    OcirtError.
    """
    if driver == "systemd":
        from ocirt.cgroup.systemd import plan_unit

        return plan_unit(layout, document, id, annotations, rootless)
    if driver == "disabled":
        return NoCgroup()
    wanted = (document.get("linux") or {}).get("cgroupsPath") or ""
    manager = plan_paths(layout, wanted, id)
    if rootless:
        from ocirt.cgroup.rootless import delegated

        manager = delegated(manager, layout, bool(wanted))
    return manager


def plan_paths(layout: Layout, cgroups_path: str, id: str) -> Manager:
    """With the cgroupfs driver: config-linux.md, "Cgroups Path", as runc has it. An absolute path
    is below the hierarchy's mount, a relative one below the cgroup of the caller (v2: beside it,
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


def _processes(folder: str) -> list[int]:
    """In a cgroup of version 2 that is "threaded" they can't be read. 0 is one that another pid
    namespace hides from us."""
    return [int(pid) for pid in read_file(f"{folder}/cgroup.procs").split() if pid != "0"]


def _enable_controllers(folder: str) -> None:
    """From the top, all that can be handed down: what is missing in the end is said when a limit
    needs it. Raises KernelError where the folder can't hold processes at all."""
    top = folder
    parents = []
    while os.path.exists(f"{posixpath.dirname(top)}/cgroup.controllers"):
        top = posixpath.dirname(top)
        parents.append(top)
    for parent in reversed(parents):
        file = f"{parent}/cgroup.subtree_control"
        has = read_file(file).split()
        want = [n for n in read_file(f"{parent}/cgroup.controllers").split() if n not in has]
        if want and os.path.exists(f"{parent}/cgroup.type") and read_file(f"{parent}/cgroup.procs"):
            # Not the root: it would refuse most, and become threaded by the others, so that no
            # container could be below it.
            continue
        try:
            if want:
                write_file(file, " ".join(f"+{name}" for name in want))
        except OSError:
            for name in want:
                try:
                    write_file(file, f"+{name}")
                except OSError:
                    pass
    kind = read_file(f"{folder}/cgroup.type").strip()
    if kind not in ("domain", ""):
        # cgroup-v2.rst, "Threads": below a threaded cgroup there are only such.
        text = f"cgroup {folder} is of type {kind!r} and can't hold a container's processes"
        hint = f"{posixpath.dirname(folder)} or one above is threaded: choose another cgroupsPath"
        raise KernelError(text, at=_AT, errno=errno.EOPNOTSUPP, hint=hint)


def _inherit_cpuset(folder: str) -> None:
    """v1: nothing can join a cpuset that has no cpus and memory nodes yet."""
    parent = posixpath.dirname(folder)
    for name in ("cpuset.cpus", "cpuset.mems"):
        if read_file(f"{folder}/{name}").strip():
            continue
        if not read_file(f"{parent}/{name}").strip():
            _inherit_cpuset(parent)
        write_file(f"{folder}/{name}", read_file(f"{parent}/{name}").strip())


def _remove(folder: str) -> None:
    """A cgroup stays busy for a moment after its last process has ended."""
    end, pause = time.monotonic() + _PATIENCE, _PAUSE
    while True:
        try:
            _remove_tree(folder)
            return
        except FileNotFoundError:
            if not os.path.exists(folder):
                return
            # One below it was there, and somebody else has removed it.
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise _busy(folder, error) from None
        time.sleep(pause)
        pause *= 2


def _busy(folder: str, error: OSError) -> KernelError:
    """Says who keeps it."""
    failure = _failure("remove cgroup", folder, error)
    for path, _folders, _files in os.walk(folder):
        pids = _processes(path)
        if pids:
            name = read_file(f"/proc/{pids[0]}/comm").strip()
            failure.message += f": process {pids[0]} ({name}) is in {path}"
            break
    return failure


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
    number = error.errno or 0
    text = f"{what} {folder}: {errno_name(number)} ({error.strerror})"
    return KernelError(text, at=_AT, errno=number)
