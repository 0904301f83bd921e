"""``mounts add`` and ``remove``: what a container gets after create, whatever it does meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .test_user_namespace import mapped

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


class Live:
    """A container that runs, and its mounts."""

    def __init__(self, ocirt: Any, bundle: Any, tmp_path: Path) -> None:
        self.ocirt = ocirt
        self.bundle = bundle
        self.file = tmp_path / "more.json"
        bundle.shell("sleep 1000")
        bundle.document["root"]["readonly"] = False

    def run(self) -> None:
        self.ocirt("run", "-d", "-b", self.bundle.write(), self.bundle.id, check=True)

    def mounts(self, action: str, *mounts: dict[str, Any]) -> str:
        """What it says if it fails, else ""."""
        self.file.write_text(json.dumps(mounts))
        done = self.ocirt("mounts", action, self.bundle.id, str(self.file))
        assert bool(done.returncode) == ("ocirt: " in done.stderr)
        return str(done.stderr)

    def shell(self, script: str) -> str:
        return str(self.ocirt("exec", self.bundle.id, "sh", "-c", script).stdout)


@pytest.fixture
def live(ocirt: Any, bundle: Any, tmp_path: Path) -> Live:
    return Live(ocirt, bundle, tmp_path)


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": ["bind", *options]}


def test_add_and_remove(live: Live, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("one\n")
    (tmp_path / "single").write_text("two\n")
    live.run()
    tmpfs = {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["size=1m", "ro"]}
    added = (
        bind(tmp_path / "data", "/new/data", "ro"),
        bind(tmp_path / "single", "/etc/single"),
        tmpfs,
    )
    assert live.mounts("add", *added) == ""
    assert live.shell("cat /new/data/file /etc/single") == "one\ntwo\n"
    found = live.shell("cat /proc/mounts").split("\n")
    options = {line.split()[1]: line.split()[3].split(",") for line in found if line}
    assert "ro" in options["/new/data"] and "rw" in options["/etc/single"]
    assert "ro" in options["/t"] and "size=1024k" in options["/t"]
    # Nothing of it is on the host.
    assert "/new/data" not in Path("/proc/self/mountinfo").read_text()
    removed = [{"destination": mount["destination"]} for mount in added]
    assert live.mounts("remove", *removed) == ""
    assert live.shell("ls /new/data /t; cat /etc/single") == "/new/data:\n\n/t:\n"
    assert "EINVAL" in live.mounts("remove", removed[1])  # it is no mount any more


def test_of_a_created_container(live: Live, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here\n")
    live.bundle.shell("cat /file; sleep 1000")
    live.ocirt("create", "-b", live.bundle.write(), live.bundle.id, check=True)
    assert live.mounts("add", bind(tmp_path / "file", "/file")) == ""
    live.ocirt("start", live.bundle.id, check=True)
    assert live.shell("cat /file") == "here\n"


def test_paths_stay_inside(live: Live, tmp_path: Path) -> None:
    """The container makes a link to everywhere of where something is to be mounted."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mark").touch()
    live.run()
    live.shell("mkdir /a; ln -s ../../../.. /a/up; ln -s /proc /a/masks; ln -s /etc /a/etc")
    assert live.mounts("add", bind(tmp_path / "data", "/a/up/x")) == ""
    assert live.shell("ls /x") == "mark\n"
    assert live.mounts("add", bind(tmp_path / "data", "/a/etc/y")) == ""
    assert live.shell("ls /etc/y") == "mark\n"
    # CVE-2019-16884: not what the kernel says of processes.
    assert "/0/destination: " in live.mounts("add", bind(tmp_path / "data", "/a/masks/self"))
    # And what it has masked stays so.
    before = live.shell("cat /proc/self/mountinfo")
    said = live.mounts("remove", {"destination": "/a/masks/kcore"})
    assert f"{live.file.name}#/0/destination: " in said and "ELOOP" in said
    assert live.shell("cat /proc/self/mountinfo") == before


def test_the_places_of_errors(live: Live, tmp_path: Path) -> None:
    live.run()
    name = live.file.name
    missing = bind(tmp_path / "missing", "/x")
    tmpfs = {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["size=1x"]}
    assert f"{name}#/1/options/0: " in live.mounts("add", bind(tmp_path, "/y"), tmpfs)
    assert f"{name}#/0/source: " in live.mounts("add", missing)
    assert f"{name}#/0/destination: " in live.mounts("add", {"destination": 1})
    assert f"{name}#/0/type: " in live.mounts("add", {"destination": "/x"})
    assert "root can't be mounted over" in live.mounts("remove", {"destination": "/a/.."})
    assert "root can't be mounted over" in live.mounts("add", {**tmpfs, "destination": "/a/.."})
    nul = {"destination": "/a\0b"}
    assert f"{name}#/0/destination: must not contain a NUL" in live.mounts("remove", nul)
    live.file.write_text("{}")
    done = live.ocirt("mounts", "add", live.bundle.id, str(live.file))
    assert f"{name}#: must be an array" in done.stderr
    copy_up = {**tmpfs, "options": ["tmpcopyup"]}
    assert f"{name}#/0" in live.mounts("add", copy_up)


@pytest.mark.parametrize(
    "kind", ("proc", "sysfs", "mqueue", "cgroup", "cgroup2", "ext4", "overlay")
)
def test_nothing_of_the_host(live: Live, kind: str) -> None:
    """The host's processes, its network; a disk by the name of a node that the container has made."""
    live.run()
    mount = {"destination": "/new", "type": kind, "source": "/dev/disk"}
    said = live.mounts("add", mount)
    assert f"{live.file.name}#/0/type: a container that was created gets bind" in said
    assert "/new" not in live.shell("cat /proc/mounts; ls -d /*")


def test_no_remount(live: Live) -> None:
    """The container can move the folder that a mount is in, and put a link to another in its place."""
    live.run()
    live.shell("mkdir /a; ln -s /sys /a/data")
    said = live.mounts("add", {"destination": "/a/data", "options": ["remount", "rw"]})
    assert f"{live.file.name}#/0/options: a container that was created gets bind" in said
    options = [line.split()[3] for line in live.shell("grep ' /sys ' /proc/mounts").splitlines()]
    assert options and all(each.startswith("ro,") for each in options)


def test_a_source_in_the_container(live: Live) -> None:
    """A link there may lead to /sys, of which a copy would be writable."""
    live.run()
    live.shell("ln -s /sys /all")
    said = live.mounts("add", bind(live.bundle.path / "rootfs/all", "/y", "rw"))
    assert f"{live.file.name}#/0/source: is in the container" in said
    assert "/y" not in live.shell("cat /proc/mounts")


def test_which_containers(live: Live, tmp_path: Path) -> None:
    live.run()
    live.ocirt("kill", live.bundle.id, "KILL", check=True)
    for _ in range(100):
        if live.ocirt.state(live.bundle.id)["status"] == "stopped":
            break
    assert "container not running" in live.mounts("add", bind(tmp_path, "/x"))
    live.ocirt("delete", live.bundle.id, check=True)
    mapped(live.bundle)
    live.run()
    said = live.mounts("add", bind(tmp_path, "/x"))
    assert "config.json#/linux/namespaces: a container with a user namespace" in said
    assert "neither add nor remove" in live.mounts("list")
