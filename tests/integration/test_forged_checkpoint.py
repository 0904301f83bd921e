"""Checkpoints that were changed by an enemy, restored with a config.json that is trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.criu.protobuf import INT, TEXT, encode

from .checkpoints import ANSWER, FILTER, Saved, link, tmpfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.criu.protobuf import Schema


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


def refused(saved: Saved, text: str, *flags: str) -> None:
    assert text in saved.restore(*flags)
    assert saved.ocirt.ids() == []


def test_a_link_instead_of_a_file(saved: Saved) -> None:
    """What CRIU reads becomes the container's memory."""
    saved.run()
    assert saved.checkpoint() == ""
    pages = next(saved.image.glob("pages-*.img"))
    secret = saved.folder / "secret"
    pages.rename(secret)
    pages.symlink_to("../secret")
    refused(saved, f"{pages.name} in the folder of the checkpoint is no regular file")
    pages.unlink()
    secret.rename(pages)
    (saved.image / "parent").symlink_to("../more")
    (saved.folder / "more").mkdir()
    (saved.folder / "more/parent").symlink_to("../more")
    assert "the parents of the checkpoint have no end" in saved.restore()
    (saved.folder / "more/parent").unlink()
    (saved.folder / "more/pages-8.img").symlink_to("../secret")
    refused(saved, "pages-8.img in")
    (saved.folder / "more/pages-8.img").unlink()
    os.mkfifo(saved.image / "pages-9.img")
    refused(saved, "pages-9.img in")
    (saved.image / "pages-9.img").unlink()
    (saved.image / "parent").unlink()
    assert saved.restore() == ""
    assert saved.say("a") == "1 a"


def test_files_that_change_meanwhile(saved: Saved) -> None:
    """CRIU has read the forged one when a hook puts the true one in its place: that is not what is
    compared with the config then."""
    linux = saved.bundle.document["linux"]
    linux["seccomp"] = FILTER
    saved.run()
    assert saved.checkpoint() == ""
    true = saved.folder / "true.img"
    shutil.copy(saved.image / "seccomp.img", true)
    shutil.rmtree(saved.image)
    linux["seccomp"] = {**FILTER, "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}]}
    saved.run()
    assert saved.checkpoint() == ""
    linux["seccomp"] = FILTER
    swap = ["sh", "-c", f"cp {true} {saved.image}/seccomp.img"]
    saved.bundle.document["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": swap}]}
    refused(saved, "it has another seccomp filter")


def test_a_large_file(saved: Saved) -> None:
    """It is not copied."""
    saved.bundle.document["mounts"].append(tmpfs("/tmp"))
    saved.run()
    link(saved, "md5sum")
    saved.exec("head -c 70000000 /dev/urandom > /tmp/large")
    sum = saved.exec("md5sum /tmp/large")
    assert saved.checkpoint() == ""
    assert max(file.stat().st_size for file in saved.image.iterdir()) > 1 << 26
    assert saved.restore() == ""
    assert saved.exec("md5sum /tmp/large") == sum


def test_a_link_in_the_folder_of_a_new_checkpoint(saved: Saved) -> None:
    """What CRIU writes would be written there."""
    saved.run()
    saved.image.mkdir()
    victim = saved.folder / "victim"
    victim.write_text("as it was")
    (saved.image / "inventory.img").symlink_to(victim)
    assert "inventory.img in the folder of the checkpoint is no" in saved.checkpoint()
    assert victim.read_text() == "as it was"
    assert saved.say("a") == "1 a"


def test_descriptors_that_are_none(saved: Saved) -> None:
    saved.run()
    assert saved.checkpoint() == ""
    file = saved.image / "descriptors.json"
    names = file.read_text()
    for text in ('["pipe:\\ud800"]', '{"pipe:1": 2}', '["extRootNetNS", 1, null, []]'):
        file.write_text(text)
        refused(saved, f"restore of {saved.id}: ")
    for text in ("[" * 100_000, "\0"):
        file.write_text(text)
        refused(saved, "descriptors.json#: not valid JSON")
    file.unlink()
    os.mkfifo(file)
    assert saved.restore() != ""
    file.unlink()
    file.write_text(names)
    assert saved.restore() == ""


MOUNT: Schema = {"source": (8, TEXT), "sb_flags": (17, INT)}
BIND = 4096


def test_a_mount_that_is_a_bind(saved: Saved) -> None:
    """CRIU hands flags and source on to mount(2): a tmpfs would be one of the host."""
    host = saved.folder / "host"
    host.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", host], check=True)
    try:
        (host / "secret").write_text("secret")
        saved.bundle.document["mounts"].append(tmpfs("/tmp"))
        saved.run()
        assert saved.checkpoint() == ""
        forged = encode(MOUNT, {"source": str(host), "sb_flags": BIND})
        image = next(saved.image.glob("mountpoints-*.img"))
        rewrite(image, lambda mount: mount + forged if b"/tmp" in mount else mount)
        refused(saved, "the checkpoint's mount at /tmp is none")
    finally:
        subprocess.run(["umount", host], check=True)


def test_layers_of_the_host(saved: Saved) -> None:
    """Those of an overlay are paths, which CRIU hands on as well."""
    base = saved.folder / "base"
    base.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", base], check=True)
    try:
        for name in ("one", "two", "host", "upper", "work"):
            (base / name).mkdir()
            (base / name / "name").write_text(name)
        layers = f"lowerdir={base}/one:{base}/two,upperdir={base}/upper,workdir={base}/work"
        mount = {"destination": "/data", "type": "overlay", "options": layers.split(",")}
        mounts = saved.bundle.document["mounts"]
        mounts.append(mount)
        saved.run()
        assert saved.checkpoint() == ""
        assert saved.restore() == ""
        assert saved.exec("cat /data/name") == "upper"
        assert saved.checkpoint() == ""
        forged = encode({"options": (9, TEXT)}, {"options": layers.replace("/one:", "/host:")})
        image = next(saved.image.glob("mountpoints-*.img"))
        rewrite(image, lambda entry: entry + forged if b"upperdir=" in entry else entry)
        refused(saved, f"config.json#/mounts/{len(mounts) - 1}/options: ")
    finally:
        saved.call("delete", "--force", saved.id)
        subprocess.run(["umount", base], check=True)


PROPERTY: Schema = {"name": (1, TEXT), "value": (2, TEXT)}
FOLDER: Schema = {"dir_name": (1, TEXT), "properties": (3, [PROPERTY])}
CONTROLLERS: Schema = {"controllers": (2, [{"cnames": (1, [TEXT]), "dirs": (2, [FOLDER])}])}


@pytest.mark.parametrize("part", ["property", "folder"])
def test_a_cgroup_that_is_a_file_of_the_host(saved: Saved, part: str) -> None:
    """CRIU writes a property's value to the file of its name."""
    canary = saved.folder / "canary"
    canary.write_text("as it was")
    saved.run()
    assert saved.checkpoint() == ""
    up = "../" * 20
    forged_property = {"name": f"{up}{canary}", "value": "overwritten"}
    folder = {
        "property": {"dir_name": f"{saved.id}-forged", "properties": [forged_property]},
        "folder": {"dir_name": f"{up}{saved.folder}/new"},
    }[part]
    forged = encode(CONTROLLERS, {"controllers": [{"cnames": ["pids"], "dirs": [folder]}]})
    rewrite(saved.image / "cgroup.img", lambda entry: entry + forged)
    said = saved.restore()
    assert canary.read_text() == "as it was" and not (saved.folder / "new").exists()
    assert "the checkpoint has a " in said
    assert saved.ocirt.ids() == []
