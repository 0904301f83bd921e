"""The programs that create compiles for the later verbs (ocirt/runtime/verbs.py)."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from ocirt.cgroup.manager import from_state
from ocirt.runtime import verbs
from ocirt.runtime.store import State

PRIVATE = {"namespaces": [{"type": "pid"}]}
MANAGER = from_state({"folders": {"": "/sys/fs/cgroup/c"}})


def decode(data: bytes) -> dict[str, list[list[str]]]:
    """The operations of each verb's programs."""
    programs: dict[str, list[list[str]]] = {}
    place = 8
    while place < len(data):
        code, size = (int.from_bytes(data[place + i : place + i + 4], "little") for i in (0, 4))
        operand = data[place + 8 : place + 8 + size]
        place += 8 + size
        if verbs.OPS[code - 1] == "VERB":
            programs.setdefault(operand.decode(), []).append([])
            current = programs[operand.decode()][-1]
        else:
            current.append(verbs.OPS[code - 1])
    assert place == len(data)
    return programs


def state() -> State:
    made = State("c")
    made.pid, made.pid_start = 4711, 99
    return made


def test_programs_of_a_container_without_hooks() -> None:
    data = verbs.compile_verbs(state(), MANAGER, {"linux": PRIVATE})
    assert int.from_bytes(data[4:8], "little") == len(data)
    assert decode(data) == {
        "state": [["ALIVE", "WAITS", "PRINT"], ["ALIVE", "LEFT", "PRINT"], ["GONE", "PRINT"]],
        "kill": [["ALIVE", "SIGNAL"]],
        "start": [["LOCK", "ALIVE", "WAITS", "WAKE"]],
        "delete": [["LOCK", "GONE", "RMDIR", "CLEAR"]],
    }


@pytest.mark.parametrize(
    ("kind", "verb"),
    [("poststart", "start"), ("startContainer", "start"), ("poststop", "delete")],
)
def test_a_verb_with_hooks_has_no_program(kind: str, verb: str) -> None:
    hook = {"path": "/bin/true"}
    document: dict[str, Any] = {"linux": PRIVATE, "hooks": {kind: [hook]}}
    programs = decode(verbs.compile_verbs(state(), MANAGER, document))
    assert set(programs) == {"state", "kill", "start", "delete"} - {verb}


@pytest.mark.parametrize("namespaces", [[], [{"type": "pid", "path": "/proc/1/ns/pid"}]])
def test_without_a_pid_namespace_of_its_own(namespaces: list[dict[str, str]]) -> None:
    """SIGKILL ends more than the first process there."""
    document = {"linux": {"namespaces": namespaces}}
    assert "kill" not in decode(verbs.compile_verbs(state(), MANAGER, document))


def test_magic_tells_the_operations() -> None:
    assert verbs.MAGIC == zlib.crc32(" ".join(verbs.OPS).encode())


def test_too_much_to_compile() -> None:
    large = state()
    large.annotations = {"key": "x" * verbs.SIZE_MAX}
    assert verbs.compile_verbs(large, MANAGER, {}) == b""


@pytest.mark.parametrize(("made", "has_program"), [([], True), (["/sys/fs/resctrl/c"], False)])
def test_what_resctrl_has_is_removed_by_python(made: list[str], has_program: bool) -> None:
    container = state()
    container.intel_rdt = {"folder": "/sys/fs/resctrl/c", "made": made}
    programs = decode(verbs.compile_verbs(container, MANAGER, {}))
    assert ("delete" in programs) is has_program
