"""The manual pages are those of the table of verbs, and roff understands them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocirt.commands.table import GLOBALS, VERBS

ROOT = Path(__file__).parent.parent.parent


def test_current() -> None:
    command = [sys.executable, "tools/generate_man.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_page_for_every_verb_and_no_other() -> None:
    names = {path.name for path in (ROOT / "man").iterdir()}
    assert names == {"ocirt.8", *(f"ocirt-{name}.8" for name in VERBS)}


def test_every_option_is_explained() -> None:
    for name, options in [
        ("ocirt", GLOBALS),
        *((f"ocirt-{v.name}", v.options) for v in VERBS.values()),
    ]:
        text = (ROOT / "man" / f"{name}.8").read_text().replace("\\-", "-")
        for option in options:
            assert f"--{option.name}" in text, (name, option.name)


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_has_no_complaint() -> None:
    for path in sorted((ROOT / "man").iterdir()):
        command = ["groff", "-man", "-Tascii", "-ww", "-z", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), path
