"""ocirt.runtime.store: ids, claims, locks, and files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirt.errors import OcirtError, StateError
from ocirt.runtime import store as module
from ocirt.runtime.store import Container, State, Store, check_id, default_root, is_id

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# ---- ids


@pytest.mark.parametrize("id", ["a", "A0_+.-", "..a", "...", "-x", "x" * 1024, "0"])
def test_ids(id: str) -> None:
    check_id(id)


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "/a", "a b", "a\n", "é", "a\0", "x" * 1025])
def test_what_is_no_id(id: str, store: Store) -> None:
    for call in (check_id, store.create, store.open):
        with pytest.raises(StateError, match="invalid container ID format"):
            call(id)
    assert not os.path.exists(store.root)


@given(st.text())
def test_an_id_never_leads_out_of_the_root(id: str) -> None:
    if is_id(id):
        assert os.path.normpath(f"/root/{id}") == f"/root/{id}" and id.isascii()


# ---- the root


def test_modes(store: Store) -> None:
    container = store.create("a")
    container.write_state(State("a"))
    assert mode(store.root) in (0o700, 0o1700) and mode(container.folder) == 0o700
    assert mode(os.path.join(container.folder, "state.json")) == 0o600


def test_a_root_that_exists_keeps_its_mode(store: Store) -> None:
    os.mkdir(store.root)
    os.chmod(store.root, 0o755)
    store.create("a")
    assert mode(store.root) == 0o755


def test_default_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert default_root() == Store().root == "/run/user/7/ocirt"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_root() == "/run/ocirt"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    assert default_root() == "/run/ocirt"


def test_the_root_of_an_ordinary_user_is_sticky(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.stat("/proc/self").st_uid
    monkeypatch.setattr(os, "geteuid", lambda: me or 4321)
    try:
        store.create("a")
    except StateError:
        assert me == 0  # then it belongs to another user, and is refused
    assert mode(store.root) == 0o1700


def test_a_folder_of_another_user_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.create("a").folder
    if os.geteuid() == 0:
        os.chown(folder, 4321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4321)
    with pytest.raises(StateError, match="belongs to another user"):
        store.open("a")


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="make the state folder .*/file/root: "):
        Store(str(tmp_path / "file" / "root")).create("a")


# ---- claims


@pytest.mark.parametrize("call", ["os.open", "fcntl.flock"])
def test_a_create_that_fails_claims_nothing(
    call: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(call, refuse)
    with pytest.raises((OSError, StateError), match="Too many open files"):
        store.create("a")
    monkeypatch.undo()
    assert store.ids() == []


def test_create_open_and_remove(store: Store) -> None:
    assert store.ids() == []
    first = store.create("b")
    store.create("a")
    Path(store.root, ".hidden").mkdir()
    Path(store.root, "not an id").mkdir()
    assert store.ids() == [".hidden", "a", "b"]
    with pytest.raises(StateError, match="container with given ID already exists: b"):
        store.create("b")
    assert store.open("b").read_state() is None
    first.remove()
    with pytest.raises(StateError, match="container b does not exist") as caught:
        store.open("b")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("kind", ["link", "file"])
def test_no_folder_is_no_container(kind: str, store: Store, tmp_path: Path) -> None:
    store.create("real")
    path = Path(store.root, "a")
    path.symlink_to("real") if kind == "link" else path.touch()
    with pytest.raises(StateError, match="does not exist"):
        store.open("a")


def test_one_of_many_wins(store: Store) -> None:
    code = (
        "import sys\nfrom ocirt.errors import StateError\nfrom ocirt.runtime.store import Store\n"
        "sys.stdin.read()\n"
        "try: Store(sys.argv[1]).create('x')\n"
        "except StateError: sys.exit(7)\n"
    )
    reader, writer = os.pipe()
    command = [sys.executable, "-c", code, store.root]
    running = [subprocess.Popen(command, cwd=ROOT, stdin=reader) for _ in range(4)]
    os.close(reader)
    os.close(writer)  # go
    assert sorted(process.wait(60) for process in running) == [0, 7, 7, 7]


# ---- locks


def test_a_lock_waits(store: Store) -> None:
    first = store.create("a")
    second = store.open("a")
    assert first.is_locked() and second.is_locked()
    got = threading.Event()

    def wait() -> None:
        second.lock()
        got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.1)
    first.unlock()
    assert got.wait(10)
    waiting.join()
    second.unlock()
    assert not first.is_locked() and not second.is_locked()


def test_the_lock_of_a_dead_process_is_gone(store: Store) -> None:
    code = (
        "import os, sys\nfrom ocirt.runtime.store import Store\n"
        "Store(sys.argv[1]).create('a')\nos.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, store.root], cwd=ROOT).returncode == -9
    container = store.open("a")
    assert not container.is_locked()
    container.lock()


@pytest.mark.parametrize("again", [False, True])
def test_a_lock_on_what_was_deleted(store: Store, again: bool) -> None:
    """Who waited while another deleted it must not touch a new one of that id."""
    first = store.create("a")
    second = store.open("a")
    first.remove()
    first.unlock()
    if again:
        store.create("a")
    with pytest.raises(StateError, match="container a does not exist"):
        second.lock()
    with pytest.raises(StateError, match="container a does not exist"):
        second.read_state()
    assert store.ids() == ["a"] * again


# ---- state.json


def full_state() -> State:
    state = State("a")
    state.pid, state.pid_start, state.creator, state.creator_start = 5, 6, 7, 8
    state.bundle, state.rootfs, state.owner = "/b", "/b/é\udc80", "root"
    state.created, state.oci_version = "2026-01-01T00:00:00Z", "1.3.0"
    state.annotations, state.cgroup = {"a": '"\n'}, {"folders": {"": "/x"}, "pure": True}
    state.keyring, state.systemd_cgroup = "_ses.a.b", True
    state.devices = {"": "x"}
    state.root_mount = {"ids": [1 << 40, 1 << 41], "boot": "b"}
    state.descriptors = ["pipe:[1]", "file:2:3", ""]
    state.intel_rdt = {"folder": "/sys/fs/resctrl/a", "made": []}
    return state


def test_state_round_trip(store: Store) -> None:
    container = store.create("a")
    container.write_state(full_state())
    found = store.open("a").read_state()
    assert found is not None
    for name in State.__slots__:
        assert getattr(found, name) == getattr(full_state(), name) != getattr(State(""), name)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"id": ""}', '{"id": 1}', '{"id": "a", "pid": "5"}', "\xff", "null"]
    + ['{"id": "a", "pid": true}', '{"id": "a", "annotations": []}', '{"id":"a"} x'],
)
def test_a_broken_state(text: str, store: Store) -> None:
    container = store.create("a")
    container.write("state.json", text.encode("latin-1"))
    with pytest.raises(OcirtError) as caught:
        container.read_state()
    assert caught.value.document == os.path.join(container.folder, "state.json")


def test_a_state_of_an_older_version(store: Store) -> None:
    container = store.create("a")
    container.write("state.json", b'{"id": "a", "unknown": 1}')
    state = container.read_state()
    assert state is not None and state.pid == 0 and state.keyring == "_ses"


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    container = store.create("a")
    victim = tmp_path / "victim"
    victim.write_text("{}")
    for name in ("state.json", ".state.json.new"):
        os.symlink(victim, os.path.join(container.folder, name))
    for call in (lambda: container.write("state.json", b"x"), container.read_state):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ELOOP
    container.remove()
    assert victim.read_text() == "{}"


# ---- killed in the middle


class Killed(BaseException):
    """As if by SIGKILL: nothing of the program runs after it but this test."""


def die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets system calls of the store happen, and the process end before the ``step``-th."""
    left = [step]

    class Calls:
        def __getattr__(self, name: str) -> object:
            value = getattr(os, name)
            if name not in ("open", "write", "close", "rename", "unlink", "rmdir", "listdir"):
                return value

            def call(*args: object, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return value(*args, **kwargs)

            return call

    monkeypatch.setattr(module, "os", Calls())


@pytest.mark.parametrize("step", range(6))
def test_a_write_is_whole_or_not_there(
    step: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = store.create("a")
    old = State("a")
    container.write_state(old)
    die_at(step, monkeypatch)
    try:
        container.write_state(full_state())
        finished = True
    except Killed:
        finished = False
    monkeypatch.undo()
    found = store.open("a").read_state()
    assert found is not None and finished == (step >= 4)
    assert found.pid == (5 if finished else 0)
    container.write_state(full_state())  # what was left is in nobody's way
    container.remove()
    assert store.ids() == []


@pytest.mark.parametrize("step", range(8))
def test_a_remove_can_be_done_again(
    step: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    container: Container = store.create("a")
    container.write("config.json", b"{}")
    container.write_state(full_state())
    os.mkfifo("start", dir_fd=container.fd)
    die_at(step, monkeypatch)
    try:
        container.remove()
        finished = True
    except Killed:
        finished = False
    monkeypatch.undo()
    container.unlock()
    assert finished == (step >= 5)
    if finished:
        assert store.ids() == []
        return
    left = os.listdir(store.open("a").fd)
    assert not left or "state.json" in left  # the cgroup's place is known as long as need be
    again = store.open("a")
    again.lock()
    again.remove()
    assert store.ids() == []
