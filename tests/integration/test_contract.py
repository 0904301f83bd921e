"""What engines depend on, on the real kernel: rows of their contract (see test_contract_rows.py)
that need more than a call, and what is like them."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pty
import random
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND, cgroups_of
from .test_life import wait_for
from .test_user_namespace import mapped as to_user_namespace

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def sleeper(ocirt: Any, bundle: Any) -> Any:
    """The bundle of a container that runs."""
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    return bundle


def redirected(ocirt: Any, redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """ocirt, called by a shell with ``redirections`` of descriptors."""
    script = f'exec "$@" {redirections}'
    command = ["/bin/sh", "-c", script, "sh", str(COMMAND), "--root", str(ocirt.root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


# ---- create


def test_row_07_and_39_preserved_descriptors(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """The first is handed on, the others are not."""
    kept = tmp_path / "kept"
    kept.write_text("kept\n")
    bundle.shell("cat <&3; ls /proc/self/fd")
    words = ("run", "--bundle", bundle.write(), "--preserve-fds", "1", bundle.id)
    done = redirected(ocirt, f"3< {kept} 4< {kept}", *words)
    # ls has one of its own, the lowest that is free
    assert done.stdout.split() == ["kept", "0", "1", "2", "3", "4"]
    assert done.stderr == ""
    done = redirected(ocirt, "3<&-", *words)
    assert done.returncode == 1
    assert "--preserve-fds 1: descriptor 3 is not open" in done.stderr


def test_row_39_sockets_of_systemd_come_first(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """LISTEN_FDS descriptors, then those of --preserve-fds."""
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"{name}\n")
    bundle.shell("cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID $$")
    words = ("run", "--bundle", bundle.write(), "--preserve-fds", "1", bundle.id)
    both = f"3< {tmp_path}/first 4< {tmp_path}/second"
    script = f'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" {both}'
    command = ["/bin/sh", "-c", script, "sh", str(COMMAND), "--root", str(ocirt.root), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["first", "second", "1", "1", "1"], done.stderr


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_row_09_pidfd_socket(verb: str, ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """One message under 4096 bytes with one descriptor: of the container's process."""
    path = str(tmp_path / "pidfd")
    bundle.shell("exec sleep 60")
    pid_file = tmp_path / "pid"
    flags = ["--pidfd-socket", path, "--pid-file", str(pid_file)]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        if verb == "create":
            ocirt("create", "--bundle", bundle.write(), *flags, bundle.id, check=True)
        else:
            bundle.run(ocirt, "--detach")
            ocirt("exec", "--detach", *flags, bundle.id, "sleep", "50", check=True)
        connection, _ = listener.accept()
        message, fds, _flags, _address = socket.recv_fds(connection, 4096, 2)
    assert 0 < len(message) < 4096
    assert len(fds) == 1
    info = Path(f"/proc/self/fdinfo/{fds[0]}").read_text().split()
    os.close(fds[0])
    assert info[info.index("Pid:") + 1] == pid_file.read_text()


@pytest.mark.parametrize("options", [[], ["--no-pivot"]])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_whole_procfs_is_out_of_reach(
    ocirt: Any, bundle: Any, options: list[str], mapped: bool
) -> None:
    """The kernel gives a user namespace inside the container one only where another can be seen."""
    if mapped:
        to_user_namespace(bundle)
    for kind in ("bounding", "permitted", "effective"):
        bundle.document["process"]["capabilities"][kind] += ["CAP_SYS_ADMIN", "CAP_SETFCAP"]
    bundle.shell("unshare -mrpf sh -c 'echo in && mount -t proc none /proc && echo mounted'")
    done = bundle.run(ocirt, *options)
    assert (done.returncode, done.stdout) == (1, "in\n")
    assert "ermission denied" in done.stderr


def test_no_pivot(ocirt: Any, bundle: Any, leftovers: Any) -> None:
    bundle.shell("ls /; cat /proc/self/mountinfo | head -1")
    done = bundle.run(ocirt, "--no-pivot")
    assert done.returncode == 0, done.stderr
    assert "bin" in done.stdout.split()
    assert "work" not in done.stdout.split()
    assert leftovers(bundle) == []


def test_keyring(ocirt: Any, bundle: Any) -> None:
    """A session keyring of its own, but with --no-new-keyring."""
    bundle.shell("cat /proc/keys").document["linux"]["maskedPaths"] = []
    # In this order: the kernel shows the keyring for a while after its container.
    seen = [bundle.run(ocirt, *flags).stdout for flags in (("--no-new-keyring",), ())]
    name = f"_ses.{bundle.id}"
    assert [name in text for text in seen] == [False, True]


def test_row_10_init_is_the_callers_child_and_nothing_else_stays(ocirt: Any, bundle: Any) -> None:
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        bundle.shell("exec sleep 60")
        ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
        pid = ocirt.state(bundle.id)["pid"]
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert children == [str(pid)]
        ocirt("start", bundle.id, check=True)
        ocirt("kill", bundle.id, "KILL", check=True)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        ocirt("delete", bundle.id, check=True)
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_row_38_init_is_in_its_cgroup_when_create_returns(ocirt: Any, bundle: Any) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    pid = str(ocirt.state(bundle.id)["pid"])
    folders = cgroups_of(bundle.id)
    assert folders
    for folder in folders:
        assert (Path(folder) / "cgroup.procs").read_text().split() == [pid]


def test_row_11_create_that_is_killed_at_any_time_can_be_deleted(
    ocirt: Any, bundle: Any, leftovers: Any
) -> None:
    command = [str(COMMAND), "--root", str(ocirt.root), "create", "--bundle", bundle.write()]
    began = time.monotonic()
    subprocess.run([*command, bundle.id], check=True)
    takes = time.monotonic() - began
    ocirt("delete", "--force", bundle.id, check=True)
    for _ in range(15):
        process = subprocess.Popen([*command, bundle.id], stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, takes))
        process.kill()
        process.wait()
        ocirt("delete", "--force", bundle.id, check=True)
        assert ocirt.ids() == []
        wait_for(lambda: leftovers(bundle) == [])


def test_row_32_a_failing_create_writes_one_line(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    bundle.document["process"]["args"] = ["missing"]
    bundle.document["process"]["capabilities"]["bounding"].append("CAP_NEW")  # a warning
    flags = ("--log", str(log), "--log-format", "json")
    done = ocirt(*flags, "create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    entry = json.loads(log.read_text())
    assert sorted(entry) == ["level", "msg", "time"]
    assert entry["level"] == "error"
    assert "executable file not found in $PATH" in entry["msg"]
    assert entry["msg"] in done.stderr


# ---- run


def test_row_12_run_keep(ocirt: Any, bundle: Any) -> None:
    done = bundle.shell("exit 3").run(ocirt, "--keep", "--no-subreaper")
    assert done.returncode == 3
    assert ocirt.state(bundle.id)["status"] == "stopped"
    ocirt("delete", bundle.id, check=True)


def test_row_12_the_size_of_the_terminal_follows_the_callers(ocirt: Any, bundle: Any) -> None:
    script = "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done"
    bundle.shell(script).document["process"]["terminal"] = True
    if not (bundle.path / "rootfs/bin/stty").exists():
        (bundle.path / "rootfs/bin/stty").symlink_to("busybox")
    arguments = [str(COMMAND), "--root", str(ocirt.root)]
    arguments += ["run", "--bundle", bundle.write(), bundle.id]
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 70, 0, 0))
        os.execv(arguments[0], arguments)
    seen = b""
    while not seen.endswith(b"\n"):
        seen += os.read(terminal, 4096)
    assert seen == b"20 70\r\n"
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    while b"30 100" not in seen:
        seen += os.read(terminal, 4096)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


# ---- exec


def test_row_15_exec_flags(ocirt: Any, sleeper: Any) -> None:
    flags = ["--cwd", "/tmp", "-e", "A=1", "--env", "B=2", "-u", "5:6", "-g", "7", "-g", "8"]
    script = "pwd; echo $A$B; id -u; id -G; grep NoNewPrivs /proc/self/status"
    done = ocirt("exec", *flags, "--no-new-privs", sleeper.id, "sh", "-c", script, check=True)
    assert done.stdout.splitlines() == ["/tmp", "12", "5", "6 7 8", "NoNewPrivs:\t1"]
    done = ocirt("exec", "--user", "9", sleeper.id, "id", check=True)
    assert done.stdout.startswith("uid=9 gid=0")


def test_row_15_exec_cap(ocirt: Any, sleeper: Any) -> None:
    """Added to what the program gets, and not to what it could inherit (CVE-2022-29162)."""
    script = "grep -E '^Cap(Inh|Eff|Bnd|Amb)' /proc/self/status"

    def sets(*flags: str) -> dict[str, int]:
        done = ocirt("exec", *flags, sleeper.id, "sh", "-c", script, check=True)
        return {n: int(v, 16) for n, v in (line.split() for line in done.stdout.splitlines())}

    before, after = sets(), sets("--cap", "CAP_NET_ADMIN", "-c", "sys_ptrace")
    added = 1 << 12 | 1 << 19
    assert before["CapEff:"] & added == 0
    assert after["CapEff:"] == before["CapEff:"] | added
    assert after["CapBnd:"] == before["CapBnd:"] | added
    assert (after["CapInh:"], after["CapAmb:"]) == (before["CapInh:"], before["CapAmb:"])


@pytest.mark.parametrize("flag", ["--apparmor", "--process-label"])
def test_exec_labels_are_not_ignored(flag: str, ocirt: Any, sleeper: Any) -> None:
    """There is no such profile, and no such label."""
    done = ocirt("exec", flag, "no:such:label", sleeper.id, "true")
    assert done.returncode == 255
    assert "is not enabled on this machine, or has no such" in done.stderr


def test_debug_shows_the_plan_as_it_runs(ocirt: Any, bundle: Any) -> None:
    done = ocirt("--debug", "run", "--bundle", bundle.write(), bundle.id, check=True)
    plan = ocirt("plan", str(bundle.path), check=True).stdout.splitlines()
    lines = [line.removeprefix("ocirt: debug: ") for line in done.stderr.splitlines()]
    shown = [line for line in lines if line in plan]
    assert len(shown) > 50
    assert shown == [line for line in plan if line in shown]


def test_exec_detached_on_a_terminal(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    """As conmon calls it: exec -d --tty --pid-file F --console-socket S."""
    path, pid_file = tmp_path / "console", tmp_path / "pid"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        flags = ["-d", "--tty", f"--pid-file={pid_file}", "--console-socket", str(path)]
        ocirt("exec", *flags, sleeper.id, "sh", "-c", "tty; sleep 50", check=True)
        connection, _ = listener.accept()
        _name, fds, _flags, _address = socket.recv_fds(connection, 4096, 2)
    said = b""
    while not said.endswith(b"\n"):  # it may come in pieces
        said += os.read(fds[0], 100)
    assert said == b"/dev/pts/0\r\n"
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    os.close(fds[0])


def test_row_15_exec_ignore_paused(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    ocirt("pause", sleeper.id, check=True)
    refused = ocirt("exec", sleeper.id, "true")
    assert refused.returncode == 255
    assert "container paused" in refused.stderr
    words = ("--root", str(ocirt.root), "exec", "--ignore-paused", sleeper.id, "echo", "went on")
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen([str(COMMAND), *words], stdout=out)
    time.sleep(0.2)
    assert process.poll() is None
    ocirt("resume", sleeper.id, check=True)
    assert process.wait(20) == 0
    assert (tmp_path / "out").read_text() == "went on\n"


def test_exec_in_a_container_that_is_ending(ocirt: Any, sleeper: Any) -> None:
    """Its first process waits for the others of its pid namespace to be reaped."""
    pid = ocirt.state(sleeper.id)["pid"]
    process = subprocess.Popen(
        [str(COMMAND), "--root", str(ocirt.root), "exec", sleeper.id, "sleep", "50"]
    )
    wait_for(lambda: len(ocirt("ps", "--format", "json", sleeper.id).stdout.split(",")) == 2)
    process.send_signal(signal.SIGSTOP)  # it does not reap
    try:
        ocirt("kill", sleeper.id, "KILL", check=True)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}/ns/mnt") or not _has_root(pid))
        done = ocirt("exec", sleeper.id, "true")
        assert done.returncode == 255
        assert "container not running" in done.stderr
    finally:
        process.send_signal(signal.SIGCONT)
        process.wait(20)


def _has_root(pid: int) -> bool:
    """A process that is ending has left its file system already."""
    try:
        os.readlink(f"/proc/{pid}/root")
        return True
    except OSError:
        return False


# ---- NOTIFY_SOCKET


class Manager:
    """A service manager's side; ``env``: of its service."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()  # a short path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(20)
        path = f"{self.folder.name}/notify"
        self.socket.bind(path)
        self.env = {**os.environ, "NOTIFY_SOCKET": path}

    def close(self) -> None:
        self.socket.close()
        self.folder.cleanup()

    def hear(self) -> bytes:
        message, fds, _flags, _address = socket.recv_fds(self.socket, 4096, 2)
        for fd in fds:
            os.close(fd)
        return message


@pytest.fixture
def manager() -> Iterator[Manager]:
    manager = Manager()
    yield manager
    manager.close()


def tell(pid: int, message: bytes) -> None:
    """As process ``pid`` would with sd_notify(3)."""
    path = f"/proc/{pid}/root/run/notify/notify.sock"
    wait_for(lambda: os.path.exists(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(message, path)


@pytest.mark.parametrize("verb", ["start", "run --detach", "run"])
def test_row_39_notify_socket(
    verb: str, ocirt: Any, bundle: Any, manager: Manager, leftovers: Any, tmp_path: Path
) -> None:
    (bundle.path / "rootfs/run").mkdir()
    bundle.shell("exec sleep 60")
    words = ["--bundle", bundle.write(), "--pid-file", str(tmp_path / "pid"), bundle.id]
    command = [str(COMMAND), "--root", str(ocirt.root)]
    if verb == "start":
        ocirt("create", *words, check=True, env=manager.env)
        words = [bundle.id]
    process = subprocess.Popen([*command, *verb.split(), *words], env=manager.env)
    wait_for((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    tell(pid, b"STATUS=nearly")
    tell(pid, b"MAINPID=1\nREADY=1\n")
    assert manager.hear() == b"READY=1\n"
    main = process.pid if verb == "run" else pid
    assert manager.hear() == b"MAINPID=%d\n" % main
    assert process.poll() is None
    assert manager.hear() == b"BARRIER=1"
    assert ocirt.state(bundle.id)["status"] == "running"
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"NOTIFY_SOCKET=/run/notify/notify.sock" in environment
    if verb == "run":
        ocirt("kill", bundle.id, "KILL", check=True)
        assert process.wait(20) == 128 + 9
    else:
        assert process.wait(20) == 0
    ocirt("delete", "--force", bundle.id, check=True)
    assert leftovers(bundle) == []
    assert ocirt.ids() == []


def test_notify_socket_of_a_container_that_says_nothing(
    ocirt: Any, bundle: Any, manager: Manager
) -> None:
    (bundle.path / "rootfs/run").mkdir()
    bundle.shell("sleep 0.2").run(ocirt, "--detach")  # without
    ocirt("delete", "--force", bundle.id, check=True)
    words = ("run", "--detach", "--bundle", bundle.write(), bundle.id)
    ocirt(*words, check=True, env=manager.env)
    assert ocirt.state(bundle.id)["status"] == "stopped"
    ocirt("delete", bundle.id, check=True)


# ---- texts


def test_row_35_and_37_texts_of_errors(ocirt: Any, bundle: Any, make_bundle: Any) -> None:
    bundle.shell("exec sleep 60")
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    again = make_bundle()
    said = ocirt("create", "--bundle", again.write(), bundle.id).stderr
    assert "container with given ID already exists" in said
    assert "invalid container ID format" in ocirt("create", "--bundle", again.write(), "a/b").stderr
    ocirt("kill", bundle.id, "KILL", check=True)
    wait_for(lambda: ocirt.state(bundle.id)["status"] == "stopped")
    assert "cannot start a container that has stopped" in ocirt("start", bundle.id).stderr
    assert "cannot exec in a stopped container" in ocirt("exec", bundle.id, "true").stderr
    assert "container not running" in ocirt("kill", bundle.id, "TERM").stderr
    assert ocirt("kill", "--all", bundle.id, "TERM").returncode == 0
    for verb in ("start", "state", "kill", "delete", "exec", "pause", "resume", "ps", "events"):
        words = (verb, "no-such-id", *(("true",) if verb == "exec" else ()))
        done = ocirt(*words)
        assert done.returncode == (255 if verb == "exec" else 1)
        assert "does not exist" in done.stderr, verb
