"""Containers in a user namespace: their root is nobody on the host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

FIRST, COUNT = 200_000, 65_536
ALL = (1 << 41) - 1


def own(folder: Path, first: int = FIRST) -> None:
    """The files are those of the container's root."""
    for where, _folders, files in os.walk(folder):
        for name in (".", *files):
            os.chown(os.path.join(where, name), first, first, follow_symlinks=False)


def mapped(bundle: Any, first: int = FIRST, count: int = COUNT) -> Any:
    """The bundle, in a new user namespace."""
    own(bundle.path / "rootfs", first)
    bundle.path.chmod(0o711)
    linux = bundle.document["linux"]
    linux["namespaces"].append({"type": "user"})
    row = {"containerID": 0, "hostID": first, "size": count}
    linux["uidMappings"], linux["gidMappings"] = [row], [dict(row)]
    return bundle


@pytest.fixture
def inside(bundle: Any) -> Any:
    return mapped(bundle)


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def running(ocirt: Any, bundle: Any) -> int:
    """Its pid."""
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    ocirt("start", bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    assert isinstance(pid, int)
    return pid


def test_who_it_is(ocirt: Any, inside: Any) -> None:
    """Root inside, an id of the mappings outside; from create on, when the machine waits."""
    inside.shell("exec sleep 1000")
    ocirt("create", "--bundle", inside.write(), inside.id, check=True)
    pid = ocirt.state(inside.id)["pid"]
    parked = status(pid)
    assert parked["Uid"] == parked["Gid"] == [str(FIRST)] * 4
    assert parked["Groups"] == []
    # Not even a process of that user may look at it: it is not dumpable.
    assert os.stat(f"/proc/{pid}/fd").st_uid == 0
    ocirt("start", inside.id, check=True)
    assert status(pid)["Uid"] == [str(FIRST)] * 4
    for name in ("uid_map", "gid_map"):
        row = Path(f"/proc/{pid}/{name}").read_text().split()
        assert row == ["0", str(FIRST), str(COUNT)]
    assert Path(f"/proc/{pid}/setgroups").read_text() == "allow\n"
    done = ocirt("exec", inside.id, "id", check=True)
    assert done.stdout.startswith("uid=0(root) gid=0")
    assert str(FIRST) in ocirt("ps", inside.id, check=True).stdout


def test_every_namespace_belongs_to_it(ocirt: Any, inside: Any) -> None:
    """So its root can do there what root does, and nothing on the host."""
    names = ("CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_SYS_CHROOT", "CAP_SETUID")
    sets = inside.document["process"]["capabilities"]
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = list(names)
    inside.document["root"]["readonly"] = False
    secret = inside.path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    folder = {"destination": "/host", "type": "bind", "source": str(inside.path)}
    inside.document["mounts"].append(folder | {"options": ["rbind"]})
    inside.shell(
        "hostname other && hostname; mount -t tmpfs none /tmp && echo mounted;"
        "cat /host/secret; busybox mknod /null c 1 3; busybox touch /host/new;"
        "busybox sysctl -w kernel.core_pattern=x"
    )
    done = inside.run(ocirt)
    assert done.stdout.split() == ["other", "mounted"]
    for text in (
        "'/host/secret': Permission denied",
        "/null: Operation not permitted",
        "/host/new: Permission denied",
        "'kernel.core_pattern': Read-only file system",
    ):
        assert text in done.stderr


def test_devices_are_those_of_the_host(ocirt: Any, inside: Any) -> None:
    inside.shell(
        "echo x > /dev/null && head -c 3 /dev/zero | busybox od -An -tx1; stat -c %t,%T /dev/*"
    )
    done = inside.run(ocirt)
    lines = done.stdout.split("\n")
    assert lines[0].split() == ["00"] * 3, done.stderr
    for number in ("1,3", "1,5", "1,7", "1,8", "1,9", "5,0"):
        assert number in lines
    assert done.returncode == 0


def test_exec(ocirt: Any, inside: Any) -> None:
    inside.document["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    assert status(pid)["Uid"] == [str(FIRST + 1000)] * 4
    assert status(pid)["Groups"] == [str(FIRST + 5)]
    assert ocirt("exec", inside.id, "id", check=True).stdout.startswith("uid=1000(u) gid=1000")
    done = ocirt("exec", "--user", "7:8", inside.id, "cat", "/proc/self/status", check=True)
    assert "Uid:\t7\t7\t7\t7\n" in done.stdout and "Gid:\t8\t8\t8\t8\n" in done.stdout
    link = ocirt("exec", inside.id, "busybox", "readlink", "/proc/self/ns/user", check=True)
    assert link.stdout.strip() == os.readlink(f"/proc/{pid}/ns/user")
    refused = ocirt("exec", "--user", "70000", inside.id, "id")
    assert refused.returncode != 0
    assert "config.json#/process/user/uid: " in refused.stderr
    assert "not mapped" in refused.stderr


def test_joined_by_path(ocirt: Any, inside: Any, make_bundle: Any) -> None:
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    second = make_bundle()
    own(second.path / "rootfs")
    second.path.chmod(0o711)
    second.document["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{pid}/ns/user"})
    second.shell("busybox readlink /proc/self/ns/user; id; echo x > /dev/null")
    done = second.run(ocirt)
    assert done.stdout.startswith(os.readlink(f"/proc/{pid}/ns/user")), done.stderr
    assert "uid=0(root)" in done.stdout


def test_joined_with_other_mappings(ocirt: Any, inside: Any, make_bundle: Any) -> None:
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    second = mapped(make_bundle())
    linux = second.document["linux"]
    linux["namespaces"][-1]["path"] = f"/proc/{pid}/ns/user"
    assert second.run(ocirt).returncode == 0
    linux["gidMappings"][0]["hostID"] += 1
    done = second.run(ocirt)
    text = "/linux/gidMappings: these are not the mappings of the user namespace that is joined"
    assert text in done.stderr


def test_delete_leaves_nothing(ocirt: Any, inside: Any, leftovers: Any) -> None:
    inside.shell("exec sleep 1000")
    running(ocirt, inside)
    ocirt("kill", inside.id, "KILL", check=True)
    ocirt("delete", "--force", inside.id, check=True)
    assert ocirt.ids() == []
    assert leftovers(inside) == []
