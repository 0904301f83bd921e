"""What of a checkpointed container is the host's: mounts, namespaces, cgroups."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.host.mountinfo import mounts

from .checkpoints import Saved, bind, tmpfs, wait_for


def test_bind_mounts(saved: Saved) -> None:
    """Folders, files, one in another, at the end of a link, read-only; and mount points that are
    gone when it is restored."""
    outer, inner, file = (saved.folder / name for name in ("outer", "inner", "file"))
    for folder in (outer, inner):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    file.write_text("file")
    rootfs = saved.bundle.path / "rootfs"
    (rootfs / "real").mkdir()
    (rootfs / "link").symlink_to("/real")
    saved.bundle.document["mounts"] += [
        bind(outer, "/outer"),
        bind(inner, "/outer/for/inner", "ro"),
        bind(file, "/link/file"),
        tmpfs("/tmp"),
        bind(file, "/tmp/file"),
    ]
    saved.run()
    look = "cat /outer/name /outer/for/inner/name /real/file /tmp/file"
    assert saved.exec(look) == "outerinnerfilefile"
    assert saved.checkpoint() == ""
    shutil.rmtree(outer / "for")
    (rootfs / "real/file").unlink()
    file.write_text("new")
    assert saved.restore() == ""
    assert saved.exec(look) == "outerinnernewnew"
    assert "Read-only" in saved.exec("echo > /outer/for/inner/name")
    assert saved.exec("echo x > /outer/x; cat /outer/x") == "x"


def test_recursive_bind(saved: Saved) -> None:
    """What is mounted below is the host's as well."""
    folder = saved.folder / "folder"
    (folder / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", folder / "below"], check=True)
    try:
        (folder / "below/file").write_text("below")
        saved.bundle.document["mounts"].append(bind(folder, "/data", "rbind"))
        saved.run()
        assert saved.checkpoint() == ""
        assert saved.restore() == ""
        assert saved.exec("cat /data/below/file") == "below"
        saved.ocirt("delete", "--force", saved.id, check=True)
    finally:
        subprocess.run(["umount", folder / "below"], check=True)


@pytest.mark.parametrize("option", ["rprivate", "rslave"])
def test_propagation(saved: Saved, option: str) -> None:
    """What is mounted on the host later arrives; and nothing is unmounted there."""
    folder = saved.folder / "folder"
    (folder / "before").mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "none"]
    subprocess.run([*mounted, folder], check=True)
    try:
        subprocess.run(["mount", "--make-shared", folder], check=True)
        for name in ("before", "after", "inner"):
            (folder / name).mkdir()
        subprocess.run([*mounted, folder / "before"], check=True)
        (folder / "before/file").touch()
        saved.bundle.document["mounts"] += [
            bind(folder, "/data", "rbind", option),
            bind(folder / "inner", "/inner", option),
        ]
        saved.run()
        assert saved.checkpoint() == ""
        assert saved.restore() == ""
        assert (folder / "before/file").exists()
        subprocess.run([*mounted, folder / "after"], check=True)
        (folder / "after/file").touch()
        expected = "before/file" if option == "rprivate" else "after/file\nbefore/file"
        assert saved.exec("cd /data; ls */file") == expected
        saved.ocirt("delete", "--force", saved.id, check=True)
    finally:
        subprocess.run(["umount", "--recursive", folder], check=True)


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Path]:
    """A network namespace with a name."""
    path = folder / "net"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_network_namespace_of_the_host(saved: Saved) -> None:
    with network(saved.folder) as path:
        for namespace in saved.bundle.document["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = str(path)
        saved.run()
        assert saved.checkpoint() == ""
        assert saved.restore() == ""
        pid = saved.ocirt.state(saved.id)["pid"]
        assert os.stat(f"/proc/{pid}/ns/net").st_ino == path.stat().st_ino
        assert saved.say("a") == "1 a"
        saved.ocirt("delete", "--force", saved.id, check=True)


def test_network_namespace_of_its_own(saved: Saved) -> None:
    """It is a new one, with loopback."""
    saved.run()
    assert saved.checkpoint() == ""
    assert saved.restore() == ""
    pid = saved.ocirt.state(saved.id)["pid"]
    assert os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    assert "LOOPBACK,UP" in saved.exec("ip link show lo")


def test_pid_namespace_of_the_host(saved: Saved) -> None:
    reaper = "import signal, time; signal.signal(signal.SIGCHLD, signal.SIG_IGN); time.sleep(1000)"
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", reaper]
    holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        wait_for(lambda: children.read_text() != "")
        path = f"/proc/{children.read_text().strip()}/ns/pid"
        for namespace in saved.bundle.document["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = path
        saved.run()
        old = saved.ocirt.state(saved.id)["pid"]
        assert saved.say("a") == "1 a"
        assert saved.checkpoint() == ""
        wait_for(lambda: not Path(f"/proc/{old}").exists())  # it needs the same pid in there
        assert saved.restore() == ""
        pid = saved.ocirt.state(saved.id)["pid"]
        assert os.stat(f"/proc/{pid}/ns/pid").st_ino == os.stat(path).st_ino
        assert saved.say("b") == "2 b"
        saved.ocirt("delete", "--force", saved.id, check=True)
    finally:
        holder.kill()
        holder.wait()


def answer(host: socket.socket, said: list[bytes]) -> None:
    """As a service manager does it: the barrier is gone when it has dealt with all."""
    for _ in range(3):
        data, fds, _, _ = socket.recv_fds(host, 4096, 1)
        said.append(data)
        for fd in fds:
            os.close(fd)


def test_notify(saved: Saved) -> None:
    """NOTIFY_SOCKET: create has mounted a folder of its state folder; the restored container is ready."""
    path = str(saved.folder / "host.sock")
    env = {**os.environ, "NOTIFY_SOCKET": path}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host:
        host.bind(path)
        host.settimeout(20)
        create = ["create", "--bundle", saved.bundle.write(), saved.id]
        assert saved.call(*create, env=env) == ""
        assert saved.call("start", saved.id) == ""
        assert saved.say("a") == "1 a"
        for turn in ("2 b", "3 b"):
            assert saved.checkpoint() == ""
            assert "mount of the host at /run/notify, the config has none" in saved.restore()
            answers: list[bytes] = []
            thread = threading.Thread(target=answer, args=(host, answers))
            thread.start()
            assert saved.restore(env=env) == ""
            thread.join()
            pid = saved.ocirt.state(saved.id)["pid"]
            assert answers == [b"READY=1\n", b"MAINPID=%d\n" % pid, b"BARRIER=1"]
            assert saved.say("b") == turn
            assert saved.exec("ls -d /run/notify; echo $NOTIFY_SOCKET") == "/run/notify"
    assert saved.checkpoint() == ""
    said = saved.restore(env=env)
    assert "NOTIFY_SOCKET: Connection refused" in said and " level=error " not in said
    assert saved.say("b") == "4 b"
    saved.ocirt("delete", "--force", saved.id, check=True)


@contextlib.contextmanager
def hierarchies(point: Path) -> Iterator[list[Path]]:
    """Folders of all, also of version 2 where that is mounted nowhere: containers have no cgroup in
    it then."""
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup2", "none", point], check=True)
    try:
        seen = {mount.point for mount in mounts() if mount.fs_type in ("cgroup", "cgroup2")}
        yield [Path(folder) for folder in seen if os.access(folder, os.W_OK)]
    finally:
        subprocess.run(["umount", point], check=True)


@pytest.mark.parametrize("mode", ["soft", "full"])
def test_other_cgroups_are_left_alone(saved: Saved, mode: str) -> None:
    """Those that have gone meanwhile do not come back."""
    flags, name = ["--manage-cgroups-mode", mode], f"ocirt-bystander-{os.getpid()}"
    point = saved.folder / "cgroup2"
    saved.run()
    with hierarchies(point) as folders:
        for folder in folders:
            (folder / name).mkdir(exist_ok=True)  # that of version 2 may be mounted twice
    said = saved.checkpoint(*flags)
    with hierarchies(point) as folders:
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):
                (folder / name).rmdir()
    assert said == ""
    saved.pipes()
    assert saved.restore(*flags) == ""
    with hierarchies(point) as folders:
        back = [folder / name for folder in folders if (folder / name).exists()]
        for each in back:
            with contextlib.suppress(FileNotFoundError):
                each.rmdir()
    assert back == []


@pytest.mark.parametrize("mode", ["soft", "full", "ignore"])
def test_cgroups(saved: Saved, mode: str) -> None:
    """The limits are those of the config that it is restored with, and so is the place."""
    limits = saved.bundle.document["linux"]["resources"] = {"pids": {"limit": 50}}
    flags = ["--manage-cgroups-mode", mode]
    saved.run()
    assert saved.checkpoint(*flags) == ""
    limits["pids"]["limit"] = 60
    path = saved.bundle.document["linux"]["cgroupsPath"] = f"/{saved.id}-new"
    said = saved.restore(*flags)
    assert said == "" or mode == "ignore" and "no cgroup namespace of its own" in said
    pid = saved.ocirt.state(saved.id)["pid"]
    places = {line.split(":", 2)[2] for line in open(f"/proc/{pid}/cgroup").read().splitlines()}
    assert path in places
    kept = saved.kept()["cgroup"]
    files = [Path(folder) / "pids.max" for folder in kept["folders"].values()]
    assert [file.read_text().strip() for file in files if file.exists()] == ["60"]
    assert saved.say("a") == "1 a"
