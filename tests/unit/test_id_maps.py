"""Id maps: what is written, what is looked up, who sets a container up, whose a cgroup is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup import delegate
from ocirt.cgroup.layout import Hierarchy, Layout
from ocirt.cgroup.manager import plan_paths
from ocirt.cgroup.mounts import cgroup_mounts
from ocirt.config.id_map_option import parse
from ocirt.errors import KernelError
from ocirt.host import id_maps
from ocirt.plan import id_mapped
from ocirt.plan.user_namespace import set_up_ids

V2 = Layout([Hierarchy("", [], True, "/sys/fs/cgroup", "/", "/own")])


def row(inside: int, outside: int, size: int) -> dict[str, int]:
    return {"containerID": inside, "hostID": outside, "size": size}


def test_host_id() -> None:
    rows = id_mapped.rows([row(0, 1000, 1), row(10, 5000, 10)])
    found = [id_maps.host_id(rows, id) for id in (0, 1, 9, 10, 19, 20)]
    assert found == [1000, None, None, 5000, 5009, None]


def test_own_map() -> None:
    """This process has one, whatever it is."""
    assert id_maps.host_id(id_maps.read(os.getpid(), "uidMappings"), os.geteuid()) is not None


def test_more_text_than_a_page() -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    rows = [(4_000_000_000 + i, 4_000_000_000 + i, 1) for i in range(page // 20)]
    with pytest.raises(KernelError, match=f"the kernel takes {page - 1}") as caught:
        id_maps.write(os.getpid(), "gidMappings", rows, "/linux/gidMappings")
    assert caught.value.at == "/linux/gidMappings"


def test_a_second_map_is_refused() -> None:
    with pytest.raises(KernelError, match="uid_map of the user namespace: ") as caught:
        id_maps.write(os.getpid(), "uidMappings", [(0, 0, 1)], "/linux/uidMappings")
    assert caught.value.at == "/linux/uidMappings"


@pytest.mark.parametrize(
    ("uids", "gids", "ids"),
    [
        ([], [], (0, 0)),  # joined, who knows
        ([row(0, 1000, 9)], [row(0, 1000, 9)], (0, 0)),
        ([row(5, 1005, 9), row(0, 9, 1)], [row(6, 1006, 9)], (0, 6)),
        ([row(5, 1005, 9)], [row(6, 1006, 9)], (5, 6)),
    ],
)
def test_who_sets_up(uids: list[Any], gids: list[Any], ids: tuple[int, int]) -> None:
    linux = {"uidMappings": uids, "gidMappings": gids}
    assert set_up_ids(linux, {"user": {"uid": 5, "gid": 6}}) == ids


def test_option() -> None:
    linux = {"uidMappings": [row(0, 0, 1), row(1, 2, 1000)]}
    found = parse("uids=@1-3-10#0-5-1;gids=0-1-2", linux)  # the example of crun's manual
    assert found == {"uidMappings": [row(1, 4, 10), row(0, 5, 1)], "gidMappings": [row(0, 1, 2)]}


def test_cgroup_of_a_container_in_the_host_s_cgroup_namespace() -> None:
    """CVE-2023-25809: it sees its own, and can't write to it."""
    manager = plan_paths(V2, "/c", "id")
    (found,) = cgroup_mounts(V2, manager, {"user"})
    assert (found.kind, found.source, found.options) == ("bind", "/sys/fs/cgroup/c", ["ro"])
    for kinds in ({"user", "cgroup"}, {"cgroup"}, set()):
        (found,) = cgroup_mounts(V2, manager, kinds)
        assert (found.kind, found.options) == ("cgroup2", [])


def test_cgroup_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "delegate"
    listed.write_text("cgroup.procs\nmemory.oom.group\n../listed\n")
    monkeypatch.setattr(delegate, "_LIST", str(listed))
    folder = tmp_path / "cgroup"
    folder.mkdir()
    (folder / "cgroup.procs").touch()
    given: list[str] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append(path))
    delegate.give(str(folder), 5)
    assert given == [str(folder), f"{folder}/cgroup.procs", f"{folder}/memory.oom.group"]
    listed.unlink()
    assert set(delegate._names()) > {"cgroup.procs", "cgroup.threads"}
    monkeypatch.undo()
    with pytest.raises(KernelError, match="No such file") as caught:
        delegate.give(str(tmp_path / "missing"), 5)
    assert caught.value.at == "/linux/cgroupsPath"
