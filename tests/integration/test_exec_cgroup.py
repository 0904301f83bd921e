"""exec puts its process into the container's cgroup, or one below it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import cgroups_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers and cgroups need root")

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


@pytest.fixture
def container(ocirt: Any, bundle: Any) -> str:
    bundle.shell("exec sleep 1000")
    ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    assert isinstance(bundle.id, str)
    return bundle.id


@pytest.fixture
def folders(container: str) -> list[Path]:
    return [Path(folder) for folder in cgroups_of(container)]


def joined(ocirt: Any, id: str, *flags: str) -> list[str]:
    """The cgroups of a process that exec starts, as the host sees them: of the container itself
    ones that end in its id."""
    done = ocirt("exec", "--detach", *flags, "--pid-file", "/dev/stdout", id, "sleep", "1000")
    assert done.returncode == 0, done.stderr
    pid = int(ocirt("ps", "--format", "json", id).stdout.strip("[]\n").split(",")[-1])
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    os.kill(pid, 9)
    return [line.split(":", 2)[2] for line in lines]


def make_below(folders: list[Path]) -> None:
    for folder in folders:
        (folder / "a").mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            # Version 1: nothing can join before they are set.
            if (folder / name).exists() and not V2:
                (folder / "a" / name).write_text((folder / name).read_text())


def test_the_containers_own(ocirt: Any, container: str, folders: list[Path]) -> None:
    found = [path for path in joined(ocirt, container) if container in path]
    assert len(found) == len(folders)
    assert all(path.endswith(f"/{container}") for path in found)


def test_a_frozen_one_below(ocirt: Any, container: str, folders: list[Path]) -> None:
    """A process that is born there would not run, and exec wait for it."""
    make_below(folders)
    for folder in folders:
        for name, text in (("cgroup.freeze", "1"), ("freezer.state", "FROZEN")):
            if (folder / "a" / name).exists():
                (folder / "a" / name).write_text(text)
    done = ocirt("exec", "--cgroup", "a", container, "true")
    assert done.returncode == 255
    assert "cannot exec in a paused container" in done.stderr


def test_one_below(ocirt: Any, container: str, folders: list[Path]) -> None:
    make_below(folders)
    found = [path for path in joined(ocirt, container, "--cgroup", "a") if container in path]
    assert len(found) == len(folders)
    assert all(path.endswith(f"/{container}/a") for path in found)


@pytest.mark.skipif(V2, reason="version 2 has one hierarchy")
def test_one_below_for_a_controller(ocirt: Any, container: str, folders: list[Path]) -> None:
    make_below(folders)
    flags = ["--cgroup", "pids,freezer:a", "--cgroup", "memory:/"]
    found = [path for path in joined(ocirt, container, *flags) if container in path]
    assert len([path for path in found if path.endswith(f"/{container}/a")]) == 2
    assert len([path for path in found if path.endswith(f"/{container}")]) == len(folders) - 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cgroup", "../x"], "is not a sub cgroup path"),
        (["--cgroup", "/a/../../x"], "is not a sub cgroup path"),
        (["--cgroup", "nowhere"], "does not exist"),
        (["--cgroup", "no-such:nowhere"], "unknown controller no-such"),
        (["--cgroup", "a", "--cgroup", "b"], "for which controllers?"),
        (["--cgroup", "pids:a", "--cgroup", "pids:b"], "pids is given twice"),
        (["--cgroup", ":a"], "a controller's name is empty"),
    ],
)
def test_refused(ocirt: Any, container: str, flags: list[str], message: str) -> None:
    done = ocirt("exec", *flags, container, "true")
    assert done.returncode == 255
    assert message in done.stderr


@pytest.mark.skipif(not V2, reason="version 1 has no such rule")
def test_where_the_init_system_went(ocirt: Any, container: str, folders: list[Path]) -> None:
    """No Internal Process Constraint: the container's own cgroup takes no process any more."""
    [folder] = folders
    (folder / "init").mkdir()
    (folder / "init/cgroup.procs").write_text(str(ocirt.state(container)["pid"]))
    controller = (folder / "cgroup.controllers").read_text().split()[-1]
    (folder / "cgroup.subtree_control").write_text(f"+{controller}")
    assert joined(ocirt, container)[-1].endswith(f"/{container}/init")
    (folder / "other").mkdir()
    assert joined(ocirt, container, "--cgroup", "other")[-1].endswith(f"/{container}/other")
    done = ocirt("exec", "--cgroup", "/", container, "true")
    assert done.returncode == 255
    assert "start a process in the container's cgroup: Device or resource busy" in done.stderr
    assert "hint: a cgroup that hands controllers down takes no process" in done.stderr
