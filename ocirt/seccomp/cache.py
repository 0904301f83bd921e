"""Compiled filters by content, in a folder of the state root: making one costs some
milliseconds, and an engine gives most of its containers the same profile.

A file: digest (32 bytes) of all that follows, identity of the libseccomp that made it, newline,
program. A file that is not ours, not whole or of another libseccomp is passed over, and replaced.
"""

from __future__ import annotations

import _blake2
import os
import stat

_FILES_MAX = 64
_DIGEST = 32
_SIZE_MAX = 64 << 10  # bytes; the longest program has half of it
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def key_of(content: object) -> str:
    """The name of a file for what a program depends on; ``content`` is of JSON's types."""
    return _digest(repr(content).encode("utf-8", "surrogatepass")).hex()


def read(folder: str, key: str) -> bytes | None:
    """The program, None if it is not there as it should be."""
    try:
        fd = os.open(os.path.join(folder, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        data = os.read(fd, _SIZE_MAX + 1) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or len(data) > _SIZE_MAX:
        return None
    digest, rest = data[:_DIGEST], data[_DIGEST:]
    identity, newline, program = rest.partition(b"\n")
    if digest != _digest(key.encode() + rest) or not newline:
        return None
    library = "/" + identity.decode(errors="surrogateescape").partition("/")[2]
    try:
        return program if identity == _identity(library) else None
    except OSError:
        return None


def write(folder: str, key: str, library: str, program: bytes) -> None:
    """Keeps a program that ``library``, a file, has made. Where that can't be done there is none
    next time, and no error."""
    try:
        rest = _identity(library) + b"\n" + program
        fd = _open_folder(folder)
    except OSError:
        return
    try:
        _drop_oldest(fd)
        new = f"{key}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(new, flags, 0o600, dir_fd=fd)
        try:
            os.write(file, _digest(key.encode() + rest) + rest)
        finally:
            os.close(file)
        os.rename(new, key, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:
        pass  # what was cut short is dropped with the oldest
    finally:
        os.close(fd)


def _identity(library: str) -> bytes:
    """What tells the file of a library from a newer release in its place. Raises OSError."""
    status = os.stat(library)
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return f"{numbers} {library}".encode("utf-8", "surrogateescape")


def _digest(data: bytes) -> bytes:
    return _blake2.blake2b(data, digest_size=_DIGEST).digest()


def _open_folder(folder: str) -> int:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    fd = os.open(folder, _FOLDER)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        os.close(fd)
        raise PermissionError(folder)
    return fd


def _drop_oldest(fd: int) -> None:
    """Room for one more."""
    ages = []
    for name in os.listdir(fd):
        try:
            ages.append((os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime_ns, name))
        except FileNotFoundError:
            pass  # another create was faster
    for _, name in sorted(ages)[: max(0, len(ages) - _FILES_MAX + 1)]:
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
