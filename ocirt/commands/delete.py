"""``delete [--force] ID...`` (CONTRACT.md row 19)."""

from __future__ import annotations

import errno

from ocirt import log
from ocirt.errors import OcirtError, StateError
from ocirt.runtime.delete import delete
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """All of them are tried; with --force a missing one is no error."""
    store = Store(options.globals.root)
    failed: OcirtError | None = None
    for id in options.arguments:
        try:
            container = store.open(id)
            try:
                delete(container, options.force)
            finally:
                container.close()
        except OcirtError as error:
            if options.force and isinstance(error, StateError) and error.errno == errno.ENOENT:
                continue
            if failed:
                log.error(failed)
            failed = error
    if failed:
        raise failed
    return 0
