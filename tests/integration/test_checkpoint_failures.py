"""checkpoint and restore that fail, or are killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.freezer import find

from .checkpoints import Saved, refused, wait_for
from .conftest import COMMAND


def test_wrong_states(saved: Saved) -> None:
    assert "does not exist" in saved.checkpoint()
    saved.bundle.write()
    saved.call("create", "--bundle", str(saved.bundle.path), saved.id)
    assert "was not started" in saved.checkpoint()
    saved.ocirt("kill", saved.id, "KILL", check=True)
    wait_for(lambda: saved.status() == "stopped")
    assert "container not running" in saved.checkpoint()
    saved.image.mkdir()
    assert "container with given ID already exists" in saved.restore()
    saved.ocirt("delete", saved.id, check=True)
    assert "is no image of a checkpoint" in saved.restore()
    assert "--image-path /none" in saved.call(
        "restore", "--image-path", "/none", saved.id, cwd=saved.bundle.path
    )
    (saved.image / "descriptors.json").write_text("[]")
    assert f"restore of {saved.id}: " in saved.restore()
    assert saved.ocirt.ids() == []


@pytest.mark.parametrize("kind", ["absent", "broken"])
def test_no_criu(saved: Saved, tmp_path: Path, kind: str) -> None:
    saved.run()
    if kind == "broken":
        (tmp_path / "criu").write_text("#!/bin/false\n")
        (tmp_path / "criu").chmod(0o755)
    said = saved.checkpoint(env={"PATH": str(tmp_path)})
    assert ("criu is not installed" in said) == (kind == "absent")
    assert said.count("level=error") == 1
    assert saved.say("a") == "1 a"
    assert saved.checkpoint(env={}) == ""  # PATH is not needed
    assert said.count("level=error") == saved.restore(env={"PATH": str(tmp_path)}).count(
        "level=error"
    )
    assert saved.ocirt.ids() == []


def test_a_failing_hook(saved: Saved, leftovers: Callable[[Any], list[str]]) -> None:
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    said = refused(saved, "/hooks/createRuntime/0")
    assert "/bin/false: exit status 1" in said
    assert saved.ocirt.ids() == [] and leftovers(saved.bundle) == []


def test_killed_restore(saved: Saved, leftovers: Callable[[Any], list[str]]) -> None:
    """delete --force removes what it has left: CRIU with what it had begun."""
    saved.run()
    assert saved.checkpoint() == ""
    flag = saved.folder / "hook"
    script = f"touch {flag}; exec sleep 1000"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 30}
    saved.bundle.document["hooks"] = {"createRuntime": [hook]}
    words = ["--image-path", saved.image, "--bundle", saved.bundle.write(), "-d", saved.id]
    process = subprocess.Popen(
        [COMMAND, "--root", saved.ocirt.root, "restore", *words],
        stdin=saved.stdin,
        stdout=saved.stdout,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(flag.exists)
        assert saved.status() == "creating"
    finally:
        process.kill()
        process.wait()
    assert saved.call("delete", "--force", saved.id) == ""
    wait_for(lambda: leftovers(saved.bundle) == [])
    del saved.bundle.document["hooks"]
    assert saved.restore() == ""
    assert saved.say("a") == "1 a"


def test_killed_checkpoint(saved: Saved, tmp_path: Path) -> None:
    """The container goes on."""
    saved.run()
    flag, real = tmp_path / "flag", shutil.which("criu")
    (tmp_path / "criu").write_text(
        f"#!/bin/sh\n[ -e {flag} ] || exec {real} $*\ntouch {flag}2; exec sleep 1000\n"
    )
    (tmp_path / "criu").chmod(0o755)
    flag.touch()
    process = subprocess.Popen(
        [COMMAND, "--root", saved.ocirt.root, "checkpoint", "--image-path", saved.image, saved.id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        start_new_session=True,
    )
    wait_for(Path(f"{flag}2").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert saved.say("a") == "1 a"
    assert saved.checkpoint() == ""


def test_killed_while_it_is_frozen(saved: Saved, leftovers: Callable[[Any], list[str]]) -> None:
    """Both CRIU, which freezes the container, and ocirt: it is paused then, if the cgroup tells, and
    delete --force removes it."""
    saved.run()
    freezer = find(saved.kept()["cgroup"])
    assert freezer
    for _turn in range(20):
        process = subprocess.Popen(
            [COMMAND, "--root", saved.ocirt.root, "checkpoint", "--leave-running"]
            + ["--image-path", saved.image, saved.id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not freezer.is_frozen():
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if freezer.is_frozen():
            break
    assert freezer.is_frozen()
    assert saved.status() == "paused"
    assert saved.call("delete", "--force", saved.id) == ""
    assert leftovers(saved.bundle) == [] and saved.ocirt.ids() == []
