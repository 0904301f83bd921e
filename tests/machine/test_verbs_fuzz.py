"""Damaged files ``verbs``, against a launcher with the sanitizers.

It runs as root of a user namespace of nobody's, alone in a pid namespace: there is nothing that
a signal or an rmdir(2) of it could reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocirt.runtime import verbs

from .conftest import ROOT, needs_root

NOBODY = 65534
FAILED = 99  # what the sanitizers exit with
pytestmark = needs_root
Run = Callable[[bytes, str], "subprocess.CompletedProcess[bytes]"]

texts = st.sampled_from([b"", b"start", b"state", b"kill", b"a\0b", b"/", b"/x" * 3000])
numbers = st.sampled_from([0, 1, 7, 8, 9, 11, 12, 13, 255, 1 << 15, (1 << 31) - 1, (1 << 32) - 1])
processes = st.builds(
    lambda pid, start: pid.to_bytes(4, "little") + start.to_bytes(8, "little"),
    st.sampled_from([0, 1, 2, 1 << 31, (1 << 32) - 1]),
    st.integers(0, 3),
)
operands = texts | processes | st.binary(max_size=20)
operations = st.tuples(st.sampled_from(range(len(verbs.OPS) + 2)), operands)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    launcher = tmp_path_factory.mktemp("sanitized") / "ocirt"
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = sorted(ROOT.glob("csrc/launcher*.c"))
    subprocess.run(["gcc", *flags, "-o", launcher, *sources], check=True)
    return launcher


@pytest.fixture(scope="module")
def run(program: Path) -> Iterator[Run]:
    """run(FILE, VERB): the launcher's end with such a file ``verbs``."""
    scene = Path("/tmp") / f"ocirt-verbs-{os.getpid()}"  # nobody can't reach pytest's folders
    scene.mkdir()
    shutil.copy(program, scene / "ocirt")
    environment = {"ASAN_OPTIONS": f"exitcode={FAILED}:detect_leaks=0", "PATH": "/usr/bin:/bin"}
    environment["UBSAN_OPTIONS"] = f"exitcode={FAILED}"

    def call(data: bytes, verb: str) -> subprocess.CompletedProcess[bytes]:
        folder = scene / "id"
        folder.mkdir(exist_ok=True)
        for name, content in {
            "state.json": b"",
            "start": b"",
            "report": b"x",
            "verbs": data,
        }.items():
            (folder / name).write_bytes(content)
            os.chown(folder / name, NOBODY, NOBODY)
        os.chown(folder, NOBODY, NOBODY)
        os.chown(scene, NOBODY, NOBODY)
        command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", str(scene / "ocirt")]
        return subprocess.run(
            [*command, "--root", str(scene), verb, "id"],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )

    yield call
    shutil.rmtree(scene)


def encode(sequence: list[tuple[int, bytes]]) -> bytes:
    return b"".join(
        code.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
        for code, data in sequence
    )


def file(body: bytes) -> bytes:
    return verbs.MAGIC.to_bytes(4, "little") + (len(body) + 8).to_bytes(4, "little") + body


def begin(verb: str) -> tuple[int, bytes]:
    return verbs.OPS.index("VERB") + 1, verb.encode()


def check(done: subprocess.CompletedProcess[bytes]) -> None:
    assert done.returncode in (0, 1), done.stderr.decode(errors="replace")
    assert b"runtime error" not in done.stderr
    assert b"Sanitizer" not in done.stderr
    assert done.returncode == 0 or b"no package ocirt" in done.stderr


def test_the_scene_works(run: Run) -> None:
    text = (verbs.OPS.index("PRINT") + 1, b"hello\n")
    done = run(file(encode([begin("state"), text])), "state")
    assert (done.returncode, done.stdout) == (0, b"hello\n")


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(sequence=st.lists(operations, max_size=6))
def test_any_operations(run: Run, verb: str, sequence: list[tuple[int, bytes]]) -> None:
    check(run(file(encode([begin(verb), *sequence])), verb))


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_bytes(run: Run, data: st.DataObject) -> None:
    sequence = data.draw(st.lists(operations, min_size=1, max_size=4))
    body = bytearray(file(encode([begin("state"), *sequence])))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 4))
        body[place : place + 4] = data.draw(numbers).to_bytes(4, "little")
    cut = data.draw(st.sampled_from([len(body), len(body) - 1, len(body) // 2, 7]))
    check(run(bytes(body[:cut]), "state"))


def test_the_largest_file_and_one_that_is_too_large(run: Run) -> None:
    print_code = verbs.OPS.index("PRINT") + 1
    head = len(file(encode([begin("state"), (print_code, b"")])))
    for size, status in ((verbs.SIZE_MAX, 0), (verbs.SIZE_MAX + 1, 1)):
        text = b"x" * (size - head)
        done = run(file(encode([begin("state"), (print_code, text)])), "state")
        assert done.returncode == status
