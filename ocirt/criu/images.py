"""The files of a checkpoint (criu.org, "Images"): what of them ocirt looks at.

CRIU believes them, and is the host's root: what would make it act outside of the container is
refused before it begins.
"""

from __future__ import annotations

import os
import stat

from ocirt.criu.protobuf import BYTES, INT, TEXT, Malformed, decode
from ocirt.errors import StateError
from ocirt.host.constants import MS_BIND, MS_MOVE, MS_REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.criu.protobuf import Schema

# images/seccomp.proto, images/mnt.proto, images/fdinfo.proto,
# images/userns.proto
_SECCOMP: Schema = {"seccomp_filters": (1, [{"filter": (1, BYTES), "prev": (2, INT)}])}
_MOUNT: Schema = {
    "flags": (5, INT),
    "root": (6, TEXT),
    "mountpoint": (7, TEXT),
    "sb_flags": (17, INT),
    "ext_key": (18, TEXT),
}
_ROW: Schema = {"inside": (1, INT), "outside": (2, INT), "size": (3, INT)}
_MAPS: Schema = {"uidMappings": (1, [_ROW]), "gidMappings": (2, [_ROW])}
_OLD_FILE: Schema = {"name": (6, TEXT)}  # of older versions, which CRIU reads still
_FILE: Schema = {"reg": (3, _OLD_FILE)}
# The second magic number of a file; the first one is the same for all (include/magic.h of CRIU).
_COMMON = 0x54564319
_MAGIC = {
    "seccomp": 0x64413049,
    "mountpoints": 0x55563928,
    "cgroup": 0x59383330,
    "userns": 0x55474906,
    "files": 0x56303138,
    "reg": 0x50363636,
}
_HEADER = 8
MAX = 1 << 26  # bytes of such a file
DESCRIPTORS = "descriptors.json"  # runc's and crun's name: a list of what 0, 1 and 2 were
PARENT = "parent"  # CRIU's link to the checkpoint before
_PARENTS_MAX = 200
_OTHER_MOUNTS = MS_BIND | MS_MOVE | MS_REMOUNT  # no new file system


def check(folder: int) -> None:
    """Of a checkpoint that is to be restored. Raises OcirtError, OSError."""
    for mount in _mounts(folder):
        if ((mount.get("flags") or 0) | (mount.get("sb_flags") or 0)) & _OTHER_MOUNTS:
            # mount(2) would bind its "source", which is a path of the host.
            raise StateError(f"the checkpoint's mount at {mount.get('mountpoint')} is none")
        for path in (mount.get("root") or "", mount.get("mountpoint") or ""):
            check_path(path, "mount")
    images = (("files.img", _FILE), ("reg-files.img", _OLD_FILE))
    for name, schema in images:
        for entry in _entries(folder, name, schema) if _is_there(folder, name) else ():
            check_path(entry.get("reg", entry).get("name") or "", "file")


def check_path(path: str, what: str) -> None:
    """CRIU puts it behind that of a folder. Raises StateError where it would lead out of that."""
    if ".." in path.split("/"):
        raise StateError(f"the checkpoint has a {what} {path!r}")


def check_files(folder: int) -> None:
    """CRIU opens what has the right name: a link would lead it to a file of the host, which
    becomes memory of the container, or is overwritten. Raises StateError, OSError."""
    for _each in folders(folder):
        pass


def folders(folder: int) -> Iterator[tuple[int, list[str]]]:
    """(descriptor, names of its files) of a checkpoint's folder, then of the folder of its parent,
    and so on. Raises StateError, OSError."""
    seen: set[tuple[int, int]] = set()
    current = os.dup(folder)
    try:
        while current >= 0:
            status = os.fstat(current)
            here = status.st_dev, status.st_ino
            if here in seen or len(seen) > _PARENTS_MAX:
                raise StateError("the parents of the checkpoint have no end")
            seen.add(here)
            yield current, _files(current)
            parent = _parent(current)
            os.close(current)
            current = parent
    finally:
        if current >= 0:
            os.close(current)


def _files(folder: int) -> list[str]:
    """Names of the regular ones; there may be folders and sockets besides."""
    found = []
    for name in os.listdir(folder):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            found.append(name)
        elif name != PARENT and not (stat.S_ISDIR(mode) or stat.S_ISSOCK(mode)):
            raise no_file(name)
    return found


def _parent(folder: int) -> int:
    """A descriptor, or -1 where CRIU finds none."""
    try:
        return os.open(PARENT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return -1


def is_read(name: str) -> bool:
    """Does ocirt believe what is in this file?"""
    return _kind(name) in _MAGIC or name == DESCRIPTORS


def no_file(name: str) -> StateError:
    return StateError(f"{name} in the folder of the checkpoint is no regular file")


def too_long(name: str) -> Malformed:
    return Malformed(f"{name} of the checkpoint is too long")


def first_filters(folder: int) -> list[bytes]:
    """The seccomp programs that were loaded by processes without one, in the folder of a
    checkpoint. Raises OcirtError, OSError."""
    found = []
    for entry in _entries(folder, "seccomp.img", _SECCOMP):
        for one in entry.get("seccomp_filters") or []:
            if "prev" not in one:
                found.append(one.get("filter") or b"")
    return found


def id_maps(folder: int) -> Iterator[dict[str, list[tuple[int, int, int]]]]:
    """Of every user namespace: {"uidMappings": rows of (first id inside, first id outside, how many),
    "gidMappings": ...}. Raises OcirtError, OSError."""
    for entry in _all(folder, "userns-", _MAPS):
        found: dict[str, list[tuple[int, int, int]]] = {}
        for key in _MAPS:
            rows = entry.get(key) or []
            if any(len(row) < len(_ROW) for row in rows):
                raise Malformed("a map of ids in the checkpoint is not whole")
            found[key] = [(row["inside"], row["outside"], row["size"]) for row in rows]
        yield found


def external_mounts(folder: int) -> dict[str, str]:
    """{key of a mount of the host: its path in the container}. Raises OcirtError, OSError."""
    mounts = (mount for mount in _mounts(folder) if mount.get("ext_key"))
    return {mount["ext_key"]: mount.get("mountpoint") or "" for mount in mounts}


def _mounts(folder: int) -> Iterator[dict[str, Any]]:
    return _all(folder, "mountpoints-", _MOUNT)


def _all(folder: int, start: str, schema: Schema) -> Iterator[dict[str, Any]]:
    for name in names(folder, start):
        yield from _entries(folder, name, schema)


def names(folder: int, start: str) -> list[str]:
    """Of the files of a kind: one for each namespace."""
    return [name for name in os.listdir(folder) if name.startswith(start) and name.endswith(".img")]


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _entries(folder: int, name: str, schema: Schema) -> Iterator[dict[str, Any]]:
    for message in read(folder, name):
        yield decode(schema, message)


def read(folder: int, name: str) -> list[bytes]:
    """The messages of a file; each has its size, of four bytes, before it. Raises Malformed,
    OSError."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX + 1)
    if len(data) > MAX:
        raise too_long(name)
    # CRIU reads files without the first one, of its version 1, from another place on.
    if data[:_HEADER] != _header(name):
        raise Malformed(f"{name} of the checkpoint is of another kind")
    found = []
    position = _HEADER
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "little")
        position += 4 + size
        if position > len(data):
            raise Malformed(f"{name} of the checkpoint ends too early")
        found.append(data[position - size : position])
    return found


def write(folder: int, name: str, messages: list[bytes]) -> None:
    """Raises OSError."""
    flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "wb") as file:
        file.write(_header(name))
        for message in messages:
            file.write(len(message).to_bytes(4, "little") + message)


def _header(name: str) -> bytes:
    magic = _MAGIC[_kind(name)]
    return _COMMON.to_bytes(4, "little") + magic.to_bytes(4, "little")


def _kind(name: str) -> str:
    return name.removesuffix(".img").partition("-")[0]
