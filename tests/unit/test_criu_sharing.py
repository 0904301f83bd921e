"""Which masters the mounts of a checkpoint are left with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ocirt.criu import images, sharing
from ocirt.criu.protobuf import INT, TEXT, decode, encode

MOUNT = {
    "mnt_id": (1, INT),
    "root_dev": (3, INT),
    "root": (6, TEXT),
    "shared_id": (10, INT),
    "master_id": (11, INT),
    "ext_key": (18, TEXT),
}


def masters(folder: Path, mounts: list[dict[str, Any]], slaves: set[str]) -> list[int]:
    """Of each, afterwards; all else stays."""
    file = folder / "mountpoints-1.img"
    file.touch()
    fd = os.open(folder, os.O_RDONLY)
    try:
        before = [encode(MOUNT, {"mnt_id": 7, "root_dev": 1, **mount}) for mount in mounts]
        images.write(fd, file.name, before)
        sharing.separate(fd, slaves)
        after = images.read(fd, file.name)
    finally:
        os.close(fd)
    assert all(new.startswith(old) for old, new in zip(before, after)) and len(before) == len(after)
    return [decode(MOUNT, message).get("master_id", 0) for message in after]


ROOT: dict[str, Any] = {"root": "/rootfs", "master_id": 5}
DATA = {"root": "/data", "master_id": 5, "ext_key": "/data"}
MORE = {"root": "/data/more", "master_id": 5, "ext_key": "/more"}


def test_each_has_its_own(tmp_path: Path) -> None:
    root, data, more = masters(tmp_path, [ROOT, DATA, MORE], {sharing.ROOT, "/data", "/more"})
    assert root == 5 and len({root, data, more}) == 3 and 0 not in (data, more)


def test_what_was_bound_in_the_container(tmp_path: Path) -> None:
    """It has the master of that which shows the least more."""
    bound: list[dict[str, Any]] = [
        {"root": "/data/x", "master_id": 5},
        {"root": "/data/more/x", "master_id": 5},
    ]
    bound += [
        {"root": "/database", "master_id": 5},
        {"root": "/data/x", "master_id": 5, "root_dev": 2},
    ]
    found = masters(tmp_path, [*bound, MORE, DATA], {sharing.ROOT, "/data", "/more"})
    assert found[:4] == [found[5], found[4], 5, 5]


def test_a_host_that_shares_nothing(tmp_path: Path) -> None:
    root, data, more = masters(tmp_path, [ROOT, DATA, MORE], {"/more"})
    assert (root, data) == (0, 0) and more


def test_what_is_the_containers_own(tmp_path: Path) -> None:
    """A master in the container, peers, and no master at all."""
    mounts: list[dict[str, Any]] = [
        {"root": "/", "shared_id": 5},
        DATA,
        {**MORE, "shared_id": 9},
        {"root": "/"},
    ]
    assert masters(tmp_path, mounts, set()) == [0, 5, 5, 0]
