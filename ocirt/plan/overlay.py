"""Options of overlay mounts that are too long for fsconfig(2), as those of Podman's volumes may be.

It takes 255 bytes for each. Layers mostly have a folder in common: the machine goes there, and names
them from there (https://docs.kernel.org/filesystems/overlayfs.html).
"""

from __future__ import annotations

import os
import posixpath

LONGEST = 255
_PATHS = ("lowerdir", "upperdir", "workdir")

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (index in the mount's options, key, value)
    Setting = tuple[int, str, str | None]


def is_long(value: str | None) -> bool:
    return value is not None and len(os.fsencode(value)) > LONGEST


def shorten(options: list[Setting]) -> tuple[str, list[Setting]]:
    """The folder that the paths have in common, and the options as seen from there. "": none."""
    paths = [
        path for _, key, value in options if key in _PATHS for path in (value or "").split(":")
    ]
    # A backslash is before a colon that is part of a name.
    if not paths or not all(path[:1] == "/" and "\\" not in path for path in paths):
        return "", options
    folder = posixpath.commonpath(paths)
    short: list[Setting] = []
    for index, key, value in options:
        if key in _PATHS:
            value = ":".join(posixpath.relpath(path, folder) for path in (value or "").split(":"))
        short.append((index, key, value))
    return folder, short
