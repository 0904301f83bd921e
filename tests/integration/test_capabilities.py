"""Capabilities that ocirt itself has not got (config.md, "Linux Process"): a warning, no error."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import pytest

from ocirt.host.constants import CAPABILITIES, PR_CAPBSET_DROP

SHOW = "grep -E '^Cap(Prm|Bnd|Amb)' /proc/self/status"
NAMES = ["CAP_CHOWN", "CAP_SETPCAP", "CAP_SYS_TTY_CONFIG"]
LEFT = 1 << CAPABILITIES["CAP_CHOWN"] | 1 << CAPABILITIES["CAP_SETPCAP"]
SETS = ("bounding", "permitted", "effective", "inheritable", "ambient")


def without_tty_config() -> None:
    """For a child that will be ocirt."""
    number = CAPABILITIES["CAP_SYS_TTY_CONFIG"]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, number, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def capable(bundle: Any) -> Any:
    bundle.document["process"]["capabilities"] = dict.fromkeys(SETS, NAMES)
    return bundle


def test_run_in_a_restricted_environment(ocirt: Any, capable: Any) -> None:
    capable.shell(SHOW).write()
    arguments = ("run", "--bundle", str(capable.path), capable.id)
    done = ocirt(*arguments, check=True, preexec_fn=without_tty_config)
    assert {line.split()[1] for line in done.stdout.splitlines()} == {f"{LEFT:016x}"}
    assert done.stderr == (
        "ocirt: warning: config.json#/process/capabilities: CAP_SYS_TTY_CONFIG is left out:"
        " ocirt has no such capability to give\n"
    )


def test_exec_in_a_restricted_environment(ocirt: Any, capable: Any) -> None:
    capable.shell("exec sleep 60").write()
    ocirt("run", "--detach", "--bundle", str(capable.path), capable.id, check=True)
    arguments = ("exec", capable.id, "/bin/sh", "-c", SHOW)
    done = ocirt(*arguments, check=True, preexec_fn=without_tty_config)
    assert {line.split()[1] for line in done.stdout.splitlines()} == {f"{LEFT:016x}"}
    assert "CAP_SYS_TTY_CONFIG is left out" in done.stderr
