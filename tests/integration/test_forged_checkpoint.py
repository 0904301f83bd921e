"""Checkpoints that were changed by an enemy, restored with a config.json that is trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.criu.protobuf import encode

from .test_checkpoint import ANSWER, Saved, criu, saved

__all__ = ["criu", "saved"]
pytestmark = pytest.mark.usefixtures("criu")


def entries(image: Path) -> tuple[bytes, list[bytes]]:
    """Magic numbers, and messages, each with its size before it (criu.org, "Images")."""
    data = image.read_bytes()
    found, position = [], 8
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "little")
        found.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    return data[:8], found


def rewrite(image: Path, change: Callable[[bytes], bytes]) -> None:
    """Each message."""
    magic, found = entries(image)
    found = [change(message) for message in found]
    image.write_bytes(magic + b"".join(len(m).to_bytes(4, "little") + m for m in found))


def test_an_open_device(saved: Saved) -> None:
    """The cgroup's rules ask who opens, and not who has it open: CRIU is who opens."""
    linux = saved.bundle.document["linux"]
    device = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}
    linux["devices"] = [device]
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
    linux["resources"] = {"devices": [{"allow": False}, rule]}
    saved.bundle.shell(f"exec 7>/dev/kmsg; {ANSWER}")
    saved.run()
    assert saved.say("a") == "1 a"
    assert saved.checkpoint() == ""
    assert saved.restore() == ""
    assert saved.say("b") == "2 b"
    assert saved.checkpoint() == ""
    linux["resources"]["devices"].remove(rule)
    said = saved.restore()
    assert "kmsg" in said and "Operation not permitted" in said
    assert saved.ocirt.ids() == []
