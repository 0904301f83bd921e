"""Users as a container's own /etc/passwd has them: a hostile file, read as such."""

from __future__ import annotations

import os

from ocirt.errors import OcirtError
from ocirt.host import kernel
from ocirt.host.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS

_PASSWD_MAX = 1 << 20
_ID_MAX = (1 << 31) - 1


def home_of(uid: int, root: int) -> str:
    """The home folder of ``uid`` in the passwd file below folder ``root``, else "/".

    A line counts by its number, never by its name (CVE-2016-3697).
    """
    try:
        fd = kernel.open_regular(root, "etc/passwd", RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError:
        return "/"
    try:
        data = os.read(fd, _PASSWD_MAX)
    except OSError:
        return "/"
    finally:
        os.close(fd)
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == str(uid).encode() and fields[5].startswith(b"/"):
            return fields[5].decode("utf-8", "surrogateescape")
    return "/"


def parse_user(text: str) -> tuple[int, int | None]:
    """``UID`` or ``UID:GID`` of exec --user: numbers alone. Raises OcirtError.

    "1:", "1:x" and "-1" are mistakes and not user 0 or 1 (CVE-2026-30892); so is what does
    not fit in 31 bits (CVE-2024-40635).
    """
    uid, colon, gid = text.partition(":")
    for part in (uid, gid) if colon else (uid,):
        if not (part.isascii() and part.isdigit()) or int(part) > _ID_MAX:
            hint = "UID or UID:GID, two numbers"
            raise OcirtError(f"--user {text}: {part!r} is no id", hint=hint)
    return int(uid), int(gid) if colon else None
