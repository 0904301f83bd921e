"""``mounts add|remove ID FILE``: crun's, which calls it experimental."""

from __future__ import annotations

import os

from ocirt import log
from ocirt.config.load import load_mounts, read
from ocirt.errors import OcirtError, UsageError
from ocirt.runtime.mounts import add, remove
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """FILE is an array as in config.json; of what is removed the destination alone counts. The
    pointers of errors start at the array."""
    action, id, path = options.arguments
    if action not in ("add", "remove"):
        raise UsageError(f"mounts: {action!r} is neither add nor remove")
    container = Store(options.globals.root).open(id)
    document = container.read_config()
    name = os.path.basename(path)
    whole = document if action == "add" else None
    mounts, warnings = load_mounts(read("", path), name, whole)
    for warning in warnings:
        log.warning(str(warning))
    try:
        (add if action == "add" else remove)(container, mounts, document)
    except OcirtError as error:
        if error.at and error.at.startswith("/mounts"):
            error.at, error.document = error.at.removeprefix("/mounts"), name
        raise
    return 0
