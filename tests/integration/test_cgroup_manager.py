"""--cgroup-manager cgroupfs and disabled; tests of systemd's are in test_systemd.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Bundle, Runtime

DISABLED = "--cgroup-manager=disabled"


@pytest.fixture
def sleeper(bundle: Bundle) -> Bundle:
    return bundle.shell("exec sleep 1000")


def cgroups(pid: int | str) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


def test_disabled(
    ocirt: Runtime, sleeper: Bundle, leftovers: Callable[[Bundle], list[str]]
) -> None:
    """As with crun the container stays where its caller is."""
    sleeper.document["linux"]["resources"] = {"pids": {"limit": -1}, "memory": {}}
    ocirt(DISABLED, "create", "--bundle", sleeper.write(), sleeper.id, check=True)
    assert cgroups(ocirt.state(sleeper.id)["pid"]) == cgroups("self")
    ocirt("start", sleeper.id, check=True)
    ocirt("exec", sleeper.id, "true", check=True)
    assert ocirt("pause", sleeper.id).returncode == 1
    ocirt("delete", "--force", sleeper.id, check=True)
    assert leftovers(sleeper) == []


def test_disabled_warns_of_device_rules(ocirt: Runtime, bundle: Bundle) -> None:
    bundle.document["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    done = ocirt(DISABLED, "run", "--bundle", bundle.shell("exit 3").write(), bundle.id)
    assert done.returncode == 3
    assert "config.json#/linux/resources/devices: not applied" in done.stderr


@pytest.mark.parametrize(
    "resources, pointer",
    [
        ({"pids": {"limit": 5}}, "pids/limit"),
        ({"memory": {"limit": 1 << 26}}, "memory/limit"),
        ({"cpu": {"cpus": "0"}}, "cpu/cpus"),
        ({"unified": {"pids.max": "5"}}, "unified"),
    ],
)
def test_disabled_has_no_limits(
    ocirt: Runtime,
    bundle: Bundle,
    leftovers: Callable[[Bundle], list[str]],
    resources: dict[str, object],
    pointer: str,
) -> None:
    bundle.document["linux"]["resources"] = resources
    done = ocirt(DISABLED, "create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    assert f"config.json#/linux/resources/{pointer}" in done.stderr
    assert ocirt.ids() == [] and leftovers(bundle) == []


def test_disabled_shows_the_callers_cgroup(ocirt: Runtime, bundle: Bundle) -> None:
    """A mount of type cgroup without a cgroup namespace."""
    namespaces = bundle.document["linux"]["namespaces"]
    namespaces[:] = [n for n in namespaces if n["type"] != "cgroup"]
    bundle.shell("ls /sys/fs/cgroup")
    done = ocirt(DISABLED, "run", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()


def test_a_path_with_colons(ocirt: Runtime, sleeper: Bundle) -> None:
    """It is just a path to the cgroupfs driver."""
    sleeper.document["linux"]["cgroupsPath"] = f"/ocirt-test/a.slice:b:{sleeper.id}"
    ocirt("create", "--bundle", sleeper.write(), sleeper.id, check=True)
    assert f"/ocirt-test/a.slice:b:{sleeper.id}" in cgroups(ocirt.state(sleeper.id)["pid"])


def test_a_cgroup_of_others_is_left_alone(
    ocirt: Runtime, sleeper: Bundle, make_bundle: Callable[[], Bundle]
) -> None:
    """What is in it would not survive that a failed create cleans up."""
    path = f"/ocirt-test/{sleeper.id}"
    other = make_bundle()
    for bundle in (sleeper, other):
        bundle.document["linux"]["cgroupsPath"] = path
    ocirt("create", "--bundle", sleeper.write(), sleeper.id, check=True)
    done = ocirt("create", "--bundle", other.write(), other.id)
    assert done.returncode == 1 and "container's cgroup is not empty" in done.stderr
    assert ocirt.ids() == [sleeper.id]
    assert ocirt.state(sleeper.id)["status"] == "created"
    assert path in cgroups(ocirt.state(sleeper.id)["pid"])
