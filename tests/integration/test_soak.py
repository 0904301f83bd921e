"""Many containers at a time, of which nothing is left (conformance/soak), in small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent.parent.parent / "conformance/soak"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


def soak(*arguments: str) -> str:
    """What it said; it has found no fault."""
    if not shutil.which("busybox"):
        pytest.skip("busybox is not installed")
    ran = subprocess.run(
        [SOAK, *arguments, Path(sys.executable).parent / "ocirt"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_what_can_not_be_understood(tmp_path: Path) -> None:
    """A worker that ends by it has had no lives, of which nothing is left."""
    runtime = tmp_path / "runtime"
    runtime.write_text("#!/bin/sh\nprintf '\\377'\n")
    runtime.chmod(0o755)
    ran = subprocess.run(
        [SOAK, "--count", "2", runtime],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert ran.returncode == 1
    assert b"UnicodeDecodeError" in ran.stdout


def test_by_hand() -> None:
    assert "40 containers, 8 at a time" in soak("--count", "40")


def test_killed_runtimes() -> None:
    assert "of the runtime's calls killed" in soak("--count", "24", "--murder")


@pytest.mark.parametrize("murder", [[], ["--murder"]])
def test_containerd(murder: list[str]) -> None:
    if not shutil.which("ctr"):
        pytest.skip("containerd is not installed")
    said = soak("--count", "16", "--engine", "containerd", *murder)
    assert "16 containers, 8 at a time" in said
