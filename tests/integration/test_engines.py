"""containerd, Docker and Podman run, exec in and delete containers with ocirt (conformance/engines).

`tools/test-vm testbed tests/integration/test_engines.py` has the newer ones, and Docker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = Path(__file__).parent.parent.parent / "conformance/engines"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="engines run as root here")


def drive(engine: str, program: str = "") -> None:
    """Every check of the engine's script passes with this environment's ocirt."""
    if not shutil.which(program or engine):
        pytest.skip(f"{program or engine} is not installed")
    ocirt = shutil.which("ocirt", path=os.path.dirname(sys.executable))
    assert ocirt, "ocirt is not installed beside this python"
    ran = subprocess.run(
        [ENGINES / engine, ocirt],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stdout
    assert "\nok: exec, output and exit status\n" in ran.stdout
    assert "not ok" not in ran.stdout


def test_ctr() -> None:
    drive("ctr")


def test_docker() -> None:
    drive("docker", program="dockerd")


def test_podman() -> None:
    drive("podman")
