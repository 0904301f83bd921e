"""What a create or a restore that failed does to leave nothing."""

from __future__ import annotations

from ocirt import log
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def undo(*steps: Callable[[], None]) -> None:
    """Calls every one, whatever became of those before."""
    for step in steps:
        try:
            step()
        except (OSError, OcirtError) as error:
            log.warning(f"clean up: {error}")
