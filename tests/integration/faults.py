"""Faults: ocirt killed, or refused by the kernel, at one of its steps (faults.c says what that is).

``Faults`` is a call of ocirt with a fault; ``leftovers`` is what a container must not leave on the
host, as a list of checks to which others can be added.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .conftest import COMMAND, cgroups_of

SEED = 20260
# How many steps of a verb are tried: a number, or "all".
STEPS = os.environ.get("OCIRT_FAULTS", "4")
_PATIENCE = 10.0  # seconds, for what goes on by itself after a kill

Check = Callable[[Any], "list[str]"]


def compile_tracer(folder: Path) -> Path:
    """faults.c as a program."""
    program = folder / "faults"
    source = Path(__file__).parent / "faults.c"
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-o", program, source], check=True)
    return program


class Outcome:
    """Of one call. ``steps``: what each was, the one with the fault or all; ``hit``: it was
    reached, else the command ended before it; ``status``: 137 if it was killed."""

    def __init__(self, report: str, stdout: str, stderr: str) -> None:
        *self.steps, last = report.splitlines()
        word, status = last.split()
        self.hit = word == "hit"
        self.status = int(status)
        self.stdout = stdout
        self.stderr = stderr


class Faults:
    """Calls ocirt as ``Runtime`` does, with a fault. ``families``: the process of faults.c of
    every call, which lives as long as anything that the call has left behind."""

    def __init__(self, tracer: Path, root: Path) -> None:
        self.tracer = tracer
        self.root = root
        self.families: list[subprocess.Popen[bytes]] = []

    def __call__(self, *arguments: str) -> Outcome:
        """No fault."""
        return self._call(-1, "kill", 0, arguments)

    def steps(self, *arguments: str) -> Outcome:
        """No fault, but the steps are looked at."""
        return self._call(0, "kill", 0, arguments)

    def kill(self, step: int, *arguments: str, delay: int = 0) -> Outcome:
        """SIGKILL before the step, or ``delay`` microseconds after it began."""
        return self._call(step, "kill", delay, arguments)

    def fail(self, step: int, number: int, *arguments: str) -> Outcome:
        """The step fails with an errno."""
        return self._call(step, "fail", number, arguments)

    def _call(self, step: int, fault: str, value: int, arguments: tuple[str, ...]) -> Outcome:
        reader, writer = os.pipe()
        command = [str(self.tracer), str(writer), str(step), fault, str(value)]
        command += [str(COMMAND), "--root", str(self.root), *arguments]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            family = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=(writer,)
            )
            self.families.append(family)
            os.close(writer)
            report = self._read(reader, family)
            out.seek(0)
            err.seek(0)
            return Outcome(report, out.read(), err.read())

    def _read(self, reader: int, family: subprocess.Popen[bytes]) -> str:
        """The report. Of a command that does not end, all is ended."""
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        data = b""
        try:
            while poll.poll(_PATIENCE * 6000):
                part = os.read(reader, 1 << 16)
                data += part
                if not part:
                    return data.decode()
            family.kill()
            raise AssertionError(f"ocirt does not end: {data.decode()}")
        finally:
            os.close(reader)

    def left(self) -> list[str]:
        """Every process that the calls have left behind."""
        self.families = [family for family in self.families if family.poll() is None]
        parents = {family.pid for family in self.families}
        return [f"process {pid} {name}" for pid, name, parent in _processes() if parent in parents]


def choose(total: int, name: str) -> list[int]:
    """The steps of 1 to ``total`` that are tried: all, or a sample that is the same every time."""
    if STEPS == "all" or total <= int(STEPS):
        return list(range(1, total + 1))
    return sorted(random.Random(f"{SEED} {name}").sample(range(1, total + 1), int(STEPS)))


# ---- what is left


def cgroups(bundle: Any) -> list[str]:
    """Of its name, in any hierarchy."""
    return [f"cgroup {folder}" for folder in cgroups_of(bundle.id)]


def mounts(bundle: Any) -> list[str]:
    """At or of the bundle."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line}" for line in lines if str(bundle.path) in line or bundle.id in line]


def files(bundle: Any) -> list[str]:
    """In the bundle, beside what the test has put there."""
    known = ("config.json", "rootfs", "pid")
    return [f"file {name}" for name in os.listdir(bundle.path) if name not in known]


CHECKS: tuple[Check, ...] = (cgroups, mounts, files)


def leftovers(bundle: Any, calls: Faults, checks: tuple[Check, ...] = CHECKS) -> list[str]:
    """What is left of the bundle's container. What ends by itself, a machine whose ocirt was
    killed, may do so."""
    folder = calls.root / bundle.id
    end = time.monotonic() + _PATIENCE
    while True:
        found = [line for check in checks for line in check(bundle)]
        found += calls.left()
        if folder.exists():
            found.append(f"state {sorted(os.listdir(folder))}")
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.001)


def _processes() -> Iterator[tuple[int, str, int]]:
    """The pid, name and parent of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        yield int(folder.name), name.partition("(")[2], int(rest.split()[1])


# ---- what may be said


def check_said(ocirt: Any, id: str) -> str:
    """What state and list say of a container after a fault is true, "" if it is not there."""
    listed = json.loads(ocirt("list", "--format", "json", check=True).stdout)
    said = ocirt("state", id)
    if said.returncode:
        assert said.stderr == f"ocirt: container {id} does not exist\n", said.stderr
        assert id not in [state["id"] for state in listed]
        return ""
    end = time.monotonic() + _PATIENCE
    while not is_true(state := ocirt.state(id)):
        assert time.monotonic() < end, state
        time.sleep(0.001)
    assert id in [state["id"] for state in listed]
    return str(state["status"])


def is_true(state: dict[str, Any]) -> bool:
    """A container that waits for start is the machine, one that runs is its program."""
    if state["status"] == "stopped":
        return bool(state["pid"] == 0)
    try:
        line = Path(f"/proc/{state['pid']}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    if state["status"] == "paused":
        return True
    return bool(line.startswith(b"ocirt-machine") == (state["status"] == "created"))
