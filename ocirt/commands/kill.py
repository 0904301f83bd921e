"""ocirt kill"""

from __future__ import annotations

from ocirt.errors import StateError
from ocirt.runtime.kill import kill, signal_number
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Sends the signal."""
    number = signal_number(options.operands[1] if len(options.operands) > 1 else "TERM")
    container = Store(options.glob.root).open(options.operands[0])
    state = container.read_state()
    if state is None:
        raise StateError("container not running")
    kill(container, state, number, options.all)
    return 0
