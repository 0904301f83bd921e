"""The mounts that CRIU restores a container from, in a mount namespace of CRIU's own.

Nothing of it is ever seen on the host, or has to be removed: it ends with CRIU. What is mounted
was opened and verified before (``ocirt.host.pins``), so CRIU finds under the paths it is told
what the config names, whatever happens to the host's paths meanwhile. Below the container's state
folder, or one above it, which a tmpfs covers:

images     the files of the checkpoint
original   the folders that the large ones of them are mounted from
root       the root file system
sources/N  external mounts
tree       the root file system with all mounts, to learn where they are; gone again
"""

from __future__ import annotations

import errno
import os
import stat

from ocirt.errors import OcirtError
from ocirt.host import kernel
from ocirt.host.constants import (
    AT_RECURSIVE,
    MNT_DETACH,
    MS_SLAVE,
    RESOLVE_IN_ROOT,
)
from ocirt.host.detached import attach, copy, new_tmpfs
from ocirt.host.mountinfo import mounts
from ocirt.plan import mount_options
from ocirt.plan.paths import inside
from ocirt.runtime.external import NULL, destination, key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Pin, Plan

_LINKS_MAX = 40  # that a path is followed through, as the kernel has it


class Stage:
    """``folder``: is covered, has no links in its path; ``fds``: of the plan's pins."""

    __slots__ = ("_count", "_document", "_fds", "_keys", "_plan", "folder")

    def __init__(
        self, folder: str, plan: Plan, document: dict[str, Any], fds: dict[int, int]
    ) -> None:
        self.folder = folder
        self._plan = plan
        self._document = document
        self._fds = fds
        self._keys: list[tuple[str, str]] = []
        self._count = 0  # of sources

    @property
    def root(self) -> str:
        """Where CRIU finds the root file system."""
        return f"{self.folder}/root"

    @property
    def images(self) -> str:
        """An empty folder, for the files of the checkpoint."""
        return f"{self.folder}/images"

    @property
    def original(self) -> str:
        """Another one."""
        return f"{self.folder}/original"

    def build(self) -> list[tuple[str, str]]:
        """In the process that will be CRIU, in its mount namespace: [(key of an external mount, its
        path there)]. Raises OSError, OcirtError."""
        os.umask(0o022)  # the root of a user namespace looks for mounts, too
        host = os.open("/", os.O_PATH | os.O_CLOEXEC)
        kernel.mount_setattr(host, 0, propagation=MS_SLAVE, flags=AT_RECURSIVE)
        attach(new_tmpfs(), self.folder)
        for name in ("images", "original", "root", "sources", "tree"):
            os.mkdir(f"{self.folder}/{name}")
        pins = {pin.slot: pin for pin in self._plan.pins}
        root = next(slot for slot, pin in pins.items() if pin.kind == "rootfs")
        for slot, pin in pins.items():
            if pin.kind != "namespace" and slot in self._fds:
                # What is unmounted here stays where it is on the host, as with all the others.
                kernel.mount_setattr(self._fds[slot], 0, propagation=MS_SLAVE, flags=AT_RECURSIVE)
        attach(self._fds[root], self.root)
        tree = f"{self.folder}/tree"
        attach(_copy(self.root), tree)
        self._build_tree(tree)
        kernel.umount(tree, MNT_DETACH)
        null = next((slot for slot, pin in pins.items() if pin.kind == "null"), None)
        if null is not None:
            self._keys.append((NULL, self._source(self._fds[null])))
        return self._keys

    def _build_tree(self, path: str) -> None:
        """As create does it, in the same order: mount points that the image lacks are made, those
        in other mounts in these."""
        root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        pins: dict[str, list[Pin]] = {}
        for pin in self._plan.pins:
            if destination(pin):
                pins.setdefault("/".join(pin.at.split("/")[:3]), []).append(pin)
        for index, mount in enumerate(self._document.get("mounts") or []):
            at = f"/mounts/{index}"
            options = mount_options.parse(mount.get("options") or [])
            if at in pins or options.bind or mount.get("type") == "bind":
                self._bind_all(root, path, pins.pop(at, []))
            elif not options.remount:
                # Its content is that of the checkpoint: what is made in it here is of no use.
                target = make_target(root, mount["destination"], True, f"{at}/destination")
                kernel.move_mount(new_tmpfs(), target)
                os.close(target)
                self._bind_all(root, path, pins.pop(at, []))
        for left in pins.values():
            self._bind_all(root, path, left)
        os.close(root)

    def _bind_all(self, root: int, path: str, pins: list[Pin]) -> None:
        for pin in pins:
            fd = self._fds[pin.slot]
            folder = stat.S_ISDIR(os.fstat(fd).st_mode)
            target = make_target(root, destination(pin), folder, pin.at)
            key = _name(target)[len(path) :]
            source = self._source(fd)
            points = [m.point for m in mounts() if m.point.startswith(f"{source}/")]
            for point in (source, *points) if points else ():
                self._keys.append((key_of(key + point[len(source) :]), self._alone(point)))
            if not points:
                self._keys.append((key_of(key), source))
            kernel.move_mount(_copy(source), target)
            os.close(target)

    def _alone(self, point: str) -> str:
        """A copy of the mount at ``point``, without those below it: in a user namespace CRIU can't
        copy one without the others. Its path."""
        fd = os.open(point, os.O_PATH | os.O_CLOEXEC)
        mount = copy(fd)
        os.close(fd)
        path = self._source(mount)
        os.close(mount)
        return path

    def _source(self, fd: int) -> str:
        """Attaches a mount to a place of its own: the path."""
        path = f"{self.folder}/sources/{self._count}"
        self._count += 1
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.mkdir(path)
        else:
            os.mknod(path, stat.S_IFREG)
        attach(fd, path)
        return path


def reachable(folder: str) -> str:
    """``folder``, or the first one on the way to it that not everybody may search: there the root of
    a user namespace finds what is mounted, and it hides no more of the host than that one sees."""
    path = ""
    for name in folder.split("/")[1:]:
        path += f"/{name}"
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return path
    return folder


def _copy(path: str) -> int:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return copy(fd, recursive=True)
    finally:
        os.close(fd)


def _name(fd: int) -> str:
    """The path that the kernel knows a descriptor by."""
    return os.readlink(f"/proc/self/fd/{fd}")


def make_target(root: int, path: str, folder: bool, at: str) -> int:
    """A descriptor of ``path`` below ``root``, where nothing leads out of; what is missing is made:
    an empty file, unless it is a ``folder``. Raises OcirtError."""
    try:
        return _make(root, inside(path), folder, _LINKS_MAX)
    except OSError as error:
        text = f"mount point {path}: {error.strerror}"
        raise OcirtError(text, at=at, errno=error.errno or 0) from None


def _make(root: int, path: str, folder: bool, depth: int) -> int:
    try:
        return kernel.openat2(root, path, os.O_PATH, RESOLVE_IN_ROOT)
    except FileNotFoundError:
        if depth == 0:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
    parent, _, name = path.rpartition("/")
    above = _make(root, parent or ".", True, depth - 1)
    try:
        if folder:
            os.mkdir(name, 0o755, dir_fd=above)
        else:
            os.mknod(name, stat.S_IFREG | 0o644, dir_fd=above)
    except FileExistsError:
        pass  # a link that leads nowhere: the next try says so
    finally:
        os.close(above)
    return kernel.openat2(root, path, os.O_PATH, RESOLVE_IN_ROOT)
