"""``kill [--all] ID [SIGNAL]`` (CONTRACT.md row 18)."""

from __future__ import annotations

from ocirt.runtime.kill import kill, signal_number
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """SIGNAL is TERM where none is given."""
    number = signal_number((*options.arguments, "TERM")[1])
    container = Store(options.globals.root).open(options.id)
    kill(container, container.read_state(), number, options.all)
    return 0
