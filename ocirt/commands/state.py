"""``state ID`` (CONTRACT.md row 20; runtime.md, "Query State")."""

from __future__ import annotations

from ocirt.commands.output import put_json
from ocirt.runtime.spec_state import full_state
from ocirt.runtime.status import status
from ocirt.runtime.store import State, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """One that has no state yet, or a create that was cut short, has no pid and no bundle."""
    container = Store(options.globals.root).open(options.id)
    state = container.read_state()
    now = status(container, state)
    return put_json(full_state(state or State(container.id), now))
