"""Files of a checkpoint that CRIU would read in another way, or without an end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.criu import images
from ocirt.criu.protobuf import BYTES, INT, TEXT, Malformed, encode
from ocirt.errors import StateError

COMMON = (0x54564319).to_bytes(4, "little")
SECCOMP = (0x64413049).to_bytes(4, "little")
MOUNTS = (0x55563928).to_bytes(4, "little")
USERNS = (0x55474906).to_bytes(4, "little")
FILES = (0x56303138).to_bytes(4, "little")
OLD_FILES = (0x50363636).to_bytes(4, "little")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def message(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def filters(*programs: bytes) -> bytes:
    schema = {"seccomp_filters": (1, [{"filter": (1, BYTES)}])}
    return message(encode(schema, {"seccomp_filters": [{"filter": each} for each in programs]}))


def test_filters(tmp_path: Path, folder: int) -> None:
    (tmp_path / "seccomp.img").write_bytes(COMMON + SECCOMP + filters(b"one", b"two"))
    assert images.first_filters(folder) == [b"one", b"two"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SECCOMP + filters(b"evil"),  # version 1 of CRIU's images: 4 bytes less before it
        COMMON + MOUNTS + filters(b"one"),
        COMMON + SECCOMP + filters(b"one")[:-1],
        COMMON + SECCOMP + filters(b"one") + b"\xff\xff\xff",
    ],
)
def test_another_kind_of_file(tmp_path: Path, folder: int, data: bytes) -> None:
    (tmp_path / "seccomp.img").write_bytes(data)
    with pytest.raises(Malformed):
        images.first_filters(folder)


def test_a_file_that_is_too_long(tmp_path: Path, folder: int) -> None:
    """What comes after what is read would not be seen."""
    file = tmp_path / "mountpoints-1.img"
    file.write_bytes(COMMON + MOUNTS)
    os.truncate(file, 1 << 27)
    with pytest.raises(Malformed, match="too long"):
        images.external_mounts(folder)


@pytest.mark.parametrize("flags", [1 << 12, 1 << 13, 1 << 5, (1 << 32) + (1 << 12)])
@pytest.mark.parametrize("name", ["flags", "sb_flags"])
def test_mounts_that_are_none(tmp_path: Path, folder: int, name: str, flags: int) -> None:
    schema = {"flags": (5, INT), "mountpoint": (7, TEXT), "sb_flags": (17, INT)}
    file = tmp_path / "mountpoints-1.img"
    mount = encode(schema, {"mountpoint": "/x", name: 2})
    file.write_bytes(COMMON + MOUNTS + message(mount))
    images.check(folder)
    mount = encode(schema, {"mountpoint": "/x", name: flags | 2})
    file.write_bytes(COMMON + MOUNTS + message(mount))
    with pytest.raises(StateError, match="mount at /x"):
        images.check(folder)


@pytest.mark.parametrize("name", ["root", "mountpoint"])
def test_mounts_elsewhere(tmp_path: Path, folder: int, name: str) -> None:
    mount = encode({"root": (6, TEXT), "mountpoint": (7, TEXT)}, {name: "/../../etc"})
    (tmp_path / "mountpoints-1.img").write_bytes(COMMON + MOUNTS + message(mount))
    with pytest.raises(StateError, match=r"a mount '/\.\./\.\./etc'"):
        images.check(folder)


def test_a_file_elsewhere(tmp_path: Path, folder: int) -> None:
    """CRIU makes files again that had no name any more, beside where they were."""
    name = encode({"name": (6, TEXT)}, {"name": "/../../etc/x"})
    file = encode({"reg": (3, BYTES)}, {"reg": name})
    for image, magic, data in (("files", FILES, file), ("reg-files", OLD_FILES, name)):
        (tmp_path / f"{image}.img").write_bytes(COMMON + magic + message(data))
        with pytest.raises(StateError, match="a file"):
            images.check(folder)
        (tmp_path / f"{image}.img").unlink()


def test_maps(tmp_path: Path, folder: int) -> None:
    row = {"inside": (1, INT), "outside": (2, INT), "size": (3, INT)}
    schema = {"uidMappings": (1, [row]), "gidMappings": (2, [row])}
    rows = [{"inside": 0, "outside": 100, "size": 10}, {"inside": 10, "outside": 0, "size": 1}]
    data = encode(schema, {"uidMappings": rows, "gidMappings": rows[:1]})
    (tmp_path / "userns-1.img").write_bytes(COMMON + USERNS + message(data))
    wanted = {"uidMappings": [(0, 100, 10), (10, 0, 1)], "gidMappings": [(0, 100, 10)]}
    assert list(images.id_maps(folder)) == [wanted]
    data = encode(schema, {"gidMappings": [{"inside": 0, "size": 1}]})
    (tmp_path / "userns-1.img").write_bytes(COMMON + USERNS + message(data))
    with pytest.raises(Malformed):
        list(images.id_maps(folder))
