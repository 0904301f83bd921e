"""``resume ID`` (CONTRACT.md row 25)."""

from __future__ import annotations

from ocirt.runtime.pause import resume
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Lets the processes of a paused container go on."""
    resume(Store(options.globals.root).open(options.id))
    return 0
