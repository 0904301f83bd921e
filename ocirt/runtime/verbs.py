"""The verbs that come after create, compiled: the file ``verbs`` in the state folder.

``state``, ``start``, ``kill`` and ``delete`` are mostly known when a container is created. They
are small programs, which the launcher (csrc/launcher_verbs.c) runs without an interpreter, in a
tenth of the time. It gives up at the first thing that is not as usual, and Python does the
verb: so a program may only do what Python would do next, and never has an error to word.

The file is MAGIC, its size, then operations: opcode, size of the operand (32 bits each, little
endian), operand. VERB begins a program; of several for one verb the first that gets to its end
counts.
"""

from __future__ import annotations

from ocirt.cgroup.freezer import find
from ocirt.json_text import dumps
from ocirt.runtime.filters import waits_for_agent
from ocirt.runtime.spec_state import full_state
from ocirt.runtime.status import has_pid_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocirt.cgroup.manager import Manager
    from ocirt.runtime.store import State

FILE = "verbs"
MAGIC = 0xEDF29D11  # the CRC-32 of OPS: a file of an older ocirt is left to Python
SIZE_MAX = 1 << 16
# What an operation does, and when it gives the program up.
OPS = (
    "VERB",  # the program's verb
    "ALIVE",  # pid, start time: that process is gone, or a zombie
    "GONE",  # pid, start time: it is not
    "WAITS",  # a FIFO of the state folder: no machine waits at it
    "LEFT",  # one does
    "LOCK",  # the folder: another verb has it, or it was deleted
    "PRINT",  # a text
    "SIGNAL",  # sends the signal of the command line to the process of ALIVE
    "WAKE",  # writes to the FIFO start, waits for report's end: a failure is in it
    "HOLDS",  # a file, NUL, its only line: has another one
    "RMDIR",  # a cgroup: is busy
    "CLEAR",  # removes the state folder
)
_CODES = {name: code for code, name in enumerate(OPS, 1)}


def compile_verbs(state: State, manager: Manager, document: dict[str, Any]) -> bytes:
    """The file of a created container; b"" if it would be too large."""
    process = state.pid.to_bytes(4, "little") + state.pid_start.to_bytes(8, "little")
    hooks = document.get("hooks") or {}
    alive, gone, lock = ("ALIVE", process), ("GONE", process), ("LOCK", b"")
    created, running = ("WAITS", b"start"), ("LEFT", b"start")
    freezer = find(state.cgroup)
    thawed = [_holds(freezer.file, freezer.thawed)] if freezer else []
    programs = [
        ("state", [alive, *thawed, created, _printed(state, "created")]),
        ("state", [alive, *thawed, running, _printed(state, "running")]),
        ("state", [gone, _printed(state, "stopped")]),
    ]
    if has_pid_namespace(document):  # else SIGKILL has more to do
        programs.append(("kill", [alive, *thawed, ("SIGNAL", b"")]))
    if freezer:
        frozen = _holds(freezer.file, freezer.frozen)
        programs.append(("state", [alive, frozen, _printed(state, "paused")]))
    waits = hooks.get("startContainer") or hooks.get("poststart") or waits_for_agent(document)
    if not waits:
        programs.append(("start", [lock, alive, *thawed, created, ("WAKE", b"")]))
    folders_alone = manager.only_folders and not state.intel_rdt.get("made")
    if folders_alone and not state.root_mount and not hooks.get("poststop"):
        cgroups = [("RMDIR", folder.encode()) for folder in manager.folders.values()]
        programs.append(("delete", [lock, gone, *cgroups, ("CLEAR", b"")]))
    data = b"".join(
        _encode([("VERB", verb.encode()), *operations]) for verb, operations in programs
    )
    size = len(data) + 8
    return b"" if size > SIZE_MAX else _number(MAGIC) + _number(size) + data


def _holds(path: str, line: str) -> tuple[str, bytes]:
    return "HOLDS", path.encode() + b"\0" + line.encode()


def _printed(state: State, status: str) -> tuple[str, bytes]:
    return "PRINT", (dumps(full_state(state, status), 2) + "\n").encode()


def _encode(operations: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(
        _number(_CODES[name]) + _number(len(operand)) + operand for name, operand in operations
    )


def _number(value: int) -> bytes:
    return value.to_bytes(4, "little")
