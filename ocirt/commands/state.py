"""ocirt state"""

from __future__ import annotations

from ocirt.errors import StateError
from ocirt.json_text import dumps
from ocirt.runtime.spec_state import full_state
from ocirt.runtime.status import status
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Prints the state."""
    container = Store(options.glob.root).open(options.operands[0])
    state = container.read_state()
    if state is None:
        raise StateError(f"container {container.id} has no state yet")
    print(dumps(full_state(state, status(container, state)), 2))
    return 0
