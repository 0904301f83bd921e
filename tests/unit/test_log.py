"""ocirt.log: the lines that engines read (CONTRACT.md rows 31 to 33)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocirt import log
from ocirt.errors import ConfigError, OcirtError

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates too: of odd file names


def lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return data.splitlines() if b"\r" not in data else data.split(b"\n")[:-1]


def test_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    log.configure(str(file), True, False)
    log.error(OcirtError('say "x"\n\ty', at="/a", hint="do"))
    (line,) = lines(file)
    record = json.loads(line)
    assert set(record) == {"level", "msg", "time"}
    assert record["level"] == "error" and record["msg"] == 'config.json#/a: say "x"\n\ty'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["time"])
    assert capsys.readouterr().err == ('ocirt: config.json#/a: say "x"\\n\\ty\nocirt:   hint: do\n')


def test_text_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log.configure(str(file), False, False)
    log.error(OcirtError('say "x"\n\\'))
    (line,) = lines(file)
    assert re.fullmatch(rb'time="[-\dT:]+Z" level=error msg="say \\"x\\"\\n\\\\"', line)


@pytest.mark.parametrize("as_json", [True, False])
@given(text=ANY_TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_never_a_malformed_line(tmp_path: Path, as_json: bool, text: str) -> None:
    file = tmp_path / "log"
    file.unlink(missing_ok=True)
    log.configure(str(file), as_json, False)
    log.error(OcirtError(text))
    os.close(log._settings["fd"])
    (line,) = lines(file)
    if as_json:
        assert json.loads(line)["msg"] == text
    else:
        body = line.decode().split(" msg=", 1)[1]
        assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', body) and body.isprintable()


def test_many_problems_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    log.configure(str(file), True, False)
    log.error(ConfigError([OcirtError("a", at="/a"), OcirtError("b"), OcirtError("c", hint="h")]))
    (line,) = lines(file)
    assert json.loads(line)["msg"] == "config.json#/a: a (and 2 more: see ocirt check)"
    assert capsys.readouterr().err == (
        "ocirt: config.json#/a: a\nocirt: b\nocirt: c\nocirt:   hint: h\n"
    )


def test_a_failure_is_the_only_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CONTRACT.md row 32: Podman parses the whole file as one document."""
    file = tmp_path / "log"
    log.configure(str(file), True, False)
    log.warning("first")
    log.error(OcirtError("then"))
    log.flush()
    assert [json.loads(line)["msg"] for line in lines(file)] == ["then"]
    assert capsys.readouterr().err == "ocirt: warning: first\nocirt: then\n"


def test_warnings_of_a_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    log.configure(str(file), True, False)
    log.warning("a")
    log.warning("b")
    log.flush()
    log.flush()
    records = [json.loads(line) for line in lines(file)]
    assert [(r["level"], r["msg"]) for r in records] == [("warning", "a"), ("warning", "b")]
    assert capsys.readouterr().err == ""


def test_warnings_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("", False, False)
    log.warning("a")
    assert capsys.readouterr().err == "ocirt: warning: a\n"


def test_debug(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    for on in (False, True):
        log.configure(str(file), True, on)
        log.debug("x")
        assert log.debugging() == on
        assert len(lines(file)) == on
    log.configure("", True, True)
    log.debug("y")
    assert capsys.readouterr().err == "ocirt: debug: y\n"


def test_lines_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    log.configure(str(file), True, False)
    log.error(OcirtError("after"))
    assert file.read_text().startswith("before\n{")


def test_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    code = (
        "import sys; sys.stderr = None\n"
        "from ocirt import log; from ocirt.errors import OcirtError\n"
        f"log.configure({str(file)!r}, True, False)\n"
        "for _ in range(200): log.error(OcirtError('x' * 300))\n"
    )
    root = str(Path(__file__).parent.parent.parent)
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=root) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert [json.loads(line)["msg"] for line in lines(file)] == ["x" * 300] * 600
