"""linux.intelRdt with real containers: on this host, and where a folder stands in for resctrl.

What the groups have to look like is in tests/unit/test_intel_rdt.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ocirt.cli import main
from tests.fake_resctrl import FakeResctrl

AT = "/linux/intelRdt"


def has_resctrl() -> bool:
    return " - resctrl " in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize("settings", [{}, {"closID": "a"}, {"l3CacheSchema": "L3:0=f"}])
def test_a_host_without_resctrl(
    settings: dict[str, Any], verb: str, ocirt: Any, bundle: Any, leftovers: Any
) -> None:
    """It is refused before there is anything to clean up."""
    if has_resctrl():
        pytest.skip("this host has resctrl")
    bundle.document["linux"]["intelRdt"] = settings
    ocirt.root.mkdir()
    done = ocirt(verb, "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    assert f"config.json#{AT}: no resctrl file system is mounted" in done.stderr
    assert os.listdir(ocirt.root) == [] and leftovers(bundle) == []


def test_update_needs_a_group(ocirt: Any, bundle: Any) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    done = ocirt("update", "--l3-cache-schema", "L3:0=f", bundle.id)
    assert done.returncode == 1
    assert "created without linux.intelRdt" in done.stderr


class Here:
    """ocirt in a child of this process, which sees the folder that stands in for resctrl."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.errors = root.parent / "stderr"
        self.output = root.parent / "stdout"

    def __call__(self, *words: str) -> int:
        """The exit status."""
        child = os.fork()
        if not child:
            try:
                for number, file in ((1, self.output), (2, self.errors)):
                    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                import sys

                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                status = main(["ocirt", "--root", str(self.root), *words])
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException as error:
                os.write(2, repr(error).encode())
                status = 99
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def here(ocirt: Any, tmp_path: Path) -> Here:
    """The fixture ``ocirt`` cleans up."""
    return Here(ocirt.root)


@pytest.fixture
def resctrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeResctrl:
    made = FakeResctrl(tmp_path / "resctrl")
    made.install(monkeypatch)
    return made


def test_a_life(here: Here, ocirt: Any, bundle: Any, resctrl: FakeResctrl) -> None:
    bundle.shell("sleep 100")
    bundle.document["linux"]["intelRdt"] = {
        "closID": "gold",
        "schemata": ["L3:0=f", "MB:1=15"],
        "enableMonitoring": True,
    }
    assert here("create", "--bundle", bundle.write(), bundle.id) == 0, here.errors.read_text()
    groups = ["gold", f"gold/mon_groups/{bundle.id}"]
    assert resctrl.groups() == groups
    assert resctrl.schemata("gold") == ["L3:0=f;1=fffff", "MB:0=100;1=20"]
    pid = ocirt.state(bundle.id)["pid"]
    assert [resctrl.tasks(group) for group in groups] == [[pid], [pid]]
    ocirt("start", bundle.id, check=True)
    assert here("exec", bundle.id, "true") == 0, here.errors.read_text()
    assert len(resctrl.tasks(groups[1])) == 2
    assert here("update", "--l3-cache-schema", "L3:1=3", bundle.id) == 0, here.errors.read_text()
    assert here("events", "--stats", bundle.id) == 0
    found = json.loads(here.output.read_text())["data"]["intel_rdt"]
    assert found["schemata"] == ["L3:0=f;1=3", "MB:0=100;1=20"]
    assert len(found["mbm_stats"]) == len(found["cmt_stats"]) == 2
    ocirt("kill", bundle.id, "KILL", check=True)
    assert here("delete", "--force", bundle.id) == 0, here.errors.read_text()
    assert resctrl.groups() == ["gold"] and ocirt.ids() == []


def test_restore(
    needs_criu: Any, here: Here, ocirt: Any, bundle: Any, resctrl: FakeResctrl, tmp_path: Path
) -> None:
    """CRIU is in the class before it makes a process: they inherit it."""
    needs_criu()
    bundle.shell("sleep 100")
    rdt = {"closID": "gold", "schemata": ["L3:0=f"], "enableMonitoring": True}
    bundle.document["linux"]["intelRdt"] = rdt
    image = ("--image-path", str(tmp_path / "image"))
    bundle.write()
    assert here("run", "-d", "--bundle", str(bundle.path), bundle.id) == 0, here.errors.read_text()
    assert here("checkpoint", *image, bundle.id) == 0, here.errors.read_text()
    assert resctrl.groups() == ["gold"]
    restore = ("restore", "-d", *image, "--bundle", str(bundle.path), bundle.id)
    assert here(*restore, "--pid-file", "/no/such/file") == 1
    assert resctrl.groups() == ["gold"] and ocirt.ids() == []
    assert here(*restore) == 0, here.errors.read_text()
    monitor = f"gold/mon_groups/{bundle.id}"
    assert resctrl.groups() == ["gold", monitor] and len(resctrl.tasks(monitor)) == 1
    assert here("delete", "--force", bundle.id) == 0, here.errors.read_text()
    assert resctrl.groups() == ["gold"] and ocirt.ids() == []


@pytest.mark.parametrize("settings", [{}, {"closID": "gold", "schemata": ["L3:0=f"]}])
@pytest.mark.parametrize("late", [False, True])
def test_a_create_that_fails_later(
    settings: dict[str, Any],
    late: bool,
    here: Here,
    ocirt: Any,
    bundle: Any,
    resctrl: FakeResctrl,
    leftovers: Any,
) -> None:
    """At a mount of the machine; or at the pid file, when all is made."""
    bundle.document["linux"]["intelRdt"] = {**settings, "enableMonitoring": True}
    flags = []
    if late:
        flags = ["--pid-file", "/no/such/file"]
    else:
        mount = {"destination": "/a", "type": "nofs", "source": "x"}
        bundle.document["mounts"].append(mount)
    assert here("create", *flags, "--bundle", bundle.write(), bundle.id) == 1
    assert "99" != here.errors.read_text() and resctrl.groups() == []
    assert ocirt.ids() == [] and leftovers(bundle) == []


def test_a_create_that_resctrl_refuses(
    here: Here, ocirt: Any, bundle: Any, resctrl: FakeResctrl, leftovers: Any
) -> None:
    bundle.document["linux"]["intelRdt"] = {"closID": "gold", "schemata": ["L3:0=f", "MB:0=1"]}
    assert here("create", "--bundle", bundle.write(), bundle.id) == 1
    expected = f"config.json#{AT}/schemata/1: write MB:0=1 to {resctrl.root}/gold/schemata: EINVAL"
    assert expected in here.errors.read_text()
    assert resctrl.groups() == [] and ocirt.ids() == [] and leftovers(bundle) == []


@pytest.mark.parametrize("call", ["mkdir gold", "write L3:0=f", "mkdir gold/mon", "write "])
def test_a_create_that_is_killed(
    call: str, here: Here, ocirt: Any, bundle: Any, resctrl: FakeResctrl, leftovers: Any
) -> None:
    """After the call: delete --force removes what it made."""
    bundle.document["linux"]["intelRdt"] = {
        "closID": "gold",
        "schemata": ["L3:0=f"],
        "enableMonitoring": True,
    }
    done: list[str] = []

    def kill(now: str) -> None:
        if done and done[-1].startswith(call):
            os.kill(os.getpid(), 9)
        done.append(now)

    resctrl.on_call = kill
    assert here("create", "--bundle", bundle.write(), bundle.id) == -9
    resctrl.on_call = lambda now: None
    assert resctrl.groups() and ocirt.ids() == [bundle.id]
    assert here("delete", "--force", bundle.id) == 0, here.errors.read_text()
    assert resctrl.groups() == [] and ocirt.ids() == [] and leftovers(bundle) == []
