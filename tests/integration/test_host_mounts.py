"""Containers without a mount namespace of their own that have mounts: these are mounts of the host,
and it has none of them when the container is gone.

The host is a mount namespace that each test has to itself, where everything is shared, as systemd
has it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Bundle, Runtime


class Host:
    """``ocirt``: the command in that namespace. ``other``: the pid of a process in another one, which
    gets what is mounted there."""

    def __init__(self, pid: int, other: int, folder: Path) -> None:
        self.folder = folder
        self.pid = pid
        self.other = other
        self.enter = ("nsenter", "--target", str(pid), "--mount", "--")
        self.ocirt = Runtime(folder / "state", self.enter)

    def call(self, *command: str | Path) -> None:
        subprocess.run([*self.enter, *command], check=True)

    def mounts(self, pid: int = 0) -> list[str]:
        """The lines of mountinfo; without those of other tests, which go when their folders do."""
        lines = Path(f"/proc/{pid or self.pid}/mountinfo").read_text().splitlines()
        own, others = str(self.folder), tempfile.gettempdir() + "/"
        points = ((line.split()[4], line) for line in lines)
        return [line for at, line in points if at.startswith(own) or not at.startswith(others)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 8):
        pytest.skip("needs Linux 6.8")
    propagations = ("private", "shared", "slave")
    command = "".join(f"unshare --mount --propagation {name} " for name in propagations[:2])
    started: list[subprocess.Popen[bytes]] = []

    def sleeper(*words: str) -> int:
        said = subprocess.PIPE
        process = subprocess.Popen(
            [*words, "sh", "-c", "echo; exec sleep 1000"], stdout=said, stdin=subprocess.DEVNULL
        )
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        return process.pid

    pid = sleeper(*command.split())
    other = sleeper(
        *("nsenter", "--target", str(pid), "--mount", "--"),
        *("unshare", "--mount", "--propagation", propagations[2]),
    )
    host = Host(pid, other, tmp_path)
    try:
        yield host
    finally:
        for id in host.ocirt.ids():
            host.ocirt("delete", "--force", id)
        for process in started:
            process.kill()
            process.wait()


def in_namespace_of(host: Host, bundle: Bundle) -> Bundle:
    linux = bundle.document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "mount"]
    return bundle


@pytest.fixture
def container(host: Host, bundle: Bundle) -> Bundle:
    return in_namespace_of(host, bundle)


SLEEP = "exec sleep 1000"


def created(host: Host, container: Bundle) -> None:
    host.ocirt("create", "--bundle", container.write(), container.id, check=True)


def ended(host: Host, container: Bundle) -> None:
    """Starts it and waits for its end."""
    pidfd = os.pidfd_open(host.ocirt.state(container.id)["pid"])
    host.ocirt("start", container.id, check=True)
    assert select.select([pidfd], [], [], 20)[0]
    os.close(pidfd)


def test_mounts_are_there_and_go(host: Host, container: Bundle) -> None:
    """All that the default config asks for; the host's own mounts stay what they are."""
    before, elsewhere = host.mounts(), host.mounts(pid=host.other)
    root = f"{container.path}/rootfs"
    container.shell(f"ls /proc/self/root /proc/{os.getpid()}; {SLEEP}")
    created(host, container)
    pid = host.ocirt.state(container.id)["pid"]
    assert os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat(f"/proc/{host.pid}/ns/mnt").st_ino
    during = host.mounts()
    assert set(before) < set(during)
    points = {line.split()[4] for line in set(during) - set(before)}
    assert {root, f"{root}/proc", f"{root}/dev/pts", f"{root}/proc/sys"} <= points
    assert all(point == root or point.startswith(f"{root}/") for point in points)
    # Another namespace gets the root file system alone, as with any mount.
    assert len(host.mounts(pid=host.other)) == len(elsewhere) + 1
    host.ocirt("start", container.id, check=True)
    done = host.ocirt("exec", container.id, "sh", "-c", "ls /proc/1/exe; >/x")
    assert "/proc/1/exe" in done.stdout
    assert "Read-only file system" in done.stderr  # root.readonly
    host.ocirt("delete", "--force", container.id, check=True)
    assert host.mounts() == before
    assert host.mounts(pid=host.other) == elsewhere


def test_a_container_that_ended_by_itself(host: Host, container: Bundle) -> None:
    before = host.mounts()
    container.shell("ls /proc/self/exe").document["root"]["readonly"] = False
    created(host, container)
    ended(host, container)
    host.ocirt("delete", container.id, check=True)
    assert host.mounts() == before
    done = container.run(host.ocirt)
    assert (done.stdout, done.stderr) == ("/proc/self/exe\n", "")
    assert host.mounts() == before


@pytest.mark.parametrize("wrong", ["mount", "program"])
def test_a_create_that_fails(host: Host, container: Bundle, wrong: str) -> None:
    before = host.mounts()
    if wrong == "mount":
        mount = {"destination": "/x", "type": "tmpfs", "source": "x", "options": ["size=wrong"]}
        container.document["mounts"].append(mount)
    else:
        container.document["process"]["args"] = ["/no/such/program"]
    done = host.ocirt("create", "--bundle", container.write(), container.id)
    assert done.returncode == 1
    assert "config.json#/" in done.stderr
    assert (host.mounts(), host.ocirt.ids()) == (before, [])


def test_a_create_that_was_killed(host: Host, container: Bundle) -> None:
    before = host.mounts()
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]}
    container.document["hooks"] = {"createRuntime": [hook]}
    done = host.ocirt("create", "--bundle", container.write(), container.id)
    assert done.returncode == -9
    assert len(host.mounts()) > len(before)
    host.ocirt("delete", "--force", container.id, check=True)
    assert (host.mounts(), host.ocirt.ids()) == (before, [])


def test_what_was_bound_from_the_host_stays_mounted_there(
    host: Host, container: Bundle, tmp_path: Path
) -> None:
    """An unmount reaches the peers of what the mount is on: rshared ones are the host's."""
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    host.call("mount", "-t", "tmpfs", "of-host", source)
    host.call("mkdir", source / "below")
    host.call("mount", "-t", "tmpfs", "below", source / "below")
    before = host.mounts()
    for options in (["rbind", "rshared"], ["rbind", "rslave"], ["rbind"]):
        mount = {"destination": f"/{options[-1]}", "source": str(source), "options": options}
        container.document["mounts"].append(mount)
    created(host, container)
    host.ocirt("delete", container.id, check=True)
    assert host.mounts() == before


def test_mounts_below_the_root_file_system_stay(host: Host, container: Bundle) -> None:
    """Those of the host's that were there before: the container has copies."""
    inner = container.path / "rootfs/inner"
    inner.mkdir()
    host.call("mount", "-t", "tmpfs", "inner", inner)
    before, elsewhere = host.mounts(), host.mounts(pid=host.other)
    created(host, container)
    host.ocirt("delete", container.id, check=True)
    assert host.mounts() == before
    assert host.mounts(pid=host.other) == elsewhere


def test_a_container_that_covers_its_own_root(host: Host, container: Bundle) -> None:
    before = host.mounts()
    for kind in ("bounding", "effective", "permitted"):
        container.document["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    container.shell("for i in 1 2 3; do mount -t tmpfs over /; done")
    created(host, container)
    ended(host, container)
    done = host.ocirt("delete", container.id)
    assert "something else is mounted over the root file system" in done.stderr
    host.ocirt("delete", "--force", container.id, check=True)
    assert host.mounts() == before


@pytest.mark.parametrize("times", [1, 2])
def test_what_somebody_else_has_mounted_there_stays(
    host: Host, container: Bundle, times: int
) -> None:
    """After they have unmounted one of the container's two, or both."""
    root, before = container.path / "rootfs", host.mounts()
    created(host, container)
    for _ in range(times):
        host.call("umount", "--lazy", root)
    host.call("mount", "-t", "tmpfs", "of-host", root)
    during = host.mounts()
    done = host.ocirt("delete", "--force", container.id)
    assert host.mounts() == during
    refused = "something else is mounted over the root file system" in done.stderr
    assert (refused, done.returncode) == ((True, 1) if times == 1 else (False, 0))
    host.call("umount", root)
    host.ocirt("delete", "--force", container.id)
    assert host.mounts() == before


def test_numbers_of_before_the_host_was_started_anew(host: Host, container: Bundle) -> None:
    created(host, container)
    file = host.ocirt.root / container.id / "state.json"
    state = json.loads(file.read_text())
    state["root_mount"]["boot"] = "another"
    file.write_text(json.dumps(state))
    during = host.mounts()
    host.ocirt("delete", "--force", container.id, check=True)
    assert host.mounts() == during


@pytest.mark.parametrize("by", ["name", "link"])
def test_the_hosts_own_root_file_system(host: Host, container: Bundle, by: str) -> None:
    before = host.mounts()
    (container.path / "link").symlink_to("/")
    container.document["root"]["path"] = "/" if by == "name" else "link"
    done = host.ocirt("create", "--bundle", container.write(), container.id)
    assert "config.json#/root/path: the host's own root file system needs a" in done.stderr
    assert (host.mounts(), host.ocirt.ids()) == (before, [])


def test_a_bundle_that_was_moved(host: Host, container: Bundle, tmp_path: Path) -> None:
    """And a link to the host's own in its place."""
    own = tmp_path / "own/rootfs"
    own.mkdir(parents=True)
    host.call("mount", "-t", "tmpfs", "of-host", own)
    before = host.mounts()
    created(host, container)
    moved = tmp_path / "moved"
    container.path.rename(moved)
    container.path.symlink_to(own.parent)
    host.ocirt("delete", "--force", container.id, check=True)
    assert host.mounts() == before


def test_two_containers_of_one_root_file_system(
    host: Host, container: Bundle, make_bundle: Callable[[], Bundle]
) -> None:
    """The second one's mounts are on the first one's: those can't go before."""
    before = host.mounts()
    second = in_namespace_of(host, make_bundle()).shell(SLEEP)
    second.document["root"]["path"] = str(container.path / "rootfs")
    created(host, container)
    created(host, second)
    host.ocirt("start", second.id, check=True)
    assert host.ocirt("delete", container.id).returncode == 1
    assert host.ocirt("exec", second.id, "ls", "/proc/1/exe").returncode == 0
    host.ocirt("delete", "--force", second.id, check=True)
    host.ocirt("delete", container.id, check=True)
    assert host.mounts() == before


def test_hooks_find_the_mounts(host: Host, container: Bundle, tmp_path: Path) -> None:
    """At the host's path; those of startContainer in the container's root."""
    said = tmp_path / "said"
    proc = container.path / "rootfs/proc/1/exe"
    hook: dict[str, Any] = {"path": "/bin/sh"}
    container.document["hooks"] = {
        "createRuntime": [hook | {"args": ["sh", "-c", f"ls {proc} > {said}"]}],
        "createContainer": [hook | {"args": ["sh", "-c", f"cat /proc/self/mountinfo >> {said}"]}],
        "startContainer": [hook | {"args": ["sh", "-c", "ls /proc/1/stat > /dev/shm/said"]}],
    }
    container.shell("cat /dev/shm/said")
    done = container.run(host.ocirt)
    assert (done.stderr, done.stdout) == ("", "/proc/1/stat\n")
    assert said.read_text().startswith(f"{proc}\n")
    assert f" {container.path}/rootfs " in said.read_text()
