"""conformance/bench measures every verb and leaves nothing behind. Times are not judged here."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BENCH = ROOT / "conformance/bench"
VERBS = {"create", "state", "start", "exec", "kill", "delete", "run", "update"}
KINDS = {"limits", "seccomp", "cold", "userns", "mounts", "idmap"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


@pytest.fixture
def ocirt() -> str:
    """The ocirt of the environment that runs the tests."""
    path = shutil.which("ocirt", path=os.path.dirname(sys.executable))
    assert path, "ocirt is not installed beside this python"
    return path


def test_every_verb_is_measured(ocirt: str, tmp_path: Path) -> None:
    result = tmp_path / "bench.json"
    ran = bench("--rounds=2", f"--runtime=ocirt={ocirt}", "--memory", f"--json={result}")
    assert ran.returncode == 0, ran.stdout
    document = json.loads(result.read_text())
    assert document["absent"] == {}
    measured = document["runtimes"]["ocirt"]
    has_profile = os.path.exists("/usr/share/containers/seccomp.json")  # Podman's package's
    absent = set() if has_profile else {"seccomp", "cold"}
    assert set(measured["absent"]) == absent
    assert set(measured["median"]) == VERBS | KINDS - absent
    for row in measured["median"]:
        times = measured["milliseconds"][row]
        assert len(times) == 2 and all(time > 0 for time in times), (row, times)
        assert f"\n{row} " in ran.stdout
    assert 0 < measured["memory_kb"]


def test_a_runtime_that_cannot_run_is_absent_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    ran = bench("--rounds=1", f"--runtime={broken}", f"--runtime=other={tmp_path}/none")
    assert ran.returncode == 1
    assert "broken: absent: create: exit status 3: it is broken" in ran.stdout
    assert "other: absent: not found" in ran.stdout


def test_bars_are_not_met_by_what_was_not_measured(tmp_path: Path) -> None:
    ran = bench("--rounds=1", "--bars", f"--runtime=ocirt={tmp_path}/none")
    assert ran.returncode == 1
    assert "bar not met: ocirt was not measured" in ran.stdout


def command_lines() -> Iterator[bytes]:
    """Those of all processes that live long enough to be read."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield Path(path).read_bytes()


def test_nothing_is_left(ocirt: str) -> None:
    process = subprocess.Popen(
        [sys.executable, str(BENCH), "--rounds=1000", f"--runtime=ocirt={ocirt}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # The benchmark is its own container's parent: its name has the process's id.
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
    finally:
        process.terminate()
        process.wait(60)
    name = f"ocirt-bench-{process.pid}"
    assert not glob.glob(f"/sys/fs/cgroup/**/{name}", recursive=True)
    assert not [command for command in command_lines() if name.encode() in command]
