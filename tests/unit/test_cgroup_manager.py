"""Removing cgroups, without any: folders are folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.cgroup.manager import Manager


def test_one_below_that_somebody_else_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container's own still has to go then."""
    folder = tmp_path / "c"
    (folder / "inner").mkdir(parents=True)
    rmdir = os.rmdir

    def race(path: str) -> None:
        if path.endswith("inner"):
            rmdir(path)
        rmdir(path)

    monkeypatch.setattr(os, "rmdir", race)
    Manager({"": str(folder)}, {"": "/c"}, str(folder), True).destroy()
    assert not folder.exists()
