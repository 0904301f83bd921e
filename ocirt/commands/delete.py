"""ocirt delete"""

from __future__ import annotations

import errno

from ocirt.errors import StateError
from ocirt.runtime.delete import delete
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Removes the container."""
    try:
        container = Store(options.glob.root).open(options.operands[0])
    except StateError as error:
        if options.force and error.errno == errno.ENOENT:
            return 0
        raise
    delete(container, options.force)
    return 0
