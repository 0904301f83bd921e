"""pause, resume, and what the other verbs do with a paused container."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup import freezer
from ocirt.cgroup.layout import detect


@pytest.fixture
def counting(ocirt: Any, bundle: Any) -> Any:
    """A container that writes to a file for ever."""
    document = bundle.shell("while :; do echo x >> /count; done").document
    document["root"]["readonly"] = False
    ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    return bundle


def size(bundle: Any) -> int:
    file = bundle.path / "rootfs/count"
    return int(file.stat().st_size) if file.exists() else 0


def wait_for_more(bundle: Any, than: int) -> None:
    end = time.monotonic() + 10
    while size(bundle) <= than:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nothing_runs_while_it_is_paused(ocirt: Any, counting: Any) -> None:
    wait_for_more(counting, 0)
    ocirt("pause", counting.id, check=True)
    assert ocirt.state(counting.id)["status"] == "paused"
    before = size(counting)
    time.sleep(0.05)
    assert size(counting) == before
    ocirt("resume", counting.id, check=True)
    assert ocirt.state(counting.id)["status"] == "running"
    wait_for_more(counting, before)


def test_verbs_of_a_paused_container(ocirt: Any, counting: Any, leftovers: Any) -> None:
    id = counting.id
    ocirt("pause", id, check=True)
    refused = ocirt("exec", id, "true")
    assert refused.returncode == 255
    assert "container paused" in refused.stderr
    assert "cannot pause a container that is paused" in ocirt("pause", id).stderr
    assert "that is not stopped: paused" in ocirt("delete", id).stderr
    ocirt("kill", id, "TERM", check=True)
    assert ocirt.state(id)["status"] == "paused"
    ocirt("delete", "--force", id, check=True)
    assert leftovers(counting) == []


def test_sigkill_ends_a_paused_container(ocirt: Any, counting: Any) -> None:
    ocirt("pause", counting.id, check=True)
    ocirt("kill", counting.id, "KILL", check=True)
    end = time.monotonic() + 10
    while ocirt.state(counting.id)["status"] != "stopped":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert "cannot resume a container that is stopped" in ocirt("resume", counting.id).stderr


def test_created_container_can_be_paused(ocirt: Any, bundle: Any) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    ocirt("pause", bundle.id, check=True)
    assert "cannot start a container that is paused" in ocirt("start", bundle.id).stderr
    ocirt("resume", bundle.id, check=True)
    assert ocirt.state(bundle.id)["status"] == "created"
    ocirt("start", bundle.id, check=True)


def test_kill_all_reaches_every_process(ocirt: Any, bundle: Any, leftovers: Any) -> None:
    """Processes that fork as fast as they can, in the host's pid namespace."""
    document = bundle.shell("while :; do sleep 0.1 & done").document
    namespaces = document["linux"]["namespaces"]
    document["linux"]["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    time.sleep(0.2)
    ocirt("kill", "--all", bundle.id, "KILL", check=True)
    ocirt("delete", bundle.id, check=True)
    assert leftovers(bundle) == []


@pytest.fixture
def own_freezer(ocirt: Any, tmp_path: Path) -> Any:
    """An empty cgroup's."""
    layout = detect()
    hierarchy = next(h for h in layout.hierarchies if h.v2 or "freezer" in h.controllers)
    folder = Path(hierarchy.folder(hierarchy.own)) / f"test-freezer-{tmp_path.name}"
    folder.mkdir()
    yield freezer.Freezer(str(folder), hierarchy.v2)
    folder.rmdir()


def test_freezer_of_an_empty_cgroup(own_freezer: freezer.Freezer) -> None:
    assert not own_freezer.is_frozen()
    own_freezer.freeze()
    assert own_freezer.is_frozen()
    own_freezer.thaw()
    assert not own_freezer.is_frozen()
    assert not freezer.Freezer("/nowhere", v2=True).is_frozen()
