"""The files of a checkpoint (criu.org, "Images"): what of them ocirt looks at."""

from __future__ import annotations

import os

from ocirt.criu.protobuf import BYTES, INT, TEXT, Malformed, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.criu.protobuf import Schema

# images/seccomp.proto, images/mnt.proto
_SECCOMP: Schema = {"seccomp_filters": (1, [{"filter": (1, BYTES), "prev": (2, INT)}])}
_MOUNT: Schema = {"mountpoint": (7, TEXT), "ext_key": (18, TEXT)}
_HEADER = 8  # two magic numbers
_MAX = 1 << 28


def first_filters(folder: int) -> list[bytes]:
    """The seccomp programs that were loaded by processes without one, in the folder of a
    checkpoint. Raises OcirtError, OSError."""
    found = []
    for entry in _entries(folder, "seccomp.img", _SECCOMP):
        for one in entry.get("seccomp_filters") or []:
            if "prev" not in one:
                found.append(one.get("filter") or b"")
    return found


def external_mounts(folder: int) -> dict[str, str]:
    """{key of a mount of the host: its path in the container}. Raises OcirtError, OSError."""
    found = {}
    for name in os.listdir(folder):
        if name.startswith("mountpoints-") and name.endswith(".img"):
            for mount in _entries(folder, name, _MOUNT):
                if mount.get("ext_key"):
                    found[mount["ext_key"]] = mount.get("mountpoint") or ""
    return found


def _entries(folder: int, name: str, schema: Schema) -> list[dict[str, Any]]:
    """Each has its size, of four bytes, before it."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        data = file.read(_MAX)
    found = []
    position = _HEADER
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "little")
        position += 4 + size
        if position > len(data):
            raise Malformed(f"{name} of the checkpoint ends too early")
        found.append(decode(schema, data[position - size : position]))
    return found
