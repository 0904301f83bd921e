"""ocirt.runtime.status against real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.runtime.status import is_alive, process, status
from ocirt.runtime.store import Container, State, Store


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(["sleep", "100"])
    yield running
    running.kill()
    running.wait()


@pytest.fixture
def container(tmp_path: Path) -> Container:
    made = Store(str(tmp_path)).create("a")
    made.unlock()
    return made


def state_of(pid: int, created: str = "2026-01-01T00:00:00Z") -> State:
    state = State("a")
    state.pid, state.pid_start, state.created = pid, process(pid)[1], created
    return state


def make_zombie() -> int:
    pid = os.fork()
    if not pid:
        os._exit(0)
    while process(pid)[0] != "Z":
        time.sleep(0.01)
    return pid


def test_process() -> None:
    letter, start = process(os.getpid())
    assert letter in "RS" and start > 0
    assert process(1 << 30) == ("", 0)


@pytest.mark.parametrize("name", ["a b", "x) S 1 (y", ") R 0 0 0 0"])
def test_a_name_with_parentheses(name: str, tmp_path: Path) -> None:
    program = str(tmp_path / name)
    sleep = shutil.which("sleep")
    assert sleep
    shutil.copy(sleep, program)
    running = subprocess.Popen([program, "100"], executable=program)
    try:
        while Path(f"/proc/{running.pid}/comm").read_text().strip() != name:
            time.sleep(0.01)
        letter, start = process(running.pid)
        assert letter in "RSD" and abs(start - process(os.getpid())[1]) < 10**7
        assert is_alive(running.pid, start)
    finally:
        running.kill()
        running.wait()


def test_is_alive(sleeper: subprocess.Popen[bytes]) -> None:
    start = process(sleeper.pid)[1]
    assert is_alive(sleeper.pid, start)
    assert not is_alive(sleeper.pid, start + 1)  # the pid was given to another one
    assert not is_alive(0, 0) and not is_alive(1 << 30, 0)


def test_created_and_running(container: Container, sleeper: subprocess.Popen[bytes]) -> None:
    state = state_of(sleeper.pid)
    assert status(container, state) == "running"
    os.mkfifo("start", dir_fd=container.fd)
    assert status(container, state) == "running"  # a start was killed before it had tidied up
    reader = os.open("start", os.O_RDWR | os.O_NONBLOCK, dir_fd=container.fd)
    assert status(container, state) == "created"
    os.close(reader)
    assert status(container, state) == "running"
    sleeper.kill()
    sleeper.wait()
    assert status(container, state) == "stopped"


def test_a_zombie_is_stopped(container: Container) -> None:
    pid = make_zombie()
    assert status(container, state_of(pid)) == "stopped"
    os.waitpid(pid, 0)


def test_another_process_of_that_pid(
    container: Container, sleeper: subprocess.Popen[bytes]
) -> None:
    state = state_of(sleeper.pid)
    state.pid_start -= 1
    assert status(container, state) == "stopped"


def test_creating(container: Container, sleeper: subprocess.Popen[bytes]) -> None:
    """As long as the creator lives, whether it has got to a process or not."""
    state = state_of(0, created="")
    state.creator, state.creator_start = sleeper.pid, process(sleeper.pid)[1]
    assert status(container, state) == "creating"
    state.pid, state.pid_start = os.getpid(), process(os.getpid())[1]
    assert status(container, state) == "creating"
    sleeper.kill()
    sleeper.wait()
    assert status(container, state) == "stopped"


def test_without_a_state(container: Container, tmp_path: Path) -> None:
    assert status(container, None) == "stopped"
    other = Store(str(tmp_path)).open("a")
    other.lock()
    assert status(container, None) == "creating"
    assert status(other, None) == "creating"
    other.unlock()
    assert status(container, None) == "stopped"
