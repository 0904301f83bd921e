"""Id-mapped mounts, in and without a user namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .test_user_namespace import FIRST, mapped

LIST = "cd /data && stat -c '%n %u %g' *"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs with files of 0, 7 and 5000; one more is mounted in it."""
    folder = tmp_path / "data"
    inner = folder / "inner"
    for mounted in (folder, inner):
        mounted.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=True)
    for name, id in (("root", 0), ("seven", 7), ("other", 5000), ("inner/file", 7)):
        (folder / name).touch()
        os.chown(folder / name, id, id)
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--recursive", folder], check=True)


def bind(bundle: Any, source: Path, *options: str, **more: Any) -> Any:
    mount = {"destination": "/data", "type": "bind", "source": str(source)}
    bundle.document["mounts"].append(mount | {"options": list(options)} | more)
    return bundle


def mappings(inside: int, outside: int, size: int) -> dict[str, Any]:
    row = {"containerID": inside, "hostID": outside, "size": size}
    return {"uidMappings": [row], "gidMappings": [row]}


def test_of_the_user_namespace(ocirt: Any, bundle: Any, data: Path) -> None:
    """``idmap`` alone: the files are owned inside by whom they are owned by outside."""
    bind(mapped(bundle), data, "rbind", "idmap")
    bundle.shell(f"{LIST}; busybox touch new && stat -c '%n %u %g' new inner/file")
    done = bundle.run(ocirt)
    assert done.stdout.split("\n")[:6] == [
        # Not recursive: what is mounted below shows ids of the host, which are nobody's here.
        "inner 65534 65534",
        "other 5000 5000",
        "root 0 0",
        "seven 7 7",
        "new 0 0",
        "inner/file 65534 65534",
    ], done.stderr
    assert (data / "new").stat().st_uid == 0


def test_of_a_joined_user_namespace(ocirt: Any, bundle: Any, make_bundle: Any, data: Path) -> None:
    first = mapped(bundle).shell("exec sleep 1000")
    ocirt("create", "--bundle", first.write(), first.id, check=True)
    second = mapped(make_bundle())
    linux = second.document["linux"]
    linux["namespaces"][-1]["path"] = f"/proc/{ocirt.state(first.id)['pid']}/ns/user"
    del linux["uidMappings"], linux["gidMappings"]
    bind(second, data, "rbind", "ridmap").shell(f"{LIST} inner/file")
    done = second.run(ocirt)
    assert "other 5000 5000" in done.stdout and "inner/file 7 7" in done.stdout, done.stderr


def test_recursive(ocirt: Any, bundle: Any, data: Path) -> None:
    bind(mapped(bundle), data, "rbind", "ridmap").shell(f"{LIST} inner/file")
    done = bundle.run(ocirt)
    assert "inner/file 7 7" in done.stdout, done.stderr


def test_mappings_without_a_user_namespace(ocirt: Any, bundle: Any, data: Path) -> None:
    """Ids that are not mapped are nobody's, and nothing is made for nobody."""
    bind(bundle, data, "rbind", **mappings(0, 9000, 8))
    bundle.document["process"]["user"] = {"uid": 9003, "gid": 9004}
    bundle.shell(f"{LIST}; busybox touch new && stat -c '%n %u %g' new")
    done = bundle.run(ocirt)
    assert "root 9000 9000\nseven 9007 9007\nnew 9003 9004\n" in done.stdout, done.stderr
    assert "other 65534 65534" in done.stdout
    made = (data / "new").stat()
    assert (made.st_uid, made.st_gid) == (3, 4)


def test_mappings_of_its_own_in_a_user_namespace(ocirt: Any, bundle: Any, data: Path) -> None:
    bind(mapped(bundle), data, "rbind", "idmap", **mappings(7, FIRST + 3, 1))
    bundle.shell(LIST)
    done = bundle.run(ocirt)
    assert "seven 3 3" in done.stdout, done.stderr
    assert "root 65534 65534" in done.stdout


def test_mappings_in_the_option(ocirt: Any, bundle: Any, data: Path) -> None:
    """As Podman hands on --volume A:B:idmap=..."""
    option = f"idmap=uids=@0-1-1#7-{FIRST + 5}-1;gids=0-{FIRST}-1000"
    bind(mapped(bundle), data, "rbind", option).shell(LIST)
    done = bundle.run(ocirt)
    assert "root 1 0\nseven 5 7\n" in done.stdout, done.stderr


@pytest.mark.parametrize("owner", ["host", "user namespace"])
def test_of_what_an_earlier_mount_brought(ocirt: Any, bundle: Any, data: Path, owner: str) -> None:
    """As runc has it: the source is a path of the container's root file system, and there is an
    earlier mount over it. A link in it leads nowhere but into the container."""
    if owner == "user namespace":
        mapped(bundle)
    (data / "link").symlink_to("/data/inner")
    bind(bundle, data, "rbind")
    rows = [
        ("/plain", "rootfs/data", ["rbind"], mappings(0, FIRST + 3, 10)),
        ("/linked", "rootfs/data/link", ["bind", "ro"], mappings(0, FIRST + 4, 10)),
        ("/again", "rootfs/plain/inner", ["rbind", "ridmap"], mappings(0, FIRST + 5, 10)),
    ]
    for destination, source, options, ids in rows:
        mount = {"destination": destination, "type": "bind", "source": source, "options": options}
        bundle.document["mounts"].append(mount | ids)
    bundle.shell("stat -c '%n %u' /plain/seven /plain/inner/file /linked/file /again/file")
    done = bundle.run(ocirt)
    first, nobody = (FIRST, 7) if owner == "host" else (0, 65534)
    assert done.stdout.splitlines() == [
        f"/plain/seven {first + 10}",
        f"/plain/inner/file {nobody}",  # not recursive
        f"/linked/file {first + 11}",
        f"/again/file {first + 12}",
    ], done.stderr


@pytest.mark.parametrize("target", ["/proc", "/sys", "/sys/kernel"])
def test_of_a_link_to_the_kernels(ocirt: Any, bundle: Any, target: str) -> None:
    """In an image: a copy would have none of the masks, and here it would be writable."""
    (bundle.path / "rootfs/link").symlink_to(target)
    bind(bundle, Path("rootfs/link"), "bind", "rw")
    done = ocirt("create", "-b", bundle.write(), bundle.id)
    assert "config.json#/mounts/7/source: " in done.stderr and "inside /proc or /sys" in done.stderr


def test_of_many_mounts(ocirt: Any, bundle: Any, data: Path) -> None:
    for index in range(20):
        bind(bundle, data, "bind", **mappings(0, 9000, 8))
        bundle.document["mounts"][-1]["destination"] = f"/data{index}"
    bundle.shell("stat -c %u /data*/seven | busybox uniq -c")
    done = bundle.run(ocirt)
    assert done.stdout.split() == ["20", "9007"], done.stderr


def test_nothing_is_left_of_a_refused_one(
    ocirt: Any, bundle: Any, data: Path, leftovers: Any
) -> None:
    """In a user namespace it is found out before anything is made, too."""
    bind(mapped(bundle), Path("/proc/sys"), "rbind", "idmap")
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert "config.json#/mounts/7/options/1: id-mapped mount of /proc/sys: " in done.stderr
    assert "hint: its file system has no id-mapped mounts" in done.stderr
    assert (ocirt.ids(), leftovers(bundle)) == ([], [])


@pytest.mark.parametrize("owner", ["host", "user namespace"])
def test_nothing_is_left_of_one_that_is_refused_late(
    ocirt: Any, bundle: Any, leftovers: Any, owner: str
) -> None:
    if owner == "user namespace":
        mapped(bundle)
    bind(bundle, Path("rootfs/sys/kernel"), "rbind", "idmap", **mappings(0, 9000, 8))
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert "config.json#/mounts/7/options/1: id-mapped mount of /sys/kernel: " in done.stderr
    assert (ocirt.ids(), leftovers(bundle)) == ([], [])
