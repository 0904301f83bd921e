"""What can be said of rootless containers without being an ordinary user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.cgroup import rootless, systemd
from ocirt.cgroup.device_rules import normalise
from ocirt.cgroup.layout import Hierarchy, Layout
from ocirt.cgroup.limits import Write
from ocirt.cgroup.manager import Manager, plan
from ocirt.cgroup.systemd_unit import Unit
from ocirt.commands.create import lacks_rights
from ocirt.errors import OcirtError
from ocirt.host import own_namespace
from ocirt.host.rootless import is_rootless


@pytest.mark.parametrize(("word", "answer"), [("true", True), ("false", False)])
def test_the_option(word: str, answer: bool) -> None:
    assert lacks_rights(word) is answer
    assert lacks_rights("auto") is is_rootless()


# ---- newuidmap and newgidmap


def make(rows: list[tuple[int, int, int]]) -> None:
    own_namespace.make({"uidMappings": rows}, "/linux/namespaces/0")


def helper(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "newuidmap"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"/nowhere:{folder}")


def test_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OcirtError, match="newuidmap is needed") as caught:
        make([(0, 5, 2)])
    assert caught.value.at == "/linux/uidMappings"
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_the_helper_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "shift; echo newuidmap: not $*; echo more; exit 1", monkeypatch)
    with pytest.raises(OcirtError) as caught:
        make([(0, 5, 2), (2, 9, 1)])
    assert str(caught.value) == "config.json#/linux/uidMappings: newuidmap: not 0 5 2 2 9 1"
    assert "/etc/subuid" in caught.value.hint


def test_a_helper_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "kill -9 $$", monkeypatch)
    with pytest.raises(OcirtError, match="newuidmap: exit status -9"):
        make([(0, 5, 2)])


def test_a_helper_that_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "", monkeypatch)
    (tmp_path / "newuidmap").write_text("no program")
    with pytest.raises(OcirtError, match="newuidmap: Exec format error"):
        make([(0, 5, 2)])


# ---- cgroups


@pytest.fixture
def v2(tmp_path: Path) -> Layout:
    (tmp_path / "user/app").mkdir(parents=True)
    return Layout([Hierarchy("", [], True, str(tmp_path), "/", "/user/app")])


def allow(monkeypatch: pytest.MonkeyPatch, *paths: str | Path) -> None:
    """These alone can be written to."""
    names = {str(path) for path in paths}
    monkeypatch.setattr(rootless, "_writable", lambda path, _mode: path in names)


def test_a_delegated_cgroup(v2: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, tmp_path / "user", tmp_path / "user/cgroup.procs")
    manager = plan("cgroupfs", v2, {}, "id", rootless=True)
    assert manager.folders == {"": f"{tmp_path}/user/id"}
    assert manager.unified == f"{tmp_path}/user/id" and manager.pure


def test_a_cgroup_that_processes_can_not_move_to(
    v2: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be made, but the common ancestor is the host's."""
    allow(monkeypatch, tmp_path / "user", tmp_path / "other")
    (tmp_path / "other").mkdir()
    assert plan("cgroupfs", v2, {}, "id", rootless=True).folders == {}
    document = {"linux": {"cgroupsPath": "/other/x"}}
    with pytest.raises(OcirtError) as caught:
        plan("cgroupfs", v2, document, "id", rootless=True)
    assert caught.value.at == "/linux/cgroupsPath"
    assert f"{tmp_path}/cgroup.procs is not ocirt's to write to" in str(caught.value)


def test_no_cgroup_at_all(v2: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch)
    manager = plan("cgroupfs", v2, {}, "id", rootless=True)
    manager.create()
    manager.write([Write("/linux/resources/x", "x", "x", "1", optional=True)], "")
    with pytest.raises(OcirtError) as caught:
        manager.write([Write("/linux/resources/x", "x", "x", "1")], "")
    assert caught.value.at == "/linux/resources/x" and "--systemd-cgroup" in caught.value.hint


def test_some_of_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's session may have its own in systemd's hierarchy alone."""
    names = {"systemd": ["none", "name=systemd"], "memory": ["memory"]}
    layout = Layout(
        [
            Hierarchy(name, controllers, False, str(tmp_path / name), "/", "/")
            for name, controllers in names.items()
        ]
    )
    for name in names:
        (tmp_path / name).mkdir()
    allow(monkeypatch, tmp_path / "systemd")
    manager = plan("cgroupfs", layout, {}, "id", rootless=True)
    assert manager.folders == {"systemd": f"{tmp_path}/systemd/id"}
    with pytest.raises(OcirtError, match="the cgroup controller memory is not available"):
        manager.limit({"memory": {"limit": 1 << 30}}, "/linux/resources")


@pytest.mark.parametrize("rights", [True, False])
def test_rules_for_devices_in_a_unit_of_the_users_systemd(
    rights: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, with --rootless=true, can set them, and its containers need them."""
    limited: list[object] = []
    monkeypatch.setattr(Manager, "limit_devices", lambda _, *rules: limited.append(rules))
    monkeypatch.setattr(systemd, "is_rootless", lambda: not rights)
    manager = systemd.SystemdManager({}, {}, "", True, Unit("a.scope", "b.slice"), True)
    manager.limit_devices(normalise([]))
    assert bool(limited) == rights
