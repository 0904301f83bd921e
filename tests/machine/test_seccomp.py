"""SECCOMP and CLOEXEC: what the machine does with a filter, and how it goes on under one."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

import pytest

from ocirt.host import kernel
from ocirt.plan import ops
from ocirt.plan.ops import NO_SLOT
from ocirt.plan.program import Plan
from ocirt.plan.verify import PlanFault, verify
from ocirt.seccomp.bpf import IF_EQUAL, LOAD, RETURN, assemble
from ocirt.seccomp.filter import FLAG_NEW_LISTENER
from ocirt.seccomp.names import ALLOW, ERRNO, KILL_PROCESS, NOTIFY

from .conftest import needs_root
from .driver import Machine, op

Start = Callable[..., Machine]
NO_NEW_PRIVS = op("PRCTL", 38, 1)
SENDMSG = {"x86_64": 46, "aarch64": 211}[os.uname().machine]
UMASK = {"x86_64": 95, "aarch64": 166}[os.uname().machine]
EXIT_GROUP = {"x86_64": 231, "aarch64": 94}[os.uname().machine]


def forbid(call: int, action: int) -> bytes:
    """A filter that is about one call."""
    rows = [(LOAD, 0, 0, 0), (IF_EQUAL, 0, 1, call)]
    return assemble([*rows, (RETURN, 0, 0, action), (RETURN, 0, 0, ALLOW)])


def test_reports_go_on_without_sendmsg(start: Start) -> None:
    machine = start()
    machine.do(NO_NEW_PRIVS, op("SECCOMP", forbid(SENDMSG, ERRNO | errno.EPERM), 0))
    machine.do(op("UMASK", 0o22))
    found = machine.fail(op("CHDIR", "/no/such"))
    assert (found.errno, found.text) == (errno.ENOENT, "/no/such")


def test_killed_by_its_filter(start: Start) -> None:
    machine = start()
    machine.do(NO_NEW_PRIVS, op("SECCOMP", forbid(UMASK, KILL_PROCESS), 0))
    assert machine.run(op("UMASK", 0)) == []
    assert machine.wait() == -signal.SIGSYS


def test_a_machine_that_may_not_end_crashes(start: Start) -> None:
    machine = start()
    machine.do(NO_NEW_PRIVS, op("SECCOMP", forbid(EXIT_GROUP, ERRNO | errno.EPERM), 0))
    assert machine.run(op("CHDIR", "/no/such"))[-1].kind == ops.REPORT_FAILED
    assert machine.wait() in (-signal.SIGILL, -signal.SIGTRAP)


@pytest.mark.parametrize("size", [0, 4, 12, 8 * 4097])
def test_no_filter(start: Start, size: int) -> None:
    found = start().fail(NO_NEW_PRIVS, op("SECCOMP", bytes(size), 0))
    assert (found.op, found.step, found.errno) == (1, 0, errno.EINVAL)
    plan = Plan()
    plan.add("SECCOMP", bytes(size), 0, at="")
    with pytest.raises(PlanFault, match=f"{size} bytes are no filter"):
        verify(plan)


def test_what_the_kernel_refuses(start: Start) -> None:
    backwards = [(0xFFFF, 0, 0, 0), (RETURN, 0, 0, ALLOW)]
    found = start().fail(NO_NEW_PRIVS, op("SECCOMP", assemble(backwards), 0))
    assert (found.op, found.step, found.errno) == (1, 1, errno.EINVAL)
    found = start().fail(NO_NEW_PRIVS, op("SECCOMP", forbid(UMASK, ALLOW), 1 << 20))
    assert (found.step, found.errno) == (1, errno.EINVAL)


@needs_root
def test_listener_is_taken_without_a_call(start: Start) -> None:
    """It is announced; the machine waits for a message, and keeps no copy."""
    from ocirt.runtime.seccomp_agent import take_listener

    machine = start()
    filter = forbid(UMASK, NOTIFY)
    machine.do(NO_NEW_PRIVS)
    machine.send_segment(
        ops_segment(op("SECCOMP", filter, FLAG_NEW_LISTENER), op("UMASK", 0o22), op("SETSID"))
    )
    report = machine.report()
    assert report and report.kind == ops.REPORT_LISTENER
    fd = take_listener(machine.pidfd, report.value, machine.control)
    assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:seccomp notify"
    kernel.send(machine.control, b"go on")
    os.close(fd)  # so umask fails with ENOSYS, which UMASK does not look at
    number = str(report.value)
    report = machine.report()
    assert report and report.kind == ops.REPORT_DONE
    assert number not in os.listdir(f"/proc/{machine.pid}/fd")


@needs_root
def test_listener_that_never_comes(start: Start) -> None:
    """The filter is refused: take_listener gives way to the report that says so."""
    from ocirt.runtime.seccomp_agent import take_listener

    machine = start()
    machine.do(NO_NEW_PRIVS)
    machine.send_segment(ops_segment(op("SECCOMP", bytes(8), FLAG_NEW_LISTENER | 1 << 20)))
    report = machine.report()
    assert report and report.kind == ops.REPORT_LISTENER
    assert take_listener(machine.pidfd, report.value, machine.control) == -1
    report = machine.report()
    assert report and (report.kind, report.errno) == (ops.REPORT_FAILED, errno.EINVAL)


def test_cloexec_and_execute(start: Start, tmp_path: object) -> None:
    """EXEC without a number relies on CLOEXEC."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    machine = start()
    machine.send_fds(0, writer)
    argv = ["sh", "-c", "ls /proc/self/fd | wc -l > /dev/null"]
    reports = machine.run(
        op("FIND_EXEC", ["/bin/sh"]), op("CLOEXEC", 3), op("EXEC", argv, ["PATH=/bin"], NO_SLOT)
    )
    assert [report.kind for report in reports] == [ops.REPORT_EXEC]
    assert machine.wait() == 0
    os.close(writer)
    assert os.read(reader, 1) == b""  # nobody else has it
    os.close(reader)


def ops_segment(*instructions: object) -> bytes:
    from ocirt.plan.encode import encode_segment

    return encode_segment(list(instructions))  # type: ignore[arg-type]
