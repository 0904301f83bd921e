"""OCI runtime-tools' validation suite (conformance/runtime-tools) and runc's own suite
(conformance/runc-suite), and what reads their output."""

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
RUNC_SUITE = TOOLS.parent / "runc-suite"
BATS = """1..4
ok 1 runc run [a] in 1500ms
ok 2 runc -h # skip test requires rootless
not ok 3 debug: # in 12ms
# (in test file /x/y.bats, line 3)
#   `false' failed
some line of a program
ok 4 last in 3ms # skip
"""
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


def load(path: Path) -> ModuleType:
    """A script, which has no suffix, as a module."""
    name = f"{path.parent.name}_{path.name}".replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run() -> ModuleType:
    return load(TOOLS / "run")


def write_table(folder: Path, tools: Path, *given: str) -> str:
    """What the command ``table`` in ``tools`` makes of a file that has another section."""
    results = folder / "RESULTS.md"
    results.write_text("# Another suite\n\nIts text.\n")
    subprocess.run([sys.executable, tools / "table", results, *given], check=True)
    text = results.read_text()
    assert text.startswith("# Another suite\n\nIts text.\n\n# ")
    subprocess.run([sys.executable, tools / "table", results, *given], check=True)
    assert results.read_text() == text
    return text


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
        "cgroup": "v1",
        "suite": "0.9",
        "total": {"pass": 0, "fail": 1, "error": 1, "tests": 2},
        "results": results,
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    table = write_table(tmp_path, TOOLS, f"x={path}")
    assert "| x | x version 1 | 6.1 | v1 | 0 | 1 | 1 |" in table
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


# ---- runc's own suite


def test_tap_of_bats() -> None:
    results = load(RUNC_SUITE / "run").parse_tap(BATS)
    assert [(r["test"], r["verdict"], r["seconds"], r.get("reason")) for r in results] == [
        ("runc run [a]", "pass", 1.5, None),
        ("runc -h", "skip", 0, "test requires rootless"),
        ("debug: #", "fail", 0.012, None),
        ("last", "skip", 0.003, ""),
    ]
    assert results[2]["output"] == "(in test file /x/y.bats, line 3)\n  `false' failed\n"


def test_table_of_runc_s_suite(tmp_path: Path) -> None:
    def write(name: str, **verdicts: str) -> str:
        results: list[dict[str, object]] = [
            {"file": file, "test": "global --debug", "verdict": verdict, "seconds": 1}
            | ({"reason": "needs | more"} if verdict == "skip" else {})
            for file, verdict in verdicts.items()
        ]
        document = {"runtime": f"{name} version 1", "kernel": "6.1", "suite": "1.3"}
        (tmp_path / name).write_text(json.dumps(document | {"results": results}))
        return f"{name}={tmp_path / name}"

    ocirt = write("ocirt", debug="fail", env="pass", ps="skip", run="pass")
    runc = write("runc", debug="pass", env="pass", ps="skip", run="fail")
    table = write_table(tmp_path, RUNC_SUITE, ocirt, runc)
    assert "| ocirt | ocirt version 1 | 6.1 | 2 | 1 | 1 | 1 of 2 (50.0 %) |" in table
    assert "| debug | global --debug | fail | pass | internal: looks for lines" in table
    assert "| run | global --debug | pass | fail |" in table
    assert "| env |" not in table and "| ps |" not in table
    assert "| 1 | needs \\| more |" in table
    unknown = write("ocirt", env="fail")
    words = [sys.executable, str(RUNC_SUITE / "table"), str(tmp_path / "RESULTS.md"), unknown]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (1, "no cause: env: global --debug\n")
