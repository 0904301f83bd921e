"""ocirt.runc_words: what errors read like where ocirt is called runc."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ocirt.cli import main
from ocirt.errors import ConfigError, KernelError, OcirtError, StateError
from ocirt.runc_words import reword

MOUNT = KernelError("bind: EPERM (Operation not permitted)", at="/mounts/7", errno=errno.EPERM)


@pytest.mark.parametrize(
    ("verb", "error", "text"),
    [
        (
            "run",
            MOUNT,
            "runc run failed: unable to start container process: error during container init: "
            "error mounting: config.json#/mounts/7: bind: EPERM (operation not permitted)",
        ),
        (
            "exec",
            KernelError("program x: executable file not found", at="/process/args/0"),
            "exec failed: unable to start container process: config.json#/process/args/0: "
            "program x: executable file not found",
        ),
        ("create", StateError("it exists"), "runc create failed: it exists"),
        ("kill", StateError("container not running"), "container not running"),
        ("", OcirtError("no command is given"), "no command is given"),
    ],
)
def test_words(verb: str, error: OcirtError, text: str) -> None:
    reword(verb, error)
    assert str(error) == text


def test_the_first_of_many_problems() -> None:
    problems = [OcirtError("one", at="/a"), OcirtError("two", at="/b")]
    reword("create", ConfigError(problems))
    assert [str(each) for each in problems] == [
        "runc create failed: config.json#/a: one",
        "config.json#/b: two",
    ]


@pytest.mark.parametrize(("name", "begin"), [("runc", "runc create failed: "), ("ocirt", "")])
def test_by_the_name_of_the_command(
    name: str, begin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr and in the log."""
    words = ["--root", str(tmp_path / "root"), "--log", str(tmp_path / "log"), "create"]
    assert main([name, *words, "--bundle", str(tmp_path), "id"]) == 1
    assert capsys.readouterr().err.startswith(f"ocirt: {begin}")
    assert f'level=error msg="{begin}' in (tmp_path / "log").read_text()
