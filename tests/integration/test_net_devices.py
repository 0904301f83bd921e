"""linux.netDevices: devices of a host that is a network namespace of its own, seen from there and
from inside. The devices of this machine are left alone."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.host import kernel
from ocirt.host.constants import CLONE_NEWNET

from . import faults

AT = "/linux/netDevices"
SHOW = "ip address show dev "


def enter_new() -> None:
    kernel.unshare(CLONE_NEWNET)


class Network:
    """A network namespace, held by a process that sleeps."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["sleep", "1000"], preexec_fn=enter_new)
        self.path = f"/proc/{self.holder.pid}/ns/net"

    def enter(self) -> None:
        """In a child of this process."""
        fd = os.open(self.path, os.O_RDONLY)
        kernel.setns(fd, CLONE_NEWNET)
        os.close(fd)

    def ip(self, line: str, check: bool = True) -> str:
        """What busybox's ip prints in it."""
        command = ["busybox", "ip", *line.split()]
        return subprocess.run(
            command, preexec_fn=self.enter, stdout=subprocess.PIPE, text=True, check=check
        ).stdout

    def names(self) -> set[str]:
        """Its devices."""
        lines = self.ip("-o link show").splitlines()
        return {line.split(": ")[1].partition("@")[0] for line in lines}

    def show(self, device: str) -> str:
        """All about one device, but for what changes by itself."""
        text = self.ip(f"address show dev {device}")
        for word in ("tentative ", "NO-CARRIER,"):
            text = text.replace(word, "")
        return "\n".join(line for line in text.splitlines() if "inet6 fe80" not in line)

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()


@pytest.fixture
def network(needs_device: Callable[[str], None]) -> Iterator[Callable[[], Network]]:
    """Makes network namespaces."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    needs_device("veth")
    made: list[Network] = []

    def make() -> Network:
        made.append(Network())
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def host(network: Callable[[], Network]) -> Network:
    """Where ocirt is called."""
    return with_devices(network())


def with_devices(host: Network) -> Network:
    """Its device net0 has addresses and is up, net1 is down."""
    for line in (
        "link add net0 type veth",
        "link add net1 type veth",
        "link set dev net0 mtu 1789 address 00:11:22:33:44:55",
        "address add 169.254.169.77/24 broadcast + dev net0",
        "address add 169.254.169.78/24 dev net0 label net0:second",
        "address add 10.0.0.1 peer 10.0.0.2/32 dev net0",
        "-6 address add 2001:db8::5/64 preferred_lft 0 dev net0",
        "link set dev net0 up",
        "link set dev veth0 up",
    ):
        host.ip(line)
    return host


@pytest.fixture
def call(host: Network, ocirt: Any) -> Callable[..., Any]:
    """ocirt, on that host."""
    return lambda *words, **options: ocirt(*words, preexec_fn=host.enter, **options)


def devices(bundle: Any, **wanted: dict[str, str]) -> None:
    bundle.document["linux"]["netDevices"] = wanted


def join(bundle: Any, network: Network) -> None:
    for namespace in bundle.document["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = network.path


def test_moved_with_its_addresses(call: Any, host: Network, bundle: Any) -> None:
    devices(bundle, net0={}, net1={})
    bundle.shell(f"{SHOW}net0; {SHOW}net1")
    before = host.show("net0")
    done = call("run", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 0, done.stderr
    for text in (
        "mtu 1789",
        "link/ether 00:11:22:33:44:55",
        "inet 169.254.169.77/24 brd 169.254.169.255 scope global net0",
        "inet 169.254.169.78/24 scope global secondary net0:second",
        "inet 10.0.0.1 peer 10.0.0.2/32 scope global net0",
        "inet6 2001:db8::5/64 scope global ",
        "preferred_lft 0sec",
    ):
        assert text in before
        assert text in done.stdout
    flags = [line.split("<")[1] for line in done.stdout.splitlines() if ": net" in line]
    assert len(flags) == 2
    assert all("UP," in line for line in flags)


@pytest.mark.parametrize(
    ("name", "inside"), [("eth0", "eth0"), ("eth%d", "eth0"), ("net1", "net1")]
)
def test_renamed(name: str, inside: str, call: Any, host: Network, bundle: Any) -> None:
    devices(bundle, net0={"name": name})
    done = call("run", "--bundle", bundle.shell(SHOW + inside).write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert f"169.254.169.77/24 brd 169.254.169.255 scope global {inside}\n" in done.stdout
    assert f"169.254.169.78/24 scope global secondary {inside}\n" in done.stdout


def test_names_that_are_exchanged(call: Any, bundle: Any) -> None:
    devices(bundle, net0={"name": "net1"}, net1={"name": "net0"})
    done = call("run", "--bundle", bundle.shell(SHOW + "net1").write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert "169.254.169.77/24" in done.stdout


def test_addresses_that_stay(call: Any, host: Network, bundle: Any) -> None:
    """Those that are not permanent, or not of global scope."""
    host.ip("address add 127.0.0.33/32 scope host dev net1")
    host.ip("address add 169.254.1.1/16 scope link dev net1")
    host.ip("address add 10.2.0.1/24 valid_lft 1000 preferred_lft 900 dev net1")
    host.ip("-6 address add 2001:db8:1::1/64 valid_lft 1000 preferred_lft 900 dev net1")
    host.ip("address add 10.2.0.2/24 dev net1")
    devices(bundle, net1={})
    done = call("run", "--bundle", bundle.shell(SHOW + "net1").write(), bundle.id)
    assert done.returncode == 0, done.stderr
    words = [line.split()[1] for line in done.stdout.splitlines() if " inet" in line]
    assert [word for word in words if not word.startswith("fe80")] == ["10.2.0.2/24"]


def test_hooks_find_it_there(call: Any, host: Network, bundle: Any) -> None:
    """As with runc, it is moved before the first of them."""
    script = "ip link show dev net0 2>&1; nsenter -t $(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/') -n cat /proc/net/dev"
    script = script.replace("ip link", "busybox ip link").replace("nsenter", "busybox nsenter")
    log = bundle.path / "log"
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"({script}) > {log} 2>&1"],
        "env": ["PATH=/bin:/usr/bin"],
    }
    bundle.document["hooks"] = {"createRuntime": [hook]}
    devices(bundle, net0={"name": "eth0"})
    done = call("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert "can't find device 'net0'" in log.read_text()
    assert "eth0:" in log.read_text()


def test_a_new_namespace_takes_them_with_it(call: Any, host: Network, bundle: Any) -> None:
    devices(bundle, net0={})
    done = call("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert host.names() == {"lo", "net1", "veth0", "veth1"}
    call("delete", "--force", bundle.id, check=True)
    deadline = time.monotonic() + 20
    while "veth0" in host.names():  # the other end of net0
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_joined_namespace_keeps_them(
    call: Any, host: Network, network: Callable[[], Network], bundle: Any
) -> None:
    """config-linux.md: they are its owner's."""
    other = network()
    join(bundle, other)
    devices(bundle, net0={"name": "eth0"})
    done = call("run", "--bundle", bundle.shell(SHOW + "eth0").write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert "169.254.169.77/24" in done.stdout
    assert other.names() == {"lo", "eth0"}
    assert "169.254.169.77/24" in other.show("eth0")
    assert host.names() == {"lo", "net1", "veth0", "veth1"}


def test_its_number_is_taken(
    call: Any, host: Network, network: Callable[[], Network], bundle: Any
) -> None:
    """The kernel gives numbers in order: those of net0 and net1 are in use there too."""
    other = network()
    other.ip("link add own0 type veth")
    other.ip("link add own1 type veth")
    join(bundle, other)
    devices(bundle, net0={}, net1={"name": "c%d"})
    done = call("run", "--bundle", bundle.shell(SHOW + "net0").write(), bundle.id)
    assert done.returncode == 0, done.stderr
    assert "169.254.169.77/24" in done.stdout
    assert other.names() == {"lo", "own0", "own1", "veth0", "veth1", "net0", "c0"}


# ---- broken bundles

Broken = Callable[[Any, Network, Network], None]


def missing_program(bundle: Any, _host: Network, _other: Network) -> None:
    bundle.document["process"]["args"] = ["no-such-program"]


def failing_hook(bundle: Any, _host: Network, _other: Network) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}
    bundle.document["hooks"] = {"createRuntime": [hook]}


def missing_device(bundle: Any, _host: Network, _other: Network) -> None:
    devices(bundle, net0={}, nosuch={})


def name_of_another(bundle: Any, _host: Network, other: Network) -> None:
    other.ip("link add eth0 type veth")
    join(bundle, other)
    devices(bundle, net1={}, net0={"name": "eth0"})


def name_of_loopback(bundle: Any, _host: Network, _other: Network) -> None:
    devices(bundle, net1={"name": "lo"}, net0={})


def loopback(bundle: Any, _host: Network, _other: Network) -> None:
    """It can't be moved, which the kernel says when the others have been."""
    devices(bundle, net0={}, lo={"name": "lo1"})


def own_namespace(bundle: Any, host: Network, _other: Network) -> None:
    join(bundle, host)


BROKEN: dict[str, tuple[Broken, str, str]] = {
    "missing program": (
        missing_program,
        "/process/args/0",
        "program no-such-program: executable file",
    ),
    "failing hook": (
        failing_hook,
        "/hooks/createRuntime/0",
        "error running createRuntime hook #0: /bin/sh: exit",
    ),
    "missing device": (
        missing_device,
        f"{AT}/nosuch",
        "network device nosuch: No such device",
    ),
    "name of another device": (
        name_of_another,
        f"{AT}/net0",
        "network device net0: the container has a device eth0",
    ),
    "name of loopback": (
        name_of_loopback,
        f"{AT}/net1",
        "network device net1: the container has a device lo",
    ),
    "loopback": (loopback, f"{AT}/lo", "network device lo: Invalid argument"),
    "own namespace": (
        own_namespace,
        AT,
        "the container's network namespace is the host's own",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_broken_bundle(
    name: str,
    verb: str,
    call: Any,
    ocirt: Any,
    host: Network,
    network: Callable[[], Network],
    bundle: Any,
    leftovers: Any,
) -> None:
    """The devices are where they were, as they were, and nothing else is left."""
    change, place, message = BROKEN[name]
    other = network()
    host.ip("address add 10.2.0.1/24 valid_lft forever preferred_lft forever scope link dev net0")
    devices(bundle, net0={"name": "eth0"}, net1={})
    change(bundle, host, other)
    before, names = [host.show("net0"), host.show("net1")], other.names()
    done = call(verb, "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    assert f"config.json#{place}: {message}" in done.stderr
    assert "put back" not in done.stderr
    assert host.names() == {"lo", "net0", "net1", "veth0", "veth1"}
    assert other.names() == names
    assert [host.show("net0"), host.show("net1")] == before
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


# ---- faults

FAULTS = (errno.EPERM, errno.ENOMEM, errno.EMFILE)


class Faulty:
    """Creates of a container with devices, each with a fault and on a host of its own; the steps
    are those from the first that has to do with devices to the last but one."""

    def __init__(self, ocirt: Any, new: Callable[[], Network], tracer: Path, bundle: Any) -> None:
        devices(bundle, net0={"name": "eth0"}, net1={})
        self.words = ("create", "--bundle", bundle.write(), bundle.id)
        self.ocirt, self.new, self.tracer, self.bundle = ocirt, new, tracer, bundle

    def steps(self, name: str) -> list[int]:
        """A sample, or all."""
        steps = [step.split(" ")[0] for step in self.calls()[1].steps(*self.words).steps]
        self.delete()
        first = steps.index("socket")
        return [first + step for step in faults.choose(len(steps) - 1 - first, name)]

    def calls(self) -> tuple[Network, faults.Faults]:
        host = with_devices(self.new())
        script = self.bundle.path / "tracer"
        script.write_text(f'#!/bin/sh\nexec nsenter --net={host.path} {self.tracer} "$@"\n')
        script.chmod(0o755)
        return host, faults.Faults(script, self.ocirt.root)

    def delete(self) -> str:
        done = self.ocirt("delete", "--force", self.bundle.id)
        assert done.returncode == 0
        return str(done.stderr)


@pytest.fixture
def faulty(ocirt: Any, network: Callable[[], Network], tracer: Path, bundle: Any) -> Faulty:
    return Faulty(ocirt, network, tracer, bundle)


CHECKS = (faults.cgroups, faults.mounts)


def test_refused_at_a_step(faulty: Faulty, ocirt: Any, bundle: Any) -> None:
    """Whatever the kernel refuses while the devices move or later, they are back; other steps are
    for test_faults.py."""
    for step in faulty.steps("net-devices refused"):
        host, calls = faulty.calls()
        before = [host.show("net0"), host.show("net1")]
        number = random.Random(step).choice(FAULTS)
        outcome = calls.fail(step, number, *faulty.words)
        where = f"{errno.errorcode[number]} at step {step}: {outcome.steps}: {outcome.stderr}"
        assert "internal error" not in outcome.stderr, where
        if outcome.status:
            assert [host.show("net0"), host.show("net1")] == before, where
            assert ocirt.ids() == [], where
        assert faulty.delete() == "", where
        assert faults.leftovers(bundle, calls, CHECKS) == [], where


def test_killed_at_a_step(faulty: Faulty, bundle: Any) -> None:
    """A device is on the host, or gone with the namespace; delete finds nothing in its way."""
    for step in faulty.steps("net-devices killed"):
        host, calls = faulty.calls()
        where = f"killed at step {step}: {calls.kill(step, *faulty.words).steps}"
        assert faulty.delete() == "", where
        assert faults.leftovers(bundle, calls, CHECKS) == [], where
        assert host.names() <= {"lo", "net0", "net1", "veth0", "veth1"}, where
