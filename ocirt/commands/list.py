"""``list`` (CONTRACT.md row 21)."""

from __future__ import annotations

from ocirt import log
from ocirt.commands.output import put
from ocirt.errors import OcirtError, StateError
from ocirt.runtime.spec_state import full_state
from ocirt.runtime.status import status
from ocirt.runtime.store import State, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
_NARROWEST = 12


def run(options: Options) -> int:
    """A container whose state can't be read is a warning, and the others are shown. Their JSON is one
    line, as runc's."""
    store = Store(options.globals.root)
    if options.quiet:
        return put("".join(f"{id}\n" for id in store.ids()))
    states = [state for id in store.ids() if (state := _read(store, id))]
    if options.format == "json":
        from ocirt.json_text import dumps

        return put(dumps(states) + "\n")
    return put(table(states))


def _read(store: Store, id: str) -> dict[str, Any] | None:
    """None for one that was deleted since its name was read."""
    try:
        container = store.open(id)
    except StateError:
        return None
    try:
        state = container.read_state()
        return full_state(state or State(id), status(container, state))
    except OcirtError as error:
        log.warning(f"container {id}: {error}")
        return None
    finally:
        container.close()


def table(states: list[dict[str, Any]]) -> str:
    """Columns of text with a header."""
    rows = [[name.upper() for name in _COLUMNS]]
    rows += [[str(state[name]) for name in _COLUMNS] for state in states]
    widths = [max(_NARROWEST, *(len(cell) + 3 for cell in column)) for column in zip(*rows)]
    lines = ("".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)
