"""``pause`` and ``resume``: the freezer of a container's cgroup."""

from __future__ import annotations

from ocirt.cgroup.freezer import require
from ocirt.errors import StateError
from ocirt.runtime.status import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.runtime.store import Container


def pause(container: Container) -> None:
    """Returns when every process has stopped. Raises StateError, KernelError."""
    container.lock()
    state = container.read_state()
    now = status(container, state)
    if state is None or now not in ("created", "running"):
        raise StateError(f"cannot pause a container that is {now}: container not running")
    require(state.cgroup).freeze()


def resume(container: Container) -> None:
    """Raises StateError, KernelError."""
    container.lock()
    state = container.read_state()
    now = status(container, state)
    if state is None or now != "paused":
        raise StateError(f"cannot resume a container that is {now}: container not paused")
    require(state.cgroup).thaw()
