"""linux.seccomp in a container's life. What that needs is imported only where it is asked for."""

from __future__ import annotations

import os

from ocirt.runtime.spec_state import spec_state
from ocirt.runtime.store import FILTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.store import State
    from ocirt.seccomp.filter import Filter


def filter_of(linux: dict[str, Any], root: str) -> Filter | None:
    """The filter of a container's processes; ``root``: of the state. Raises OcirtError."""
    if not linux.get("seccomp"):
        return None
    from ocirt.seccomp.filter import make_filter

    return make_filter(linux["seccomp"], os.path.join(root, FILTERS))


def give_listener(
    listener: int, linux: dict[str, Any], pid: int, state: State, status: str
) -> None:
    """The listener of process ``pid`` goes to the container's agent. Raises KernelError."""
    from ocirt.runtime.seccomp_agent import hand_over

    hand_over(linux["seccomp"], listener, pid, spec_state(state, status))


def waits_for_agent(document: dict[str, Any]) -> bool:
    """Does an agent decide on calls that start its program? Then it may wait for ever."""
    profile = (document.get("linux") or {}).get("seccomp")
    if not profile:
        return False
    from ocirt.seccomp.filter import has_agent

    return has_agent(profile)
