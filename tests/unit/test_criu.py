"""CRIU's side of checkpoint and restore, with a program in its place that answers as it is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.criu import log, messages, process
from ocirt.criu.files import Files
from ocirt.criu.process import Criu, check_feature, check_version
from ocirt.errors import OcirtError, StateError
from ocirt.runtime.external import key_of

ROOT = Path(__file__).parent.parent.parent
# Answers each request with the next of ANSWERS: bytes of messages, notices among them.
FAKE = """#!{python}
import os, socket, sys
sys.path.insert(0, {root!r})
from ocirt.criu import messages
from ocirt.criu.protobuf import decode, encode
assert sys.argv[1:] == ["swrk", "3"]
rpc = socket.socket(fileno=3)
got = []
for answer, give in {answers!r}:
    got.append(decode(messages.REQUEST, rpc.recv(1 << 16)))
    fds = [os.open("/dev/zero", os.O_RDONLY)] if give else []
    socket.send_fds(rpc, [encode(messages.RESPONSE, answer)], fds)
    with open({log!r}, "w") as file:
        print(got, os.environ["PATH"], sorted(os.listdir("/proc/self/fd")), file=file)
"""

Fake = Callable[..., Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes it of the answers; the file says what it was asked."""

    def make(*answers: Any) -> Path:
        said = tmp_path / "said"
        pairs = [answer if isinstance(answer, tuple) else (answer, False) for answer in answers]
        text = FAKE.format(python=sys.executable, root=str(ROOT), answers=pairs, log=str(said))
        (tmp_path / "criu").write_text(text)
        (tmp_path / "criu").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return said

    return make


def answer(kind: int, success: bool = True, **more: Any) -> dict[str, Any]:
    return {"type": kind, "success": success, **more}


def version(major: int, minor: int) -> dict[str, Any]:
    numbers = {"major_number": major, "minor_number": minor}
    return answer(messages.VERSION, version=numbers)


def notice(script: str, pid: int = 0) -> dict[str, Any]:
    return answer(messages.NOTIFY, notify={"script": script, "pid": pid})


def test_no_criu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "relative:/nonexistent")
    with pytest.raises(StateError, match="criu is not installed"):
        Criu()


def test_version(fake: Fake) -> None:
    fake(version(4, 2))
    assert check_version() == (4, 2)
    fake(version(3, 15))
    assert check_version() == (3, 15)
    fake(version(3, 14))
    with pytest.raises(StateError, match=r"criu 3\.14 is too old, 3\.15 is"):
        check_version()


def test_feature(fake: Fake) -> None:
    fake(answer(messages.FEATURE_CHECK, features={"mem_track": True}))
    check_feature("mem_track", "--pre-dump")
    fake(answer(messages.FEATURE_CHECK, features={"mem_track": False}))
    with pytest.raises(StateError, match="--pre-dump: criu says that this kernel has no mem_track"):
        check_feature("mem_track", "--pre-dump")


def test_notices(fake: Fake) -> None:
    fake(notice("pre-dump"), (notice("orphan-pts-master", 7), True), answer(messages.DUMP))
    seen = []

    def notify(script: str, pid: int, fd: int) -> None:
        seen.append((script, pid, os.readlink(f"/proc/self/fd/{fd}") if fd >= 0 else ""))

    before = os.listdir("/proc/self/fd")
    Criu().call({"type": messages.DUMP, "opts": {"pid": 5}}, notify)
    assert seen == [("pre-dump", 0, ""), ("orphan-pts-master", 7, "/dev/zero")]
    assert os.listdir("/proc/self/fd") == before


def test_a_notice_that_fails(fake: Fake) -> None:
    """CRIU is told, and its own failure is not what is reported."""
    said = fake(notice("network-lock"), answer(messages.DUMP, False, cr_errno=5))

    def notify(_script: str, _pid: int, _fd: int) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Criu().call({"type": messages.DUMP}, notify)
    assert "'notify_success': False" in said.read_text()


def test_failures(fake: Fake) -> None:
    fake(answer(messages.DUMP, False, cr_errno=2))
    with pytest.raises(OcirtError, match="^criu failed: no such file or directory$"):
        Criu().call({"type": messages.DUMP})
    fake(answer(messages.DUMP, False, cr_errmsg="the reason\n"))
    with pytest.raises(OcirtError, match="^criu failed: the reason$"):
        Criu().call({"type": messages.DUMP})
    fake()
    with pytest.raises(OcirtError, match="^criu"):
        Criu().call({"type": messages.DUMP})


def test_a_program_that_can_not_be_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "criu").write_text("#!/nonexistent\n")
    (tmp_path / "criu").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OcirtError, match="^criu"):
        Criu().call({"type": messages.VERSION})


def test_descriptors_and_environment(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has those that it is given and no others, and a PATH even if there is none."""
    said = fake(answer(messages.DUMP))
    criu = Criu()
    with open("/dev/null") as file:
        assert (criu.inherit(file.fileno()), criu.inherit(file.fileno())) == (4, 5)
        monkeypatch.delenv("PATH")
        criu.call({"type": messages.DUMP})
    text = said.read_text()
    assert process._PATH in text
    assert text.endswith(f"{[str(n) for n in range(8)]}\n")  # two are of its last line


def test_log(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert log.cause(folder, "none.log") == ""
        (tmp_path / "dump.log").write_text(
            "(00.000001) Version: 4.2\n"
            "(00.05) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: no\n"
            "(00.06)      1: Error (criu/files.c:9): Can't do it (really): no.\n"
            "(00.07) Error (criu/cr-dump.c:1975): Dumping FAILED.\n"
        )
        assert log.cause(folder, "dump.log") == "Can't do it (really): no"
    finally:
        os.close(folder)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(OcirtError, match="--image-path .*/image: No such file"):
        Files(str(tmp_path / "image"), "", "x.log", make=False)
    files = Files(str(tmp_path / "image"), str(tmp_path / "work"), "x.log", make=True)
    (tmp_path / "work/x.log").write_text("(00.1) Error (a.c:1): the reason.\n")
    error = files.explain(OcirtError("criu failed", errno=5), "checkpoint of c")
    assert (str(error), error.errno) == ("checkpoint of c: the reason", 5)
    assert error.hint == f"see {tmp_path}/work/x.log"
    files.close()
    Files(str(tmp_path / "image"), str(tmp_path / "work"), "x.log", make=False).close()
    assert not (tmp_path / "work/x.log").exists()  # it would explain the next failure


def test_names_that_are_no_keys() -> None:
    assert key_of("/a:b[c") == "/a:b[c"
    for path in ("/x]:/etc", "/x]", "/a]b"):
        with pytest.raises(StateError, match="its name has a ]"):
            key_of(path)
