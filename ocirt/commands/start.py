"""ocirt start"""

from __future__ import annotations

from ocirt.errors import StateError
from ocirt.runtime.start import start
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Starts a created container."""
    container = Store(options.globals.root).open(options.id)
    container.lock()
    state = container.read_state()
    if state is None:
        raise StateError("cannot start a container that is creating")
    proxy = start(container, state)
    container.unlock()
    if proxy:
        from ocirt.runtime.kill import open_process

        try:
            proxy.wait(state.pid, open_process(state))
        except ProcessLookupError:
            pass  # it has ended already
    return 0
