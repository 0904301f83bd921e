"""delete: two at once, of what forks, of a cgroup that somebody else has put a process in. kill of
a container whose processes do not end with the first one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND, cgroups_of
from .faults import Faults, leftovers


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def stop(ocirt: Any, id: str) -> None:
    ocirt("kill", id, "KILL", check=True)
    wait_for(lambda: ocirt.state(id)["status"] == "stopped")


def in_the_hosts_pid_namespace(bundle: Any, script: str) -> Any:
    linux = bundle.shell(script).document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "pid"]
    return bundle


@pytest.fixture
def running(ocirt: Any, faulty: Faults, bundle: Any) -> Any:
    bundle.shell("exec sleep 600")
    assert faulty("run", "--detach", "--bundle", bundle.write(), bundle.id).status == 0
    return bundle


@pytest.fixture
def guest() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the container's."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def processes_in(folder: str) -> list[int]:
    return [int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split()]


@pytest.mark.parametrize("force", [False, True])
def test_many_at_once(ocirt: Any, faulty: Faults, running: Any, force: bool) -> None:
    """One does it. Who came too late has found none."""
    words = ["--force"] if force else []
    if not force:
        stop(ocirt, running.id)
    command = [str(COMMAND), "--root", str(ocirt.root), "delete", *words, running.id]
    deletes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    done = [(delete.communicate(timeout=60)[1], delete.returncode) for delete in deletes]
    none = f"ocirt: container {running.id} does not exist\n"
    if force:
        assert done == [("", 0)] * 6
    else:
        assert sorted(done) == [("", 0)] + [(none, 1)] * 5
    assert leftovers(running, faulty) == []


@pytest.mark.parametrize("verb", [("delete", "--force"), ("delete",)])
def test_processes_that_fork(ocirt: Any, faulty: Faults, bundle: Any, verb: Any) -> None:
    """As fast as they can, and without a pid namespace that would end them."""
    script = "f() { while :; do sleep 600 & sleep 0.001; done; }; f & f & exec sleep 600"
    document = in_the_hosts_pid_namespace(bundle, script).document
    document["linux"]["resources"] = {}
    assert faulty("run", "--detach", "--bundle", bundle.write(), bundle.id).status == 0
    if len(verb) == 1:
        stop(ocirt, bundle.id)  # its first process: the others go on
    ocirt(*verb, bundle.id, check=True)
    assert leftovers(bundle, faulty) == []


def test_what_outlived_the_first_process(ocirt: Any, faulty: Faults, bundle: Any) -> None:
    in_the_hosts_pid_namespace(bundle, "sleep 600 & sleep 601 & exit 0")
    assert faulty("run", "--detach", "--bundle", bundle.write(), bundle.id).status == 0
    wait_for(lambda: bool(ocirt.state(bundle.id)["status"] == "stopped"))
    assert len(processes_in(cgroups_of(bundle.id)[0])) == 2
    ocirt("delete", bundle.id, check=True)
    assert leftovers(bundle, faulty) == []


def test_somebody_elses_process_is_named(
    ocirt: Any, faulty: Faults, running: Any, guest: subprocess.Popen[bytes]
) -> None:
    """Its pid namespace has ended all of the container's: this one can't be of it."""
    stop(ocirt, running.id)
    folders = cgroups_of(running.id)
    (Path(folders[-1]) / "cgroup.procs").write_text(str(guest.pid))
    done = ocirt("delete", running.id)
    assert done.returncode == 1
    assert f"EBUSY (Device or resource busy): process {guest.pid} (sleep) is in" in done.stderr
    assert "hint: ocirt delete --force" in done.stderr
    assert guest.poll() is None
    assert ocirt.state(running.id)["status"] == "stopped"
    guest.kill()
    guest.wait()
    ocirt("delete", running.id, check=True)
    assert leftovers(running, faulty) == []


@pytest.mark.parametrize("hierarchy", [0, -1])
def test_somebody_elses_process_is_killed_by_force(
    ocirt: Any, faulty: Faults, running: Any, guest: subprocess.Popen[bytes], hierarchy: int
) -> None:
    """In whichever hierarchy it is, and below too."""
    folder = Path(cgroups_of(running.id)[hierarchy]) / "inner"
    folder.mkdir()
    for name in ("cpus", "mems"):  # of a cpuset on version 1
        file = folder / f"cpuset.{name}"
        if file.exists() and not file.read_text().strip():
            file.write_text((folder.parent / f"cpuset.{name}").read_text())
    (folder / "cgroup.procs").write_text(str(guest.pid))
    ocirt("delete", "--force", running.id, check=True)
    assert guest.wait(10) == -9
    assert leftovers(running, faulty) == []


def test_no_delete_waits_for_a_fixed_time(ocirt: Any, faulty: Faults, running: Any) -> None:
    stop(ocirt, running.id)
    done = faulty.steps("delete", running.id)
    assert done.status == 0
    assert [step for step in done.steps if "nanosleep" in step or "poll" in step] == []
    assert leftovers(running, faulty) == []


@pytest.mark.parametrize("first_has_ended", [False, True])
def test_kill_without_a_pid_namespace(
    ocirt: Any, faulty: Faults, bundle: Any, first_has_ended: bool
) -> None:
    """SIGKILL ends all; another signal is for the first process."""
    in_the_hosts_pid_namespace(bundle, "trap : TERM; sleep 600 & while :; do sleep 600; done")
    assert faulty("run", "--detach", "--bundle", bundle.write(), bundle.id).status == 0
    folder = cgroups_of(bundle.id)[0]
    wait_for(lambda: len(processes_in(folder)) == 3)
    ocirt("kill", bundle.id, "TERM", check=True)
    if first_has_ended:
        os.kill(ocirt.state(bundle.id)["pid"], signal.SIGKILL)
        wait_for(lambda: ocirt.state(bundle.id)["status"] == "stopped")
        refused = ocirt("kill", bundle.id, "TERM")
        assert refused.returncode == 1 and "container not running" in refused.stderr
        assert len(processes_in(folder)) == 2
    ocirt("kill", bundle.id, "KILL", check=True)
    wait_for(lambda: not processes_in(folder))
    assert ocirt.state(bundle.id)["status"] == "stopped"
    assert "container not running" in ocirt("kill", bundle.id, "KILL").stderr
    ocirt("delete", bundle.id, check=True)
