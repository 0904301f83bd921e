"""The files of a checkpoint, in a place where nobody can change them any more.

Whoever may write to the folder could put others there after they were looked at. So they are copied
to a tmpfs of CRIU's own: what ocirt compares is what CRIU reads. What is larger than ocirt reads, the
memory above all, is not copied, but mounted there: it is the container's, and not believed.
"""

from __future__ import annotations

import os
import stat

from ocirt.criu.images import MAX, PARENT, folders, no_file
from ocirt.host.detached import attach, copy, new_tmpfs

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PAGES = "pages-"


class Private:
    """``folder``: a descriptor of the copy, of the files that are not large."""

    __slots__ = ("_large", "_mount", "folder")

    def __init__(self, original: int) -> None:
        """``original``: a descriptor of the folder. Raises StateError, OSError."""
        self.folder = -1
        # Path in the copy, a mount of the original that is attached nowhere, names.
        self._large: list[tuple[str, int, list[str]]] = []
        self._mount = new_tmpfs(0o700)
        try:
            self.folder = os.open(".", _FOLDER, dir_fd=self._mount)
            path = "."
            for folder, names in folders(original):
                if path != ".":
                    os.mkdir(path, 0o700, dir_fd=self.folder)
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
            if status.st_size > MAX:
                return False
            target = os.open(path, _NEW, 0o600, dir_fd=self.folder)
            try:
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
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise no_file(name)
                place = f"{path}/{folder}/{name}"
                os.mknod(place, stat.S_IFREG | 0o600)
                attach(copy(fd), place)
                os.close(fd)
        return os.open(path, _FOLDER)

    def close(self) -> None:
        """Of all descriptors."""
        for fd in (self.folder, self._mount, *(mount for _path, mount, _names in self._large)):
            if fd >= 0:
                os.close(fd)
