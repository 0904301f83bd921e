"""The folders of a checkpoint: the image, and the work folder, where CRIU's log stays."""

from __future__ import annotations

import errno
import os

from ocirt.criu.log import cause
from ocirt.criu.private import Private
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.criu.process import Criu

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LEVEL = 4  # of CRIU's log: all


class Files:
    """``image``, ``work``: descriptors of the folders; ``log``: the name of CRIU's log."""

    __slots__ = ("_paths", "_private", "image", "log", "work")

    def __init__(self, image: str, work: str, log: str, make: bool) -> None:
        """``work``: "" for the image's own folder; ``make``: the image's folder too, if it is not
        there. Raises OcirtError."""
        self.image = self.work = -1
        self.log = log
        self._paths = image, work or image
        self._private: Private | None = None
        try:
            self.image = _open(image, "--image-path", make)
            self.work = _open(work, "--work-path", True) if work else os.dup(self.image)
            try:
                os.unlink(log, dir_fd=self.work)  # an old one would explain a new failure
            except FileNotFoundError:
                pass
        except BaseException:
            self.close()
            raise

    def options(self, criu: Criu) -> dict[str, Any]:
        """What CRIU, which is not started yet, has to know of them."""
        return {
            "images_dir_fd": criu.inherit(self.image),
            "work_dir_fd": criu.inherit(self.work),
            "log_level": _LEVEL,
            "log_file": self.log,
        }

    def make_private(self, owner: tuple[int, int]) -> None:
        """From here on ``image`` is a copy that nobody else can change; ``owner``: the container's
        root. Raises OcirtError, OSError."""
        self._private = Private(self.image, owner)
        os.close(self.image)
        self.image = self._private.folder

    def open_again(self, criu: Criu) -> None:
        """In CRIU's process, when it has a mount namespace of its own: it mounts in its work folder,
        and that can't be done in one of another namespace. Raises OSError."""
        path = self._paths[1]
        work = os.open(path, _FOLDER)
        if not os.path.sameopenfile(self.work, work):
            raise OSError(errno.ESTALE, "it was moved", path)
        criu.replace(self.work, work)

    def attach(self, criu: Criu, path: str, spare: str) -> None:
        """There, too: the private image gets its place; ``path``, ``spare``: empty folders. Raises
        OcirtError, OSError."""
        assert self._private
        criu.replace(self.image, self._private.attach(path, spare))

    def explain(self, error: OcirtError, what: str) -> OcirtError:
        """``error``, of CRIU's answer, with what the log says."""
        said = cause(self.work, self.log)
        log = os.path.join(self._paths[1], self.log)
        hint = f"see {log}" if os.path.exists(log) else ""
        text = said or error.message
        return OcirtError(
            f"{what}: {text}", at=error.at, errno=error.errno, hint=error.hint or hint
        )

    def close(self) -> None:
        """Of the descriptors."""
        if self._private:
            self._private.close()
            self.image = -1
        for fd in (self.image, self.work):
            if fd >= 0:
                os.close(fd)
        self.image = self.work = -1


def _open(path: str, option: str, make: bool) -> int:
    try:
        if make:
            os.makedirs(path, 0o700, exist_ok=True)
        return os.open(path, _FOLDER)
    except OSError as error:
        text = f"{option} {path}: {error.strerror}"
        raise OcirtError(text, errno=error.errno or 0) from None
