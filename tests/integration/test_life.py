"""A container's whole life, on the real kernel."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND


def wait_for(what: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_run_gives_output_and_exit_status(ocirt: Any, bundle: Any, leftovers: Any) -> None:
    done = bundle.shell("echo hello; echo oops >&2; exit 7").run(ocirt)
    assert (done.returncode, done.stdout) == (7, "hello\n")
    assert done.stderr == "oops\n"
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM"])
def test_a_created_container_ends_by_a_signal(ocirt: Any, bundle: Any, name: str) -> None:
    """As the container manager or systemd ends it, and not only by SIGKILL."""
    bundle.shell("trap '' HUP INT TERM; exec sleep 60")
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    ocirt("kill", bundle.id, name, check=True)
    wait_for(lambda: ocirt.state(bundle.id)["status"] == "stopped")
    ocirt("delete", bundle.id, check=True)
    # Nothing of that stays for the program.
    show = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"
    bundle.document["process"]["args"] = ["/bin/busybox", *show.replace("'", "").split()]
    assert {line.split()[1] for line in bundle.run(ocirt).stdout.splitlines()} == {"0" * 16}


def test_run_ended_by_a_signal(ocirt: Any, bundle: Any) -> None:
    # pid 1 of a namespace can't kill itself: a child does, and the shell tells.
    assert bundle.shell("sh -c 'kill -9 $$'; exit $?").run(ocirt).returncode == 128 + 9


def test_steps_by_hand(ocirt: Any, bundle: Any, leftovers: Any, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    bundle.shell("exec sleep 60").document["annotations"] = {"org.example.key": "value"}
    ocirt("create", "--bundle", bundle.write(), "--pid-file", str(pid_file), bundle.id, check=True)
    state = ocirt.state(bundle.id)
    assert pid_file.read_text() == str(state["pid"])
    assert state["status"] == "created"
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example.key": "value"}
    assert Path(f"/proc/{state['pid']}/comm").read_text() != "sleep\n"

    ocirt("start", bundle.id, check=True)
    assert ocirt.state(bundle.id)["status"] == "running"
    wait_for(lambda: Path(f"/proc/{state['pid']}/comm").read_text() == "sleep\n")
    again = ocirt("start", bundle.id)
    assert again.returncode == 1
    assert "cannot start a container that is running" in again.stderr

    refused = ocirt("delete", bundle.id)
    assert refused.returncode == 1
    expected = f"cannot delete container {bundle.id} that is not stopped: running"
    assert expected in refused.stderr
    ocirt("kill", bundle.id, "KILL", check=True)
    wait_for(lambda: ocirt.state(bundle.id)["status"] == "stopped")
    assert ocirt.state(bundle.id)["pid"] == 0
    assert "container not running" in ocirt("kill", bundle.id, "TERM").stderr
    assert ocirt("kill", "--all", bundle.id, "KILL").returncode == 0
    ocirt("delete", bundle.id, check=True)
    assert "does not exist" in ocirt("state", bundle.id).stderr
    assert ocirt("delete", "--force", bundle.id).returncode == 0
    assert leftovers(bundle) == []


def test_created_container_is_deleted_without_force(
    ocirt: Any, bundle: Any, leftovers: Any
) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    ocirt("delete", bundle.id, check=True)
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


def test_an_id_is_taken_once(ocirt: Any, bundle: Any) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    again = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert again.returncode == 1
    assert "container with given ID already exists" in again.stderr
    assert ocirt.state(bundle.id)["status"] == "created"


def test_list(ocirt: Any, bundle: Any) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    text = ocirt("list", "--format=json", check=True).stdout
    (row,) = json.loads(text)
    assert row == ocirt.state(bundle.id)
    # What reads it by patterns counts on that.
    assert text.count("\n") == 1 and text.startswith('[{"ociVersion":"')
    assert list(row)[:7] == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"]
    assert "created" in ocirt("list", check=True).stdout


def test_exec(ocirt: Any, bundle: Any) -> None:
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    done = ocirt("exec", bundle.id, "/bin/sh", "-c", "id -u; pwd; echo $HOME; exit 5")
    assert (done.returncode, done.stdout) == (5, "0\n/\n/root\n")
    done = ocirt("exec", "-u", "1000:1000", "--cwd", "/tmp", "-e", "A=b", bundle.id, "env")
    assert "A=b\n" in done.stdout
    assert "HOME=/home/u\n" in done.stdout
    assert ocirt("exec", "--user", "1000", bundle.id, "id", "-u").stdout == "1000\n"
    for wrong in ("1:", "1:x", "-1", "2147483648", "x"):
        assert ocirt("exec", f"--user={wrong}", bundle.id, "id").returncode == 255


@pytest.mark.parametrize(
    "given, expected",
    [
        (["HOME=/x", "PATH=/bin"], ["HOME=/x", "PATH=/bin"]),
        (["HOME=", "PATH=/bin"], ["PATH=/bin", "HOME=/root"]),
        (
            ["HOME=/x", "HOME=", "A=1", "PATH=/bin", "A=", "B=2", "A=3"],
            ["PATH=/bin", "B=2", "A=3", "HOME=/root"],
        ),
    ],
)
def test_environment(ocirt: Any, bundle: Any, given: list[str], expected: list[str]) -> None:
    """Each variable once, the last one; an empty HOME is as good as none."""
    bundle.document["process"].update(args=["env"], env=given)
    assert sorted(bundle.run(ocirt).stdout.split()) == sorted(expected)
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    shown = ocirt("exec", bundle.id, "env", check=True).stdout
    assert sorted(shown.split()) == sorted(expected)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_affinity_of_the_caller(ocirt: Any, bundle: Any) -> None:
    """It is not handed on."""
    allowed = os.sched_getaffinity(0)

    def one_cpu() -> None:
        os.sched_setaffinity(0, {min(allowed)})

    bundle.shell("exec sleep 60").write()
    arguments = ("run", "--detach", "--bundle", str(bundle.path), bundle.id)
    ocirt(*arguments, check=True, preexec_fn=one_cpu)
    assert os.sched_getaffinity(ocirt.state(bundle.id)["pid"]) == allowed
    show = ("grep", "Cpus_allowed:", "/proc/self/status")
    shown = ocirt("exec", bundle.id, *show, check=True, preexec_fn=one_cpu).stdout.split()[1]
    assert int(shown.replace(",", ""), 16) == sum(1 << cpu for cpu in allowed)


def test_a_program_whose_interpreter_is_missing(ocirt: Any, bundle: Any) -> None:
    """It is found, and can't be executed: the same words wherever that turns out."""
    script = bundle.path / "rootfs/bin/script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    text = "config.json#/process/args/0: program /bin/script: exec /bin/script: no such file"
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    done = ocirt("exec", bundle.id, "/bin/script")
    assert done.returncode == 255 and text in done.stderr
    ocirt("delete", "--force", bundle.id, check=True)
    bundle.document["process"]["args"] = ["/bin/script"]
    done = bundle.run(ocirt)
    assert done.returncode == 1 and text in done.stderr


def test_exec_joins_everything(ocirt: Any, bundle: Any) -> None:
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    pid = ocirt.state(bundle.id)["pid"]
    script = (
        "for n in pid net mnt ipc uts cgroup; do readlink /proc/self/ns/$n; done; cat /proc/1/comm"
    )
    (bundle.path / "rootfs/bin/readlink").symlink_to("busybox")
    inside = ocirt("exec", bundle.id, "/bin/sh", "-c", script).stdout.split()
    kinds = ("pid", "net", "mnt", "ipc", "uts", "cgroup")
    assert inside == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds] + ["sleep"]


def test_exec_with_a_process_file(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    process, pid_file = tmp_path / "process.json", tmp_path / "pid"
    process.write_text(json.dumps({"args": ["sleep", "50"], "cwd": "/", "env": ["PATH=/bin"]}))
    flags = ["--detach", "--process", str(process), "--pid-file", str(pid_file)]
    ocirt("exec", *flags, bundle.id, check=True)
    assert Path(f"/proc/{pid_file.read_text()}/comm").read_text() == "sleep\n"


def test_a_failed_exec_leaves_nothing(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    done = ocirt("exec", "--pid-file", str(tmp_path / "pid"), bundle.id, "/bin/missing")
    assert done.returncode == 255
    assert "no such file or directory" in done.stderr
    assert "executable file not found in $PATH" in ocirt("exec", bundle.id, "missing").stderr
    assert "permission denied: EISDIR (is a directory)" in ocirt("exec", bundle.id, "/etc").stderr
    assert "permission denied" in ocirt("exec", bundle.id, "/etc/passwd").stderr
    assert "not a directory" in ocirt("exec", bundle.id, "/etc/passwd/x").stderr
    assert not (tmp_path / "pid").exists()


def test_exec_of_a_program_that_is_killed_at_once(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """Its end is not that of the set-up."""
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    for _ in range(5):
        done = ocirt("exec", bundle.id, "/bin/sh", "-c", "kill -9 $$")
        assert (done.returncode, done.stderr) == (128 + 9, "")
    pid_file = tmp_path / "pid"
    flags = ("--detach", "--pid-file", str(pid_file))
    ocirt("exec", *flags, bundle.id, "/bin/sh", "-c", "kill -9 $$", check=True)
    assert pid_file.read_text().isdigit()


def test_exec_in_a_stopped_container(ocirt: Any, bundle: Any) -> None:
    bundle.shell("true").run(ocirt, "--detach")
    wait_for(lambda: ocirt.state(bundle.id)["status"] == "stopped")
    assert "cannot exec in a stopped container" in ocirt("exec", bundle.id, "id").stderr


def test_signals_are_forwarded(ocirt: Any, bundle: Any) -> None:
    bundle.shell("trap 'echo got it; exit 9' TERM; echo ready; while true; do sleep 0.05; done")
    command = [str(Path(sys.executable).parent / "ocirt"), "--root", str(ocirt.root)]
    command += ["run", "--bundle", bundle.write(), bundle.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "got it\n"
        assert process.wait(10) == 9


def test_terminal(ocirt: Any, bundle: Any) -> None:
    bundle.shell("tty; test -t 0 && test -t 1 && stat -c %t:%T /dev/console; read x; echo got $x")
    bundle.document["process"]["terminal"] = True
    (bundle.path / "rootfs/bin/test").symlink_to("busybox")
    command = [str(Path(sys.executable).parent / "ocirt"), "--root", str(ocirt.root)]
    command += ["run", "--bundle", bundle.write(), bundle.id]
    pid, master = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    output = b""
    os.write(master, b"word\n")
    while select.select([master], [], [], 20)[0]:
        try:
            output += os.read(master, 4096)
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"/dev/pts/0" in output
    assert b"88:0" in output
    assert b"got word\r\n" in output


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_terminal_whose_output_goes_to_a_file(
    ocirt: Any, bundle: Any, tmp_path: Path, verb: str
) -> None:
    """It has the lines as they were written: only a terminal needs carriage returns."""
    bundle.shell("echo one; echo two")
    bundle.document["process"]["terminal"] = verb == "run"
    command = [
        str(COMMAND),
        "--root",
        str(ocirt.root),
        "run",
        "--bundle",
        bundle.write(),
        bundle.id,
    ]
    if verb == "exec":
        bundle.shell("exec sleep 60").run(ocirt, "--detach")
        command[3:] = ["exec", "-t", bundle.id, "/bin/sh", "-c", "echo one; echo two"]
    pid, master = pty.fork()
    if pid == 0:
        os.dup2(os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY), 1)
        os.execv(command[0], command)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"


def test_console_socket(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    import socket

    bundle.shell("echo on the terminal")
    bundle.document["process"]["terminal"] = True
    path = tmp_path / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        flags = ["--bundle", bundle.write(), "--console-socket", str(path)]
        ocirt("create", *flags, bundle.id, check=True)
        connection, _ = listener.accept()
        _name, fds, _flags, _address = socket.recv_fds(connection, 4096, 2)
    assert len(fds) == 1
    ocirt("start", bundle.id, check=True)
    with open(fds[0], "rb", buffering=0) as master:
        assert master.readline() == b"on the terminal\r\n"


def test_parked_container_costs_little(ocirt: Any, bundle: Any) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private")]
    assert 0 < sum(private) <= 100


def test_create_leaves_only_stdio_and_fifos_open(ocirt: Any, bundle: Any) -> None:
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    links = {
        os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2
    }
    folder = f"{ocirt.root}/{bundle.id}"
    assert links == {f"{folder}/start", f"{folder}/report"}


def test_create_that_was_killed_can_be_deleted(ocirt: Any, bundle: Any, leftovers: Any) -> None:
    """A hook that never ends holds create in the middle; then it is killed."""
    hook = bundle.path / "hook"
    hook.write_text("#!/bin/sh\nexec sleep 30\n")
    hook.chmod(0o755)
    bundle.document["hooks"] = {"createRuntime": [{"path": str(hook)}]}
    command = [str(Path(sys.executable).parent / "ocirt"), "--root", str(ocirt.root)]
    command += ["create", "--bundle", bundle.write(), bundle.id]
    process = subprocess.Popen(command)
    wait_for(lambda: ocirt("state", bundle.id).returncode == 0 and ocirt.state(bundle.id)["pid"])
    process.kill()
    process.wait()
    ocirt("delete", "--force", bundle.id, check=True)
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


@pytest.mark.skipif(shutil.which("debootstrap") is None, reason="needs debootstrap")
def test_debian(ocirt: Any, bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = Path("/var/cache/ocirt-testbed/debian-minbase")
    if not (cache / "etc/debian_version").exists():
        release = "bookworm"
        for line in Path("/etc/os-release").read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                release = line.partition("=")[2]
        cache.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", release, str(cache)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(cache, ignore_errors=True)
            pytest.fail(f"debootstrap: {done.stdout[-500:]}")
    bundle.document["root"]["path"] = str(cache)
    bundle.shell("cat /etc/debian_version; id -un; dpkg --version | head -1")
    done = bundle.run(ocirt)
    assert done.returncode == 0, done.stderr
    assert "root" in done.stdout.split("\n")
    assert "Debian 'dpkg' package management program" in done.stdout


def write_hook(bundle: Any, name: str, script: str) -> dict[str, Any]:
    path = bundle.path / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"path": str(path)}


def test_every_hook_runs_in_its_place(ocirt: Any, bundle: Any) -> None:
    """In order, with the state on stdin; startContainer inside, with the container's files."""
    log = bundle.path / "log"
    say = "status=$(cat | tr -d ' \\n' | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/')"
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    bundle.document["hooks"] = {
        kind: [write_hook(bundle, kind, f"{say}; echo {kind} $status >> {log}")] for kind in kinds
    }
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer > /tmp/inside"]}
    bundle.document["hooks"]["startContainer"] = [inside]
    bundle.document["root"]["readonly"] = False
    bundle.shell("cat /tmp/inside")
    done = bundle.run(ocirt)
    assert (done.returncode, done.stdout) == (0, "startContainer\n"), done.stderr
    assert log.read_text().splitlines() == [
        "prestart created",
        "createRuntime created",
        "createContainer created",
        "poststart running",
        "poststop stopped",
    ]


def test_hooks_that_mount_in_the_container(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """By its path on the host, in its mount namespace (as NVIDIA's do), or by their working folder."""
    rootfs = bundle.path / "rootfs"
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}\n")
        (rootfs / name).touch()
    script = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -m -t $pid "
    script += f"mount --bind {tmp_path}/one {rootfs}/one"
    runtime = write_hook(bundle, "runtime", script)
    container = write_hook(bundle, "container", f"mount --bind {tmp_path}/two two")
    bundle.document["hooks"] = {"createRuntime": [runtime], "createContainer": [container]}
    done = bundle.shell("cat /one /two").run(ocirt)
    assert done.stdout == "one\ntwo\n", done.stderr
    assert (rootfs / "one").read_text() == (rootfs / "two").read_text() == ""


@pytest.mark.parametrize(
    "env, expected",
    [(None, "A=b\nHOME=/root\nPATH=/bin\n"), (["C=d", "PATH=/x"], "C=d\nPATH=/x\n")],
)
def test_environment_of_a_start_container_hook(
    ocirt: Any, bundle: Any, env: list[str] | None, expected: str
) -> None:
    """Without one of its own it has that of the container's program, as with runc."""
    bundle.document["process"]["env"] = ["A=b", "PATH=/bin"]
    hook = {"path": "/bin/busybox", "args": ["busybox", "sh", "-c", "busybox env > /tmp/env"]}
    bundle.document["hooks"] = {"startContainer": [hook | ({} if env is None else {"env": env})]}
    bundle.document["root"]["readonly"] = False
    done = bundle.shell("busybox grep -vE '^(PWD|SHLVL|OLDPWD)=' /tmp/env | busybox sort").run(
        ocirt
    )
    assert done.stdout == expected


def test_a_failed_poststart_hook_ends_the_container(
    ocirt: Any, bundle: Any, leftovers: Any
) -> None:
    bundle.shell("exec sleep 60")
    bundle.document["hooks"] = {"poststart": [write_hook(bundle, "hook", "exit 1")]}
    done = bundle.run(ocirt, "--detach")
    assert done.returncode == 1
    assert "config.json#/hooks/poststart/0: error running poststart hook #0: " in done.stderr
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


def test_a_failed_poststop_hook_is_a_warning(ocirt: Any, bundle: Any) -> None:
    bundle.document["hooks"] = {"poststop": [write_hook(bundle, "hook", "exit 1")]}
    done = bundle.run(ocirt)
    assert done.returncode == 0
    assert "config.json#/hooks/poststop/0: " in done.stderr


def test_in_a_chroot_that_is_no_mount_point(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """A build environment's, where pivot_root(2) alone would fail."""
    root = tmp_path / "chroot"
    root.mkdir()
    script = (
        "for entry in /*; do\n"
        '  if [ -L "$entry" ]; then cp -P "$entry" "$0/"\n'
        '  elif [ -d "$entry" ]; then mkdir "$0$entry"; mount --rbind "$entry" "$0$entry"; fi\n'
        "done\n"
        'exec chroot $0 "$@"'
    )
    bundle.shell("echo inside; ls /")
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(root)]
    ocirt_run = [str(COMMAND), "--root", str(ocirt.root), "run", "--bundle", bundle.write()]
    done = subprocess.run(
        [*command, *ocirt_run, bundle.id], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("inside\nbin\n")
    assert "chroot" not in done.stdout


def test_run_of_a_container_that_is_deleted_meanwhile(ocirt: Any, bundle: Any) -> None:
    bundle.shell("exec sleep 60")
    command = [str(COMMAND), "--root", str(ocirt.root), "run", "--bundle", bundle.write()]
    with subprocess.Popen([*command, bundle.id], stderr=subprocess.PIPE, text=True) as running:
        wait_for(lambda: ocirt("kill", bundle.id, "0").returncode == 0)
        ocirt("delete", "--force", bundle.id, check=True)
        assert running.wait(10) == 128 + signal.SIGKILL
        assert running.stderr and running.stderr.read() == ""


def test_warnings_of_a_process_file(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    bundle.shell("exec sleep 60")
    ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    process = dict(bundle.document["process"], args=["/bin/true"])
    process["capabilities"] = {"bounding": ["CAP_OF_TOMORROW"]}
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process))
    done = ocirt("exec", "--process", str(file), bundle.id)
    assert done.returncode == 0
    assert "warning: process.json#/capabilities/bounding/0" in done.stderr
