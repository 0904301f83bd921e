"""The end of every plan: FIND_EXEC, PARK, EXEC."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirt.host import kernel
from ocirt.plan import ops
from ocirt.plan.encode import encode_segment
from ocirt.plan.ops import NO_SLOT

from .conftest import Start, needs_root
from .driver import PATIENCE, Machine, Report, decode, op

SH = op("FIND_EXEC", ["/bin/sh"])
PARKED_PRIVATE_MAX = 100  # kB


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe; who closes an end sets it to nothing."""
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass


def kinds(reports: list[Report]) -> list[int]:
    return [report.kind for report in reports]


def read_all(fd: int) -> str:
    with open(fd, closefd=False) as file:
        return file.read()


# ---- FIND_EXEC


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Files of every sort."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch(0o644)
    (tmp_path / "program").touch(0o755)
    (tmp_path / "link").symlink_to("program")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo", 0o777)
    return tmp_path


@pytest.mark.parametrize(
    "names, number, at",
    [
        (["missing"], errno.ENOENT, 0),
        (["plain"], errno.EACCES, 0),
        (["folder"], errno.EISDIR, 0),
        (["plain/x"], errno.ENOTDIR, 0),
        (["fifo"], errno.EACCES, 0),
        (["loop"], errno.ELOOP, 0),
        ([""], errno.ENOENT, 0),
        (["missing", "missing2"], errno.ENOENT, 0),
        (["missing", "plain/x"], errno.ENOTDIR, 1),
        (["plain/x", "folder", "missing"], errno.EISDIR, 1),
        (["folder", "plain", "missing"], errno.EACCES, 1),
        (["plain", "folder", "plain/x", "missing"], errno.EACCES, 0),
    ],
)
def test_find_fails(start: Start, places: Path, names: list[str], number: int, at: int) -> None:
    """The most telling errno, and the path that it is about."""
    paths = [f"{places}/{name}" if name else "" for name in names]
    report = start().fail(op("FIND_EXEC", paths))
    assert (report.step, report.errno, report.text) == (0, number, paths[at])


def test_find_among_nothing(start: Start) -> None:
    assert start().fail(op("FIND_EXEC", [])).errno == errno.ENOENT


@pytest.mark.parametrize("names", [["program"], ["link"], ["folder", "plain", "missing", "link"]])
def test_find(start: Start, places: Path, names: list[str]) -> None:
    start().do(op("FIND_EXEC", [f"{places}/{name}" for name in names]))


@needs_root
def test_find_as_the_user_that_will_run_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "program").touch(0o700)
    tmp_path.chmod(0o755)
    machine = start()
    machine.do(op("CHDIR", str(tmp_path)), op("FIND_EXEC", ["program"]))
    report = machine.fail(op("SETUID", 1000), op("FIND_EXEC", ["program"]))
    assert (report.op, report.errno) == (1, errno.EACCES)


# ---- EXEC


def test_exec(start: Start, pipe: tuple[int, int]) -> None:
    """Arguments, environment, an end of the connection, and the program's own status."""
    read, write = pipe
    machine = start(stdout=write)
    os.close(write)
    script = 'echo "$0|$1|$2|$A|$B"; exit 42'
    argv = ["name", "-c", script, "zero", "", "two words"]
    assert kinds(machine.run(SH, op("EXEC", argv, ["A=1", "B=x\udcff=y"], 3))) == [ops.REPORT_EXEC]
    assert machine.wait() == 42
    assert os.read(read, 100) == b"zero||two words|1|x\xff=y\n"


def test_exec_without_arguments_or_environment(start: Start, pipe: tuple[int, int]) -> None:
    read, write = pipe
    machine = start(stdout=write)
    os.close(write)
    assert kinds(machine.run(op("FIND_EXEC", ["/usr/bin/env"]), op("EXEC", ["env"], [], 3))) == [
        ops.REPORT_EXEC
    ]
    assert read_all(read) == ""
    assert machine.wait() == 0


@pytest.mark.parametrize("first", [3, 5])
def test_descriptors_of_the_program(start: Start, pipe: tuple[int, int], first: int) -> None:
    """Those below ``first`` and no others."""
    read, write = pipe
    extra = [fd for fd in (3, 4) if fd < first]
    saved: dict[int, int] = {}
    for fd in extra:  # they are pytest's, perhaps
        try:
            saved[fd] = os.dup(fd)
        except OSError:
            saved[fd] = -1
        os.dup2(write, fd)
    try:
        machine = start(0, first, stdout=write)
    finally:
        for fd in extra:
            if saved[fd] >= 0:
                os.dup2(saved[fd], fd)
                os.close(saved[fd])
            else:
                os.close(fd)
    os.close(write)
    machine.send_fds(0, read, read)
    script = ["sh", "-c", "for f in /proc/self/fd/*; do [ -e $f ] && echo ${f##*/}; done"]
    assert kinds(machine.run(SH, op("EXEC", script, [], first))) == [ops.REPORT_EXEC]
    found = {int(line) for line in read_all(read).split()}
    # sh has one of its own for the script's pattern, at most.
    assert set(range(first)) <= found and len(found) <= first + 1
    assert machine.wait() in (0, 1)


def test_first_fd_of_the_operation_counts(start: Start, pipe: tuple[int, int]) -> None:
    """close_range begins there: a descriptor that is not close-on-exec is gone too."""
    read, write = pipe
    null = os.open("/dev/null", os.O_RDONLY)
    machine = start(0, 3, stdout=write)
    os.close(write)
    machine.send_fds(0, null)
    os.close(null)
    machine.do(op("STDIO", 0))
    argv = ["sh", "-c", "true"]
    assert kinds(machine.run(SH, op("EXEC", argv, [], 0))) == [ops.REPORT_EXEC]
    assert read_all(read) == ""


def test_signals_of_the_program(start: Start, pipe: tuple[int, int]) -> None:
    """None is blocked, none is ignored, whatever the caller did."""
    read, write = pipe
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        machine = start(stdout=write)
    finally:
        signal.signal(signal.SIGHUP, old)
    os.close(write)
    machine.do()
    before = dict(
        line.split(":\t") for line in Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    )
    assert int(before["SigBlk"], 16) & 1 << signal.SIGTERM - 1
    assert int(before["SigIgn"], 16) & 1 << signal.SIGHUP - 1
    paths = op("FIND_EXEC", ["/bin/cat", "/usr/bin/cat"])
    machine.run(paths, op("EXEC", ["cat", "/proc/self/status"], [], 3))
    after = dict(line.split(":\t") for line in read_all(read).splitlines())
    assert int(after["SigBlk"], 16) == 0
    assert int(after["SigIgn"], 16) == 0


def test_exec_fails(start: Start, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("no program")
    (tmp_path / "program").chmod(0o755)
    path = f"{tmp_path}/program"
    report = start().fail(op("FIND_EXEC", [path]), op("EXEC", ["program"], [], 3))
    assert (report.op, report.step, report.errno, report.text) == (1, 1, errno.ENOEXEC, path)


def test_exec_of_nothing(start: Start) -> None:
    assert start().fail(op("EXEC", ["x"], [], 3)).errno == errno.EINVAL
    machine = start()
    machine.do(SH)  # what it found was in that segment's text
    assert machine.fail(op("EXEC", ["x"], [], 3)).errno == errno.EINVAL


# ---- PARK


class Fifos:
    """What the host keeps of a parked machine: both ends of ``start`` and ``report``."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "start", folder / "report"]
        for path in self.paths:
            os.mkfifo(path)
        self.fds = [os.open(path, os.O_RDWR) for path in self.paths]

    def give(self, machine: Machine) -> None:
        """Slots 0 and 1; the machine alone has them open then."""
        machine.send_fds(0, *self.fds)
        for fd in self.fds:
            os.close(fd)

    def wake(self) -> bytes:
        """What the machine reports after it; nothing if its program runs."""
        report = os.open(self.paths[1], os.O_RDONLY | os.O_NONBLOCK)
        wake = os.open(self.paths[0], os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(report, True)
        os.write(wake, b"1")
        os.close(wake)
        data = os.read(report, 4096)
        os.close(report)
        return data


def park(
    machine: Machine,
    folder: Path,
    env: list[str] | None = None,
    program: str = "/bin/sh",
) -> Fifos:
    fifos = Fifos(folder)
    fifos.give(machine)
    argv = ["sh", "-c", "echo $FILL | head -c 3"]
    reports = machine.run(
        op("KEEP", 0, 1, NO_SLOT, NO_SLOT),
        op("FIND_EXEC", [program]),
        op("PARK", 0, 1),
        op("EXEC", argv, env or [], 3),
        first=20,
    )
    assert reports == [Report(ops.REPORT_PARKED, 22, 0, 0, 0, "")]
    assert machine.report() is None  # it has closed the connection
    return fifos


@needs_root
def test_parked_machine_starts(start: Start, pipe: tuple[int, int], tmp_path: Path) -> None:
    read, write = pipe
    machine = start(stdout=write)
    os.close(write)
    fifos = park(machine, tmp_path, env=["FILL=abcdef", "PATH=/usr/bin:/bin"])
    assert sorted(os.listdir(f"/proc/{machine.pid}/fd"), key=int)[:3] == ["0", "1", "2"]
    assert len(os.listdir(f"/proc/{machine.pid}/fd")) == 5
    assert fifos.wake() == b""
    assert read_all(read) == "abc"
    assert machine.wait() == 0


def test_parked_machine_fails(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch(0o755)
    machine = start()
    fifos = park(machine, tmp_path, program=str(program))
    program.unlink()
    report = decode(fifos.wake())
    path = str(program)
    assert report == Report(ops.REPORT_FAILED, 23, 1, errno.ENOENT, 0, path)
    assert machine.wait() == 1


def test_parked_machine_ends_with_its_wake(start: Start, pipe: tuple[int, int]) -> None:
    read, write = pipe
    machine = start()
    machine.send_fds(0, read)
    reports = machine.run(op("PARK", 0, 0))
    assert reports[-1].kind == ops.REPORT_PARKED
    os.close(write)
    assert machine.wait() == 1


def test_parked_machine_survives_its_host(start: Start, tmp_path: Path) -> None:
    machine = start()
    fifos = park(machine, tmp_path)
    machine.close()
    time.sleep(0.05)
    assert os.waitpid(machine.pid, os.WNOHANG) == (0, 0)
    assert fifos.wake() == b""


def test_parked_machine_has_nothing_more_to_say(start: Start, pipe: tuple[int, int]) -> None:
    """A plan that goes on after PARK: no trace, no descriptors, and its end is its end."""
    read, write = pipe
    machine = start()
    wake, waker = os.pipe()
    machine.send_fds(0, wake, write)
    os.close(write)
    segment = encode_segment(
        [op("PARK", 0, 1), op("UMASK", 0), op("SEND", 0, 1, skip=(errno.ENOTCONN,))]
    )
    machine.send_segment(segment, flags=ops.FLAG_TRACE)
    trace, parked = machine.report(), machine.report()
    assert trace and trace.kind == ops.REPORT_TRACE
    assert parked and parked.kind == ops.REPORT_PARKED
    os.write(waker, b"1")
    assert decode(os.read(read, 4096)) == Report(ops.REPORT_DONE, 3, 0, 0, 0, "")
    assert machine.wait() == 1
    os.close(wake)
    os.close(waker)


def test_report_slot_that_was_closed(start: Start, pipe: tuple[int, int]) -> None:
    read, write = pipe
    machine = start()
    machine.send_fds(0, read, write)
    os.close(read)
    machine.send_segment(
        encode_segment([op("PARK", 0, 1), op("CLOSE", 1), op("OPEN_ROOT", 2), op("CLOSE", 9)])
    )
    os.write(write, b"1")
    assert machine.wait() == 1


# ---- memory


def private(machine: Machine) -> dict[str, int]:
    """kB of each Private_* of a process."""
    lines = Path(f"/proc/{machine.pid}/smaps_rollup").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if "Private_" in line}


def settle(machine: Machine) -> None:
    """Waits until it sleeps in PARK."""
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{machine.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "S":
        assert time.monotonic() < end
        time.sleep(0.002)


@needs_root
@pytest.mark.parametrize("build", ["normal"], indirect=True)
def test_parked_machine_is_small(start: Start, tmp_path: Path) -> None:
    """After a big segment as well: the next one gives back what it filled."""
    machine = start()
    machine.do(*[op("CHDIR", "/" + "./" * 2000 + str(i), skip=(errno.ENOENT,)) for i in range(900)])
    assert sum(private(machine).values()) > 3000
    park(machine, tmp_path, env=[f"V{i}={'x' * 40}" for i in range(100)])
    settle(machine)
    assert sum(private(machine).values()) < PARKED_PRIVATE_MAX, private(machine)


@needs_root
def test_machine_of_a_container_is_small(tmp_path: Path) -> None:
    """The one that ocirt has in it, started from a memfd: its file is memory as well."""
    exe = kernel.machine_fd()
    with Machine(exe) as machine:
        size = os.fstat(exe).st_size
        os.close(exe)
        park(machine, tmp_path, env=[f"V{i}={'x' * 40}" for i in range(100)])
        settle(machine)
        assert sum(private(machine).values()) + (size >> 10) < PARKED_PRIVATE_MAX
