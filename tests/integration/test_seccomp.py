"""linux.seccomp as the container sees it, and as its agent does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SHOW = "grep -E '^(Seccomp|CapEff|NoNewPrivs):' /proc/self/status"
MKDIR = {"x86_64": 83, "aarch64": 34}[os.uname().machine]  # aarch64: mkdirat
NAMES = ["mkdir", "mkdirat"]
GETPID = {"x86_64": 39, "aarch64": 172}[os.uname().machine]
UNKNOWN = 4000  # newer than every profile
# What a shell and the program "call" need, and the machine after the filter is loaded.
ALLOWLIST = (
    "access arch_prctl brk capset clone close dup2 dup3 execve exit exit_group faccessat fchdir "
    "fcntl fork fstat futex getcwd getdents64 getegid geteuid getgid getpgrp getpid getppid "
    "getrandom gettid getuid ioctl lseek lstat mmap mprotect munmap newfstatat open openat pipe "
    "poll prctl prlimit64 pread64 read readlink readlinkat rseq rt_sigaction rt_sigprocmask "
    "rt_sigreturn set_robust_list set_tid_address setpgid sigaltstack stat statx tgkill umask "
    "uname vfork wait4 write writev"
).split()


@pytest.fixture(scope="session")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("call") / "call"
    source = Path(__file__).parent / "call.c"
    subprocess.run(["gcc", "-static", "-O1", "-o", program, source], check=True)
    return program


@pytest.fixture
def box(bundle: Any, call: Path) -> Any:
    shutil.copy(call, bundle.path / "rootfs" / "bin" / "call")
    (bundle.path / "rootfs" / "mnt").mkdir()
    return bundle


def profile(*rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"defaultAction": default, "syscalls": list(rules), **more}


def block(*names: str, number: int | None = None, action: str = "ERRNO") -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": f"SCMP_ACT_{action}"}
    return rule if number is None else {**rule, "errnoRet": number}


def run(ocirt: Any, box: Any, script: str, wanted: dict[str, Any]) -> Any:
    box.document["linux"]["seccomp"] = wanted
    return box.shell(script).run(ocirt)


# ---- what is decided


def test_status_and_privileges(ocirt: Any, box: Any) -> None:
    """CAP_SYS_ADMIN, which loads a filter without no_new_privs, is gone afterwards."""
    for no_new_privs in (True, False):
        box.document["process"]["noNewPrivileges"] = no_new_privs
        done = run(ocirt, box, SHOW, profile(block(*NAMES)))
        assert done.returncode == 0, done.stderr
        shown = dict(line.split() for line in done.stdout.splitlines())
        assert shown["Seccomp:"] == "2" and shown["NoNewPrivs:"] == str(int(no_new_privs))
        assert int(shown["CapEff:"], 16) >> 21 & 1 == 0


@pytest.mark.parametrize("number", [None, errno.ENOTTY, 0])
def test_errno(ocirt: Any, box: Any, number: int | None) -> None:
    done = run(ocirt, box, f"call {MKDIR} 0 0", profile(block(*NAMES, number=number)))
    assert done.stdout == f"{errno.EPERM if number is None else number}\n", done.stderr


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_killed(ocirt: Any, box: Any, action: str) -> None:
    done = run(ocirt, box, f"call {MKDIR}; echo $?", profile(block(*NAMES, action=action)))
    assert done.stdout == f"{128 + signal.SIGSYS}\n", done.stderr


@pytest.mark.parametrize("action", ["LOG", "ALLOW"])
def test_allowed(ocirt: Any, box: Any, action: str) -> None:
    done = run(ocirt, box, f"call {MKDIR} 0 0", profile(block(*NAMES, action=action)))
    assert done.stdout == f"{errno.EFAULT}\n", done.stderr


def test_without_a_tracer_a_traced_call_is_missing(ocirt: Any, box: Any) -> None:
    done = run(ocirt, box, f"call {MKDIR} 0 0", profile(block(*NAMES, action="TRACE")))
    assert done.stdout == f"{errno.ENOSYS}\n", done.stderr


def test_arguments(ocirt: Any, box: Any) -> None:
    """getpid does not look at them."""
    rule = block("getpid", number=errno.ENOTTY)
    rule["args"] = [
        {"index": 0, "value": 0xF0, "valueTwo": 0x30, "op": "SCMP_CMP_MASKED_EQ"},
        {"index": 1, "value": 1 << 32, "op": "SCMP_CMP_GE"},
    ]
    script = "; ".join(
        f"call {GETPID} {first} {second}"
        for first, second in ((0x3F, 1 << 32), (0x3F, 1), (0x4F, 1 << 32), (0x30, -1))
    )
    done = run(ocirt, box, script, profile(rule))
    assert done.stdout.split() == ["25", "0", "0", "25"], done.stderr


def test_an_allowlist(ocirt: Any, box: Any) -> None:
    """The default is for what is known, ENOSYS for what is newer; and a container starts with as
    few calls as its program needs."""
    wanted = profile(block(*ALLOWLIST, action="ALLOW"), default="SCMP_ACT_ERRNO")
    for no_new_privs in (True, False):
        box.document["process"]["noNewPrivileges"] = no_new_privs
        done = run(ocirt, box, f"call {MKDIR} 0 0; call {UNKNOWN}", wanted)
        assert done.stdout.split() == [str(errno.EPERM), str(errno.ENOSYS)], done.stderr


def test_unknown_calls_where_others_are_allowed(ocirt: Any, box: Any) -> None:
    done = run(ocirt, box, f"call {UNKNOWN}", profile(block(*NAMES)))
    assert done.stdout == f"{errno.ENOSYS}\n"  # the kernel's own
    wanted = profile(block(*NAMES), block("no_such_call", "nor_this"))
    assert run(ocirt, box, f"call {MKDIR}", wanted).stdout == f"{errno.EPERM}\n"
    checked = ocirt("check", str(box.path))
    assert checked.returncode == 0
    assert "2 names of no system call that libseccomp" in checked.stdout
    assert "no_such_call, nor_this" in checked.stdout


def test_flags(ocirt: Any, box: Any) -> None:
    names = [f"SECCOMP_FILTER_FLAG_{flag}" for flag in ("TSYNC", "LOG", "SPEC_ALLOW")]
    for flags in ([], names):
        done = run(ocirt, box, f"call {MKDIR}", profile(block(*NAMES), flags=flags))
        assert done.stdout == f"{errno.EPERM}\n", done.stderr


# ---- exec, hooks, start


def test_exec_has_the_filter_of_the_container(ocirt: Any, box: Any) -> None:
    box.document["linux"]["seccomp"] = profile(block(*NAMES, number=errno.ENOTTY))
    box.document["process"]["noNewPrivileges"] = False
    box.shell("exec sleep 60").write()
    ocirt("run", "--detach", "--bundle", str(box.path), box.id, check=True)
    assert ocirt("exec", box.id, "call", str(MKDIR), check=True).stdout == "25\n"
    done = ocirt("exec", "--no-new-privs", box.id, "/bin/sh", "-c", SHOW, check=True)
    assert "Seccomp:\t2" in done.stdout
    text = json.dumps({"args": ["call", str(MKDIR)], "cwd": "/", "env": ["PATH=/bin"]})
    (box.path / "process.json").write_text(text)
    done = ocirt("exec", "--process", str(box.path / "process.json"), box.id, check=True)
    assert done.stdout == "25\n"


def test_hooks(ocirt: Any, box: Any) -> None:
    """Those that run a program of the container have its filter; those of the host have none."""
    box.document["linux"]["seccomp"] = profile(block("mkdir", "mkdirat", action="KILL_PROCESS"))
    (box.path / "rootfs" / "tmp").chmod(0o777)
    show = "grep ^Seccomp: /proc/self/status"
    outer = {"path": "/bin/sh", "args": ["sh", "-c", f"{show} > {box.path}/seen"]}
    inner: dict[str, Any] = {"path": "/bin/sh", "args": ["sh", "-c", f"{show} > /tmp/seen"]}
    box.document["hooks"] = {"createContainer": [outer], "startContainer": [inner]}
    box.document["root"]["readonly"] = False
    assert box.shell("cat /tmp/seen").run(ocirt).stdout == "Seccomp:\t2\n"
    assert (box.path / "seen").read_text() == "Seccomp:\t0\n"
    inner["args"][2] = "exec mkdir /tmp/x"
    done = box.run(ocirt)
    assert done.returncode == 1
    assert "error running startContainer hook #0: /bin/sh: " in done.stderr
    assert "killed by signal 31 (bad system call)" in done.stderr


def test_a_program_that_may_not_be_executed(ocirt: Any, box: Any, leftovers: Any) -> None:
    """The filter is in force from create on, so start meets it."""
    done = run(ocirt, box, "true", profile(block("execve", number=errno.EACCES)))
    assert done.returncode == 1 and "exec /bin/sh: permission denied" in done.stderr
    assert leftovers(box) == []


@pytest.mark.parametrize("action", ["ERRNO", "KILL_PROCESS"])
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_container_that_may_not_write(
    ocirt: Any, box: Any, leftovers: Any, action: str, no_new_privs: bool
) -> None:
    """It can't report: create fails with the place, and does not wait for it."""
    box.document["process"]["noNewPrivileges"] = no_new_privs
    done = run(ocirt, box, "true", profile(block("write", action=action)))
    assert done.returncode == 1 and "config.json#/linux/seccomp: " in done.stderr
    assert "needs read, write, close and execve" in done.stderr
    assert leftovers(box) == [] and ocirt.ids() == []


# ---- the cache


def cached(ocirt: Any) -> list[Path]:
    return sorted((ocirt.root / "@seccomp").iterdir())


def test_a_compiled_filter_is_kept(ocirt: Any, box: Any) -> None:
    wanted = profile(block(*NAMES, number=25))
    for _ in range(2):
        assert run(ocirt, box, f"call {MKDIR}", wanted).stdout == "25\n"
    (file,) = cached(ocirt)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert run(ocirt, box, f"call {MKDIR}", profile(block(*NAMES))).stdout == "1\n"
    assert len(cached(ocirt)) == 2
    assert ocirt.ids() == []


def spoil(file: Path, how: str) -> None:
    data = file.read_bytes()
    if how == "a byte":
        file.write_bytes(data[:-6] + bytes([data[-6] ^ 1]) + data[-5:])
    elif how == "the end":
        file.write_bytes(data[:-8])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "mode":
        file.chmod(0o666)
    elif how == "owner":
        os.chown(file, 1, 1)
    elif how == "link":
        file.rename(file.parent.parent / "elsewhere")
        file.symlink_to(file.parent.parent / "elsewhere")
    else:
        os.utime(file, (0, 0))


@pytest.mark.parametrize("how", ["a byte", "the end", "empty", "mode", "owner", "link"])
def test_a_bad_file_is_replaced(ocirt: Any, box: Any, how: str) -> None:
    wanted = profile(block(*NAMES, number=25))
    run(ocirt, box, "true", wanted)
    (file,) = cached(ocirt)
    good = file.read_bytes()
    spoil(file, how)
    assert run(ocirt, box, f"call {MKDIR}", wanted).stdout == "25\n"
    assert cached(ocirt) == [file] and file.read_bytes() == good
    status = file.lstat()
    assert status.st_mode == 0o100600 and status.st_uid == 0


def test_a_filter_of_the_cache_needs_no_libseccomp(ocirt: Any, box: Any) -> None:
    """And one that is not there does: one clear error, nothing left."""
    code = (
        "import sys; import ocirt.seccomp.library as l; l.LIBRARY = 'libnone.so.9';"
        "from ocirt.cli import main; sys.exit(main(sys.argv))"
    )

    def without(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "--root", str(ocirt.root), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    wanted = profile(block(*NAMES, number=25))
    run(ocirt, box, f"call {MKDIR}", wanted)
    done = without("run", "--bundle", str(box.path), box.id)
    assert (done.returncode, done.stdout) == (0, "25\n"), done.stderr
    shutil.rmtree(ocirt.root / "@seccomp")
    done = without("run", "--bundle", str(box.path), box.id)
    assert done.returncode == 1
    assert done.stderr.startswith("ocirt: config.json#/linux/seccomp: load libnone.so.9: ")
    assert ocirt.ids() == []
    shown = without("plan", str(box.path))
    assert shown.returncode == 0 and "this plan is without the filter" in shown.stderr
    assert without("check", str(box.path)).returncode == 0
    assert json.loads(without("features").stdout)["linux"]["seccomp"] == {"enabled": False}


def test_plan_shows_the_filter(ocirt: Any, box: Any) -> None:
    """Nothing is allowed by this one, not even to end: create must not wait for that."""
    wanted = profile(block(*NAMES), default="SCMP_ACT_ERRNO", defaultErrnoRet=2)
    done = run(ocirt, box, "true", wanted)
    assert done.returncode == 1 and "config.json#/linux/seccomp: the set-up" in done.stderr
    shown = ocirt("plan", str(box.path), check=True).stdout
    (line,) = (line for line in shown.splitlines() if "seccomp filter" in line)
    assert "load seccomp filter, default SCMP_ACT_ERRNO 2, " in line
    assert line.endswith(" instructions SPEC_ALLOW    # /linux/seccomp")


# ---- notify


class Agent:
    """Lets all calls go on but mkdir, which it answers with ENOTTY."""

    def __init__(self, path: Path, answers: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.answers = answers
        self.states: list[dict[str, Any]] = []
        self.seen: list[int] = []
        self.fds: list[int] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
            assert connection.recv(1) == b""  # one state for each connection
            connection.close()
            self.states.append(json.loads(data))
            self.fds += fds
            if self.answers:
                threading.Thread(target=self._decide, args=fds, daemon=True).start()

    def _decide(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while poll.poll()[0][1] & select.POLLIN:
            request = bytearray(80)  # struct seccomp_notif
            try:
                fcntl.ioctl(fd, 0xC0502100, request)
                id, _pid, _flags, number = struct.unpack_from("QIIi", request)
                self.seen.append(number)
                error, flags = (-errno.ENOTTY, 0) if number == MKDIR else (0, 1)
                fcntl.ioctl(fd, 0xC0182101, struct.pack("QqiI", id, 0, error, flags))
            except OSError:
                pass  # the caller is gone

    def close(self) -> None:
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    found = []

    def make(**options: Any) -> Agent:
        found.append(Agent(tmp_path / "agent", **options))
        return found[-1]

    yield make
    for each in found:
        each.close()


def notifying(box: Any, *names: str, **more: Any) -> dict[str, Any]:
    path = str(box.path.parent / "agent")
    return profile(block(*names, action="NOTIFY"), listenerPath=path, **more)


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_an_agent_decides(ocirt: Any, box: Any, agent: Any, no_new_privs: bool) -> None:
    """Also on the calls by which the container is started."""
    there = agent()
    hand_over = "read close sendmsg writev capset prctl rt_sigaction execve getpid".split()
    box.document["process"]["noNewPrivileges"] = no_new_privs
    box.document["annotations"] = {"org.example": "a"}
    wanted = notifying(box, *NAMES, *hand_over, listenerMetadata="for the agent")
    done = run(ocirt, box, f"call {MKDIR}", wanted)
    assert done.stdout == f"{errno.ENOTTY}\n", done.stderr
    (state,) = there.states
    assert state["metadata"] == "for the agent" and state["fds"] == ["seccompFd"]
    inner = state["state"]
    assert (inner["id"], inner["status"], inner["bundle"]) == (box.id, "creating", str(box.path))
    assert inner["pid"] == state["pid"] and inner["annotations"] == {"org.example": "a"}
    assert MKDIR in there.seen and len(set(there.seen)) > 3


def test_an_agent_decides_on_exec(ocirt: Any, box: Any, agent: Any) -> None:
    there = agent()
    box.document["linux"]["seccomp"] = notifying(box, *NAMES, "close", "execve")
    box.shell("exec sleep 60").write()
    ocirt("run", "--detach", "--bundle", str(box.path), box.id, check=True)
    for _ in range(2):
        assert ocirt("exec", box.id, "call", str(MKDIR), check=True).stdout == "25\n"
    first, *others = there.states
    assert len(others) == 2 and "metadata" not in first
    for state in others:
        assert state["state"]["status"] == "running"
        assert state["state"]["pid"] == first["pid"] != state["pid"]


def test_an_agent_that_ends(ocirt: Any, box: Any, agent: Any) -> None:
    """The container's calls fail then: nothing waits for it."""
    there = agent(answers=False)
    box.document["linux"]["seccomp"] = notifying(box, *NAMES)
    box.document["root"]["readonly"] = False
    box.shell(f"call {MKDIR} > /tmp/call; exec busybox mv /tmp/call /tmp/seen").write()
    ocirt("create", "--bundle", str(box.path), box.id, check=True)
    there.close()
    ocirt("start", box.id, check=True)
    seen, end = box.path / "rootfs" / "tmp" / "seen", time.monotonic() + 20
    while not seen.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert seen.read_text() == f"{errno.ENOSYS}\n"


def test_no_agent(ocirt: Any, box: Any, leftovers: Any) -> None:
    done = run(ocirt, box, "true", notifying(box, *NAMES))
    assert done.returncode == 1
    assert (
        "config.json#/linux/seccomp/listenerPath: failed to connect with seccomp agent"
        in done.stderr
    )
    assert "No such file or directory" in done.stderr
    assert leftovers(box) == [] and ocirt.ids() == []


def impatient(ocirt: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """An ocirt that gives an agent half a second."""
    code = (
        "import sys; import ocirt.runtime.seccomp_agent as a; a.ANSWER_MAX = 0.5;"
        "from ocirt.cli import main; sys.exit(main(sys.argv))"
    )
    command = [sys.executable, "-c", code, "--root", str(ocirt.root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_agent_that_says_nothing(ocirt: Any, box: Any, agent: Any, leftovers: Any) -> None:
    agent(answers=False)
    box.document["linux"]["seccomp"] = notifying(box, "read")
    done = impatient(ocirt, "create", "--bundle", box.write(), box.id)
    assert done.returncode == 1
    assert "/linux/seccomp/listenerPath: the agent has not let the process go on" in done.stderr
    assert leftovers(box) == [] and ocirt.ids() == []


def test_an_agent_that_does_not_let_it_start(ocirt: Any, box: Any, agent: Any) -> None:
    agent(answers=False)
    box.document["linux"]["seccomp"] = notifying(box, "execve")
    ocirt("create", "--bundle", box.shell("true").write(), box.id, check=True)
    done = impatient(ocirt, "start", box.id)
    assert done.returncode == 1
    assert "/linux/seccomp/listenerPath: the agent has not let the process go on" in done.stderr
    assert ocirt.state(box.id)["status"] == "stopped"


@pytest.mark.parametrize("name", ["write", "execve"])
def test_a_call_that_only_seems_to_be_done(name: str, ocirt: Any, box: Any, leftovers: Any) -> None:
    """A filter can answer "no error" for it."""
    rule = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}
    done = run(ocirt, box, "true", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    assert done.returncode == 1 and "ocirt: config.json#" in done.stderr
    assert leftovers(box) == [] and ocirt.ids() == []


def test_an_agent_that_does_not_accept(tmp_path: Path) -> None:
    """Its queue is full: connect(2) would wait for ever."""
    from ocirt.host import kernel

    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as waiting:
        full.bind(path)
        full.listen(0)
        waiting.connect(path)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            kernel.connect(path)
        assert time.monotonic() - start < 20
