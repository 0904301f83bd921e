"""checkpoint and restore of containers in a user namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.criu.protobuf import INT, encode

from .checkpoints import Saved, bind, refused, tmpfs
from .test_forged_checkpoint import rewrite
from .test_user_namespace import COUNT, FIRST, mapped, own, status


@pytest.fixture
def inside(saved: Saved) -> Saved:
    mapped(saved.bundle)
    return saved


def test_goes_on(inside: Saved) -> None:
    """Whatever the umask of its callers is."""
    inside.run()
    assert inside.say("a") == "1 a"
    for turn in range(2):
        assert inside.checkpoint(preexec_fn=lambda: os.umask(0o77)) == ""
        inside.pipes()
        assert inside.restore(preexec_fn=lambda: os.umask(0o77)) == ""
        assert inside.say("b") == f"{turn + 2} b"
    pid = inside.ocirt.state(inside.id)["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(FIRST), str(COUNT)]
    assert status(pid)["Uid"] == [str(FIRST)] * 4
    assert inside.exec("id -u; stat -c %u:%g /proc/1 /bin") == "0\n0:0\n0:0"


def test_mounts(inside: Saved) -> None:
    folder = inside.folder / "folder"
    folder.mkdir()
    (folder / "file").write_text("host")
    own(folder)
    inside.bundle.document["mounts"] += [bind(folder, "/data"), tmpfs("/tmp")]
    inside.run()
    inside.exec("echo kept > /tmp/file; echo > /data/new")
    assert inside.checkpoint() == ""
    assert inside.restore() == ""
    assert inside.exec("cat /data/file /tmp/file") == "hostkept"
    assert inside.exec("echo > /data/more; stat -c %u /data/more /tmp/file") == "0\n0"
    assert (folder / "more").stat().st_uid == FIRST
    assert "Read-only" in inside.exec("echo > /proc/sys/kernel/hostname")
    assert inside.exec("echo x > /dev/null; echo $?") == "0"


def test_another_user(inside: Saved) -> None:
    """Ids are compared as the container sees them."""
    user = {"uid": 5, "gid": 6, "additionalGids": [7]}
    inside.bundle.document["process"]["user"] = user
    inside.run()
    assert inside.checkpoint() == ""
    user["additionalGids"] = [8]
    refused(inside, "/process/user/additionalGids")
    user["additionalGids"], user["uid"] = [7], 0
    refused(inside, "/process/user/uid")
    user["uid"] = 5
    assert inside.restore() == ""
    assert status(inside.ocirt.state(inside.id)["pid"])["Uid"] == [str(FIRST + 5)] * 4


@pytest.mark.parametrize("key", ["uidMappings", "gidMappings"])
def test_other_mappings(inside: Saved, key: str) -> None:
    inside.run()
    assert inside.checkpoint() == ""
    inside.bundle.document["linux"][key][0]["hostID"] += 1
    assert "its user namespace has other mappings" in refused(inside, f"/linux/{key}")


def test_no_user_namespace(saved: Saved) -> None:
    """The config has none."""
    namespaces = mapped(saved.bundle).document["linux"]["namespaces"]
    saved.run()
    assert saved.checkpoint() == ""
    namespaces.pop()
    for key in ("uidMappings", "gidMappings"):
        del saved.bundle.document["linux"][key]
    refused(saved, "/linux/uidMappings")


def test_forged_mappings(inside: Saved) -> None:
    """Another row: the host's root."""
    inside.run()
    assert inside.checkpoint() == ""
    row = {"inside": 100_000, "outside": 0, "size": 1}
    schema = {"inside": (1, INT), "outside": (2, INT), "size": (3, INT)}
    forged = encode({"uidMappings": (1, schema)}, {"uidMappings": row})
    image = next(inside.image.glob("userns-*.img"))
    rewrite(image, lambda entry: entry + forged)
    refused(inside, "/linux/uidMappings")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A mount of the host that is read-only there."""
    folder = tmp_path / "outer/host"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_flags_of_the_host(inside: Saved, read_only: Path) -> None:
    process = inside.bundle.document["process"]
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind].append("CAP_SYS_ADMIN")
    other = inside.folder / "other"
    other.mkdir()
    inside.bundle.document["mounts"] += [bind(read_only, "/host"), bind(other, "/config", "ro")]
    inside.run()
    look = "for i in host config; do mount -o remount,bind,rw /$i && echo $i; done"
    before = inside.exec(look)
    assert before == "config\nmount: permission denied (are you root?)"
    assert inside.checkpoint() == ""
    assert inside.restore() == ""
    assert inside.exec(look) == before
    inside.call("delete", "--force", inside.id)


def test_rbind(inside: Saved, read_only: Path) -> None:
    inside.bundle.document["mounts"].append(bind(read_only.parent, "/data", "rbind"))
    inside.run()
    assert inside.checkpoint() == ""
    assert inside.restore() == ""
    assert "Read-only" in inside.exec("echo > /data/host/file")
    inside.call("delete", "--force", inside.id)


@pytest.mark.parametrize("kind", ["ipc", "network"])
def test_another_namespace_of_the_host(inside: Saved, kind: str) -> None:
    """It goes on."""
    name, path = {"network": "net"}.get(kind, kind), inside.folder / kind
    path.touch()
    subprocess.run(["unshare", f"--{name}={path}", "true"], check=True)
    try:
        namespaces = inside.bundle.document["linux"]["namespaces"]
        index = next(i for i, each in enumerate(namespaces) if each["type"] == kind)
        namespaces[index]["path"] = str(path)
        mounts = inside.bundle.document["mounts"]
        mounts[:] = [mount for mount in mounts if mount["type"] not in ("mqueue", "sysfs")]
        inside.run()
        said = inside.checkpoint()
        assert f"config.json#/linux/namespaces/{index}/path: criu can't save" in said
        assert inside.say("a") == "1 a"
    finally:
        inside.call("delete", "--force", inside.id)
        subprocess.run(["umount", path], check=True)


def test_its_user_namespace_is_another_ones(inside: Saved) -> None:
    inside.run()
    pid = inside.ocirt.state(inside.id)["pid"]
    other = Saved(inside.ocirt, inside.bundle, inside.folder)
    other.id = f"{inside.id}-2"
    linux = inside.bundle.document["linux"]
    linux["namespaces"][-1]["path"] = f"/proc/{pid}/ns/user"
    try:
        other.run()
        assert "a user namespace that is not the container's own" in other.checkpoint()
        assert other.say("a") == "1 a"
    finally:
        other.call("delete", "--force", other.id)
        other.close()


def test_an_image_that_its_root_cannot_read(inside: Saved) -> None:
    """An overlay has no id-mapped mounts."""
    base = inside.folder / "base"
    for name in ("lower", "upper", "work"):
        (base / name).mkdir(parents=True)
    inside.image.mkdir()
    layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "none", inside.image], check=True)
    try:
        inside.run()
        assert inside.checkpoint() == ""
        said = inside.restore()
        assert "the container's root can't read the checkpoint: Invalid argument" in said
    finally:
        subprocess.run(["umount", inside.image], check=True)
