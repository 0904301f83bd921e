"""Operations on the process: namespaces, keyring, credentials, stdio."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ocirt.host import constants as c
from ocirt.host import kernel
from ocirt.host.constants import CAPABILITIES
from ocirt.plan import ops
from ocirt.plan.ops import NO_SLOT

from .conftest import Start, needs_root
from .driver import Machine, op

LAST_CAPABILITY = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
ALL = (1 << LAST_CAPABILITY + 1) - 1


def status(machine: Machine) -> dict[str, str]:
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def capabilities(machine: Machine) -> dict[str, int]:
    return {key: int(v, 16) for key, v in status(machine).items() if key.startswith("Cap")}


def namespace(machine: Machine | None, name: str) -> str:
    return os.readlink(f"/proc/{machine.pid if machine else 'self'}/ns/{name}")


# ---- namespaces and the process


def test_setsid(start: Start) -> None:
    machine = start()
    machine.do(op("SETSID"))
    assert os.getsid(machine.pid) == machine.pid
    assert machine.fail(op("SETSID")).errno == errno.EPERM


@needs_root
def test_unshare_and_names(start: Start) -> None:
    machine = start()
    machine.do(
        op("UNSHARE", c.CLONE_NEWUTS), op("HOSTNAME", "host"), op("DOMAINNAME", "example.org")
    )
    other = start()
    fd = os.open(f"/proc/{machine.pid}/ns/uts", os.O_RDONLY)
    other.send_fds(4, fd)
    os.close(fd)
    other.do(op("SETNS", 4, c.CLONE_NEWUTS))
    assert namespace(other, "uts") == namespace(machine, "uts") != namespace(None, "uts")
    read, write = os.pipe()
    reader = start(c.CLONE_NEWNS, stdout=write)
    os.close(write)
    uts = os.open(f"/proc/{machine.pid}/ns/uts", os.O_RDONLY)
    reader.send_fds(0, uts)
    os.close(uts)
    script = "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname"
    argv = ["sh", "-c", script]
    path = ["PATH=/usr/bin:/bin"]
    reader.run(op("SETNS", 0, 0), op("FIND_EXEC", ["/bin/sh"]), op("EXEC", argv, path, 3))
    assert os.read(read, 100) + os.read(read, 100) == b"host\nexample.org\n"
    os.close(read)


@needs_root
def test_names_that_are_too_long(start: Start) -> None:
    for name in ("HOSTNAME", "DOMAINNAME"):
        machine = start(c.CLONE_NEWUTS)
        machine.do(op(name, "x" * 64))
        assert machine.fail(op(name, "x" * 65)).errno == errno.EINVAL


def test_unshare_fails(start: Start) -> None:
    assert start().fail(op("UNSHARE", 1)).errno == errno.EINVAL


@needs_root
def test_setns_by_pidfd(start: Start) -> None:
    one = start(c.CLONE_NEWUTS | c.CLONE_NEWIPC | c.CLONE_NEWNS)
    machine = start()
    machine.send_fds(0, one.pidfd)
    machine.do(op("SETNS", 0, c.CLONE_NEWUTS | c.CLONE_NEWNS))
    for name, same in (("uts", True), ("mnt", True), ("ipc", False)):
        assert (namespace(machine, name) == namespace(one, name)) is same
    assert machine.fail(op("SETNS", 0, 1)).errno == errno.EINVAL


@needs_root
def test_fork_into_a_pid_namespace(start: Start) -> None:
    machine = start()
    first = machine.pid
    machine.send_fds(7, machine.pidfd)
    reports = machine.run(op("UNSHARE", c.CLONE_NEWPID), op("FORK"), op("SEND", 7, 1), first=10)
    assert [(r.kind, r.op) for r in reports] == [
        (ops.REPORT_FORKED, 11),
        (ops.REPORT_FD, 12),
        (ops.REPORT_DONE, 13),
    ]
    os.close(reports[1].fd)
    assert machine.pid == reports[0].value != first
    assert status(machine)["NSpid"].split() == [str(machine.pid), "1"]
    assert status(machine)["PPid"] == str(os.getpid())
    # The first of a namespace can't have siblings.
    report = machine.fail(op("FORK"))
    assert (report.op, report.errno) == (0, errno.EINVAL)


def test_fork_when_the_host_is_gone(start: Start) -> None:
    """The child ends at the end of the connection, like its parent."""
    machine = start()
    reports = machine.run(op("FORK"), op("UMASK", 0))
    assert [r.kind for r in reports] == [ops.REPORT_FORKED, ops.REPORT_DONE]
    machine.close()
    assert machine.wait() == 1


def test_prctl(start: Start) -> None:
    machine = start()
    machine.do(op("PRCTL", c.PR_SET_NO_NEW_PRIVS, 1))
    assert status(machine)["NoNewPrivs"] == "1"
    assert machine.fail(op("PRCTL", c.PR_SET_NO_NEW_PRIVS, 0)).errno == errno.EINVAL


def test_umask_and_personality(start: Start) -> None:
    machine = start()
    machine.do()
    assert status(machine)["Umask"] == "0000"
    machine.do(op("UMASK", 0o27), op("PERSONALITY", 0x0020000))
    assert status(machine)["Umask"] == "0027"
    if os.geteuid() == 0:
        assert Path(f"/proc/{machine.pid}/personality").read_text() == "00020000\n"


@pytest.mark.skipif(not os.path.exists("/proc/self/numa_maps"), reason="this kernel has no NUMA")
def test_memory_policy(start: Start) -> None:
    machine = start()
    node0 = (1).to_bytes(128, "little")
    for policy, nodes, shown in (
        ("MPOL_INTERLEAVE", node0, "interleave:0"),
        ("MPOL_BIND", node0[:8], "bind:0"),
        ("MPOL_LOCAL", b"", "local"),
        ("MPOL_DEFAULT", b"", "default"),
    ):
        machine.do(op("MEMORY_POLICY", c.MEMORY_POLICIES[policy], nodes))
        maps = Path(f"/proc/{machine.pid}/numa_maps").read_text()
        assert {line.split()[1] for line in maps.splitlines()} == {shown}


@pytest.mark.parametrize(
    ("policy", "nodes"),
    [
        ("MPOL_BIND", b"\1\0\0\0"),  # half a word
        ("MPOL_BIND", b""),
        ("MPOL_BIND", (1 << 63).to_bytes(8, "little")),  # no such node
        ("MPOL_BIND", (1 << 40000).to_bytes(8192, "little")),  # more bits than a page
        ("MPOL_LOCAL", b"\1" + bytes(7)),
    ],
)
@pytest.mark.skipif(not os.path.exists("/proc/self/numa_maps"), reason="this kernel has no NUMA")
def test_memory_policy_that_is_refused(policy: str, nodes: bytes, start: Start) -> None:
    report = start().fail(op("MEMORY_POLICY", c.MEMORY_POLICIES[policy], nodes))
    assert (report.step, report.errno) == (0, errno.EINVAL)


def test_keyring(start: Start) -> None:
    machine = start()
    machine.do(op("KEYRING", "_ses.machine-test"))
    read, write = os.pipe()
    machine = start(stdout=write)
    os.close(write)
    argv = ["cat", "/proc/keys"]
    machine.run(
        op("KEYRING", "_ses.machine-test"),
        op("FIND_EXEC", ["/bin/cat", "/usr/bin/cat"]),
        op("EXEC", argv, [], 3),
    )
    with open(read) as file:
        line = next(line for line in file if "_ses.machine-test" in line).split()
    assert line[4] == "3f080000"  # the possessor: all; the user: search


@needs_root
def test_loopback(start: Start) -> None:
    read, write = os.pipe()
    machine = start(c.CLONE_NEWNET, stdout=write)
    os.close(write)
    machine.do(op("LOOPBACK_UP"))
    argv = ["cat", "/proc/self/net/fib_trie"]
    machine.run(op("FIND_EXEC", ["/bin/cat", "/usr/bin/cat"]), op("EXEC", argv, [], 3))
    with open(read) as file:
        assert "127.0.0.1" in file.read()


@needs_root
def test_loopback_without_the_right(start: Start) -> None:
    machine = start(c.CLONE_NEWNET)
    report = machine.fail(op("CAPSET", 0, 0, 0), op("LOOPBACK_UP"))
    assert (report.step, report.errno) == (2, errno.EPERM)


# ---- stdio


@needs_root
def test_stdio(start: Start) -> None:
    machine = start()
    read, write = os.pipe()
    machine.send_fds(0, write)
    os.close(write)
    machine.do(op("STDIO", 0), op("CLOSE", 0))
    links = [os.readlink(f"/proc/{machine.pid}/fd/{n}") for n in range(3)]
    assert links == [links[0]] * 3 and links[0].startswith("pipe:")
    machine.kill()
    assert os.read(read, 1) == b""
    os.close(read)


@needs_root
def test_own_stdio(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, 5, 6)
    file = os.open(path, os.O_RDWR)
    null = os.stat("/dev/null")
    start(0, stdout=file).do(op("OWN_STDIO", 1234))  # stdin is /dev/null
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 6)
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_ctime_ns) == (null.st_uid, null.st_ctime_ns)
    start(0, stdin=-1, stdout=-1).do(op("OWN_STDIO", 7))
    os.close(file)


@needs_root
@pytest.mark.parametrize("obstacle", ["EPERM", "EROFS", "EINVAL", "EBADF"])
def test_own_stdio_passes_over(start: Start, tmp_path: Path, obstacle: str) -> None:
    """What can't be given away stays as it is."""
    (tmp_path / "file").touch()
    file = os.open(tmp_path / "file", os.O_PATH if obstacle == "EBADF" else os.O_RDONLY)
    flags = 0
    before = []
    if obstacle == "EPERM":
        before = [op("CAPSET", 0, 0, 0)]
    elif obstacle == "EINVAL":  # the uid is not mapped
        flags = c.CLONE_NEWUSER
    elif obstacle == "EROFS":
        copy = kernel.open_tree(file, "", c.OPEN_TREE_CLONE | c.AT_EMPTY_PATH)
        kernel.mount_setattr(copy, c.MOUNT_ATTR_RDONLY)
        os.close(file)
        file = os.open(f"/proc/self/fd/{copy}", os.O_RDONLY)
        os.close(copy)
    start(flags, stdout=file).do(*before, op("OWN_STDIO", 1234))
    assert os.fstat(file).st_uid == 0
    os.close(file)


# ---- credentials


@needs_root
def test_user_and_groups(start: Start) -> None:
    machine = start()
    groups = b"".join(number.to_bytes(4, "little") for number in (7, 70000, 0xFFFFFFFE))
    machine.do(op("GROUPS", groups), op("SETGID", 2000), op("SETUID", 1000))
    found = status(machine)
    assert found["Groups"].split() == ["7", "70000", str(0xFFFFFFFE)]
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["2000"] * 4
    assert machine.fail(op("SETUID", 0)).errno == errno.EPERM


@needs_root
def test_no_groups(start: Start) -> None:
    machine = start()
    machine.do(op("GROUPS", b"\1\0\0\0"), op("GROUPS", b""))
    assert status(machine)["Groups"] == ""
    assert machine.fail(op("GROUPS", b"\1\0\0")).errno == errno.EINVAL


@needs_root
def test_too_many_groups(start: Start) -> None:
    assert start().fail(op("GROUPS", b"\1\0\0\0" * 65537)).errno == errno.EINVAL


@needs_root
@pytest.mark.parametrize("keep", [0, 1 << CAPABILITIES["CAP_CHOWN"], ALL, (1 << 64) - 1])
def test_bounding(start: Start, keep: int) -> None:
    machine = start()
    machine.do()
    before = capabilities(machine)["CapBnd"]
    machine.do(op("BOUNDING", keep))
    assert capabilities(machine)["CapBnd"] == before & keep


@needs_root
def test_bounding_needs_its_right(start: Start) -> None:
    assert start().fail(op("CAPSET", 0, 0, 0), op("BOUNDING", 0)).errno == errno.EPERM


@needs_root
def test_capset_and_ambient(start: Start) -> None:
    machine = start()
    chown, kill, last = (1 << CAPABILITIES[n] for n in ("CAP_CHOWN", "CAP_KILL", "CAP_BPF"))
    machine.do(op("CAPSET", chown, chown | kill | last, kill | last), op("AMBIENT", kill | last))
    found = capabilities(machine)
    assert found["CapEff"] == chown
    assert found["CapPrm"] == chown | kill | last
    assert found["CapInh"] == found["CapAmb"] == kill | last
    machine.do(op("AMBIENT", last))
    assert capabilities(machine)["CapAmb"] == last
    report = machine.fail(op("AMBIENT", chown))
    assert (report.step, report.errno) == (1, errno.EPERM)


@needs_root
def test_uid_without_capabilities_of_the_new_one(start: Start) -> None:
    """As compile_credentials does it: they stay until CAPSET takes them."""
    machine = start()
    machine.do(op("PRCTL", c.PR_SET_SECUREBITS, 4), op("SETUID", 1000))
    assert capabilities(machine)["CapEff"] != 0
    machine.do(op("PRCTL", c.PR_SET_SECUREBITS, 0), op("CAPSET", 0, 0, 0), op("AMBIENT", 0))
    found = capabilities(machine)
    assert found["CapEff"] == found["CapPrm"] == found["CapInh"] == found["CapAmb"] == 0


@needs_root
def test_dev_null_by_its_number_and_not_its_name(start: Start, tmp_path: Path) -> None:
    """CVE-2026-88265: only the device 1:3 is passed over."""
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    file = os.open(tmp_path / "null", os.O_RDWR)
    start(0, stdout=file).do(op("OWN_STDIO", 99))
    assert os.fstat(file).st_uid == 99
    os.close(file)


@needs_root
def test_keep_nothing(start: Start) -> None:
    machine = start()
    machine.do(op("KEEP", NO_SLOT, NO_SLOT, NO_SLOT, NO_SLOT))
    assert sorted(os.listdir(f"/proc/{machine.pid}/fd")) == ["0", "1", "2", "3"]
