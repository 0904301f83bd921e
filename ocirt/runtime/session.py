"""One machine at work: start it, give it descriptors and segments, read its reports."""

from __future__ import annotations

import errno
import os

from ocirt import log
from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.plan import ops
from ocirt.plan.encode import encode_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirt.host.kernel import Birth
    from ocirt.plan.program import Instruction, Plan

_REPORT_SIZE = ops.REPORT_HEADER + ops.REPORT_TEXT_MAX
_SIGKILL = 9
_NEEDS = "to start its program a container needs read, write, close and execve, at least"
_CGROUP_HINTS = {  # clone(2), CLONE_INTO_CGROUP
    errno.EACCES: "ocirt has to be called in a cgroup of the same delegation (cgroups(7))",
    errno.EBUSY: "a cgroup that hands controllers down takes no process (cgroups(7))",
}
_P_PIDFD = 3
_FDS_A_MESSAGE = 200


class Session:
    """A machine that was started for ``plan``.

    ``pid`` and ``pidfd`` change where the plan forks; ``received``: the descriptors that it
    sent, by their TAG_*; ``parked``: it waits for start and has closed the connection;
    ``executed``: it was about to become its program; ``hand_over``: gets the listener of a
    filter that has one, to be set before ``run``.
    """

    __slots__ = (
        "_control",
        "_listened_to",
        "executed",
        "hand_over",
        "parked",
        "pid",
        "pidfd",
        "plan",
        "received",
    )

    def __init__(
        self,
        plan: Plan,
        cgroup_fd: int = -1,
        first_fd: int = 3,
        birth: Birth = kernel.NOWHERE,
    ) -> None:
        """Starts the machine. Raises KernelError."""
        self.plan = plan
        self.received: dict[int, int] = {}
        self.parked = self.executed = self._listened_to = False
        self.hand_over: Callable[[int], None] | None = None
        exe = kernel.machine_fd()
        self._control, theirs = kernel.socketpair()
        try:
            flags = plan.clone_flags
            self.pid, self.pidfd = kernel.spawn(flags, cgroup_fd, exe, theirs, first_fd, birth)
        except OSError as error:
            os.close(self._control)
            number = error.errno or 0
            what, at, hint = "new namespaces", "/linux/namespaces", ""
            if cgroup_fd >= 0 and number in _CGROUP_HINTS:
                what, at = "the container's cgroup", "/linux/cgroupsPath"
                hint = _CGROUP_HINTS[number]
            text = f"start a process in {what}: {error.strerror}"
            raise KernelError(text, at=at, errno=number, hint=hint) from None
        finally:
            os.close(exe)
            os.close(theirs)

    def run(self, fds: dict[int, int], at_sync: dict[str, Callable[[], None]]) -> None:
        """Runs the whole plan; ``fds``: descriptor of every pinned slot (they stay open here);
        ``at_sync``: what to do at each SYNC name. Raises OcirtError; the machine lives on then
        unless it was the machine that failed."""
        self._send_slots(fds)
        for first, instructions, name in self.plan.segments():
            if instructions:
                self._run_segment(first, instructions)
            if name:
                at_sync[name]()

    def give(self, fds: dict[int, int]) -> None:
        """Defines slots, anew if need be, while the machine waits at a SYNC."""
        self._send_slots(fds)

    def kill(self) -> None:
        """Ends the process and reaps it, whatever became of it."""
        try:
            kernel.pidfd_send_signal(self.pidfd, _SIGKILL)
        except OSError:
            pass
        self.close()  # what a signal does not reach, a seccomp filter on us for one, ends by this
        self._reap()

    def close(self) -> None:
        """Closes what this session holds; a machine that is not parked then ends."""
        for fd in (self._control, self.pidfd, *self.received.values()):
            if fd >= 0:
                os.close(fd)
        self._control = self.pidfd = -1
        self.received.clear()

    def _reap(self) -> None:
        """And whatever it has forked that we were not told about, another child of ours: a pid
        namespace does not end before all in it are reaped. So the kernel does that meanwhile."""
        import _signal  # type: ignore[import-not-found]

        before = _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass
        finally:
            _signal.signal(_signal.SIGCHLD, before)

    def _send_slots(self, fds: dict[int, int]) -> None:
        """Slots that follow one another go in one message."""
        slots = sorted(fds)
        while slots:
            count = 1
            while count < min(len(slots), _FDS_A_MESSAGE) and slots[count] == slots[0] + count:
                count += 1
            batch, slots = slots[:count], slots[count:]
            self._send(ops.MSG_FDS, 0, batch[0], count, [fds[slot] for slot in batch])

    def _send(self, kind: int, flags: int, a: int, b: int, fds: list[int] | None = None) -> None:
        header = (
            ops.MAGIC.to_bytes(4, "little")
            + kind.to_bytes(2, "little")
            + flags.to_bytes(2, "little")
            + a.to_bytes(4, "little")
            + b.to_bytes(4, "little")
        )
        kernel.send(self._control, header, fds or ())

    def _run_segment(self, first: int, instructions: list[Instruction]) -> None:
        data = encode_segment(instructions)
        try:
            flags = ops.FLAG_TRACE if log.debugging() else 0
            self._send(ops.MSG_SEGMENT, flags, first, len(data))
            for start in range(0, len(data), ops.CHUNK_MAX):
                kernel.send(self._control, data[start : start + ops.CHUNK_MAX])
        except BrokenPipeError:
            pass  # it ended; the report or the wait status says why
        while self._report():
            pass

    def _report(self) -> bool:
        """Reads one report; false at the end of the segment."""
        if self._listened_to:
            from ocirt.runtime.seccomp_agent import wait_for_report

            wait_for_report(self._control)
        try:
            data, fd = kernel.recv(self._control, _REPORT_SIZE)
        except ConnectionResetError:
            data, fd = b"", -1
        if not data:
            return self._ended()
        kind, index, step, errno, value, text = decode_report(data)
        if kind == ops.REPORT_FD:
            self.received[value] = fd
            return True
        if fd >= 0:
            os.close(fd)
        if kind == ops.REPORT_FAILED:
            from ocirt.plan.show import failure

            raise failure(self.plan, index, step, errno, text)
        if kind == ops.REPORT_FORKED:
            self._follow(value)
        elif kind == ops.REPORT_LISTENER:
            self._take_listener(value)
        elif kind == ops.REPORT_TRACE:
            from ocirt.plan.show import describe

            instruction = self.plan.instructions[index]
            place = f"    # {instruction.at}" if instruction.at else ""
            log.debug(f"{index:4} {describe(self.plan, instruction)}{place}")
        elif kind == ops.REPORT_EXEC:
            self.executed = True
        elif kind == ops.REPORT_PARKED:
            self.parked = True
            return False
        return kind != ops.REPORT_DONE

    def _ended(self) -> bool:
        """The connection is closed: the program runs, or ran, or the machine was killed."""
        if self.executed:
            return False
        status = self._wait_without_reaping()
        if status is None or os.WIFEXITED(status):
            text, filtered = "the set-up process ended too early", True
        else:
            signal = os.WTERMSIG(status)
            text, filtered = f"the set-up process was killed by signal {signal}", signal != _SIGKILL
        if filtered and any(i.op.name == "SECCOMP" for i in self.plan.instructions):
            raise KernelError(text, at="/linux/seccomp", hint=_NEEDS)
        raise KernelError(text)

    def _wait_without_reaping(self) -> int | None:
        try:
            info = os.waitid(_P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return None
        if info is None:
            return None
        return info.si_status << 8 if info.si_code == os.CLD_EXITED else info.si_status

    def _take_listener(self, number: int) -> None:
        """And lets the machine go on; if it has none, its next report says why."""
        from ocirt.runtime.seccomp_agent import take_listener

        fd = take_listener(self.pidfd, number, self._control)
        if fd < 0:
            return
        try:
            assert self.hand_over
            self.hand_over(fd)
        finally:
            os.close(fd)
        self._listened_to = True
        kernel.send(self._control, b"go on")

    def _follow(self, child: int) -> None:
        """The program goes on in ``child``, a sibling; the old process ends."""
        old_pid, old_pidfd = self.pid, self.pidfd
        self.pid, self.pidfd = child, kernel.pidfd_open(child)
        os.close(old_pidfd)
        os.waitpid(old_pid, 0)


def decode_report(data: bytes) -> tuple[int, int, int, int, int, str]:
    """(kind, operation, step, errno, value, text) of a report's bytes."""
    numbers = [int.from_bytes(data[i : i + 4], "little") for i in range(0, 16, 4)]
    value = int.from_bytes(data[16:24], "little", signed=True)
    text = data[ops.REPORT_HEADER :].split(b"\0", 1)[0].decode(errors="replace")
    return numbers[0], numbers[1], numbers[2], numbers[3], value, text
