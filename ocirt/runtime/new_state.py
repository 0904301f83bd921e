"""The state of a container that this process makes."""

from __future__ import annotations

import os
import time

from ocirt.plan.root import root_path
from ocirt.runtime.status import process as process_status
from ocirt.runtime.store import State, descriptors_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.config.load import Config


def new_state(id: str, config: Config) -> State:
    """Before there is anything else of it."""
    document = config.document
    state = State(id)
    state.creator = os.getpid()
    state.creator_start = process_status(state.creator)[1]
    # Keyrings are joined by name: what nobody can guess nobody can have made before.
    state.keyring = f"_ses.{id}.{os.urandom(16).hex()}"
    state.bundle = config.bundle
    state.rootfs = root_path(document, config.bundle)
    state.annotations = document.get("annotations") or {}
    state.oci_version = document["ociVersion"]
    if not document["process"].get("terminal"):
        state.descriptors = descriptors_now()
    return state


def mark_created(state: State) -> None:
    """From now on it waits for start."""
    state.created = _now()
    state.owner = _owner()


def _now() -> str:
    """RFC 3339, in UTC, with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09}Z"


def _owner() -> str:
    """The name of the user that ocirt runs as, or its number."""
    uid = os.geteuid()
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
