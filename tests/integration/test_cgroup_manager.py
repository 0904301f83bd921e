"""--cgroup-manager, as far as it needs no systemd; test_systemd.py has the rest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.cgroup.freezer import find
from ocirt.cgroup.layout import detect
from ocirt.cgroup.manager import plan_paths

from .conftest import COMMAND, Bundle, Runtime
from .test_life import wait_for

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


def test_disabled_in_the_pid_namespace_of_another_container(
    ocirt: Runtime, make_bundle: Callable[[], Bundle]
) -> None:
    """What is in there is not the second one's to kill, nor to list."""
    one, other = (make_bundle().shell("exec sleep 1000") for _ in range(2))
    ocirt(DISABLED, "run", "--detach", "--bundle", one.write(), one.id, check=True)
    for namespace in other.document["linux"]["namespaces"]:
        if namespace["type"] == "pid":
            namespace["path"] = f"/proc/{ocirt.state(one.id)['pid']}/ns/pid"
    ocirt(DISABLED, "run", "--detach", "--bundle", other.write(), other.id, check=True)
    pid = ocirt.state(other.id)["pid"]
    assert ocirt("ps", "--format", "json", other.id, check=True).stdout == f"[{pid}]\n"
    ocirt("kill", "--all", other.id, "KILL", check=True)
    wait_for(lambda: ocirt.state(other.id)["status"] == "stopped")
    ocirt("exec", one.id, "true", check=True)


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


@pytest.mark.parametrize("inner", ["", "/inner"])
def test_a_frozen_cgroup_is_refused(ocirt: Runtime, sleeper: Bundle, inner: str) -> None:
    """The container's first process would never begin, and create not end."""
    path = f"/ocirt-test/{sleeper.id}"
    sleeper.document["linux"]["cgroupsPath"] = path + inner
    freezer = find(plan_paths(detect(), path, sleeper.id).state())
    assert freezer
    os.makedirs(freezer.folder)
    try:
        freezer._write(freezer.frozen)
        done = ocirt("create", "--bundle", sleeper.write(), sleeper.id)
        assert done.returncode == 1 and "container's cgroup unexpectedly frozen" in done.stderr
        assert os.path.isdir(freezer.folder) and ocirt.ids() == []
    finally:
        freezer.thaw()
        os.rmdir(freezer.folder)


# ---- systemd's, before it is asked for anything

PREFIX = "org.systemd.property."


@pytest.mark.parametrize("path", ["/a/path", "a/path", "a:b", "a.slice:b:c:d", "a:b:c", "::c/d"])
@pytest.mark.parametrize("verb", ["create", "plan"])
def test_paths_that_are_no_unit(ocirt: Runtime, bundle: Bundle, verb: str, path: str) -> None:
    bundle.document["linux"]["cgroupsPath"] = path
    folder = bundle.write()
    words = ["plan", folder] if verb == "plan" else ["create", "--bundle", folder, bundle.id]
    done = ocirt("--systemd-cgroup", *words)
    assert done.returncode == 1 and "config.json#/linux/cgroupsPath: " in done.stderr
    assert ocirt.ids() == []


@pytest.mark.parametrize(
    "allowed, value, text",
    [("false", "7", "may not set properties"), ("true", "'soon'", "not a number of seconds")],
)
def test_annotations_that_are_refused(
    ocirt: Runtime, bundle: Bundle, allowed: str, value: str, text: str
) -> None:
    bundle.document["annotations"] = {f"{PREFIX}TimeoutStopSec": value}
    flags = ("--systemd-cgroup", f"--systemd-annotations={allowed}")
    done = ocirt(*flags, "create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1 and text in done.stderr
    assert f"config.json#/annotations/{PREFIX}TimeoutStopSec: " in done.stderr
    assert ocirt.ids() == []


HIDDEN = """for folder in /run/dbus /run/systemd
do [ ! -d $folder ] || mount -t tmpfs none $folder || exit
done
exec "$@"
"""


def test_systemd_that_cannot_be_reached(
    ocirt: Runtime, bundle: Bundle, leftovers: Callable[[Bundle], list[str]], tmp_path: Path
) -> None:
    """One line of log, as of any failure."""
    log = tmp_path / "log"
    command = ["unshare", "--mount", "sh", "-c", HIDDEN, "sh", str(COMMAND), "--root"]
    command += [str(ocirt.root), "--log", str(log), "--systemd-cgroup", "create", "--bundle"]
    done = subprocess.run([*command, bundle.write(), bundle.id], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "systemd can't be reached: system bus: " in done.stderr
    assert len(log.read_text().splitlines()) == 1
    assert ocirt.ids() == [] and leftovers(bundle) == []
