"""ocirt list"""

from __future__ import annotations

from ocirt.errors import OcirtError, UsageError
from ocirt.json_text import dumps
from ocirt.runtime.spec_state import full_state
from ocirt.runtime.status import status
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def run(options: Options) -> int:
    """Prints every container below --root."""
    if options.format not in ("", "table", "json"):
        raise UsageError(f"--format {options.format}: it is table or json")
    store = Store(options.glob.root)
    if options.quiet:
        for id in store.ids():
            print(id)
        return 0
    states = _states(store)
    if options.format == "json":
        print(dumps(states))
        return 0
    rows = [tuple(name.upper() for name in _COLUMNS)]
    rows += [tuple(str(state[name]) for name in _COLUMNS) for state in states]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    for row in rows:
        print("   ".join(f"{text:{width}}" for text, width in zip(row, widths)).rstrip())
    return 0


def _states(store: Store) -> list[dict[str, Any]]:
    found = []
    for id in store.ids():
        try:
            container = store.open(id)
            state = container.read_state()
        except OcirtError:
            continue  # deleted in between
        if state is not None:
            found.append(full_state(state, status(container, state)))
    return found
