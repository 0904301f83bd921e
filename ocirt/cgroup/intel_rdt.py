"""linux.intelRdt: a container's group in the resctrl file system (config-linux.md, "IntelRdt";
the kernel's resctrl.rst).

Imported only for a container that has such an object. The kernel fills a new folder with files,
and removes them with the folder; the processes of a group that is removed go to the default one.
A process that is forked belongs to the groups of its parent.

All that depends on which groups there are is done under flock(2) of the top folder, as resctrl.rst
asks of everybody: a class that containers share has its schemata before the second one compares.
"""

from __future__ import annotations

import errno
import os
import posixpath
import time

from ocirt import log
from ocirt.cgroup.intel_rdt_schemata import differs, parse
from ocirt.cgroup.limits import read_file, write_file
from ocirt.errors import KernelError, errno_name
from ocirt.host import mountinfo
from ocirt.host.constants import RDTGROUP_SUPER_MAGIC
from ocirt.host.kernel import fstatfs_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Lines = Sequence[tuple[str, str]]  # (JSON pointer of who asks, line for the file schemata)

_AT = "/linux/intelRdt"
_USUAL = "/sys/fs/resctrl"  # it is there, empty, where kernel and processor have RDT
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PATIENCE, _PAUSE = 2.0, 0.005  # seconds


class Group:
    """``root``: the mount point; ``folder``: of the class of service (CLOS); ``monitor``: that of
    the container's monitoring group, or ""; ``shared``: closID names the class; ``lines``: of the
    config; ``made``: the folders that this container has to remove."""

    __slots__ = ("folder", "lines", "made", "monitor", "root", "shared")

    def __init__(self, root: str, folder: str, monitor: str, shared: bool) -> None:
        self.root = root
        self.folder = folder
        self.monitor = monitor
        self.shared = shared
        self.lines: Lines = ()
        self.made: list[str] = []

    def state(self, created: bool = False) -> dict[str, Any]:
        """For state.json, see ``from_state``; ``created``: the create has succeeded, and a class
        that was made for a closID is everybody's from now on."""
        made = [f for f in self.made if not (created and self.shared and f == self.folder)]
        return {
            "root": self.root,
            "folder": self.folder,
            "monitor": self.monitor,
            "shared": self.shared,
            "made": made,
        }

    def apply(self, pid: int, save: Callable[[dict[str, Any]], None]) -> None:
        """Makes what is missing, sets the schemata and moves process ``pid`` there.

        ``save`` is given the state before anything is made. Raises KernelError; ``destroy``
        takes back what was done.
        """
        with _Lock(self.root):
            missing = not os.path.lexists(self.folder)
            if missing:
                self._check_missing()
            else:
                self._check_present()
            self.made = [self.folder] if missing else []
            if self.monitor:
                self.made.append(self.monitor)
            if self.made:
                save(self.state())
            if missing:
                self._make(self.folder, self._at)
            self.write(self.lines)
            if self.monitor:
                self._make(self.monitor, f"{_AT}/enableMonitoring")
            self.join(pid)

    def join(self, pid: int) -> None:
        """Moves a process here; to the class first, which its monitoring group is a part of.
        Raises KernelError."""
        for folder, at in ((self.folder, self._at), (self.monitor, f"{_AT}/enableMonitoring")):
            try:
                if folder:
                    write_file(f"{folder}/tasks", str(pid))
            except OSError as error:
                what = f"move process {pid} to resctrl group {folder}"
                raise self._failure(what, at, error) from None

    def write(self, lines: Lines) -> str:
        """Writes all lines, in this order, or none; returns the text that was there, see
        ``restore``. Raises KernelError.

        Each line by itself: the kernel takes no two for one resource in a write, and so the one
        that it refuses is known.
        """
        path = f"{self.folder}/schemata"
        old = read_file(path) if lines else ""
        for at, line in lines:
            try:
                write_file(path, f"{line}\n")
            except OSError as error:
                failure = self._failure(f"write {line} to {path}", at, error)
                self.restore(old)
                raise failure from None
        return old

    def restore(self, text: str) -> None:
        """Puts back what ``write`` returned, as far as the kernel lets us."""
        for line in text.splitlines():
            try:
                write_file(f"{self.folder}/schemata", f"{line}\n")
            except OSError as error:
                log.warning(f"restore {line.strip()} in {self.folder}: {error.strerror}")

    def destroy(self) -> None:
        """Removes what was made; it is no error if it is gone. A class that a create which was cut
        short has made for a closID stays if another container is in it. Raises KernelError."""
        if not self.made or not os.path.isdir(self.root):
            return
        with _Lock(self.root):
            for folder in reversed(self.made):
                if folder == self.folder and self.shared and _used(folder):
                    continue
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    raise self._failure(f"remove resctrl group {folder}", _AT, error) from None
        self.made = []

    def check_resources(self, lines: Lines) -> None:
        """Raises KernelError for a resource that this host does not control."""
        known = parse(read_file(f"{self.root}/schemata"))
        for at, line in lines:
            name = line.partition(":")[0].strip()
            if ":" in line and name not in known:
                has = ", ".join(known) or "nothing"
                text = f"this host's resctrl file system does not control {name}, but {has}"
                raise KernelError(text, at=at, errno=errno.ENODEV)

    @property
    def _at(self) -> str:
        return f"{_AT}/closID" if self.shared else _AT

    def _check_missing(self) -> None:
        if self.shared and not self.lines:
            text = f"there is no resctrl group {self.folder}"
            hint = "one without schemata, l3CacheSchema and memBwSchema must exist before"
            raise KernelError(text, at=self._at, errno=errno.ENOENT, hint=hint)

    def _check_present(self) -> None:
        """A class with a closID must have what l3CacheSchema and memBwSchema say; the members of
        schemata are written in any case."""
        if not os.path.isfile(f"{self.folder}/tasks"):
            text = f"{self.folder} is no resctrl group"
            raise KernelError(text, at=self._at, errno=errno.EEXIST)
        if not self.shared:
            # Of another runtime, or another state folder: theirs to remove.
            log.warning(f"resctrl group {self.folder} exists already, and will not be removed")
            return
        present = read_file(f"{self.folder}/schemata")
        for at, line in self.lines:
            if "/schemata/" not in at and differs(line, present, self._step):
                has = "; ".join(text.strip() for text in present.splitlines())
                text = f"resctrl group {self.folder} exists with other schemata than {line}: {has}"
                raise KernelError(text, at=at, errno=errno.EEXIST)

    def _step(self, resource: str) -> int:
        text = read_file(f"{self.root}/info/{resource}/bandwidth_gran").strip()
        return int(text) if text.isdecimal() else 0

    def _make(self, folder: str, at: str) -> None:
        try:
            os.mkdir(folder, 0o755)
        except OSError as error:
            self.made.remove(folder)
            raise self._failure(f"make resctrl group {folder}", at, error) from None

    def _failure(self, what: str, at: str, error: OSError) -> KernelError:
        """With the kernel's own words about it."""
        number = error.errno or 0
        text = f"{what}: {errno_name(number)} ({error.strerror})"
        said = read_file(f"{self.root}/info/last_cmd_status").strip()
        if said and said != "ok":
            text += ": " + "; ".join(said.splitlines())
        return KernelError(text, at=at, errno=number)


def plan(settings: dict[str, Any], id: str, root: str = "") -> Group:
    """The group that linux.intelRdt asks for; makes nothing.

    ``root``: where resctrl is mounted; it is looked for where that is empty, as it always is but
    in tests. Raises KernelError where the host can't do it.
    """
    root = root or find_root()
    clos = settings.get("closID") or ""
    folder = root if clos == "/" else posixpath.join(root, clos or id)
    monitor = ""
    if settings.get("enableMonitoring"):
        monitor = f"{folder}/mon_groups/{id}"
        if not os.path.isdir(f"{root}/mon_groups"):
            text = "this host's resctrl file system has no monitoring"
            raise KernelError(text, at=f"{_AT}/enableMonitoring", errno=errno.ENODEV)
    group = Group(root, folder, monitor, bool(clos))
    group.lines = lines_of(settings, _AT)
    group.check_resources(group.lines)
    return group


def lines_of(settings: dict[str, Any], base: str) -> Lines:
    """What to write, in the order of the specification; ``base``: the pointer of ``settings``."""
    found = []
    for key in ("l3CacheSchema", "memBwSchema"):
        found += [(f"{base}/{key}", line) for line in (settings.get(key) or "").split("\n")]
    for index, line in enumerate(settings.get("schemata") or []):
        found.append((f"{base}/schemata/{index}", line))
    return [(at, line) for at, line in found if line]


def from_state(state: dict[str, Any]) -> Group:
    """The group that ``state`` was taken from."""
    root, folder = state.get("root", ""), state.get("folder", "")
    group = Group(root, folder, state.get("monitor", ""), state.get("shared", False))
    group.made = state.get("made", [])
    return group


def find_root() -> str:
    """The mount point of the resctrl file system, the usual one first. Raises KernelError."""
    points = [m.point for m in mountinfo.mounts() if m.fs_type == "resctrl" and m.root == "/"]
    for point in sorted(points, key=lambda point: point != _USUAL):
        try:
            fd = os.open(point, _FOLDER)
        except OSError:
            continue
        try:
            if fstatfs_type(fd) == RDTGROUP_SUPER_MAGIC:  # and nothing is mounted over it
                return point
        finally:
            os.close(fd)
    able = os.path.isdir(_USUAL)
    hint = "" if able else "the kernel or the processor does not have it"
    raise KernelError(
        "no resctrl file system is mounted, which Intel RDT needs",
        at=_AT,
        errno=errno.ENODEV,
        hint=f"mount -t resctrl resctrl {_USUAL}" if able else hint,
    )


class _Lock:
    """flock(2) of the mount point while it is entered. Any user of the host could keep it for
    ever, so in the end we go on without."""

    __slots__ = ("fd", "root")

    def __init__(self, root: str) -> None:
        self.root = root
        self.fd = -1

    def __enter__(self) -> None:
        import fcntl

        try:
            self.fd = os.open(self.root, _FOLDER)
        except OSError as error:
            text = f"open {self.root}: {errno_name(error.errno or 0)} ({error.strerror})"
            raise KernelError(text, at=_AT, errno=error.errno or 0) from None
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > end:
                    log.warning(f"{self.root} is locked by another process, going on without")
                    return
            time.sleep(_PAUSE)

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _used(folder: str) -> bool:
    """Is a process that has not ended in a class, or a monitoring group?"""
    try:
        if os.listdir(f"{folder}/mon_groups"):
            return True
    except OSError:
        pass
    for pid in read_file(f"{folder}/tasks").split():
        status = read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1]
        if status and status[0] not in ("Z", "X"):
            return True
    return False
