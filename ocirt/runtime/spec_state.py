"""The state of a container as the specification has it (runtime.md, "State")."""

from __future__ import annotations

from ocirt import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.store import State


def spec_state(state: State, status: str) -> dict[str, Any]:
    """What hooks get on stdin; ``ocirt state`` adds a little to it."""
    document: dict[str, Any] = {
        "ociVersion": state.oci_version or SPEC_VERSION,
        "id": state.id,
        "pid": 0 if status == "stopped" else state.pid,
        "status": status,
        "bundle": state.bundle,
    }
    if state.annotations:
        document["annotations"] = state.annotations
    return document


def full_state(state: State, status: str) -> dict[str, Any]:
    """``ocirt state`` and ``list`` (CONTRACT.md row 20)."""
    return {
        **spec_state(state, status),
        "rootfs": state.rootfs,
        "created": state.created,
        "owner": state.owner,
    }
