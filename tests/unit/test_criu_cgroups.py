"""cgroup.img: what of it CRIU gets to see."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocirt.criu import cgroups, images
from ocirt.criu.cgroups import _CGROUP
from ocirt.criu.protobuf import decode, encode
from ocirt.errors import OcirtError, StateError


def kept(folder: Path, entry: dict[str, Any], own: set[str]) -> Any:
    (folder / "cgroup.img").touch()
    fd = os.open(folder, os.O_RDONLY)
    try:
        images.write(fd, "cgroup.img", [encode(_CGROUP, entry)])
        cgroups.keep(fd, own)
        (message,) = images.read(fd, "cgroup.img")
    finally:
        os.close(fd)
    return decode(_CGROUP, message)


def entry(path: str | None = "/c/sub", prefix: int | None = 2, top: str = "c", **parts: Any) -> Any:
    perms = {"mode": 0o777, "uid": 1000, "gid": 1000}
    item = {"name": "pids.max", "value": "1", "perms": perms}
    inner = {"dir_name": "sub", "dir_perms": perms, "properties": [item]}
    folder = {"dir_name": top, "dir_perms": perms, "properties": [item], "children": [inner]}
    member = {"name": "cpu,cpuacct", "path": path, "cgns_prefix": prefix}
    other = {"name": "", "path": "/"}
    return {
        "sets": [{"id": 1, "ctls": [member, other]}],
        "controllers": [
            {"cnames": ["cpu", "cpuacct"], "dirs": [folder | parts, {"dir_name": "host"}]},
            {"cnames": [""], "dirs": [{"dir_name": ""}]},
        ],
    }


def test_the_containers_alone(tmp_path: Path) -> None:
    """No hierarchy and no folder of others, and the place of the container stays whose it is."""
    found = kept(tmp_path, entry(), {"cpu", "cpuacct"})
    assert [member["name"] for member in found["sets"][0]["ctls"]] == ["cpu,cpuacct"]
    (controller,) = found["controllers"]
    (folder,) = controller["dirs"]
    assert folder["dir_name"] == "c" and "dir_perms" not in folder
    assert folder["properties"] == [{"name": "pids.max", "value": "1"}]
    assert folder["children"] == entry()["controllers"][0]["dirs"][0]["children"]


def test_no_cgroup_at_all(tmp_path: Path) -> None:
    found = kept(tmp_path, entry(), set())
    assert found.get("controllers", []) == []
    fd = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "cgroup.img").unlink()
    cgroups.keep(fd, {"cpu"})
    os.close(fd)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "parts",
    [
        {"path": "/c/../x"},
        {"top": "../x"},
        {"top": "c\0"},
        {"path": "/cd", "top": "c", "prefix": None},  # would be CONTAINERd
        {"path": "/c/sub", "top": "c", "prefix": 1},
        {"path": "/c/sub", "top": "c", "prefix": 6},  # longer than the folder's name
        {"path": "/c/sub", "top": "c", "prefix": -2},
        {"path": "/ä/sub", "top": "ä", "prefix": 2},  # half of a letter
        {"path": None},
        {"path": ""},
        {"properties": [{"value": "1"}]},
        {"properties": [{"name": "../x", "value": ""}]},
        {"properties": [{"name": "devices.allow", "value": "a"}]},
        {"children": [{"dir_name": "x", "properties": [{"name": "cgroup.threads", "value": "1"}]}]},
        {"children": [{"dir_name": "a/../.."}]},
    ],
)
def test_refused(tmp_path: Path, parts: Any) -> None:
    with pytest.raises(OcirtError):
        kept(tmp_path, entry(**parts), {"cpu"})


def test_without_a_namespace(tmp_path: Path) -> None:
    for path in ("/c", "/c/sub"):
        (controller,) = kept(tmp_path, entry(path=path, prefix=None), {"cpu"})["controllers"]
        assert [folder["dir_name"] for folder in controller["dirs"]] == ["c"]
    with pytest.raises(StateError):
        kept(tmp_path, entry(path="/cx", prefix=None), {"cpu"})


@pytest.mark.parametrize("prefix", [None, 1])
def test_the_root_of_a_hierarchy(tmp_path: Path, prefix: int | None) -> None:
    """Nothing of what the host had there."""
    found = kept(tmp_path, entry(path="/", top="", prefix=prefix), {"cpu"})
    assert found["controllers"][0]["dirs"] == [{"dir_name": ""}]
    with pytest.raises(StateError):
        kept(tmp_path, entry(path="/x", top="", prefix=prefix), {"cpu"})
