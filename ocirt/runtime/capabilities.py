"""Which of the capabilities that a process wants ocirt can give.

What can't be granted is left out with a warning (config.md, "Linux Process"): the containers of
a restricted environment are restricted too, and still run.
"""

from __future__ import annotations

from ocirt import log
from ocirt.errors import OcirtError
from ocirt.host import kernel
from ocirt.host.constants import CAPABILITIES, PR_CAPBSET_READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def leave_out(process: dict[str, Any], at: str) -> None:
    """Takes out of ``process``, whose JSON pointer is ``at``, what ocirt itself has not got.

    The set-up process is root's, so it has all of the bounding set (capabilities(7)). Not for
    one in another user namespace: there it has all of them.
    """
    sets = process.get("capabilities") or {}
    wanted = {name for names in sets.values() for name in names if name in CAPABILITIES}
    missing = sorted(name for name in wanted if not _held(CAPABILITIES[name]))
    if not missing:
        return
    process["capabilities"] = {
        kind: [name for name in names if name not in missing] for kind, names in sets.items()
    }
    verb, noun = ("is", "capability") if len(missing) == 1 else ("are", "capabilities")
    text = f"{', '.join(missing)} {verb} left out: ocirt has no such {noun} to give"
    log.warning(str(OcirtError(text, at=f"{at}/capabilities")))


def _held(number: int) -> bool:
    try:
        return kernel.prctl(PR_CAPBSET_READ, number) == 1
    except OSError:
        return False  # newer than the kernel
