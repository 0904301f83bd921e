"""checkpoint and restore (CONTRACT.md rows 26 to 28, SECURITY.md), with a criu that works."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.freezer import find
from ocirt.host.mountinfo import mounts

from .conftest import COMMAND
from .test_settings import own_secret

pytestmark = pytest.mark.usefixtures("criu")

# Answers every line with how many there were.
ANSWER = 'i=0; while read x; do i=$((i+1)); echo "$i $x"; done'


@pytest.fixture
def criu(needs_criu: Callable[..., None]) -> None:
    needs_criu()


class Saved:
    """A container that talks over pipes, its checkpoints, and calls of ocirt as engines make them:
    nothing that they start keeps a file of the tests open."""

    def __init__(self, ocirt: Any, bundle: Any, folder: Path) -> None:
        self.ocirt = ocirt
        self.bundle = bundle
        self.id = bundle.id
        self.folder = folder
        self.image = folder / "image"
        self.log = folder / "log"
        self.fds: list[int] = []
        self.pipes()
        bundle.shell(ANSWER)

    def pipes(self) -> None:
        """New ones."""
        self.close()
        self.stdin, self.write_end = os.pipe()
        self.read_end, self.stdout = os.pipe()
        self.fds = [self.stdin, self.write_end, self.read_end, self.stdout]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def call(self, *arguments: str, globals: tuple[str, ...] = (), **options: Any) -> str:
        """ "" for success, or what went wrong."""
        self.log.unlink(missing_ok=True)
        flags = ["--root", str(self.ocirt.root), "--log", str(self.log), *globals]
        options = {"stdin": self.stdin, "stdout": self.stdout, **options}
        done = subprocess.run(
            [COMMAND, *flags, *arguments], stderr=subprocess.DEVNULL, timeout=60, **options
        )
        said = self.log.read_text() if self.log.exists() else ""
        assert (done.returncode == 0) == (" level=error " not in said), said
        return said

    def run(self, *flags: str, **options: Any) -> None:
        said = self.call("run", "-d", "--bundle", self.bundle.write(), *flags, self.id, **options)
        assert said == ""

    def checkpoint(self, *flags: str, **options: Any) -> str:
        work = ["--work-path", str(self.folder / "work")]
        return self.call(
            "checkpoint", "--image-path", str(self.image), *work, *flags, self.id, **options
        )

    def restore(self, *flags: str, detach: bool = True, **options: Any) -> str:
        where = ["--image-path", str(self.image), "--work-path", str(self.folder / "work")]
        more = ["--detach"] if detach else []
        words = [*where, *more, "--bundle", self.bundle.write(), *flags, self.id]
        return self.call("restore", *words, **options)

    def say(self, text: str) -> str:
        """What it answers."""
        os.write(self.write_end, f"{text}\n".encode())
        ready, _, _ = select.select([self.read_end], [], [], 20)
        assert ready, "no answer"
        return os.read(self.read_end, 4096).decode().strip()

    def kept(self) -> Any:
        """The state file."""
        return json.loads((self.ocirt.root / self.id / "state.json").read_text())

    def status(self) -> str:
        return str(self.ocirt.state(self.id)["status"])

    def exec(self, script: str) -> str:
        done = self.ocirt("exec", self.id, "/bin/sh", "-c", script)
        return str((done.stdout + done.stderr).strip())


@pytest.fixture
def saved(ocirt: Any, bundle: Any, tmp_path: Path) -> Iterator[Saved]:
    it = Saved(ocirt, bundle, tmp_path)
    yield it
    it.close()


def start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


# ---- what it is for


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


def test_goes_on(saved: Saved, leftovers: Callable[[Any], list[str]]) -> None:
    saved.run()
    assert saved.say("a") == "1 a"
    for turn in range(2):
        assert saved.checkpoint() == ""
        assert saved.ocirt.ids() == []
        assert leftovers(saved.bundle) == []
        assert (saved.folder / "work/dump.log").stat().st_size
        saved.pipes()
        assert saved.restore("--pid-file", str(saved.folder / "pid")) == ""
        assert saved.say("b") == f"{turn + 2} b"
        state = saved.ocirt.state(saved.id)
        assert state["status"] == "running" and state["bundle"] == str(saved.bundle.path)
        assert (saved.folder / "pid").read_text() == str(state["pid"])
        kept = saved.kept()
        assert str(kept["pid_start"]) == start_time(state["pid"])
    assert saved.exec("hostname") == "ocirt"
    assert "container that is running" in saved.call("start", saved.id)
    assert "cannot delete container" in saved.call("delete", saved.id)
    saved.ocirt("kill", saved.id, "KILL", check=True)
    saved.ocirt("delete", "--force", saved.id, check=True)
    assert leftovers(saved.bundle) == []
    assert saved.ocirt.ids() == []


SHARED = "--ext-unix-sk --shell-job --file-locks --manage-cgroups-mode soft --empty-ns network"


def test_row_26_checkpoint(saved: Saved) -> None:
    """All flags that ask for nothing of the host; the others have tests of their own."""
    saved.run()
    words = [*SHARED.split(), "--tcp-established"]
    assert saved.checkpoint("--leave-running", *words) == ""
    assert saved.say("a") == "1 a"
    assert saved.checkpoint(*words) == ""
    assert (saved.folder / "work/dump.log").exists() and not (saved.image / "dump.log").exists()
    assert saved.ocirt.ids() == []


def test_row_27_restore(saved: Saved, tmp_path: Path) -> None:
    saved.run()
    assert saved.checkpoint(*SHARED.split()) == ""
    pid_file = tmp_path / "pid"
    words = [*SHARED.split(), "--no-pivot", "--tcp-close", "--pid-file", str(pid_file)]
    assert saved.restore(*words) == ""
    assert pid_file.read_text() == str(saved.ocirt.state(saved.id)["pid"])
    assert (saved.folder / "work/restore.log").exists()
    assert saved.say("a") == "1 a"


def test_leave_running(saved: Saved) -> None:
    saved.run()
    assert saved.checkpoint("--leave-running") == ""
    assert saved.status() == "running" and saved.say("a") == "1 a"
    # The image is of before.
    saved.ocirt("delete", "--force", saved.id, check=True)
    assert saved.restore() == ""
    assert saved.say("b") == "1 b"


def test_the_default_folder(saved: Saved) -> None:
    saved.run()
    assert saved.call("checkpoint", saved.id, cwd=saved.folder) == ""
    assert (saved.folder / "checkpoint/dump.log").exists()
    assert saved.call("restore", "-d", "-b", saved.bundle.write(), saved.id, cwd=saved.folder) == ""
    assert saved.say("a") == "1 a"


def test_in_the_foreground(saved: Saved) -> None:
    saved.bundle.shell("read x; exit $x")
    saved.run()
    assert saved.checkpoint() == ""
    os.write(saved.write_end, b"7\n")
    command = [COMMAND, "--root", saved.ocirt.root, "restore", "--image-path", saved.image]
    done = subprocess.run(
        [*command, "--bundle", saved.bundle.path, saved.id],
        stdin=saved.stdin,
        stdout=saved.stdout,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode == 7
    assert saved.ocirt.ids() == []


def test_files_as_standard_streams(saved: Saved) -> None:
    """/dev/null of the host, and one that was not written to."""
    saved.bundle.document["mounts"].append(tmpfs("/tmp"))
    saved.bundle.shell(
        "mkfifo /tmp/f; exec 3<>/tmp/f; while read x <&3; do echo $x >/tmp/got; done"
    )
    link(saved, "mkfifo")
    with open(saved.folder / "output", "w") as output:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output}
        saved.run(**streams)
        wait_for(lambda: "f" in saved.exec("ls /tmp"))
        assert saved.checkpoint() == ""
        names = json.loads((saved.image / "descriptors.json").read_text())
        assert [name[:5] for name in names] == ["file["] * 3
        assert saved.restore(**streams) == ""
    saved.exec("echo yes > /tmp/f")
    wait_for(lambda: saved.exec("cat /tmp/got") == "yes")


def test_tmpfs_and_processes(saved: Saved) -> None:
    """What was made in it, by whoever."""
    saved.bundle.document["mounts"].append(tmpfs("/tmp"))
    saved.run()
    link(saved, "mkfifo")
    wait = "{ exec 3<>/tmp/in; read x <&3; echo $x > /tmp/got; } < /dev/null > /dev/null 2>&1 &"
    saved.exec(f"echo kept > /tmp/file; mkfifo /tmp/in; {wait}")
    assert saved.checkpoint() == ""
    assert saved.restore() == ""
    assert saved.exec("cat /tmp/file") == "kept"
    # CRIU makes a time namespace, which exec joins: else the next restore would fail.
    assert saved.exec("test /proc/1/ns/time -ef /proc/self/ns/time; echo $?") == "0"
    saved.exec(f"mkfifo /tmp/more; {wait.replace('in;', 'more;')}")
    assert saved.checkpoint() == ""
    assert saved.restore() == ""
    saved.exec("echo yes > /tmp/in")
    wait_for(lambda: saved.exec("cat /tmp/got") == "yes")


def test_paused(saved: Saved) -> None:
    saved.run()
    saved.ocirt("pause", saved.id, check=True)
    assert saved.checkpoint("--leave-running") == ""
    assert saved.status() == "paused"
    saved.ocirt("resume", saved.id, check=True)
    assert saved.say("a") == "1 a"


def test_hooks(saved: Saved) -> None:
    """Those that set a new container up, and poststop when it is gone."""
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo $0 >> {saved.folder}/hooks"]}
    hooks = {}
    for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        hooks[kind] = [{**hook, "args": [*hook["args"], kind]}]
    del hooks["createContainer"]
    saved.bundle.document["hooks"] = hooks
    saved.run()
    (saved.folder / "hooks").unlink()
    assert saved.checkpoint() == ""
    assert (saved.folder / "hooks").read_text().split() == ["poststop"]
    assert saved.restore() == ""
    assert (saved.folder / "hooks").read_text().split() == ["poststop", "prestart", "createRuntime"]
    assert saved.say("a") == "1 a"


# ---- what is the host's


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": [*options]}


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": ["bind", *options]}


def link(saved: Saved, *applets: str) -> None:
    for applet in applets:
        (saved.bundle.path / "rootfs/bin" / applet).symlink_to("busybox")


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


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


def test_terminal(saved: Saved) -> None:
    saved.bundle.document["process"]["terminal"] = True
    path = saved.folder / "console"

    def master(call: Callable[[], Any]) -> int:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            server.settimeout(20)
            call()
            client = server.accept()[0]
            name, fds, _, _ = socket.recv_fds(client, 4096, 4)
            client.close()
        path.unlink()
        assert name == b"/dev/ptmx" and len(fds) == 1
        return int(fds[0])

    flags = ["--console-socket", str(path)]
    first = master(lambda: saved.run(*flags))
    os.write(first, b"a\n")
    assert read_until(first, b"1 a\r\n")
    assert saved.checkpoint() == ""
    os.close(first)
    second = master(lambda: saved.restore(*flags))
    os.write(second, b"b\n")
    assert read_until(second, b"2 b\r\n")
    assert saved.exec("stat -c %t:%T /dev/console") == "88:0"
    os.close(second)
    assert "without setting console socket" in saved.restore()


def read_until(fd: int, text: bytes) -> bytes:
    data, end = b"", time.monotonic() + 20
    while text not in data:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        assert ready, data
        data += os.read(fd, 4096)
    return data


# ---- what has to be asked for


LOCK = """
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
int main(int n, char **words)  // FILE [COMMAND...]: 1 if it is locked
{
    if (flock(open(words[1], O_RDWR | O_CREAT, 0600), LOCK_EX | LOCK_NB))
        return 1;
    return n > 2 ? execvp(words[2], words + 2) : 0;
}
"""


def test_file_locks(saved: Saved) -> None:
    saved.bundle.document["mounts"].append(tmpfs("/tmp"))
    program = saved.bundle.path / "rootfs/bin/lock"
    compiler = ["gcc", "-static", "-x", "c", "-", "-o", program]
    subprocess.run(compiler, input=LOCK, text=True, check=True)
    saved.bundle.document["process"]["args"] = ["lock", "/tmp/lock", "sh", "-c", ANSWER]
    saved.run()
    assert saved.say("a") == "1 a"
    said = saved.checkpoint()
    assert "lock" in said and f"checkpoint of {saved.id}" in said
    assert saved.status() == "running" and saved.say("b") == "2 b"
    assert saved.checkpoint("--file-locks") == ""
    assert saved.restore("--file-locks") == ""
    assert saved.exec("lock /tmp/lock && echo free || echo locked") == "locked"


def test_tcp(saved: Saved) -> None:
    """Both ends are in the container."""
    saved.bundle.document["mounts"].append(tmpfs("/tmp"))
    link(saved, "nc", "mkfifo", "netstat")
    saved.bundle.document["process"]["capabilities"]["bounding"].append("CAP_NET_BIND_SERVICE")
    saved.bundle.shell(
        "mkfifo /tmp/in; nc -l -p 7777 </tmp/in >/tmp/got & exec 5<>/tmp/in;"
        " until netstat -ltn | grep -q 7777; do sleep 0.1; done;"
        f" ({ANSWER}) | nc 127.0.0.1 7777 >/tmp/back 2>&1"
    )
    saved.run()
    os.write(saved.write_end, b"a\n")
    wait_for(lambda: saved.exec("cat /tmp/got") == "1 a")
    said = saved.checkpoint()
    assert "--tcp-established" in said
    os.write(saved.write_end, b"b\n")
    wait_for(lambda: saved.exec("cat /tmp/got") == "1 a\n2 b")
    assert saved.checkpoint("--tcp-established") == ""
    assert saved.restore("--tcp-established") == ""
    os.write(saved.write_end, b"c\n")
    wait_for(lambda: saved.exec("cat /tmp/got") == "1 a\n2 b\n3 c")


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


def test_pre_dump(saved: Saved, needs_criu: Callable[..., None]) -> None:
    needs_criu("mem_dirty_track")
    saved.run()
    assert saved.checkpoint("--pre-dump") == ""
    assert saved.say("a") == "1 a"
    parent = saved.image
    saved.image = saved.folder / "last"
    assert saved.checkpoint("--parent-path", f"../{parent.name}") == ""
    assert (saved.image / "parent").exists()
    assert saved.restore() == ""
    assert saved.say("b") == "2 b"


def test_parent_path(saved: Saved) -> None:
    saved.run()
    for path, text in (("/absolute", "must be relative"), ("../none", "has no such folder")):
        said = saved.checkpoint("--parent-path", path)
        assert f"--parent-path {path}: " in said and text in said
    assert saved.say("a") == "1 a"


def test_settings_by_annotation(saved: Saved) -> None:
    settings = saved.folder / "criu.conf"
    settings.write_text("log-file=other.log\n")
    saved.bundle.document["annotations"] = {"org.criu.config": str(settings)}
    saved.run()
    assert saved.checkpoint() == ""
    assert (saved.folder / "work/other.log").exists()


# ---- failures


def test_wrong_states(saved: Saved) -> None:
    assert "does not exist" in saved.checkpoint()
    saved.bundle.write()
    saved.call("create", "--bundle", str(saved.bundle.path), saved.id)
    assert "was not started" in saved.checkpoint()
    saved.ocirt("kill", saved.id, "KILL", check=True)
    wait_for(lambda: saved.status() == "stopped")
    assert "container not running" in saved.checkpoint()
    saved.image.mkdir()
    assert "container with given ID already exists" in saved.restore()
    saved.ocirt("delete", saved.id, check=True)
    assert "is no image of a checkpoint" in saved.restore()
    assert "--image-path /none" in saved.call(
        "restore", "--image-path", "/none", saved.id, cwd=saved.bundle.path
    )
    (saved.image / "descriptors.json").write_text("[]")
    assert f"restore of {saved.id}: " in saved.restore()
    assert saved.ocirt.ids() == []


@pytest.mark.parametrize("kind", ["absent", "broken"])
def test_no_criu(saved: Saved, tmp_path: Path, kind: str) -> None:
    saved.run()
    if kind == "broken":
        (tmp_path / "criu").write_text("#!/bin/false\n")
        (tmp_path / "criu").chmod(0o755)
    said = saved.checkpoint(env={"PATH": str(tmp_path)})
    assert ("criu is not installed" in said) == (kind == "absent")
    assert said.count("level=error") == 1
    assert saved.say("a") == "1 a"
    assert saved.checkpoint(env={}) == ""  # PATH is not needed
    assert said.count("level=error") == saved.restore(env={"PATH": str(tmp_path)}).count(
        "level=error"
    )
    assert saved.ocirt.ids() == []


def test_a_failing_hook(saved: Saved, leftovers: Callable[[Any], list[str]]) -> None:
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    said = refused(saved, "/hooks/createRuntime/0")
    assert "/bin/false: exit status 1" in said
    assert saved.ocirt.ids() == [] and leftovers(saved.bundle) == []


def test_killed_restore(saved: Saved, leftovers: Callable[[Any], list[str]]) -> None:
    """delete --force removes what it has left: CRIU with what it had begun."""
    saved.run()
    assert saved.checkpoint() == ""
    flag = saved.folder / "hook"
    script = f"touch {flag}; exec sleep 1000"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 30}
    saved.bundle.document["hooks"] = {"createRuntime": [hook]}
    words = ["--image-path", saved.image, "--bundle", saved.bundle.write(), "-d", saved.id]
    process = subprocess.Popen(
        [COMMAND, "--root", saved.ocirt.root, "restore", *words],
        stdin=saved.stdin,
        stdout=saved.stdout,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(flag.exists)
        assert saved.status() == "creating"
    finally:
        process.kill()
        process.wait()
    assert saved.call("delete", "--force", saved.id) == ""
    wait_for(lambda: leftovers(saved.bundle) == [])
    del saved.bundle.document["hooks"]
    assert saved.restore() == ""
    assert saved.say("a") == "1 a"


def test_killed_checkpoint(saved: Saved, tmp_path: Path) -> None:
    """The container goes on."""
    saved.run()
    flag, real = tmp_path / "flag", shutil.which("criu")
    (tmp_path / "criu").write_text(
        f"#!/bin/sh\n[ -e {flag} ] || exec {real} $*\ntouch {flag}2; exec sleep 1000\n"
    )
    (tmp_path / "criu").chmod(0o755)
    flag.touch()
    process = subprocess.Popen(
        [COMMAND, "--root", saved.ocirt.root, "checkpoint", "--image-path", saved.image, saved.id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        start_new_session=True,
    )
    wait_for(Path(f"{flag}2").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert saved.say("a") == "1 a"
    assert saved.checkpoint() == ""


def test_killed_while_it_is_frozen(saved: Saved, leftovers: Callable[[Any], list[str]]) -> None:
    """Both CRIU, which freezes the container, and ocirt: it is paused then, if the cgroup tells, and
    delete --force removes it."""
    saved.run()
    freezer = find(saved.kept()["cgroup"])
    assert freezer
    for _turn in range(20):
        process = subprocess.Popen(
            [COMMAND, "--root", saved.ocirt.root, "checkpoint", "--leave-running"]
            + ["--image-path", saved.image, saved.id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not freezer.is_frozen():
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if freezer.is_frozen():
            break
    assert freezer.is_frozen()
    assert saved.status() == "paused"
    assert saved.call("delete", "--force", saved.id) == ""
    assert leftovers(saved.bundle) == [] and saved.ocirt.ids() == []


# ---- attacks: CVE-2026-92574, CVE-2024-8676, and names that CRIU takes apart


def refused(saved: Saved, place: str) -> str:
    """It is not restored, and nothing is left; what was said."""
    said = saved.restore()
    assert f"config.json#{place}" in said, said
    assert saved.ocirt.ids() == []
    return said


def test_more_capabilities(saved: Saved) -> None:
    process = saved.bundle.document["process"]
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind].append("CAP_SYS_CHROOT")
    saved.run()
    assert saved.checkpoint() == ""
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind].remove("CAP_SYS_CHROOT")
    said = refused(saved, "/process/capabilities/bounding")
    assert "has CAP_SYS_CHROOT in its bounding set" in said


def test_new_privileges(saved: Saved) -> None:
    saved.bundle.document["process"]["noNewPrivileges"] = False
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["process"]["noNewPrivileges"] = True
    refused(saved, "/process/noNewPrivileges")


def test_another_user(saved: Saved) -> None:
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["process"]["user"] = {"uid": 1000, "gid": 1000}
    refused(saved, "/process/user/uid")


def test_more_groups(saved: Saved) -> None:
    process = saved.bundle.document["process"]
    process["user"] = {"uid": 0, "gid": 0, "additionalGids": [6, 10]}
    saved.run()
    assert saved.checkpoint() == ""
    process["user"]["additionalGids"] = [10]
    assert "is in the groups [6]" in refused(saved, "/process/user/additionalGids")


def test_higher_limits(saved: Saved) -> None:
    process = saved.bundle.document["process"]
    limit = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 1000}
    process["rlimits"], process["oomScoreAdj"] = [limit], 100
    saved.run()
    assert saved.checkpoint() == ""
    limit["hard"] = 999
    assert "has RLIMIT_NOFILE 1000" in refused(saved, "/process/rlimits/0/hard")
    limit["hard"], process["oomScoreAdj"] = 1000, 101
    assert "has an oom_score_adj of 100" in refused(saved, "/process/oomScoreAdj")
    process["oomScoreAdj"] = 99
    assert saved.restore() == ""


FILTER = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


def test_no_filter(saved: Saved) -> None:
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["linux"]["seccomp"] = FILTER
    refused(saved, "/linux/seccomp")


def test_another_filter(saved: Saved) -> None:
    linux = saved.bundle.document["linux"]
    linux["seccomp"] = FILTER
    saved.run()
    assert saved.checkpoint() == ""
    linux["seccomp"] = {**FILTER, "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}]}
    assert "another seccomp filter" in refused(saved, "/linux/seccomp")
    linux["seccomp"] = FILTER
    assert saved.restore() == ""
    pid = saved.ocirt.state(saved.id)["pid"]
    assert "Seccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


def test_a_mount_of_the_host(saved: Saved) -> None:
    mounts = saved.bundle.document["mounts"]
    data = saved.folder / "data"
    data.mkdir()
    mounts.append(bind(data, "/data"))
    saved.run()
    assert saved.checkpoint() == ""
    mounts.pop()
    said = refused(saved, "/mounts")
    assert "has a mount of the host at /data, the config has none" in said


def test_a_mount_of_its_own(saved: Saved) -> None:
    mounts = saved.bundle.document["mounts"]
    mounts.append({"destination": "/proc2", "type": "proc", "source": "proc"})
    saved.run()
    assert saved.checkpoint() == ""
    mounts.pop()
    assert "proc is mounted on /proc2" in refused(saved, "/mounts")


@pytest.mark.parametrize("option", ["ro", "nosuid", "nodev", "noexec"])
def test_a_mount_with_more_rights(saved: Saved, option: str) -> None:
    mounts = saved.bundle.document["mounts"]
    mounts.append(tmpfs("/tmp"))
    saved.run()
    assert saved.checkpoint() == ""
    mounts[-1] = tmpfs("/tmp", option)
    said = refused(saved, f"/mounts/{len(mounts) - 1}/options")
    assert f"/tmp is mounted without {option}" in said


@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
def test_paths(saved: Saved, key: str) -> None:
    linux = saved.bundle.document["linux"]
    path, linux[key] = "/proc/sys/kernel", [p for p in linux[key] if p != "/proc/sys"]
    linux["readonlyPaths"] = [p for p in linux["readonlyPaths"] if p != "/proc/sys"]
    saved.run()
    assert saved.checkpoint() == ""
    linux[key] = [*linux[key], path]
    refused(saved, f"/linux/{key}/{len(linux[key]) - 1}")


def test_a_writable_root(saved: Saved) -> None:
    saved.bundle.document["root"]["readonly"] = False
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["root"]["readonly"] = True
    refused(saved, "/root/readonly")


def test_the_namespace_of_the_host(saved: Saved) -> None:
    linux = saved.bundle.document["linux"]
    namespaces = linux["namespaces"]
    linux["namespaces"] = [n for n in namespaces if n["type"] != "ipc"]
    saved.bundle.document["mounts"] = [
        m for m in saved.bundle.document["mounts"] if m["type"] != "mqueue"
    ]
    saved.run()
    assert saved.checkpoint() == ""
    linux["namespaces"] = namespaces
    index = [n["type"] for n in namespaces].index("ipc")
    refused(saved, f"/linux/namespaces/{index}")


def test_names_of_mounts(saved: Saved) -> None:
    """CVE-2026-119101, CVE-2026-115520: a destination whose name has a ``]:``."""
    canary = saved.folder / "canary"
    canary.mkdir()
    rootfs = saved.bundle.path / "rootfs"
    data = saved.folder / "data"
    data.mkdir()
    (rootfs / "data").mkdir()
    saved.bundle.document["mounts"].append(bind(data, "/data"))
    saved.run()
    assert saved.checkpoint("--leave-running") == ""
    saved.ocirt("delete", "--force", saved.id, check=True)
    # The image's link leads to a name that CRIU would read as another mount.
    evil = f"data]:{canary}"
    (rootfs / "data").rmdir()
    (rootfs / evil).mkdir(parents=True)
    (rootfs / "data").symlink_to(evil)
    assert "its name has a ]" in saved.restore()
    assert saved.ocirt.ids() == []
    saved.run()
    assert "its name has a ]" in saved.checkpoint()
    assert saved.say("a") == "1 a"


# ---- with more


def test_lazy_pages(saved: Saved) -> None:
    """--status-fd says that the memory can be fetched; when whoever fetches it has hung up, the
    container is gone. (CRIU 4.2 itself can't serve pages on Linux 6.18.)"""
    saved.run()
    assert saved.say("a") == "1 a"
    read_end, write_end = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", str(write_end)]
    words += ["--image-path", str(saved.image), saved.id]
    source = subprocess.Popen(
        [COMMAND, "--root", saved.ocirt.root, "checkpoint", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(write_end,),
    )
    os.close(write_end)
    ready = os.read(read_end, 10)
    if ready:
        assert ready == b"\0" and os.read(read_end, 10) == b""  # nobody else has it open
        socket.create_connection(("127.0.0.1", port)).close()
    os.close(read_end)
    said = source.communicate(timeout=30)[1]
    if ready:
        assert (source.returncode, said) == (0, "")
        assert saved.ocirt.ids() == []
    else:
        assert source.returncode == 1 and "kernel has no lazy_pages" in said
        assert saved.say("b") == "2 b"


def test_status_fd_that_is_none(saved: Saved) -> None:
    for text in ("x", "77", "-1", "1"):
        assert f"--status-fd {text}: a descriptor that can be written to" in saved.checkpoint(
            "--lazy-pages", "--status-fd", text
        )
    for text in ("1", "host", "host:0", ":1", "host:70000"):
        assert f"--page-server {text}: HOST:PORT" in saved.checkpoint("--page-server", text)


def test_keys_of_the_caller(saved: Saved) -> None:
    """They are neither the restored container's, nor those of what is executed in it then."""
    saved.bundle.document["linux"]["maskedPaths"] = []
    saved.bundle.shell("while read x; do grep -c ocirt-secret /proc/keys; done")
    saved.run()
    assert saved.checkpoint() == ""
    assert saved.restore(preexec_fn=own_secret) == ""
    assert saved.say("?") == "0"
    done = saved.ocirt("exec", saved.id, "cat", "/proc/keys", preexec_fn=own_secret, check=True)
    assert f"_ses.{saved.id}" in done.stdout and "ocirt-secret" not in done.stdout
