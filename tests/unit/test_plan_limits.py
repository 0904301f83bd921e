"""ocirt plan tells the limits as the host's version of cgroups has them."""

from __future__ import annotations

import pytest

from ocirt.cgroup.manager import Manager
from ocirt.commands.plan import _limits
from ocirt.errors import OcirtError

RESOURCES = {
    "pids": {"limit": 20},
    "cpu": {"shares": 1024, "quota": 50_000},
    "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "access": "r"}],
}
DOCUMENT = {"linux": {"resources": RESOURCES}}


def test_version_2() -> None:
    found = _limits(DOCUMENT, Manager({"": "/nowhere/x"}, {"": "/x"}, "/nowhere/x", True))
    assert found[:3] == [
        ("/linux/resources/pids/limit", "pids.max 20"),
        ("/linux/resources/cpu/shares", "cpu.weight 100"),
        ("/linux/resources/cpu/quota", "cpu.max 50000 100000"),
    ]
    assert ("/linux/resources/devices", "devices: deny what is not named here") in found
    assert ("/linux/resources/devices/1", "devices: allow b *:* r") in found


def test_version_1() -> None:
    folders = {name: f"/nowhere/{name}/x" for name in ("pids", "cpu,cpuacct", "devices")}
    found = _limits(DOCUMENT, Manager(folders, dict.fromkeys(folders, "/x"), "", False))
    assert found[1:3] == [
        ("/linux/resources/cpu/shares", "cpu.shares 1024"),
        ("/linux/resources/cpu/quota", "cpu.cfs_quota_us 50000"),
    ]


def test_nothing_is_asked_for() -> None:
    [first, *rest] = _limits({}, Manager({}, {}, "", False))
    assert first == ("/linux/resources/devices", "devices: deny what is not named here")
    assert all(text.startswith("devices: allow ") for _at, text in rest)


@pytest.mark.parametrize("file", ["memory.min", "cgroup.max.depth"])
def test_version_1_without_version_2(file: str) -> None:
    document = {"linux": {"resources": {"unified": {file: "1"}}}}
    with pytest.raises(OcirtError) as caught:
        _limits(document, Manager({"pids": "/nowhere/pids/x"}, {"pids": "/x"}, "", False))
    assert caught.value.at == f"/linux/resources/unified/{file}"
    assert caught.value.message == (
        "invalid configuration: needs cgroup v2, which has no mount on this host"
    )
