"""cgroup v2 (cgroup-v2.rst, "Threads" and "No Internal Process Constraint"): where a container's
cgroup can't be, or can't have a controller, that is said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="containers and cgroups need root"),
    pytest.mark.skipif(not V2, reason="version 1 delegates in another way"),
]


@pytest.fixture
def parent(bundle: Any) -> Iterator[Path]:
    """A cgroup, in which the container's will be."""
    folder = Path("/sys/fs/cgroup") / f"delegation-{bundle.id}"
    folder.mkdir()
    bundle.document["linux"]["cgroupsPath"] = f"/{folder.name}/{bundle.id}"
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
    folder.rmdir()


def test_below_a_threaded_cgroup(ocirt: Any, bundle: Any, parent: Path) -> None:
    (parent / "other").mkdir()
    (parent / "other/cgroup.type").write_text("threaded")
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    assert "config.json#/linux/cgroupsPath: cgroup" in done.stderr
    assert "is of type 'domain invalid' and can't hold a container's processes" in done.stderr
    assert ocirt.ids() == []
    assert not (parent / bundle.id).exists()


def test_a_controller_that_is_not_handed_down(ocirt: Any, bundle: Any, parent: Path) -> None:
    controller = "memory"
    if controller not in (parent / "cgroup.controllers").read_text().split():
        pytest.skip("no memory controller")
    sleep = subprocess.Popen(["sleep", "1000"])
    try:
        (parent / "cgroup.procs").write_text(str(sleep.pid))
        bundle.document["linux"]["resources"] = {"memory": {"limit": 1 << 28}}
        done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    finally:
        sleep.kill()
        sleep.wait()
    assert done.returncode == 1
    place = "config.json#/linux/resources/memory/limit: "
    assert f"{place}the cgroup controller memory is not available" in done.stderr
    assert f"{parent} does not hand it down" in done.stderr
    assert ocirt.ids() == []
    assert not (parent / bundle.id).exists()


def test_controllers_are_handed_down(ocirt: Any, bundle: Any, parent: Path) -> None:
    """Through folders that do not exist yet."""
    bundle.document["linux"]["cgroupsPath"] = f"/{parent.name}/a/b/{bundle.id}"
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    controllers = (parent / "cgroup.controllers").read_text()
    assert (parent / f"a/b/{bundle.id}/cgroup.controllers").read_text() == controllers
    ocirt("delete", "--force", bundle.id, check=True)
