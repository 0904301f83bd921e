"""Containers that are saved and restored, and what their tests have in common."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conftest import COMMAND

# Answers every line with how many there were.
ANSWER = 'i=0; while read x; do i=$((i+1)); echo "$i $x"; done'


FILTER = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


class Saved:
    """A container that talks over pipes, its checkpoints, and calls of ocirt as engines make them:
    nothing that they start keeps a file of the tests open."""

    def __init__(self, ocirt: Any, bundle: Any, folder: Path) -> None:
        self.ocirt = ocirt
        self.bundle = bundle
        self.id = bundle.id
        self.folder = folder
        self.image = folder / "image"
        self.log = folder / "log"
        self.fds: list[int] = []
        self.pipes()
        bundle.shell(ANSWER)

    def pipes(self) -> None:
        """New ones."""
        self.close()
        self.stdin, self.write_end = os.pipe()
        self.read_end, self.stdout = os.pipe()
        self.fds = [self.stdin, self.write_end, self.read_end, self.stdout]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def call(self, *arguments: str, globals: tuple[str, ...] = (), **options: Any) -> str:
        """ "" for success, or what went wrong."""
        self.log.unlink(missing_ok=True)
        flags = ["--root", str(self.ocirt.root), "--log", str(self.log), *globals]
        options = {"stdin": self.stdin, "stdout": self.stdout, **options}
        done = subprocess.run(
            [COMMAND, *flags, *arguments], stderr=subprocess.DEVNULL, timeout=60, **options
        )
        said = self.log.read_text() if self.log.exists() else ""
        assert (done.returncode == 0) == (" level=error " not in said), said
        return said

    def run(self, *flags: str, **options: Any) -> None:
        said = self.call("run", "-d", "--bundle", self.bundle.write(), *flags, self.id, **options)
        assert said == ""

    def checkpoint(self, *flags: str, **options: Any) -> str:
        work = ["--work-path", str(self.folder / "work")]
        return self.call(
            "checkpoint", "--image-path", str(self.image), *work, *flags, self.id, **options
        )

    def restore(self, *flags: str, detach: bool = True, **options: Any) -> str:
        where = ["--image-path", str(self.image), "--work-path", str(self.folder / "work")]
        more = ["--detach"] if detach else []
        words = [*where, *more, "--bundle", self.bundle.write(), *flags, self.id]
        return self.call("restore", *words, **options)

    def say(self, text: str) -> str:
        """What it answers."""
        os.write(self.write_end, f"{text}\n".encode())
        ready, _, _ = select.select([self.read_end], [], [], 20)
        assert ready, "no answer"
        return os.read(self.read_end, 4096).decode().strip()

    def kept(self) -> Any:
        """The state file."""
        return json.loads((self.ocirt.root / self.id / "state.json").read_text())

    def status(self) -> str:
        return str(self.ocirt.state(self.id)["status"])

    def exec(self, script: str) -> str:
        done = self.ocirt("exec", self.id, "/bin/sh", "-c", script)
        return str((done.stdout + done.stderr).strip())


def refused(saved: Saved, place: str) -> str:
    """It is not restored, and nothing is left; what was said."""
    said = saved.restore()
    assert f"config.json#{place}" in said, said
    assert saved.ocirt.ids() == []
    return said


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": [*options]}


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": ["bind", *options]}


def link(saved: Saved, *applets: str) -> None:
    for applet in applets:
        (saved.bundle.path / "rootfs/bin" / applet).symlink_to("busybox")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
