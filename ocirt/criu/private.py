"""The files of a checkpoint, in a place where nobody can change them any more.

Whoever may write to the folder could put others there after they were looked at. So they are copied
to a tmpfs of CRIU's own: what ocirt compares is what CRIU reads. What is larger than ocirt reads, the
memory above all, is not copied, but mounted there: it is the container's, and not believed. So is what
is too much for the memory of the host.

In a user namespace its root reads them, some of them before it is anybody: so all may, who come to
where CRIU alone is.
"""

from __future__ import annotations

import os
import stat

from ocirt.criu.images import MAX, PARENT, folders, is_read, no_file, too_long
from ocirt.errors import KernelError
from ocirt.host import id_maps, kernel
from ocirt.host.constants import MOUNT_ATTR_IDMAP
from ocirt.host.detached import attach, copy, new_tmpfs

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PAGES = "pages-"
_ROOM = 1 << 30  # bytes of all copies


class Private:
    """``folder``: a descriptor of the copy, of the files that are not large."""

    __slots__ = ("_large", "_mount", "_namespaces", "_owner", "_room", "folder")

    def __init__(self, original: int, owner: tuple[int, int]) -> None:
        """``original``: a descriptor of the folder; ``owner``: uid and gid of the container's root,
        who reads them. Raises StateError, OSError."""
        self.folder = -1
        self._owner = owner
        self._room = _ROOM
        self._namespaces: dict[tuple[int, int], int] = {}  # of id-mapped mounts
        # Path in the copy, a mount of the original that is attached nowhere, names.
        self._large: list[tuple[str, int, list[str]]] = []
        self._mount = new_tmpfs()
        try:
            self.folder = os.open(".", _FOLDER, dir_fd=self._mount)
            os.fchmod(self.folder, 0o755)
            path = "."
            for folder, names in folders(original):
                if path != ".":
                    os.mkdir(path, dir_fd=self.folder)
                    os.chmod(path, 0o755, dir_fd=self.folder)  # whatever our caller's umask is
                names.sort(key=is_read, reverse=True)  # while there is room
                large = [name for name in names if not self._copy(folder, f"{path}/{name}")]
                if large:
                    self._large.append((path, copy(folder), large))
                path = f"{path}/{PARENT}"
        except BaseException:
            self.close()
            raise

    def _copy(self, folder: int, path: str) -> bool:
        """Is it a file that is copied?"""
        name = os.path.basename(path)
        if name.startswith(_PAGES):
            return False
        source = os.open(name, _FILE, dir_fd=folder)
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode):
                raise no_file(name)
            if status.st_size > min(MAX, self._room):
                if is_read(name):  # of what can be changed still
                    raise too_long(name)
                return False
            self._room -= status.st_size
            target = os.open(path, _NEW, dir_fd=self.folder)
            try:
                os.fchmod(target, 0o644)
                left = status.st_size
                while left > 0:
                    done = os.sendfile(target, source, None, left)
                    if not done:
                        break
                    left -= done
            finally:
                os.close(target)
        finally:
            os.close(source)
        return True

    def attach(self, path: str, spare: str) -> int:
        """In CRIU's mount namespace: the folder as CRIU is to see it. ``path``, ``spare``: empty
        folders. Raises StateError, OSError."""
        attach(self._mount, path)
        for folder, mount, names in self._large:
            attach(mount, spare)
            for name in names:
                fd = os.open(f"{spare}/{name}", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    raise no_file(name)
                one = copy(fd)
                if self._owner != (status.st_uid, status.st_gid):
                    self._give(one, status)
                place = f"{path}/{folder}/{name}"
                os.mknod(place, stat.S_IFREG)
                attach(one, place)
                os.close(one)
                os.close(fd)
        return os.open(path, _FOLDER)

    def _give(self, mount: int, status: os.stat_result) -> None:
        """In this mount the file is the container's root's."""
        key = status.st_uid, status.st_gid
        if key not in self._namespaces:
            uids, gids = ([(inside, outside, 1)] for inside, outside in zip(key, self._owner))
            self._namespaces[key] = id_maps.new_namespace(uids, gids, "/linux/uidMappings")
        try:
            kernel.mount_setattr(mount, MOUNT_ATTR_IDMAP, userns=self._namespaces[key])
        except OSError as error:
            text = f"the container's root can't read the checkpoint: {error.strerror}"
            hint = "its folder must be in a file system that has id-mapped mounts"
            raise KernelError(text, errno=error.errno or 0, hint=hint) from None

    def close(self) -> None:
        """Of all descriptors."""
        for fd in (self.folder, self._mount, *(mount for _path, mount, _names in self._large)):
            if fd >= 0:
                os.close(fd)
