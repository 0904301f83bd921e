"""The systemd driver on cgroup v1 and on a hybrid host. test_systemd_v1.py runs this file:

conformance/systemd-v1 .venv/bin/python -m pytest tests/integration/systemd_v1.py
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND, Bundle, Runtime

MIB = 1 << 20
DRIVER = "--systemd-cgroup"
DENY = {"allow": False, "access": "rwm"}
KMSG = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}
ALL = {"allow": True, "access": "rwm"}
LIMITS = {
    "memory": {"limit": 64 * MIB, "reservation": MIB},
    "cpu": {"shares": 512, "quota": 33333, "period": 100000, "cpus": "0"},
    "pids": {"limit": 50},
    "devices": [DENY],
}
FILES = {
    "memory/memory.limit_in_bytes": "67108864",
    "memory/memory.soft_limit_in_bytes": "1048576",
    "cpu/cpu.shares": "512",
    "cpu/cpu.cfs_quota_us": "34000",
    "cpuset/cpuset.cpus": "0",
    "pids/pids.max": "50",
}
PROPERTIES = {
    "MemoryLimit": "67108864",
    "CPUShares": "512",
    "CPUQuotaPerSecUSec": "340ms",
    "TasksMax": "50",
    "DevicePolicy": "strict",
    "Delegate": "yes",
    "ActiveState": "active",
}


def show(unit: str, name: str) -> str:
    words = ["systemctl", "show", "--value", f"--property={name}", unit]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=60).stdout.strip()


def reload() -> None:
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=60)


def unit_of(bundle: Bundle) -> str:
    return f"ocirt-{bundle.id}.scope"


def read(bundle: Bundle, name: str) -> str:
    controller, file = name.split("/")
    return Path(f"/sys/fs/cgroup/{controller}/system.slice/{unit_of(bundle)}/{file}").read_text()


def check(bundle: Bundle, files: dict[str, str], properties: dict[str, str]) -> None:
    for name, text in files.items():
        assert read(bundle, name).strip() == text, name
    for name, value in properties.items():
        assert show(unit_of(bundle), name) == value, name


def left(bundle: Bundle) -> list[str]:
    unit = unit_of(bundle)
    found = [path for path, names, _ in os.walk("/sys/fs/cgroup") if unit in names]
    return [*found, unit] if show(unit, "LoadState") != "not-found" else found


def create(runtime: Runtime, bundle: Bundle, resources: dict[str, Any]) -> None:
    bundle.document["linux"]["resources"] = resources
    bundle.shell("exec sleep 1000")
    runtime(DRIVER, "create", "--bundle", bundle.write(), bundle.id, check=True)


def update(runtime: Runtime, bundle: Bundle, resources: dict[str, Any]) -> None:
    file = bundle.path / "resources.json"
    file.write_text(json.dumps(resources))
    runtime("update", "--resources", str(file), bundle.id, check=True)


def test_life(ocirt: Runtime, bundle: Bundle) -> None:
    create(ocirt, bundle, LIMITS)
    pid = ocirt.state(bundle.id)["pid"]
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        assert line.endswith(f":/system.slice/{unit_of(bundle)}")
    check(bundle, FILES, PROPERTIES)
    reload()
    check(bundle, FILES, PROPERTIES)
    ocirt("start", bundle.id, check=True)
    shown = ocirt("exec", bundle.id, "cat", "/proc/self/cgroup", check=True).stdout
    assert all(unit_of(bundle) in line or line.endswith(":/") for line in shown.splitlines())
    ocirt("pause", bundle.id, check=True)
    assert ocirt.state(bundle.id)["status"] == "paused"
    ocirt("resume", bundle.id, check=True)
    ocirt("kill", bundle.id, "KILL", check=True)
    ocirt("delete", "--force", bundle.id, check=True)
    assert left(bundle) == []


def test_update(ocirt: Runtime, bundle: Bundle) -> None:
    create(ocirt, bundle, LIMITS)
    update(ocirt, bundle, {"memory": {"limit": 32 * MIB}, "cpu": {"shares": 2048, "quota": -1}})
    files = {
        **FILES,
        "memory/memory.limit_in_bytes": "33554432",
        "cpu/cpu.shares": "2048",
        "cpu/cpu.cfs_quota_us": "-1",
    }
    properties = {
        **PROPERTIES,
        "MemoryLimit": "33554432",
        "CPUShares": "2048",
        "CPUQuotaPerSecUSec": "infinity",
    }
    check(bundle, files, properties)
    reload()
    check(bundle, files, properties)


@pytest.mark.parametrize(
    "first, second, allowed",
    [([DENY], [DENY, KMSG], [False, True]), ([ALL], [DENY], [True, False])],
)
def test_devices(
    ocirt: Runtime, bundle: Bundle, first: list[Any], second: list[Any], allowed: list[bool]
) -> None:
    """Also when systemd has read its configuration again."""
    bundle.document["linux"]["devices"] = [
        {"path": "/dev/test", "type": "c", "major": 1, "minor": 11}
    ]
    create(ocirt, bundle, {"devices": first})
    ocirt("start", bundle.id, check=True)

    def opens() -> bool:
        script = "true < /dev/null > /dev/null && true > /dev/test"
        done = ocirt("exec", bundle.id, "sh", "-c", script)
        assert done.returncode == 0 or "not permitted" in done.stderr, done.stderr
        return done.returncode == 0

    for number, expected in enumerate(allowed):
        if number:
            update(ocirt, bundle, {"devices": second})
        assert opens() is expected
        reload()
        assert opens() is expected


def test_cgroup_mount_without_a_namespace(ocirt: Runtime, bundle: Bundle) -> None:
    """Bind mounts of folders that were there before systemd heard of them."""
    namespaces = bundle.document["linux"]["namespaces"]
    namespaces[:] = [n for n in namespaces if n["type"] != "cgroup"]
    bundle.shell("for folder in /sys/fs/cgroup/*; do cat $folder/cgroup.procs || exit 9; done")
    done = ocirt(DRIVER, "run", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert "1" in done.stdout.split()
    assert left(bundle) == []


def test_killed_create(
    ocirt: Runtime, bundle: Bundle, leftovers: Callable[[Bundle], list[str]]
) -> None:
    """At twenty moments of it: delete --force leaves no unit, cgroup or process."""
    bundle.document["linux"]["resources"] = LIMITS
    command = [str(COMMAND), "--root", str(ocirt.root), DRIVER, "create"]
    command += ["--bundle", bundle.shell("exec sleep 1000").write(), bundle.id]
    start = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    taken = time.monotonic() - start
    ocirt("delete", "--force", bundle.id, check=True)
    for moment in range(20):
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            time.sleep(taken * moment / 20)
            process.kill()
        ocirt("delete", "--force", bundle.id, check=True)
        assert ocirt.ids() == [] and leftovers(bundle) == []
        end = time.monotonic() + 10
        while left(bundle) and time.monotonic() < end:
            time.sleep(0.02)
        assert left(bundle) == [], moment
