"""The command line of update."""

from __future__ import annotations

import pytest

from ocirt.cli import parse
from ocirt.commands.table import VERBS
from ocirt.commands.update import _from_flags, number, size
from ocirt.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-1", -1),
        ("4096", 4096),
        ("100b", 100),
        ("1k", 1024),
        ("512M", 512 << 20),
        ("2gb", 2 << 30),
        ("1.5GiB", 3 << 29),
        ("2 t", 2 << 40),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size("memory", text) == expected


@pytest.mark.parametrize("text", ["", "m", "1x", "1..5m", "1.m", "--1", "1e3", "½", "9" * 30])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError):
        size("memory", text)


@pytest.mark.parametrize("text", ["", "x", "1.5", "²", "- 1"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(UsageError):
        number("cpu-quota", text)


def test_flags_become_resources() -> None:
    words = ["--memory", "1g", "--cpu-quota", "-1", "-c=512", "--pids-limit=20", "--cpu-idle=1"]
    words += ["--cpuset-cpus", "0-1", "--blkio-weight", "100", "id"]
    options, arguments = parse(VERBS["update"].options, words, command=False)
    assert arguments == ["id"]
    assert _from_flags(options) == {
        "memory": {"limit": 1 << 30},
        "cpu": {"quota": -1, "shares": 512, "cpus": "0-1", "idle": 1},
        "blockIO": {"weight": 100},
        "pids": {"limit": 20},
    }


def test_nothing_is_asked_for() -> None:
    options, _ = parse(VERBS["update"].options, ["id"], command=False)
    assert _from_flags(options) == {}
