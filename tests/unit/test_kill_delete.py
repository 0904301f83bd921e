"""kill, delete, state and list of folders and processes that stand in for containers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirt import SPEC_VERSION
from ocirt.cli import main
from ocirt.errors import OcirtError
from ocirt.runtime.kill import open_process, open_root, signal_number
from ocirt.runtime.status import process
from ocirt.runtime.store import Container, State, Store

CREATED = "2026-01-01T00:00:00.000000001Z"


class Fakes:
    """Containers whose first process is a sleep of ours, without a cgroup."""

    def __init__(self, root: Path) -> None:
        self.store = Store(str(root))
        self.running: list[subprocess.Popen[bytes]] = []
        self.waiting: list[int] = []

    def process(self) -> subprocess.Popen[bytes]:
        self.running.append(subprocess.Popen(["sleep", "100"]))
        return self.running[-1]

    def make(self, id: str, status: str) -> subprocess.Popen[bytes]:
        """Its process, which for ``creating`` is the creator's too."""
        running = self.process()
        container = self.store.create(id)
        state = State(id)
        state.pid, state.pid_start = running.pid, process(running.pid)[1]
        state.creator, state.creator_start = state.pid, state.pid_start
        state.bundle, state.rootfs, state.owner = "/b", "/b/rootfs", "root"
        state.annotations = {"k": "v"} if status == "running" else {}
        if status != "creating":
            state.created = CREATED
        if status == "created":
            os.mkfifo("start", dir_fd=container.fd)
            self.waiting.append(os.open("start", os.O_RDWR, dir_fd=container.fd))
        if status == "stopped":
            self.end(running)
        container.write_state(state)
        container.unlock()
        return running

    def end(self, running: subprocess.Popen[bytes]) -> None:
        running.kill()
        running.wait()

    def config(self, id: str, document: object) -> Container:
        container = self.store.open(id)
        container.write("config.json", json.dumps(document).encode())
        return container


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Fakes]:
    made = Fakes(tmp_path / "root")
    yield made
    for running in made.running:
        made.end(running)
    for fd in made.waiting:
        os.close(fd)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> Call:
    def ocirt(*argv: str) -> tuple[int, str, str]:
        status = main(["ocirt", "--root", fakes.store.root, *argv])
        out, err = capsys.readouterr()
        return status, out, err

    return ocirt


# ---- signals


@pytest.mark.parametrize("number", signal.valid_signals())
def test_names_of_signals(number: int) -> None:
    names = [str(int(number))]
    if isinstance(number, signal.Signals):
        names += [number.name, number.name[3:], number.name.lower(), number.name[3:].title()]
    if number >= signal.SIGRTMIN:
        names += [f"RTMIN+{number - 34}", f"sigrtmax-{64 - number}"]
    assert {signal_number(name) for name in names} == {int(number)}


def test_the_null_signal() -> None:
    assert signal_number("0") == 0


@pytest.mark.parametrize(
    "text",
    ["", "65", "-1", "SIG", "TERMX", "SIGSIGTERM", "TERM+1", "RTMIN-1", "RTMIN+31", "RTMAX+1"]
    + ["RTMAX-31", "RTMIN+", "RTMIN+x", "²", "9" * 5000, "1.0", "SIG9x", "9 "],
)
def test_unknown_signals(text: str) -> None:
    with pytest.raises(OcirtError, match="unknown signal"):
        signal_number(text)


@given(st.text() | st.from_regex(r"(SIG)?RTM(IN|AX)[+-]\d*"))
def test_any_text_as_a_signal(text: str) -> None:
    try:
        assert 0 <= signal_number(text) <= 64
    except OcirtError:
        pass


# ---- kill


@pytest.mark.parametrize("status", ["created", "running"])
@pytest.mark.parametrize(
    "words, number", [([], 15), (["KILL"], 9), (["SIGUSR1"], 10), (["12"], 12)]
)  # not INT: a shell lets what it starts in the background ignore that
def test_kill(status: str, words: list[str], number: int, fakes: Fakes, call: Call) -> None:
    running = fakes.make("a", status)
    assert call("kill", "a", *words) == (0, "", "")
    assert running.wait(10) == -number


@pytest.mark.parametrize("status", ["creating", "stopped"])
def test_kill_of_what_does_not_run(status: str, fakes: Fakes, call: Call) -> None:
    fakes.make("a", status)
    text = f"ocirt: container not running: a is {status}\n"
    assert call("kill", "a", "KILL") == (1, "", text)
    assert call("kill", "--all", "a", "KILL") == (0, "", "")


def test_kill_without_a_state(fakes: Fakes, call: Call) -> None:
    fakes.store.create("a").close()
    status, _, err = call("kill", "a")
    assert status == 1 and "container not running" in err
    status, _, err = call("kill", "b")
    assert status == 1 and "container b does not exist" in err


def test_kill_never_reaches_another_process(fakes: Fakes, call: Call) -> None:
    """The pid was given to another process between the look at its status and the signal."""
    running = fakes.make("a", "running")
    container = fakes.store.open("a")
    state = container.read_state()
    assert state is not None
    state.pid_start += 1
    with pytest.raises(ProcessLookupError):
        open_process(state)
    container.write_state(state)
    assert call("kill", "a", "KILL")[0] == 1
    assert call("delete", "--force", "a")[0] == 0
    assert running.poll() is None


def test_root_of_a_process_that_has_ended(fakes: Fakes) -> None:
    """Its pid may be another's by the time that its root is opened."""
    running = fakes.make("a", "running")
    state = fakes.store.open("a").read_state()
    assert state is not None
    pidfd = open_process(state)
    try:
        root = open_root(state, pidfd)
        assert os.path.samestat(os.stat("/"), os.fstat(root))
        os.close(root)
        running.kill()
        with pytest.raises(ProcessLookupError):  # a zombie's
            os.waitid(os.P_PID, state.pid, os.WEXITED | os.WNOWAIT)
            open_root(state, pidfd)
        running.wait()
        with pytest.raises(ProcessLookupError):
            open_root(state, pidfd)
        state.pid = os.getpid()
        with pytest.raises(ProcessLookupError):
            open_root(state, pidfd)
    finally:
        os.close(pidfd)


# ---- delete


@pytest.mark.parametrize("status", ["running", "creating"])
def test_delete_refuses(status: str, fakes: Fakes, call: Call) -> None:
    running = fakes.make("a", status)
    text = f"ocirt: cannot delete container a that is not stopped: {status}\n"
    assert call("delete", "a") == (1, "", text)
    assert running.poll() is None and fakes.store.ids() == ["a"]


@pytest.mark.parametrize(
    "status, force",
    [("stopped", []), ("created", [])]
    + [(status, ["--force"]) for status in ("creating", "created", "running", "stopped")],
)
def test_delete(status: str, force: list[str], fakes: Fakes, call: Call) -> None:
    running = fakes.make("a", status)
    assert call("delete", *force, "a") == (0, "", "")
    assert running.wait(10) == -9 and fakes.store.ids() == []


def test_delete_of_what_is_not_there(call: Call) -> None:
    assert call("delete", "a") == (1, "", "ocirt: container a does not exist\n")
    assert call("delete", "--force", "a") == (0, "", "")
    assert call("delete", "--force", "a/b")[0] == 1


def test_delete_of_many(fakes: Fakes, call: Call) -> None:
    for id in ("a", "b"):
        fakes.make(id, "stopped")
    running = fakes.make("c", "running")
    status, out, err = call("delete", "a", "x", "c", "b")
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        "ocirt: container x does not exist",
        "ocirt: cannot delete container c that is not stopped: running",
    ]
    assert fakes.store.ids() == ["c"] and running.poll() is None


def test_delete_of_a_create_that_was_cut_short(fakes: Fakes, call: Call) -> None:
    """Before its first state.json; and later, with a process that outlived the creator."""
    fakes.store.create("a").close()
    assert call("delete", "a") == (0, "", "")
    running = fakes.make("b", "creating")
    container = fakes.store.open("b")
    state = container.read_state()
    assert state is not None
    state.creator_start += 1
    container.write_state(state)
    assert call("delete", "b") == (0, "", "")
    assert running.wait(10) == -9 and fakes.store.ids() == []


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_delete_of_what_is_no_container(force: list[str], fakes: Fakes, call: Call) -> None:
    """--root may be a wrong folder."""
    folder = Path(fakes.store.root) / "a"
    folder.mkdir(parents=True)
    (folder / "letter").write_text("dear")
    status, _, err = call("delete", *force, "a")
    assert status == 1
    assert "a is no container's folder: it has files, but no state.json" in err
    assert (folder / "letter").read_text() == "dear"


def test_delete_of_a_broken_state(fakes: Fakes, call: Call) -> None:
    container = fakes.store.create("a")
    container.write("state.json", b"{")
    container.close()
    status, _, err = call("delete", "a")
    assert status == 1 and "not valid JSON" in err and "hint: ocirt delete --force" in err
    status, _, err = call("delete", "--force", "a")
    assert status == 0 and "warning: " in err and fakes.store.ids() == []


def test_poststop_hooks_run_when_all_is_gone(fakes: Fakes, call: Call, tmp_path: Path) -> None:
    """A failing one is a warning, and the next one runs."""
    fakes.make("a", "stopped")
    out = tmp_path / "out"
    script = f"cat > {out}; test ! -e {fakes.store.root}/a || echo early >> {out}"
    hooks = [
        {"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"]},
        {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]},
    ]
    fakes.config("a", {"hooks": {"poststop": hooks}})
    status, _, err = call("delete", "a")
    assert status == 0 and "/hooks/poststop/0" in err and "exit status 3: why" in err
    state = json.loads(out.read_text())
    assert state["id"] == "a" and state["status"] == "stopped" and state["pid"] == 0


@pytest.mark.parametrize("document", ["{", [], {"hooks": None}, {"hooks": {}}, 5])
def test_delete_without_hooks(document: object, fakes: Fakes, call: Call) -> None:
    fakes.make("a", "stopped")
    fakes.config("a", document)
    assert call("delete", "a") == (0, "", "")


# ---- state and list


@pytest.mark.parametrize("status", ["creating", "created", "running", "stopped"])
def test_state(status: str, fakes: Fakes, call: Call) -> None:
    running = fakes.make("a", status)
    code, out, err = call("state", "a")
    assert (code, err) == (0, "")
    expected = {
        "ociVersion": SPEC_VERSION,
        "id": "a",
        "status": status,
        "pid": 0 if status == "stopped" else running.pid,
        "bundle": "/b",
        "annotations": {"k": "v"},
        "rootfs": "/b/rootfs",
        "created": "" if status == "creating" else CREATED,
        "owner": "root",
    }
    if status != "running":
        del expected["annotations"]
    assert json.loads(out) == expected and out.startswith("{\n  ")
    assert json.loads(call("list", "--format=json")[1]) == [expected]


def test_state_of_nothing(fakes: Fakes, call: Call) -> None:
    assert call("state", "a") == (1, "", "ocirt: container a does not exist\n")
    container = fakes.store.create("a")
    assert json.loads(call("state", "a")[1])["status"] == "creating"
    container.close()
    assert json.loads(call("state", "a")[1])["status"] == "stopped"


def test_list(fakes: Fakes, call: Call) -> None:
    assert call("list", "-f", "json") == (0, "[]\n", "")
    assert call("list", "-q") == (0, "", "")
    running = fakes.make("a-rather-long-name", "running")
    fakes.make("b", "stopped")
    code, out, err = call("list")
    assert (code, err) == (0, "")
    rows = [re.split(r"\s{2,}", line) for line in out.splitlines()]
    assert rows == [
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
        ["a-rather-long-name", str(running.pid), "running", "/b", CREATED, "root"],
        ["b", "0", "stopped", "/b", CREATED, "root"],
    ]
    assert (
        len(
            {
                line.index(word)
                for line, word in zip(out.splitlines(), ["PID", str(running.pid), "0"])
            }
        )
        == 1
    )
    assert call("list", "--quiet") == (0, "a-rather-long-name\nb\n", "")


def test_list_with_a_broken_one(fakes: Fakes, call: Call) -> None:
    fakes.make("b", "stopped")
    container = fakes.store.create("a")
    container.write("state.json", b"{")
    container.close()
    code, out, err = call("list", "-f", "json")
    assert code == 0 and [state["id"] for state in json.loads(out)] == ["b"]
    assert err.startswith("ocirt: warning: container a: ")


def test_list_leaves_nothing_open(fakes: Fakes, call: Call) -> None:
    for index in range(20):
        fakes.store.create(f"c{index}").close()
    before = len(os.listdir("/proc/self/fd"))
    assert call("list")[0] == 0
    assert len(os.listdir("/proc/self/fd")) == before
