"""Mutated segments, against the builds with the sanitizers.

First the verifier alone, thousands of segments a second and each in memory of its own size;
then whole machines, in a mount namespace where nothing of the host is left to harm.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocirt.host import constants as c
from ocirt.host.constants import CAPABILITIES
from ocirt.plan import ops
from ocirt.plan.encode import RECORD, encode_segment
from ocirt.plan.ops import NO_SLOT
from ocirt.plan.program import Instruction

from .conftest import ROOT, needs_root
from .driver import SANITIZER_STATUS, Machine, op

Value = int | str | bytes | list[str]
SLOTS_FILLED = 6
NUMBERS = (0, 1, 2, 3, 7, 8, 9, 15, 16, 56, 64, 255, 4096, 0x8000, 0xFFFF, 1 << 31, ops.NO_SLOT)
EDGES = (*NUMBERS, ops.SLOTS - 1, ops.SLOTS, 1 << 32, 1 << 61, 1 << 63, (1 << 64) - 1)

CHANGES = ("operand", "operand", "operand", "over", "byte", "word", "half", "cut", "more")

numbers = st.sampled_from(NUMBERS) | st.integers(0, 0xFFFF)
strings = st.sampled_from(
    ["", ".", "..", "a", "a/b/c", "/a", "tmpfs", "size", "x" * 300]
) | st.text("ab./", max_size=12)
slots = st.integers(0, SLOTS_FILLED + 2)
OPERANDS: dict[int, st.SearchStrategy[Value]] = {
    ops.NUM: numbers,
    ops.STR: strings,
    ops.STRS: st.lists(strings, max_size=4),
    ops.DATA: st.binary(max_size=24),
    ops.SLOT: slots,
    ops.SLOT_OPT: slots | st.just(NO_SLOT),
    ops.SLOT_OUT: slots,
}


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    """An operation that is well formed."""
    kind = draw(st.sampled_from(list(ops.OPS.values())))
    values: tuple[Any, ...] = tuple(draw(OPERANDS[kind]) for _name, kind in kind.operands)
    # Most operations fail: what comes after them should be tried as well.
    skip = draw(st.sampled_from([(), (2, 9), (9, 22), (20, 22), (9, 20)]))
    return Instruction(kind, values, "", "", skip, 0)


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    """A segment with a few changes: bytes, words, or its length."""
    program = draw(st.lists(instructions(), min_size=1, max_size=8))
    data = bytearray(encode_segment(program))
    text = len(data) - 8 - RECORD * len(program)
    sizes = (text, text - 1, text - 7, text - 8, text - 16, len(data))
    for _ in range(draw(st.integers(0, 3))):
        change = draw(st.sampled_from(CHANGES))
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        record = 8 + RECORD * draw(st.integers(0, len(program) - 1))
        if change == "operand":
            place = record + 8 + 8 * draw(st.integers(0, ops.OPERANDS - 1))
            value = draw(st.sampled_from(EDGES + sizes) | st.integers(0, text + 8))
            data[place : place + 8] = (value & (1 << 64) - 1).to_bytes(8, "little")
        elif change == "over":
            data[record + 2 : record + 3] = bytes([draw(st.integers(0, len(program) + 1))])
        elif change == "byte":
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif change == "word":
            value = draw(st.sampled_from(EDGES + sizes))
            data[place & ~7 : (place & ~7) + 8] = (value & (1 << 64) - 1).to_bytes(8, "little")
        elif change == "half":
            value = draw(st.sampled_from(EDGES + sizes))
            data[place & ~3 : (place & ~3) + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")
        elif change == "cut":
            del data[place:]
        else:
            data += bytes(draw(st.integers(1, 64)))
    return bytes(data)


# ---- the verifier alone


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    exe = tmp_path_factory.mktemp("verify") / "verify"
    files = [ROOT / "csrc" / "machine_verify.c", ROOT / "tests" / "machine" / "verify_all.c"]
    flags = "-std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all".split()
    subprocess.run(["gcc", *flags, "-I", ROOT / "csrc", "-o", exe, *files], check=True)
    environment = {"ASAN_OPTIONS": "allocator_may_return_null=1"}
    with subprocess.Popen(
        [exe], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()
    assert process.returncode == 0


def is_good(verifier: subprocess.Popen[bytes], segment: bytes) -> bool:
    assert verifier.stdin and verifier.stdout
    verifier.stdin.write(len(segment).to_bytes(4, "little") + segment)
    verifier.stdin.flush()
    answer = verifier.stdout.read(1)
    assert answer in (b"0", b"1"), "the verifier is gone; its stderr says why"
    return answer == b"1"


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(segment=segments())
def test_verifier(verifier: subprocess.Popen[bytes], segment: bytes) -> None:
    is_good(verifier, segment)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=st.lists(instructions(), max_size=20))
def test_verifier_knows_what_is_good(
    verifier: subprocess.Popen[bytes], program: list[Instruction]
) -> None:
    assert is_good(verifier, encode_segment(program))


def test_verifier_of_lists_that_overlap(verifier: subprocess.Popen[bytes]) -> None:
    """Text of small words, read as lists from everywhere: where they may harm one another."""
    source = random.Random(1)
    good = 0
    for _ in range(20_000):
        size = 8 * source.randrange(2, 9)
        text = b"".join(
            source.choice((0, 0, 0, 1, 1, 2, 3, 8, size - 1)).to_bytes(8, "little")
            for _ in range(size // 8)
        )
        count = source.randrange(1, 4)
        records = b""
        for _ in range(count):
            name = source.choice(("EXEC", "FIND_EXEC"))
            operands = [8 * source.randrange(size // 8) for _ in range(1 + (name == "EXEC"))]
            words = [*operands, 0, 0, 0, 0, 0][:6]
            records += ops.OPS[name].code.to_bytes(8, "little")
            records += b"".join(word.to_bytes(8, "little") for word in words)
        head = count.to_bytes(4, "little") + size.to_bytes(4, "little")
        good += is_good(verifier, head + records + text)
    assert 100 < good < 19_900


# ---- whole machines

HOST, FOLDER, FS, MOUNT, PIPE, FILE = range(SLOTS_FILLED)
HARMLESS = ("SYS_ADMIN", "CHOWN", "DAC_OVERRIDE", "SETUID", "SETGID", "SETPCAP", "MKNOD")
CAPS = sum(1 << CAPABILITIES["CAP_" + name] for name in HARMLESS)
FLAGS = c.CLONE_NEWNS | c.CLONE_NEWPID | c.CLONE_NEWUTS | c.CLONE_NEWIPC | c.CLONE_NEWNET
NODEV = c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC
BOX = [
    op("OPEN_ROOT", HOST),
    op("SETATTR", HOST, 0, 0, c.MS_PRIVATE, c.AT_RECURSIVE, NO_SLOT),
    op("FSOPEN", "tmpfs", FS),
    op("FSMOUNT", FS, NODEV, FOLDER),
    op("ATTACH", FOLDER, HOST),
    op("PIVOT", FOLDER),
    op("OPEN_ROOT", HOST),
    op("TARGET", FOLDER, "a/b", ops.KIND_FILE, NO_SLOT, 0, FILE),
    op("FSOPEN", "tmpfs", FS),
    op("FSMOUNT", FS, NODEV, MOUNT),
    op("FSOPEN", "tmpfs", FS),
    op("BOUNDING", CAPS),
    op("CAPSET", CAPS, CAPS, 0),
]


@needs_root
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(segment=segments())
def test_machine(builds: dict[str, Path], segment: bytes) -> None:
    exe = os.open(builds["sanitized"], os.O_RDONLY | os.O_CLOEXEC)
    read, write = os.pipe()
    try:
        with Machine(exe, FLAGS) as machine:
            machine.do(*BOX)
            machine.send_fds(PIPE, read)
            machine.send_segment(segment)
            _listen(machine)
    finally:
        for fd in (exe, read, write):
            os.close(fd)


def _listen(machine: Machine) -> None:
    """Reads its reports to the end. It may wait for ever (PARK, a FIFO), but never crash."""
    try:
        while report := machine.report(patience=0.5):
            if report.fd >= 0:
                os.close(report.fd)
            if report.kind == ops.REPORT_DONE:
                machine.close()
                break
            if report.kind == ops.REPORT_PARKED:
                return
    except TimeoutError:
        return
    status = machine.wait()
    assert status != SANITIZER_STATUS
    # After prctl(PR_SET_SECCOMP, 1) and under a filter the kernel may end it; where a filter
    # forbids exit it ends itself.
    assert status in (0, 1, -signal.SIGKILL, -signal.SIGSYS, -signal.SIGILL, -signal.SIGTRAP)
