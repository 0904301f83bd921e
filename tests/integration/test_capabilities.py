"""Capabilities that ocirt itself has not got (config.md, "Linux Process"): a warning, no error.
Those of exec --cap."""

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


@pytest.mark.parametrize("inheritable, inherited", [([], False), (["CAP_SYSLOG"], True)])
def test_exec_cap(ocirt: Any, bundle: Any, inheritable: list[str], inherited: bool) -> None:
    """Ambient only where config.json has it as an inheritable one (CVE-2022-29162)."""
    sets: dict[str, list[str]] = {kind: [] for kind in SETS}
    bundle.document["process"]["capabilities"] = {
        **sets,
        "bounding": inheritable,
        "inheritable": inheritable,
    }
    bundle.shell("exec sleep 60").write()
    ocirt("run", "--detach", "--bundle", str(bundle.path), bundle.id, check=True)
    show = "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status"
    done = ocirt("exec", "--cap", "CAP_SYSLOG", bundle.id, "/bin/sh", "-c", show, check=True)
    found = {line[3:6]: int(line.split()[1], 16) for line in done.stdout.splitlines()}
    one = 1 << CAPABILITIES["CAP_SYSLOG"]
    given = one if inherited else 0
    assert found == {"Inh": given, "Prm": one, "Eff": one, "Bnd": one, "Amb": given}
