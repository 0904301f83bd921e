"""ocirt check: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocirt.cli import Options
from ocirt.commands.check import run
from ocirt.errors import OcirtError

DOCUMENT: dict[str, Any] = {
    "ociVersion": "1.0.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/"},
    "linux": {"namespaces": [{"type": "mount"}]},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    write(tmp_path, DOCUMENT)
    return tmp_path


def write(bundle: Path, document: Any) -> None:
    (bundle / "config.json").write_text(json.dumps(document))


def check(bundle: Path, format: str = "text") -> int:
    return run(cast(Options, SimpleNamespace(arguments=[str(bundle)], format=format)))


def test_valid(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(bundle) == 0
    assert capsys.readouterr() == (f"{bundle}: valid\n", "")


def test_the_current_folder_is_the_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    assert run(cast(Options, SimpleNamespace(arguments=[], format="text"))) == 0


def test_everything_at_once(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "rootfs").rmdir()
    write(
        bundle,
        DOCUMENT
        | {
            "process": {"args": [], "cwd": 1, "termnal": True},
            "hostname": "a",
        },
    )
    assert check(bundle) == 1
    assert capsys.readouterr().out.splitlines() == [
        "error: config.json#/process/cwd: must be a string, not an integer",
        "error: config.json#/process/args: must name a program",
        "error: config.json#/hostname: needs a uts namespace",
        '  hint: add {"type": "uts"} to linux.namespaces',
        f"error: config.json#/root/path: {bundle}/rootfs: no such file or directory",
        "warning: config.json#/process/termnal: unknown field, ignored",
        "  hint: did you mean terminal?",
    ]


def test_root_is_a_file(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(bundle, DOCUMENT | {"root": {"path": "config.json"}})
    assert check(bundle) == 1
    text = f"error: config.json#/root/path: {bundle}/config.json: not a directory\n"
    assert capsys.readouterr().out == text


def test_what_the_compiler_refuses(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(bundle, DOCUMENT | {"mounts": [{"destination": "/proc", "type": "tmpfs"}]})
    assert check(bundle) == 1
    out = capsys.readouterr().out
    assert out.startswith("error: config.json#/mounts/0/destination: ")
    assert "cannot be mounted because it is inside /proc" in out


def test_json(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(bundle, DOCUMENT | {"hostname": "a", "Hooks": {}})
    assert check(bundle, "json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "problems": [
            {
                "at": "/hostname",
                "message": "needs a uts namespace",
                "hint": 'add {"type": "uts"} to linux.namespaces',
            }
        ],
        "warnings": [
            {"at": "/Hooks", "message": "unknown field, ignored", "hint": "did you mean hooks?"}
        ],
    }


def test_no_json(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "config.json").write_text("{")
    assert check(bundle) == 1
    assert capsys.readouterr().out.startswith(
        "error: config.json#: not valid JSON: line 1 column 2"
    )


def test_no_config(bundle: Path) -> None:
    (bundle / "config.json").unlink()
    with pytest.raises(OcirtError, match="no such file or directory"):
        check(bundle)


def test_the_documents_words_do_no_harm(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key can hold what a terminal obeys, or what no encoding has."""
    write(bundle, DOCUMENT | {"\x1b[2J\nerror: x\ud800": 1, "root": {"path": "\ud800\0"}})
    assert check(bundle) == 1
    out = capsys.readouterr().out
    assert "warning: config.json#/\\x1b[2J\\nerror: x\\ud800: unknown field, ignored\n" in out
    assert "error: config.json#/root/path: must not contain a NUL byte\n" in out
