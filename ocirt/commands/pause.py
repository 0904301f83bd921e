"""``pause ID`` (CONTRACT.md row 25)."""

from __future__ import annotations

from ocirt.runtime.pause import pause
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Stops every process of a container where it is."""
    pause(Store(options.globals.root).open(options.id))
    return 0
