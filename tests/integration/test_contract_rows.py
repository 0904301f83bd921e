"""What containerd, Docker, Podman, CRI-O and BuildKit depend on: a test for each row of their
contract that test_contract.py has not, named after its number (tests/unit/test_contract_rows.py
sees that none is forgotten)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND
from .test_life import wait_for


@pytest.fixture
def sleeper(ocirt: Any, bundle: Any) -> Any:
    """The bundle of a container that runs."""
    bundle.shell("exec sleep 60").run(ocirt, "--detach")
    return bundle


def call(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """ocirt without --root; for verbs that start nothing."""
    return subprocess.run(
        [str(COMMAND), *words], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_a_caller_that_ignores_the_end_of_its_children(ocirt: Any, bundle: Any) -> None:
    """So ocirt was executed, and so the kernel would reap what ocirt has to wait for."""
    bundle.document["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    bundle.shell("sleep 0.1; exit 3")
    ignoring = type(ocirt)(ocirt.root, ("env", "--ignore-signal=CHLD"))
    done = bundle.run(ignoring)
    assert (done.returncode, done.stderr) == (3, "")
    bundle.shell("exec sleep 1000")
    ignoring("create", "--bundle", bundle.write(), bundle.id, check=True)
    assert ignoring("exec", bundle.id, "sh", "-c", "exit 4").returncode == 4
    ignoring("delete", "--force", bundle.id, check=True)


def test_row_01_global_flags(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for spelling in ("--{}={}", "--{} {}"):
        flags = [("root", str(ocirt.root)), ("log", str(log)), ("log-format", "json")]
        flags += [("rootless", "false"), ("cgroup-manager", "cgroupfs")]
        words = " ".join(spelling.format(*flag) for flag in flags).split()
        assert call(*words, "--debug", "list", "-q").returncode == 0
        assert call(*words, "--systemd-cgroup=false", "state", "none").returncode == 1
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["level"] for entry in said if entry["level"] == "error"] == ["error"] * 2


def test_row_02_single_dash(ocirt: Any, bundle: Any) -> None:
    done = bundle.shell("echo ran").run(ocirt, "-no-subreaper", "-no-new-keyring=true")
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_row_03_and_04_the_cgroup_manager_is_remembered(ocirt: Any, bundle: Any) -> None:
    """systemd is test_systemd.py's; here: later verbs know that there is no cgroup."""
    bundle.shell("exec sleep 60").write()
    flags = ("--cgroup-manager", "disabled")
    ocirt(*flags, "create", "--bundle", str(bundle.path), bundle.id, check=True)
    ocirt("start", bundle.id, check=True)
    own = Path("/proc/self/cgroup").read_text()
    pid = ocirt.state(bundle.id)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == own
    ocirt("exec", bundle.id, "true", check=True)
    ocirt("kill", bundle.id, "KILL", check=True)
    wait_for(lambda: ocirt.state(bundle.id)["status"] == "stopped")
    ocirt("delete", bundle.id, check=True)
    assert call("--cgroup-manager", "other", "list").returncode == 1


def test_row_05_default_root(ocirt: Any, bundle: Any) -> None:
    """In a mount namespace with a /run of its own."""
    script = 'mount -t tmpfs tmpfs /run && "$@" && stat -c "%n %a" /run/ocirt /run/ocirt/*'
    words = [str(COMMAND), "create", "--bundle", bundle.write(), bundle.id]
    unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-ec"]
    delete = f'{script}; "$1" delete --force {bundle.id}; ls /run/ocirt'
    done = subprocess.run(
        [*unshare, delete, "sh", *words], stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    assert done.stdout == f"/run/ocirt 700\n/run/ocirt/{bundle.id} 700\n"


def test_row_06_empty_environment(ocirt: Any, bundle: Any) -> None:
    bundle.shell("exec sleep 60")
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True, env={})
    ocirt("start", bundle.id, check=True, env={})
    ocirt("exec", bundle.id, "true", check=True, env={})
    assert ocirt("state", bundle.id, env={}).returncode == 0
    ocirt("delete", "--force", bundle.id, check=True, env={})


def test_row_07_create(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    flags = ["--pid-file", str(pid_file), "--no-pivot", "--no-new-keyring", "--preserve-fds", "0"]
    ocirt("create", "--bundle", bundle.write(), *flags, bundle.id, check=True)
    assert ocirt.state(bundle.id)["status"] == "created"


def test_crun_config(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """crun's run --config FILE: of the caller's folder, the rest is the bundle's."""
    bundle.shell("echo from elsewhere").write()
    (bundle.path / "config.json").rename(tmp_path / "elsewhere.json")
    for spelling in (["--config", "elsewhere.json"], ["-f", str(tmp_path / "elsewhere.json")]):
        words = ["run", "--bundle", str(bundle.path), *spelling, bundle.id]
        done = ocirt(*words, check=True, cwd=tmp_path)
        assert done.stdout == "from elsewhere\n"
    (tmp_path / "elsewhere.json").write_text("{")
    done = ocirt("create", "--bundle", str(bundle.path), "-f", "x.json", bundle.id)
    assert done.returncode == 1
    assert "x.json: no such file or directory" in done.stderr


def test_row_08_pid_file(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """Written before exit, without a newline, by a rename: who waits for it reads all of it."""
    pid_file = tmp_path / "pid"
    seen: list[str] = []

    def watch() -> None:
        while not seen:
            if pid_file.exists():
                seen.append(pid_file.read_text())

    watcher = threading.Thread(target=watch)
    watcher.start()
    ocirt("create", "--bundle", bundle.write(), "--pid-file", str(pid_file), bundle.id, check=True)
    watcher.join(20)
    assert seen == [pid_file.read_text()] == [str(ocirt.state(bundle.id)["pid"])]
    assert [path.name for path in tmp_path.glob("*pid*")] == ["pid"]


def test_row_13_exec_process(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    process, pid_file = tmp_path / "process.json", tmp_path / "pid"
    script = "echo $PATH; cat <&3; exec sleep 50"
    document = {"args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]}
    process.write_text(json.dumps(document))
    words = ["--root", str(ocirt.root), "exec", "--process", str(process), "--detach"]
    words += ["--pid-file", str(pid_file), "--preserve-fds", "1", sleeper.id]
    given, out = tmp_path / "given", tmp_path / "out"
    given.write_text("given\n")
    command = ["sh", "-c", f'exec "$@" 3< {given} > {out}', "sh", str(COMMAND), *words]
    subprocess.run(command, check=True, timeout=60)
    wait_for(lambda: out.read_text() == "/bin\ngiven\n")
    assert os.path.exists(f"/proc/{pid_file.read_text()}")


def test_row_14_exec_as_conmon_rs_calls_it(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    ocirt("exec", "-d", f"--pid-file={tmp_path}/pid", sleeper.id, "sleep", "50", check=True)
    command_line = Path(f"/proc/{(tmp_path / 'pid').read_text()}/cmdline").read_bytes()
    assert command_line == b"sleep\x0050\0"


def test_row_16_a_failed_exec_leaves_no_pid_file(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    for words in (["no-such-program"], ["/etc"], ["/etc/passwd"]):
        flags = ("--detach", "--pid-file", str(tmp_path / "pid"))
        assert ocirt("exec", *flags, sleeper.id, *words).returncode == 255
        assert list(tmp_path.glob("*pid*")) == []


def test_row_17_start_in_a_wrong_state(ocirt: Any, sleeper: Any) -> None:
    assert "cannot start a container that is running" in ocirt("start", sleeper.id).stderr
    ocirt("kill", sleeper.id, "KILL", check=True)
    wait_for(lambda: ocirt.state(sleeper.id)["status"] == "stopped")
    done = ocirt("start", sleeper.id)
    assert done.returncode == 1
    assert "cannot start a container that has stopped" in done.stderr


@pytest.mark.parametrize("signal", ["9", "KILL", "SIGKILL", "kill", "sigkill"])
@pytest.mark.parametrize("flags", [[], ["--all"], ["-a"]])
def test_row_18_kill(signal: str, flags: list[str], ocirt: Any, sleeper: Any) -> None:
    ocirt("kill", *flags, sleeper.id, signal, check=True)
    wait_for(lambda: ocirt.state(sleeper.id)["status"] == "stopped")
    ocirt("kill", "--all", sleeper.id, signal, check=True)
    assert ocirt("kill", sleeper.id, signal).returncode == 1


def test_row_19_delete(ocirt: Any, sleeper: Any) -> None:
    ocirt("delete", "--force", sleeper.id, check=True)
    ocirt("delete", "--force", sleeper.id, check=True)
    assert ocirt("delete", sleeper.id).returncode == 1
    half = ocirt.root / sleeper.id
    half.mkdir()
    ocirt("delete", "--force", sleeper.id, check=True)
    assert not half.exists()


def test_row_20_and_21_state_and_list(ocirt: Any, sleeper: Any, bundle: Any) -> None:
    state = ocirt.state(sleeper.id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", state.pop("created"))
    assert state.pop("pid") > 0
    assert state == {
        "ociVersion": bundle.document["ociVersion"],
        "id": bundle.id,
        "status": "running",
        "bundle": str(bundle.path),
        "rootfs": f"{bundle.path}/rootfs",
        "owner": "root",
        **({"annotations": state["annotations"]} if "annotations" in state else {}),
    }
    listed = json.loads(ocirt("list", "--format=json", check=True).stdout)
    assert listed == [ocirt.state(sleeper.id)]
    assert ocirt("list", "-q", check=True).stdout == f"{bundle.id}\n"
    head, row = ocirt("list", check=True).stdout.splitlines()
    assert head.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[0] == bundle.id
    ocirt("kill", sleeper.id, "KILL", check=True)
    wait_for(lambda: ocirt.state(sleeper.id)["status"] == "stopped")
    assert ocirt.state(sleeper.id)["pid"] == 0


def test_row_21_list_of_none(ocirt: Any) -> None:
    assert json.loads(ocirt("list", "--format", "json", check=True).stdout) in ([], None)


def test_row_22_ps(ocirt: Any, sleeper: Any) -> None:
    pids = json.loads(ocirt("ps", "--format", "json", sleeper.id, check=True).stdout)
    assert pids == [ocirt.state(sleeper.id)["pid"]]
    head, *rows = ocirt("ps", "--format", "table", sleeper.id, "-ef").stdout.splitlines()
    column = head.split().index("PID")
    assert [int(row.split()[column]) for row in rows] == pids


def test_row_23_events(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    event = json.loads(ocirt("events", "--stats", sleeper.id, check=True).stdout)
    assert (event["type"], event["id"]) == ("stats", sleeper.id)
    assert {"cpu", "memory", "pids", "blkio"} <= event["data"].keys()
    out = tmp_path / "out"
    words = ["--root", str(ocirt.root), "events", "--interval=100ms", sleeper.id]
    with open(out, "wb") as file:
        process = subprocess.Popen([str(COMMAND), *words], stdout=file)
    wait_for(lambda: out.read_text().count("\n") >= 2)
    ocirt("kill", sleeper.id, "KILL", check=True)
    assert process.wait(20) == 0
    assert {json.loads(line)["type"] for line in out.read_text().splitlines()} == {"stats"}


@pytest.mark.parametrize("flag", ["--resources=-", "--resources -", "FILE", "--pids-limit 77"])
def test_row_24_update(flag: str, limited: Any, tmp_path: Path) -> None:
    limited.run({})
    file = tmp_path / "resources.json"
    file.write_text('{"pids": {"limit": 77}}')
    words = flag.split() if flag != "FILE" else ["--resources", str(file)]
    given = file.read_text() if "-" in words or "--resources=-" in words else ""
    limited.ocirt("update", *words, limited.id, input=given, check=True)
    limited.expect({"pids.max": "77"}, {"pids.max": "77"})


def test_row_25_pause_and_resume(ocirt: Any, sleeper: Any) -> None:
    ocirt("pause", sleeper.id, check=True)
    assert ocirt.state(sleeper.id)["status"] == "paused"
    assert ocirt("pause", sleeper.id).returncode == 1
    ocirt("resume", sleeper.id, check=True)
    assert ocirt.state(sleeper.id)["status"] == "running"
    assert ocirt("resume", sleeper.id).returncode == 1


def test_row_28_is_there_criu(ocirt: Any, tmp_path: Path) -> None:
    """What Podman asks before it tries."""
    for installed in (False, True):
        if installed:
            (tmp_path / "criu").touch(0o755)
        for verb in ("checkpoint", "restore"):
            done = ocirt(verb, "--help", env={"PATH": str(tmp_path)})
            assert (done.returncode == 0) == installed
    done = ocirt("restore", "--lsm-mount-context")
    assert done.returncode != 0
    assert "flag needs an argument" in done.stdout + done.stderr


def test_row_29_features(ocirt: Any) -> None:
    done = ocirt("features", check=True)
    assert done.stderr == ""
    features = json.loads(done.stdout)
    assert features["ociVersionMin"] <= features["ociVersionMax"]
    assert "rro" in features["mountOptions"]
    assert {"mount", "pid", "user"} <= set(features["linux"]["namespaces"])
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    prefixes = features["potentiallyUnsafeConfigAnnotations"]
    assert "org.systemd.property." in prefixes


@pytest.mark.parametrize("name", ["ocirt", "runc", "crun"])
def test_row_30_version(name: str, tmp_path: Path) -> None:
    link = tmp_path / name
    link.symlink_to(COMMAND)
    env = {"OCIRT_NAME": name}
    for command in ([str(link)], [str(COMMAND)]):
        done = subprocess.run(
            [*command, "--version"], stdout=subprocess.PIPE, text=True, env=env, check=True
        )
        first, second, third, *_ = done.stdout.splitlines()
        assert first.startswith(f"{name} version ")
        assert (second.split()[0], third.split()[0]) == ("commit:", "spec:")
        assert done.stdout.count("version") == 1


def test_row_31_to_33_log(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"before": 1}\n')
    flags = ("--log", str(log), "--log-format", "json")
    bundle.document["process"]["args"] = ["missing\n\x01\u2028"]
    done = ocirt(*flags, "create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    before, said = (json.loads(line) for line in log.read_text().split("\n")[:-1])
    assert before == {"before": 1}
    assert said["level"] == "error"
    moment = time.strptime(said["time"][:19], "%Y-%m-%dT%H:%M:%S")
    assert abs(time.time() - time.mktime(moment) + time.timezone) < 3600
    assert "executable file not found in" in said["msg"]
    assert "executable file not found in" in done.stderr


def test_row_34_exit_status(ocirt: Any, bundle: Any, sleeper: Any, make_bundle: Any) -> None:
    assert make_bundle().shell("exit 9").run(ocirt).returncode == 9
    assert ocirt("state", "none").returncode == 1
    assert ocirt("exec", sleeper.id, "missing").returncode == 255
    assert ocirt("exec", sleeper.id, "sh", "-c", "kill -TERM $$").returncode == 128 + 15
    assert ocirt("exec", sleeper.id, "sh", "-c", "exit 3").returncode == 3


@pytest.mark.parametrize(
    "program, text",
    [
        ("missing", "executable file not found in"),
        ("/bin/missing", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "is a directory"),
        ("/etc/passwd/x", "not a directory"),
    ],
)
def test_row_36_program(program: str, text: str, ocirt: Any, bundle: Any) -> None:
    bundle.document["process"]["args"] = [program]
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    assert text in done.stderr
    assert ocirt.ids() == []


@pytest.mark.parametrize("id", ["a", "A.b+c-d_e", "0", "-", "...", "a" * 200])
def test_row_40_ids(id: str, ocirt: Any, bundle: Any) -> None:
    words = ["create", "--bundle", bundle.write(), "--", id]
    ocirt(*words, check=True)
    assert ocirt.ids() == [id]
    ocirt("delete", "--", id, check=True)


@pytest.mark.parametrize("id", [".", "..", "", "a/b", "a b", "ä", "a\n", "a:b", "@seccomp"])
def test_row_40_no_ids(id: str, ocirt: Any, bundle: Any) -> None:
    done = ocirt("create", "--bundle", bundle.write(), "--", id)
    assert done.returncode == 1
    assert "invalid container ID format" in done.stderr
