"""checkpoint and restore (CONTRACT.md rows 26 to 28, SECURITY.md), with a criu that works."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .checkpoints import ANSWER, Saved, link, tmpfs, wait_for
from .conftest import COMMAND
from .test_settings import own_secret


def start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


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
