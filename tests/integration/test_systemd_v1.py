"""conformance/systemd-v1, and the tests of the systemd driver there."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _host() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not os.path.isdir("/sys/fs/cgroup/systemd"):
        pytest.skip("no host of cgroup version 1")
    if not os.path.exists("/lib/systemd/systemd") or not os.path.exists("/usr/bin/dbus-daemon"):
        pytest.skip("needs Debian's packages systemd and dbus-daemon")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "conformance/systemd-v1"), *words]
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment
    )
    assert glob.glob("/sys/fs/cgroup/*/ocirt-systemd-v1-*") == []
    return done


def test_command() -> None:
    done = run("sh", "-c", "cat /proc/1/comm; echo error >&2; pwd; exit 7")
    assert done.stdout == f"systemd\n{ROOT}\n" and "error\n" in done.stderr
    assert done.returncode == 7


def test_driver() -> None:
    tests = str(Path(__file__).with_name("systemd_v1.py"))
    done = run(sys.executable, "-m", "pytest", "-q", tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
