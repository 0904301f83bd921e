"""OCI runtime-tools' validation suite (conformance/runtime-tools), and what reads its output."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parent.parent.parent / "conformance/runtime-tools"
TAP = """TAP version 13
ok 1 - the first
not ok 2 - the second
  ---
  {
    "error": "said \\"no\\""
  }
  ...
ok 3 # SKIP not here
not ok 4 # TODO known
not ok 5 - the last
1..5
"""


@pytest.fixture(scope="module")
def run() -> ModuleType:
    """The script ``run``, which has no suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader("runtime_tools_run", str(TOOLS / "run"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_tap_is_counted(run: ModuleType) -> None:
    result = run.parse_tap(TAP)
    assert (result["ok"], result["not_ok"], result["skip"]) == (1, 2, 2)
    assert result["failed"] == [[2, "the second"], [5, "the last"]]
    assert result["errors"] == ['said "no"']


@pytest.mark.parametrize(
    ("text", "status", "verdict"),
    [
        ("ok 1 - x\n", 0, "pass"),
        ("ok 1 - x\n", 1, "error"),
        ("ok 1 - x\nnot ok 2 - y\n", 0, "fail"),
        ("ok 1 # SKIP\n", 0, "skip"),
        ("1..0\n", 0, "silent"),
        ('  {\n    "error": "bad"\n  }\n1..0\n', 0, "error"),
        ("ok 1 - x\n", None, "timeout"),
    ],
)
def test_verdict(run: ModuleType, text: str, status: int | None, verdict: str) -> None:
    assert run.verdict_of({"status": status, **run.parse_tap(text)}) == verdict


def test_only_listed_assertions_may_fail(run: ModuleType) -> None:
    def result(test: str, text: str) -> dict[str, object]:
        counts = {"test": test, "status": 0, "stderr": "", **run.parse_tap(text)}
        return {**counts, "verdict": run.verdict_of(counts)}

    def unexpected(test: str, text: str, v1: bool = True) -> object:
        return run.unexpected([result(test, text)], v1)

    error = '    "error": "bad"\n'
    assert unexpected("start", "ok 1 - x\nnot ok 7 - y\n") == []
    assert unexpected("start", "not ok 6 - x\n") == ["start: not ok 6 x"]
    assert unexpected("hooks", error) == []
    assert unexpected("create", error) == ["create: error: bad"]
    assert unexpected("linux_cgroups_cpus", error, v1=True) == ["linux_cgroups_cpus: error: bad"]
    assert unexpected("linux_cgroups_cpus", error, v1=False) == []


def test_the_list_of_expected_failures_has_known_kinds(run: ModuleType) -> None:
    rows = run.read_expected()
    assert {row["kind"] for row in rows} <= {"never", "choice", "machine", "v1", "later"}
    names = [(row["test"], row["kind"] == "v1") for row in rows]
    assert len(names) == len(set(names))


def test_table_shows_verdicts_and_notes(tmp_path: Path) -> None:
    results = [
        {"test": "hooks", "verdict": "error", "ok": 0, "not_ok": 0},
        {"test": "start", "verdict": "fail", "ok": 6, "not_ok": 1},
    ]
    document = {
        "runtime": "x version 1",
        "kernel": "6.1",
        "suite": "0.9",
        "total": {"pass": 0, "fail": 1, "error": 1, "tests": 2},
        "results": results,
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    command = [sys.executable, str(TOOLS / "table"), f"x={path}"]
    table = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "| x | x version 1 | 6.1 | 0 | 1 | 1 |" in table
    assert "| hooks | error | never: " in table
    assert "| start | fail (1 of 7) | never: " in table


@pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")
def test_validation_suite() -> None:
    """All tests pass but those that conformance/runtime-tools/expected lists."""
    if subprocess.run([TOOLS / "build", "--check"]).returncode:
        pytest.skip("the suite is not built (conformance/runtime-tools/build)")
    ocirt = shutil.which("ocirt", path=os.path.dirname(sys.executable))
    assert ocirt, "ocirt is not installed beside this python"
    ran = subprocess.run(
        [TOOLS / "run", "--check", ocirt],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout
    assert " tests 58" in ran.stdout
