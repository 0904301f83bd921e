"""The copy of a checkpoint that nobody can change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.criu import private
from ocirt.criu.images import DESCRIPTORS, MAX
from ocirt.criu.private import Private
from ocirt.criu.protobuf import Malformed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def test_what_is_read_is_copied(tmp_path: Path) -> None:
    """A file that is too large when it would be copied could be a small one when it is read, and
    another one when CRIU reads it."""
    (tmp_path / "tmpfs-1.tar.gz.img").touch()
    os.truncate(tmp_path / "tmpfs-1.tar.gz.img", MAX + 1)
    (tmp_path / "files.img").write_bytes(b"one")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        copy = Private(folder, (0, 0))
        try:
            (tmp_path / "files.img").write_bytes(b"two")
            assert sorted(os.listdir(copy.folder)) == ["files.img"]
            with open(f"/proc/self/fd/{copy.folder}/files.img", "rb") as file:
                assert file.read() == b"one"
        finally:
            copy.close()
        os.truncate(tmp_path / "files.img", MAX + 1)
        with pytest.raises(Malformed, match=r"files\.img of the checkpoint is too long"):
            Private(folder, (0, 0))
    finally:
        os.close(folder)


def test_there_is_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files without content, and many of them, would fill the host's memory."""
    monkeypatch.setattr(private, "_ROOM", 100)
    for name, size in (("a.img", 60), ("b.img", 60), ("files.img", 50), (DESCRIPTORS, 50)):
        (tmp_path / name).write_bytes(b"x" * size)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        copy = Private(folder, (0, 0))
        assert sorted(os.listdir(copy.folder)) == [DESCRIPTORS, "files.img"]
        copy.close()
        (tmp_path / "reg-files.img").write_bytes(b"x" * 60)
        with pytest.raises(Malformed, match="too long"):
            Private(folder, (0, 0))
    finally:
        os.close(folder)
