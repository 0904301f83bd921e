"""The connection: messages in, reports out, and what ends the machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocirt.host import kernel
from ocirt.host.constants import CLONE_NEWUSER
from ocirt.plan import ops
from ocirt.plan.encode import encode_segment

from .conftest import Start, needs_root
from .driver import Machine, Report, op


def refused(machine: Machine, text: str, index: int = 0) -> None:
    assert machine.report() == Report(ops.REPORT_FAILED, index, 0, errno.EINVAL, 0, text)
    assert machine.report() is None
    assert machine.wait() == 1


def test_ends_with_the_connection(start: Start) -> None:
    machine = start()
    machine.close()
    assert machine.wait() == 1


def test_segment_ends_with_a_report(start: Start) -> None:
    machine = start()
    assert machine.run(op("UMASK", 0o22), op("UMASK", 0), first=40) == [
        Report(ops.REPORT_DONE, 42, 0, 0, 0, "")
    ]
    assert machine.run(first=7) == [Report(ops.REPORT_DONE, 7, 0, 0, 0, "")]


def test_segment_in_many_chunks(start: Start) -> None:
    machine = start()
    segment = encode_segment([op("SYMLINK", 0, "x" * 100_000, "y" * 100_000)])
    machine.send_segment(segment)
    report = machine.report()
    assert report and report.errno == errno.EBADF  # it was understood: slot 0 is undefined


def test_trace(start: Start) -> None:
    machine = start()
    reports = machine.run(op("UMASK", 0), op("UMASK", 0), first=5, flags=ops.FLAG_TRACE)
    trace, done = ops.REPORT_TRACE, ops.REPORT_DONE
    assert [(r.kind, r.op) for r in reports] == [(trace, 5), (trace, 6), (done, 7)]


@pytest.mark.parametrize("count", [1, 2, 250])
def test_descriptors_fill_slots(start: Start, count: int) -> None:
    machine = start()
    pipes = [os.pipe() for _ in range(2)]
    machine.send_fds(ops.SLOTS - count, *[pipes[0][1]] * (count - 1), pipes[1][1])
    sent = machine.do(op("SEND", ops.SLOTS - 1, 9))
    os.write(sent[9], b"here")
    assert os.read(pipes[1][0], 10) == b"here"
    for fd in (*pipes[0], *pipes[1], sent[9]):
        os.close(fd)


def test_filling_a_slot_again_closes_what_it_held(start: Start) -> None:
    machine = start()
    read, write = os.pipe()
    machine.send_fds(3, write)
    os.close(write)
    machine.send_fds(3, read)
    machine.do()
    assert os.read(read, 1) == b""  # no writer is left
    os.close(read)


@pytest.mark.parametrize(
    "first, count, sent",
    [
        (0, 1, 0),
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 2),
        (0, 2, 1),
        (ops.SLOTS, 1, 1),
        (ops.SLOTS - 1, 2, 2),
        (0xFFFFFFFF, 1, 1),
        (1, 0xFFFFFFFF, 1),
        (0, ops.FDS_MAX + 1, ops.FDS_MAX + 1),
    ],
)
def test_descriptors_that_do_not_fit(start: Start, first: int, count: int, sent: int) -> None:
    machine = start()
    machine.send_message(ops.MSG_FDS, first, count, fds=[0] * sent)
    refused(machine, "descriptors do not fit the message")


def test_descriptors_with_a_segment(start: Start) -> None:
    machine = start()
    machine.send_message(ops.MSG_SEGMENT, 0, 8, fds=[0])
    refused(machine, "descriptors do not fit the message")


def test_descriptors_with_a_chunk(start: Start) -> None:
    machine = start()
    machine.send_message(ops.MSG_SEGMENT, 0, 9)
    kernel.send(machine.control, b"x", [0])
    refused(machine, "a message is too long")


@pytest.mark.parametrize("data", [b"x", b"x" * 15, b"\0" * 16])
def test_what_is_no_message(start: Start, data: bytes) -> None:
    machine = start()
    kernel.send(machine.control, data)
    refused(machine, "this is no message")


def test_message_that_is_too_long(start: Start) -> None:
    machine = start()
    kernel.send(machine.control, b"x" * 17)
    refused(machine, "a message is too long")


def test_unknown_message(start: Start) -> None:
    machine = start()
    machine.send_message(3, 0, 0)
    refused(machine, "this message is unknown")


@pytest.mark.parametrize("size", [ops.SEGMENT_MAX + 1, 0xFFFFFFFF])
def test_segment_that_is_too_long(start: Start, size: int) -> None:
    machine = start()
    machine.send_message(ops.MSG_SEGMENT, 0, size)
    refused(machine, "a segment is too long")


def test_longest_segment(start: Start) -> None:
    machine = start()
    size = ops.SEGMENT_MAX - 8
    machine.send_segment((0).to_bytes(4, "little") + size.to_bytes(4, "little") + b"\0" * size)
    assert machine.report() == Report(ops.REPORT_DONE, 0, 0, 0, 0, "")


@pytest.mark.parametrize("chunk", [0, ops.CHUNK_MAX + 1])
def test_chunk_of_a_wrong_size(start: Start, chunk: int) -> None:
    machine = start()
    machine.send_message(ops.MSG_SEGMENT, 0, ops.CHUNK_MAX + 2)
    kernel.send(machine.control, b"x" * chunk)
    if chunk:
        refused(machine, "a message is too long")
    else:
        assert machine.wait() == 1  # as the end of the connection


def test_connection_ends_within_a_segment(start: Start) -> None:
    machine = start()
    machine.send_message(ops.MSG_SEGMENT, 0, 100)
    kernel.send(machine.control, b"x" * 50)
    machine.close()
    assert machine.wait() == 1


@pytest.mark.parametrize("skip", [(errno.EBADF,), (errno.EINVAL, errno.EBADF)])
def test_skipped_error(start: Start, skip: tuple[int, ...]) -> None:
    """The operation and the next two are passed over, the one after them runs."""
    machine = start()
    null = os.open("/dev/null", os.O_RDONLY)
    machine.send_fds(1, null)
    os.close(null)
    sent = machine.do(
        op("CLOSE", 0, skip=skip, over=2), op("SEND", 1, 1), op("SEND", 1, 2), op("SEND", 1, 3)
    )
    assert list(sent) == [3]
    os.close(sent[3])


def test_error_that_is_not_skipped(start: Start) -> None:
    machine = start()
    report = machine.fail(op("UMASK", 0), op("CLOSE", 0, skip=(errno.ENOENT, errno.EPERM)))
    assert (report.op, report.step, report.errno) == (1, 0, errno.EBADF)


@pytest.mark.parametrize("name", ["CLOSE", "SEND", "OPEN", "KEEP"])
def test_slot_that_is_not_defined(start: Start, name: str) -> None:
    operands = {"CLOSE": (5,), "SEND": (5, 0), "OPEN": (5, ".", 0, 0, 1), "KEEP": (5, 5, 5, 5)}
    assert start().fail(op(name, *operands[name])).errno == errno.EBADF


@pytest.mark.parametrize("arguments", [[], ["x"], ["3", "3"], ["-1"], ["99999999999999999999"]])
def test_started_in_a_wrong_way(build: os.PathLike[str], arguments: list[str]) -> None:
    assert os.spawnv(os.P_WAIT, build, ["machine", *arguments]) == 2


@needs_root
def test_closed_descriptors_stay_closed(start: Start) -> None:
    """What the machine opens never becomes the container's stdin."""
    machine = start(0, stdin=-1, stdout=-1)
    null = os.open("/dev/null", os.O_RDONLY)
    machine.send_fds(0, null)
    os.close(null)
    machine.do()
    folder = f"/proc/{machine.pid}/fd"
    for number in (0, 1):
        assert os.readlink(f"{folder}/{number}").startswith("socket:")
        with open(f"/proc/{machine.pid}/fdinfo/{number}") as file:
            flags = next(line for line in file if line.startswith("flags:")).split()[1]
        assert int(flags, 8) & os.O_CLOEXEC
    assert os.readlink(f"{folder}/4") == "/dev/null"


@needs_root
def test_can_not_be_traced(start: Start) -> None:
    """A process that is not dumpable has /proc files of root, whoever runs it."""
    machine = start()
    machine.do(op("SETGID", 1000), op("SETUID", 1000))
    assert os.stat(f"/proc/{machine.pid}/fd").st_uid == 0
    assert os.stat(f"/proc/{machine.pid}/maps").st_uid == 0


@needs_root
def test_can_not_be_traced_in_a_user_namespace(start: Start) -> None:
    """Nor do new credentials there make it dumpable, whatever fs.suid_dumpable says."""
    sysctl = Path("/proc/sys/fs/suid_dumpable")
    before = sysctl.read_text()
    sysctl.write_text("1")
    try:
        maker, joiner = start(), start()
        maker.do(op("UNSHARE", CLONE_NEWUSER))
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{maker.pid}/{name}").write_text("0 100000 10")
        fd = os.open(f"/proc/{maker.pid}/ns/user", os.O_RDONLY)
        joiner.send_fds(4, fd)
        os.close(fd)
        joiner.do(op("SETNS", 4, CLONE_NEWUSER))
        for machine in (maker, joiner):
            assert os.stat(f"/proc/{machine.pid}/fd").st_uid == 0
            machine.do(op("SETGID", 0), op("SETUID", 0))
            assert os.stat(f"/proc/{machine.pid}/fd").st_uid == 0
    finally:
        sysctl.write_text(before)
