"""Drives one machine: what the host does in ocirt.runtime.session, a step at a time."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from ocirt.host import kernel
from ocirt.plan import ops
from ocirt.plan.encode import encode_segment
from ocirt.plan.program import Instruction

# Seconds to wait for a report, or for the end of the process.
PATIENCE = 20
SANITIZER_STATUS = 99


class Report(NamedTuple):
    """A report's fields, and the descriptor that came with it or -1."""

    kind: int
    op: int
    step: int
    errno: int
    value: int
    text: str
    fd: int = -1


def op(
    name: str, *values: int | str | bytes | list[str], skip: tuple[int, ...] = (), over: int = 0
) -> Instruction:
    """One instruction, without a place in a config."""
    assert len(values) == len(ops.OPS[name].operands), name
    return Instruction(ops.OPS[name], values, "", "", skip, over)


def decode(data: bytes, fd: int = -1) -> Report:
    """A report's bytes, by the description in ocirt.plan.ops."""
    numbers = [int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8, 12)]
    value = int.from_bytes(data[16:24], "little", signed=True)
    kind, index, step, number = numbers
    return Report(kind, index, step, number, value, data[24:].decode(errors="surrogateescape"), fd)


@contextmanager
def _stdio(numbers: Sequence[int]) -> Iterator[None]:
    """Makes ``numbers`` the descriptors 0, 1 and 2 for a while; -1 is a closed one."""
    saved = [os.dup(fd) for fd in range(3)]
    try:
        for fd, number in enumerate(numbers):
            if number >= 0:
                os.dup2(number, fd)
            else:
                os.close(fd)
        yield
    finally:
        for fd, number in enumerate(saved):
            os.dup2(number, fd)
            os.close(number)


class Machine:
    """A machine that runs. ``with`` it: at the end it is gone, and no sanitizer complained."""

    def __init__(
        self,
        exe: int,
        flags: int = 0,
        first_fd: int = 3,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> None:
        """``exe``: a descriptor of its file; ``flags``: CLONE_NEW*; ``stdin``, ``stdout``:
        its descriptors (-1: closed), otherwise /dev/null."""
        self.control, theirs = kernel.socketpair()
        self.log = tempfile.TemporaryFile()
        self.killed = False
        self.status: int | None = None
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        numbers = [null if fd is None else fd for fd in (stdin, stdout)]
        try:
            with _stdio([*numbers, self.log.fileno()]):
                self.pid, pidfd = kernel.spawn(flags, -1, exe, theirs, first_fd)
                self.pidfd = fcntl.fcntl(pidfd, fcntl.F_DUPFD_CLOEXEC, 3)  # it may be 0 here
                os.close(pidfd)
        finally:
            os.close(null)
            os.close(theirs)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.kill()
        for fd in (self.control, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")
        self.log.close()
        if kind is None:
            assert "Sanitizer" not in said and "runtime error" not in said, said

    # ---- messages

    def send_message(
        self,
        kind: int,
        a: int,
        b: int,
        flags: int = 0,
        fds: Sequence[int] = (),
        magic: int = ops.MAGIC,
    ) -> None:
        header = b"".join(
            number.to_bytes(size, "little")
            for number, size in ((magic, 4), (kind, 2), (flags, 2), (a, 4), (b, 4))
        )
        kernel.send(self.control, header, fds)

    def send_fds(self, first: int, *fds: int) -> None:
        """Puts descriptors into the slots from ``first`` on; they stay open here."""
        self.send_message(ops.MSG_FDS, first, len(fds), fds=fds)

    def send_segment(self, segment: bytes, first: int = 0, flags: int = 0) -> None:
        try:
            self.send_message(ops.MSG_SEGMENT, first, len(segment), flags)
            for start in range(0, len(segment), ops.CHUNK_MAX):
                kernel.send(self.control, segment[start : start + ops.CHUNK_MAX])
        except BrokenPipeError:
            pass  # refused already: a report says why

    def report(self, patience: float = PATIENCE) -> Report | None:
        """The next report, None at the end of the connection; waits for ``patience`` seconds."""
        if not select.select([self.control], [], [], patience)[0]:
            raise TimeoutError("the machine does not answer")
        try:
            data, fd = kernel.recv(self.control, ops.REPORT_HEADER + ops.REPORT_TEXT_MAX)
        except ConnectionResetError:
            return None
        return decode(data, fd) if data else None

    # ---- segments

    def run(self, *instructions: Instruction, first: int = 0, flags: int = 0) -> list[Report]:
        """Runs a segment; its reports to the last one (done, failed, parked or none)."""
        self.send_segment(encode_segment(list(instructions)), first, flags)
        reports = []
        while report := self.report():
            reports.append(report)
            if report.kind == ops.REPORT_FORKED:
                self._follow(report.value)
            if report.kind in (ops.REPORT_DONE, ops.REPORT_FAILED, ops.REPORT_PARKED):
                break
        return reports

    def do(self, *instructions: Instruction) -> dict[int, int]:
        """Runs a segment that must succeed; the descriptors that it sent, by tag."""
        reports = self.run(*instructions)
        assert reports and reports[-1].kind == ops.REPORT_DONE, reports
        assert reports[-1].op == len(instructions)
        return {r.value: r.fd for r in reports if r.kind == ops.REPORT_FD}

    def fail(self, *instructions: Instruction) -> Report:
        """Runs a segment that must fail, and the machine with it; the report."""
        reports = self.run(*instructions)
        assert reports and reports[-1].kind == ops.REPORT_FAILED, reports
        assert self.wait() == 1
        return reports[-1]

    # ---- its process

    def _follow(self, child: int) -> None:
        assert self.wait() == 0
        os.close(self.pidfd)
        self.pid, self.pidfd, self.status = child, kernel.pidfd_open(child), None

    def wait(self) -> int:
        """Waits for its end: the exit status, or -signal."""
        deadline = time.monotonic() + PATIENCE
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise TimeoutError("the machine does not end")
            else:
                time.sleep(0.001)
        return self.status

    def kill(self) -> None:
        """Ends it, if it has not ended by itself."""
        if self.status is None:
            kernel.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self.wait()

    def close(self) -> None:
        """Closes the connection."""
        os.close(self.control)
        self.control = -1
