"""The scripts of ``ocirt completion``, in the shells that they are for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ocirt.cli import main

# Words of a command line, the last of which is completed, and what it may become.
CASES = [
    ("ocirt ki", "kill"),
    ("ocirt kill --", "--all --help"),
    ("ocirt --root /x kill a", "aa ab"),
    ("ocirt list --format ", "table json"),
    ("ocirt --log-format ", "text json"),
    ("ocirt help st", "start state"),
]


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["ocirt", "completion", shell]) == 0
    return capsys.readouterr().out


def test_bash_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ocirt", "completion"]) == 0
    assert capsys.readouterr().out == script("bash", capsys)


def test_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ocirt", "completion", "tcsh"]) == 1
    assert "no script for tcsh" in capsys.readouterr().err


# ocirt list -q is a function; zsh's arrays begin at 0 where it calls such a function.
BASH = """
ocirt() { [[ $* == '--root /x list -q' ]] && printf 'aa\\nab\\n'; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ocirt; echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("line, expected", CASES)
def test_bash_and_zsh(
    shell: str, line: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    text = script(shell, capsys)
    if shell == "zsh":
        text = f"autoload compinit; compinit -u -d {tmp_path}/dump\n{text}\nemulate ksh\n"
    command = [shell, *(["-f"] if shell == "zsh" else []), "-c", text + BASH, shell]
    done = subprocess.run(
        [*command, *line.split(" ")], capture_output=True, text=True, check=False, timeout=60
    )
    # zsh itself leaves out, later, what does not begin like the word.
    found = [word for word in done.stdout.split() if word.startswith(line.split(" ")[-1])]
    assert (found, done.stderr) == (expected.split(), "")


@pytest.mark.parametrize("line, expected", CASES)
def test_fish(line: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    text = script("fish", capsys)
    text += "function ocirt; printf 'aa\\nab\\n'; end\n"
    text += f"complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    found = [entry.split("\t")[0] for entry in done.stdout.splitlines()]
    assert (sorted(found), done.stderr) == (sorted(expected.split()), "")
