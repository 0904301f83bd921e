"""Moving network devices, against two namespaces that are made up: what a kernel seldom does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt import log
from ocirt.errors import OcirtError
from ocirt.host.netlink import Address, Link, Malformed
from ocirt.runtime import net_devices
from ocirt.runtime.net_devices import NetDevices

GLOBAL = Address(2, 24, 0x80, 0, 0, {2: b"\x0a\0\0\1"})
OF_LINK = Address(2, 16, 0x80, 253, 0, {2: b"\xa9\xfe\1\1"})


class Device:
    def __init__(self, index: int, name: str, up: bool = False, *addresses: Address) -> None:
        self.index, self.name, self.up, self.addresses = index, name, up, list(addresses)

    def __repr__(self) -> str:
        shown = " ".join(str(address) for address in self.addresses)
        return f"{self.index} {self.name} {'up' if self.up else 'down'} {shown}".strip()


class Side:
    """A Route to a namespace, which is a list of devices. ``fails``: {method: errno}."""

    def __init__(self, *devices: Device) -> None:
        self.devices = list(devices)
        self.fails: dict[str, int] = {}
        self.other = self

    def check(self, what: str) -> None:
        if what in self.fails:
            raise OSError(self.fails[what], os.strerror(self.fails[what]))

    def find(self, index: int) -> Device:
        for device in self.devices:
            if device.index == index:
                return device
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def link(self, name: str) -> Link:
        for device in self.devices:
            if device.name == name:
                return Link(device.index, device.name, device.up)
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def links(self) -> list[Link]:
        if "malformed" in self.fails:
            raise Malformed("half a device")
        return [Link(device.index, device.name, device.up) for device in self.devices]

    def addresses(self, index: int) -> list[Address]:
        return list(self.find(index).addresses)

    def move(self, index: int, _namespace: int, name: str, new_index: int) -> None:
        self.check("move")
        device = self.find(index)
        if any(there.index == new_index for there in self.other.devices):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.devices.remove(device)
        self.other.devices.append(device)
        device.index, device.up, device.addresses = new_index or 99, False, []
        self.check("rename")
        device.name = name

    def add(self, address: Address, index: int, _label: bool) -> None:
        self.check("add")
        self.find(index).addresses.append(address)

    def set_up(self, index: int) -> None:
        self.check("set_up")
        self.find(index).up = True

    def close(self) -> None:
        pass


class Scene:
    def __init__(self) -> None:
        self.host = Side(
            Device(1, "lo"), Device(2, "net0", True, GLOBAL, OF_LINK), Device(3, "net1")
        )
        self.inside = Side(Device(1, "lo"))
        self.host.other, self.inside.other = self.inside, self.host


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    made = Scene()

    def open_namespace(path: str) -> int:
        file = tmp_path / path.replace("/", "-")
        return os.open(file, os.O_RDWR | os.O_CREAT)

    monkeypatch.setattr(net_devices, "_open_namespace", open_namespace)
    monkeypatch.setattr(
        net_devices, "Route", lambda namespace=-1: made.inside if namespace >= 0 else made.host
    )
    return made


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", said.append)
    return said


@pytest.fixture
def moving(scene: Scene) -> Iterator[NetDevices]:
    made = NetDevices(1)
    yield made
    made.close()


BOTH = {"net0": {"name": "eth0"}, "net1": {}}


def test_there_and_back(scene: Scene, moving: NetDevices) -> None:
    before = str(scene.host.devices)
    moving.move(BOTH)
    assert str(scene.inside.devices) == "[1 lo down, 2 eth0 up 10.0.0.1/24, 3 net1 up]"
    assert str(scene.host.devices) == "[1 lo down]"
    moving.put_back()
    assert len(scene.inside.devices) == 1
    scene.host.devices.sort(key=lambda device: device.index)
    assert str(scene.host.devices) == before


@pytest.mark.parametrize("step", ["move", "rename", "add", "set_up"])
def test_a_step_is_refused(step: str, scene: Scene, moving: NetDevices) -> None:
    """Also where the kernel has carried out a half of it."""
    before = str(scene.host.devices)
    where = scene.host if step in ("move", "rename") else scene.inside
    where.fails[step] = errno.EPERM
    with pytest.raises(
        OcirtError, match="network device net0: .*Operation not permitted"
    ) as caught:
        moving.move(BOTH)
    assert (caught.value.at, caught.value.errno) == ("/linux/netDevices/net0", errno.EPERM)
    if step == "add":
        assert "address 10.0.0.1/24: " in str(caught.value)
    where.fails.clear()
    moving.put_back()
    scene.host.devices.sort(key=lambda device: device.index)
    assert str(scene.host.devices) == before


def test_nothing_moves_if_one_can_not(scene: Scene, moving: NetDevices) -> None:
    scene.host.fails["move"] = errno.EPERM  # would be another error
    with pytest.raises(OcirtError, match="network device net9: No such device"):
        moving.move({"net0": {}, "net9": {}})
    with pytest.raises(OcirtError, match="network device net1: the container has a device lo"):
        moving.move({"net0": {}, "net1": {"name": "lo"}})
    moving.put_back()


def test_the_number_of_a_device_is_taken(scene: Scene, moving: NetDevices) -> None:
    """In the container when it comes, and on the host when it returns."""
    scene.inside.devices.append(Device(2, "other"))
    moving.move({"net0": {}, "net1": {}})
    assert [d.index for d in scene.inside.devices] == [1, 2, 3, 4]
    scene.host.devices.append(Device(2, "new"))
    moving.put_back()
    assert str(scene.host.devices).endswith("3 net1 down, 99 net0 up 10.0.0.1/24 169.254.1.1/16]")


def test_what_can_not_be_put_back_is_said(
    scene: Scene, moving: NetDevices, warnings: list[str]
) -> None:
    """And hinders no other device."""
    moving.move(BOTH)
    scene.inside.devices = [d for d in scene.inside.devices if d.name != "net1"]
    moving.put_back()
    assert warnings == ["network device net1: put back: No such device"]
    assert scene.host.link("net0").up


def test_nonsense_of_the_kernel(scene: Scene, moving: NetDevices, warnings: list[str]) -> None:
    scene.inside.fails["malformed"] = 1
    with pytest.raises(OcirtError, match="network devices: half a device") as caught:
        moving.move(BOTH)
    assert caught.value.at == "/linux/netDevices"
    scene.inside.fails.clear()
    moving.move(BOTH)
    scene.host.fails["malformed"] = 1
    moving.put_back()
    assert warnings == [f"network device {n}: put back: half a device" for n in ("net1", "net0")]


def test_the_namespace_of_the_host(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net_devices, "_open_namespace", lambda _path: os.open("/", os.O_RDONLY))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OcirtError, match="is the host's own"):
        NetDevices(1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_rtnetlink(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EAFNOSUPPORT, "no such family")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(net_devices, "Route", refuse)
    with pytest.raises(OcirtError, match="rtnetlink: no such family"):
        NetDevices(1)
    assert len(os.listdir("/proc/self/fd")) == before
