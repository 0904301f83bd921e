"""What comes of the options and sources of mounts, as with runc.

Attributes of bind mounts: whoever names one names all. The mode of a tmpfs: that of the folder it hides.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .test_user_namespace import mapped as to_user_namespace

CASES = [
    # of the source, options, what comes out, and in a user namespace ("": it is refused)
    ("ro,nosuid,noexec", "rbind", "ro,nosuid,noexec,relatime", "ro,nosuid,noexec,relatime"),
    ("ro,noexec,nosymfollow", "bind,dev", "rw,relatime", "ro,noexec,relatime"),
    ("ro", "bind,nosuid,nodev,rprivate", "rw,nosuid,nodev,relatime", "ro,nosuid,nodev,relatime"),
    ("ro", "bind,rw,nosuid", "rw,nosuid,relatime", ""),
    ("nodev,nosuid,noatime", "bind,ro", "ro,noatime", "ro,nosuid,nodev,noatime"),
    ("nosuid,noatime", "bind,suid,atime", "rw,noatime", ""),
    ("noatime", "bind,norelatime,exec", "rw,noatime", "rw,noatime"),
    ("noatime", "bind,relatime", "rw,relatime", ""),
    ("noatime", "bind,nodiratime", "rw,nodiratime,relatime", ""),
    ("nodiratime", "bind,strictatime", "rw", ""),
    ("nosuid", "rbind,rro,nodev", "ro,nodev,relatime", "ro,nosuid,nodev,relatime"),
]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A mount of its own, whose attributes are all cleared."""
    folder = tmp_path / "source"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("mapped", [False, True], ids=["host", "userns"])
@pytest.mark.parametrize(("attributes", "options", "expected", "locked"), CASES)
def test_attributes(
    ocirt: Any,
    bundle: Any,
    source: Path,
    attributes: str,
    options: str,
    expected: str,
    locked: str,
    mapped: bool,
) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{attributes}", source], check=True)
    mount = {"destination": "/data", "type": "bind", "source": str(source)}
    bundle.document["mounts"].append(mount | {"options": options.split(",")})
    if mapped:
        to_user_namespace(bundle)
    done = bundle.shell("grep ' /data ' /proc/self/mountinfo").run(ocirt)
    if mapped and not locked:
        index = len(bundle.document["mounts"]) - 1
        assert done.returncode == 1
        assert f"config.json#/mounts/{index}/options: " in done.stderr
        assert "EPERM" in done.stderr
    else:
        assert done.stdout.split()[5:6] == [locked if mapped else expected], done.stderr


def test_options_of_a_file_system_on_a_bind(ocirt: Any, bundle: Any, source: Path) -> None:
    """It has no file system of its own: they are passed over, with a word. A flag with a slip is not."""
    mount = {"source": str(source), "destination": "/data", "options": ["bind", "size=1k"]}
    bundle.document["mounts"].append(mount)
    at = f"config.json#/mounts/{len(bundle.document['mounts']) - 1}/options"
    log = bundle.path / "log"
    ocirt("--log", str(log), "create", "-b", bundle.write(), bundle.id, check=True)
    assert f"{at}/1: size: a bind mount has no such option" in log.read_text()
    assert f"{at}/1: size: " in ocirt("plan", str(bundle.path), check=True).stderr
    for slip in ("nosuidd", "ro=recursive"):
        mount["options"] = ["bind", slip]
        done = ocirt("create", "-b", bundle.write(), f"{bundle.id}-2")
        assert done.returncode == 1
        assert f"{at}/1: {slip[:2]}" in done.stderr
        assert ": a bind mount has no such option" in done.stderr


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("there", [], "7710"),
        ("there", ["mode=1500"], "1500"),
        ("link", [], "7710"),  # to there
        ("made", [], "1777"),
        ("file/made", [], ""),
    ],
)
def test_mode_of_a_tmpfs(
    ocirt: Any, bundle: Any, path: str, options: list[str], expected: str
) -> None:
    rootfs = bundle.path / "rootfs"
    (rootfs / "there").mkdir()
    (rootfs / "there").chmod(0o7710)
    (rootfs / "link").symlink_to("/there")
    (rootfs / "file").touch()
    mount = {"destination": f"/{path}", "type": "tmpfs", "source": "x", "options": options}
    bundle.document["mounts"].append(mount)
    done = bundle.shell(f"stat -L -c %a /{path}").run(ocirt)
    if expected:
        assert done.stdout == f"{expected}\n", done.stderr
        assert (rootfs / "there").stat().st_mode & 0o7777 == 0o7710
    else:
        at = f"config.json#/mounts/{len(bundle.document['mounts']) - 1}/destination: "
        assert done.returncode == 1 and at in done.stderr and "ENOTDIR" in done.stderr


@pytest.mark.parametrize("mapped", [False, True], ids=["host", "userns"])
def test_sources_that_are_the_containers_own(
    ocirt: Any, bundle: Any, tmp_path: Path, mapped: bool
) -> None:
    """By their paths on the host; what was mounted there before comes along."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("one\n")
    rootfs = str(bundle.path / "rootfs")
    for source, destination in (
        (f"{tmp_path}/one", "/mnt"),
        (f"{rootfs}/mnt", f"{rootfs}/again"),
        (f"{rootfs}/again/file", "/file"),
    ):
        mount = {"source": source, "destination": destination, "options": ["rbind"]}
        bundle.document["mounts"].append(mount)
    if mapped:
        to_user_namespace(bundle)
        (tmp_path / "one").chmod(0o755)
    assert bundle.shell("cat /again/file /file").run(ocirt).stdout == "one\none\n"
    index = len(bundle.document["mounts"]) - 1
    bundle.document["mounts"][index]["source"] = f"{rootfs}/missing"
    done = bundle.run(ocirt)
    assert done.returncode == 1
    assert f"config.json#/mounts/{index}/source: " in done.stderr and "ENOENT" in done.stderr
