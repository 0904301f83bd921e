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


DOCKER = ["run files rights", "exec life build network remap"]
PODMAN = ["podman", "podman-run", "podman-life", "podman-pods", "podman-build"]
if os.environ.get(
    "OCIRT_VM"
):  # these take minutes in a guest, and depend little on the version of cgroups
    del DOCKER[1], PODMAN[2:]


def drive(engine: str, *parts: str, program: str = "") -> None:
    """Every check of the engine's script passes with this environment's ocirt."""
    if not shutil.which(program or engine):
        pytest.skip(f"{program or engine} is not installed")
    ocirt = shutil.which("ocirt", path=os.path.dirname(sys.executable))
    assert ocirt, "ocirt is not installed beside this python"
    ran = subprocess.run(
        [ENGINES / engine, ocirt, *parts],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stdout
    assert "not ok" not in ran.stdout
    assert ran.stdout.count("\nok: ") > 6


def test_ctr() -> None:
    drive("ctr")


@pytest.mark.parametrize("parts", DOCKER)
def test_docker(parts: str) -> None:
    drive("docker", *parts.split(), program="dockerd")


@pytest.mark.skipif(
    not os.path.exists("/usr/lib/python3/dist-packages/grpc"), reason="python3-grpcio"
)
def test_cri() -> None:
    drive("cri", program="ctr")


@pytest.mark.parametrize("script", PODMAN)
def test_podman(script: str) -> None:
    drive(script, program="podman")


def test_podman_systemd() -> None:
    """The container's first process is a systemd, which wants cgroup version 2."""
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("cgroup version 1")
    drive("podman-systemd", program="podman")


@pytest.mark.skipif(os.environ.get("OCIRT_VM") != "qemu", reason="it changes the machine")
def test_podman_services() -> None:
    drive("podman-services", program="podman")


def test_podman_rootless() -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("newuidmap is not installed")
    drive("podman-rootless", program="podman")
