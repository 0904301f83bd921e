"""What create compiled for the later verbs (ocirt/runtime/verbs.py) does as Python does.

The command ``bare`` is a launcher with neither package nor interpreter: what it gets done, it
did by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.runtime import verbs

from .conftest import COMMAND, cgroups_of

GAVE_UP = "no package ocirt in"
ROOT = Path(__file__).parent.parent.parent

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("bare") / "ocirt"
    sources = sorted(ROOT.glob("csrc/launcher*.c"))
    subprocess.run(["gcc", "-o", program, *sources], check=True)
    return program


@pytest.fixture
def bare(ocirt: Any, launcher: Path) -> Call:
    """bare(ARGUMENT...): the launcher, called as ``ocirt`` is."""

    def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [str(launcher), "--root", str(ocirt.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)

    return call


@pytest.fixture
def created(ocirt: Any, bundle: Any) -> Any:
    """The bundle of a created container that will sleep."""
    bundle.shell("exec sleep 60").document["annotations"] = {"key": 'quoted "é" \u2028'}
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    return bundle


def without_program(ocirt: Any, id: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same call with nothing compiled: Python does it."""
    file = ocirt.root / id / verbs.FILE
    hidden = file.rename(ocirt.root / "hidden")
    try:
        done: subprocess.CompletedProcess[str] = ocirt(*arguments)
        return done
    finally:
        hidden.rename(file)


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} does not end")


def test_state_is_what_python_prints(ocirt: Any, bare: Call, created: Any) -> None:
    id = created.id
    pid = ocirt.state(id)["pid"]
    seen = []
    for step in (None, ("start", id), ("kill", id, "KILL")):
        if step:
            assert bare(*step).returncode == 0
        if step and step[0] == "kill":
            wait_for_end(pid)
        by_launcher = bare("state", id)
        assert (by_launcher.returncode, by_launcher.stderr) == (0, "")
        assert by_launcher.stdout == without_program(ocirt, id, "state", id).stdout
        seen.append(json.loads(by_launcher.stdout)["status"])
    assert seen == ["created", "running", "stopped"]


def test_a_life_without_an_interpreter(
    ocirt: Any, bare: Call, created: Any, leftovers: Any
) -> None:
    id = created.id
    pid = ocirt.state(id)["pid"]
    assert bare("start", id).returncode == 0
    again = bare("start", id)
    assert GAVE_UP in again.stderr
    assert bare("kill", id, "0").returncode == 0
    assert GAVE_UP in bare("kill", id, "65").stderr
    assert GAVE_UP in bare("delete", id).stderr
    assert bare("kill", id, "SIGKILL").returncode == 0
    wait_for_end(pid)
    assert GAVE_UP in bare("kill", id, "KILL").stderr
    assert bare("delete", id).returncode == 0
    assert not (ocirt.root / id).exists()
    assert leftovers(created) == []


def test_words_that_engines_put_before_the_verb(bare: Call, created: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    flags = (f"--log={log}", "--log-format", "json", "--systemd-cgroup")
    assert bare(*flags, "state", created.id).returncode == 0
    assert log.read_bytes() == b""
    for unknown in ("--debug", "--rootless=true", "--lo"):
        assert GAVE_UP in bare(unknown, "state", created.id).stderr
    for words in (["state"], ["state", "--help"], ["state", created.id, "x"], ["state", ".."]):
        assert GAVE_UP in bare(*words).stderr


def test_a_start_that_fails_is_worded_by_python(ocirt: Any, bundle: Any) -> None:
    (bundle.path / "rootfs/bin/text").write_text("no program")
    (bundle.path / "rootfs/bin/text").chmod(0o755)
    bundle.document["process"]["args"] = ["/bin/text"]
    said = []
    for compiled in (True, False):
        ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
        start = ("start", bundle.id)
        done = ocirt(*start) if compiled else without_program(ocirt, bundle.id, *start)
        assert done.returncode == 1
        assert ocirt.state(bundle.id)["status"] == "stopped"
        said.append(done.stderr)
        assert not (ocirt.root / bundle.id / "failure").exists()
        ocirt("delete", bundle.id, check=True)
    assert said[0] == said[1]
    assert "config.json#/process/args/0" in said[0]
    assert "exec format error" in said[0]


def test_hooks_of_a_verb_are_left_to_python(
    ocirt: Any, bare: Call, make_bundle: Any, tmp_path: Path
) -> None:
    for kind, verb in (("poststart", "start"), ("startContainer", "start"), ("poststop", "delete")):
        bundle = make_bundle().shell("exec sleep 60")
        path = "/bin/true" if kind == "startContainer" else shutil.which("true")
        bundle.document["hooks"] = {kind: [{"path": path}]}
        ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
        if verb == "delete":
            pid = ocirt.state(bundle.id)["pid"]
            assert bare("kill", bundle.id, "KILL").returncode == 0
            wait_for_end(pid)
        assert GAVE_UP in bare(verb, bundle.id).stderr
        ocirt(verb, bundle.id, check=True)


def test_delete_of_a_busy_cgroup_is_left_to_python(
    ocirt: Any, bare: Call, bundle: Any, leftovers: Any
) -> None:
    document = bundle.shell("sleep 60 & exec sleep 61").document
    namespaces = document["linux"]["namespaces"]
    document["linux"]["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    procs = Path(cgroups_of(bundle.id)[0]) / "cgroup.procs"
    end = time.monotonic() + 10
    while len(procs.read_text().split()) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(pid, 9)
    wait_for_end(pid)
    assert GAVE_UP in bare("delete", bundle.id).stderr
    ocirt("delete", bundle.id, check=True)
    assert leftovers(bundle) == []


def test_a_verb_at_work_is_waited_for_by_python(ocirt: Any, bare: Call, created: Any) -> None:
    import fcntl

    fd = os.open(ocirt.root / created.id, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert GAVE_UP in bare("start", created.id).stderr
        assert bare("state", created.id).returncode == 0
    finally:
        os.close(fd)
    assert bare("start", created.id).returncode == 0


def test_nothing_is_taken_from_a_folder_of_somebody_else(
    ocirt: Any, bare: Call, created: Any
) -> None:
    os.chown(ocirt.root / created.id, 65534, 65534)
    assert GAVE_UP in bare("state", created.id).stderr
    os.chown(ocirt.root / created.id, 0, 0)
    (ocirt.root / "link").symlink_to(created.id)
    assert GAVE_UP in bare("state", "link").stderr


def test_output_that_nobody_reads(bare: Call, created: Any, launcher: Path, ocirt: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [launcher, "--root", ocirt.root, "state", created.id]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert GAVE_UP in done.stderr


def test_a_pid_that_was_given_again_is_left_alone(ocirt: Any, bare: Call, created: Any) -> None:
    """The start time is part of a process's name."""
    file = ocirt.root / created.id / verbs.FILE
    data = file.read_bytes()
    state = json.loads((ocirt.root / created.id / "state.json").read_text())
    pid = state["pid"].to_bytes(4, "little")
    name = pid + state["pid_start"].to_bytes(8, "little")
    assert name in data
    file.write_bytes(data.replace(name, pid + (state["pid_start"] - 1).to_bytes(8, "little")))
    assert json.loads(bare("state", created.id).stdout)["status"] == "stopped"
    assert GAVE_UP in bare("kill", created.id, "KILL").stderr
    file.write_bytes(data)
    assert bare("kill", created.id, "0").returncode == 0


def test_the_installed_command_has_the_programs(ocirt: Any, created: Any) -> None:
    """The launcher in use is no older than the package: it takes this file."""
    data = (ocirt.root / created.id / verbs.FILE).read_bytes()
    assert int.from_bytes(data[:4], "little") == verbs.MAGIC
    assert verbs.MAGIC.to_bytes(4, "little") in COMMAND.read_bytes()
