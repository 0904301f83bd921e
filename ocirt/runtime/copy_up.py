"""tmpcopyup: fill a new tmpfs with what the image has in its place.

Everything is reached from the two descriptors that the machine sent, one name at a time and
never through a link: what the image holds can't lead the copy out of it.
"""

from __future__ import annotations

import os
import stat

from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.host.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


def copy_up(source: int, target: int, at: str) -> None:
    """Copies the tree below folder ``source`` into folder ``target`` (both O_PATH will do).

    Mode, owner, times and extended attributes are kept. Raises KernelError.
    """
    try:
        theirs = os.open(".", _FOLDER, dir_fd=source)
        try:
            ours = os.open(".", _FOLDER, dir_fd=target)
            try:
                _copy_folder(theirs, ours)
                _copy_attributes(theirs, ours, os.stat(theirs))
            finally:
                os.close(ours)
        finally:
            os.close(theirs)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        text = f"tmpcopyup: copy{where}: {error.strerror}"
        raise KernelError(text, at=at, errno=error.errno or 0) from None


def _copy_folder(source: int, target: int) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(name, dir_fd=source)
            os.symlink(link, name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            theirs = os.open(name, _FOLDER, dir_fd=source)
            _copy_opened(name, theirs, target, _FOLDER, _copy_folder)
        elif stat.S_ISREG(status.st_mode):
            new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            theirs = kernel.open_regular(source, name, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            _copy_opened(name, theirs, target, new, _copy_data)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_opened(  # type: ignore[no-untyped-def]
    name: str, theirs: int, target: int, flags: int, copy
) -> None:
    """To the file or folder ``name`` of ``target``; closes ``theirs``."""
    try:
        ours = os.open(name, flags, 0o600, dir_fd=target)
        try:
            copy(theirs, ours)
            _copy_attributes(theirs, ours, os.stat(theirs))
        finally:
            os.close(ours)
    finally:
        os.close(theirs)


def _copy_data(source: int, target: int) -> None:
    while os.sendfile(target, source, None, _CHUNK):
        pass


def _copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError:
            pass  # a tmpfs of an older kernel has no user.* attributes
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
