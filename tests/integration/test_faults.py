"""ocirt is killed at each of its steps, or the kernel refuses the step.

What a kill leaves can be seen, and ``delete --force`` removes it. An error is said in one line, and
a create that failed leaves nothing. OCIRT_FAULTS=all tries all steps, some thousands; else a sample.
"""

from __future__ import annotations

import errno
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.layout import detect

from . import faults


def resources() -> dict[str, Any]:
    """A limit for each controller that this host has, of a few."""
    found: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    layout = detect()
    names = {name for h in layout.hierarchies for name in h.controllers}
    if layout.pure_v2:
        names.update(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
    limits = {
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "pids": {"limit": 50},
    }
    found.update((name, limit) for name, limit in limits.items() if name in names)
    return found


class Scenario:
    """``verb``: its words, before ID; ``before``: the verbs that prepare it; ``change``: what else
    the config has; ``flags``: of the verb, once there is a bundle."""

    def __init__(
        self,
        verb: str,
        before: str = "",
        change: Callable[[dict[str, Any]], None] = lambda _document: None,
        flags: Callable[[Any], list[str]] = lambda _bundle: [],
        after: tuple[str, ...] = (),
    ) -> None:
        self.verb = verb.split()
        self.before = before.split()
        self.change = change
        self.flags = flags
        self.after = after

    def prepare(self, faulty: faults.Faults, bundle: Any) -> None:
        for verb in self.before:
            flags = ["--bundle", str(bundle.path)] if verb == "create" else []
            words = ["kill", bundle.id, "KILL"] if verb == "kill" else [verb, *flags, bundle.id]
            done = faulty(*words)
            assert done.status == 0, done.stderr
            while verb == "kill" and json.loads(faulty("state", bundle.id).stdout)["pid"]:
                time.sleep(0.001)  # it ends by itself

    def words(self, bundle: Any) -> list[str]:
        return [*self.verb, *self.flags(bundle), bundle.id, *self.after]


def bundle_flags(bundle: Any) -> list[str]:
    return ["--bundle", str(bundle.path), "--pid-file", str(bundle.path / "pid")]


def pid_file(bundle: Any) -> list[str]:
    return ["--detach", "--pid-file", str(bundle.path / "pid")]


def with_hooks(document: dict[str, Any]) -> None:
    document["hooks"] = {
        kind: [{"path": "/bin/true"}]
        for kind in ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }


def in_the_hosts_pid_namespace(document: dict[str, Any]) -> None:
    """Nothing but the cgroup tells what belongs to it."""
    linux = document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "pid"]
    document["process"]["args"] = ["/bin/sh", "-c", "sleep 600 & sleep 601 & exec sleep 602"]


def in_a_user_namespace(document: dict[str, Any]) -> None:
    """With the ids of the host, to whom the root file system belongs; and id-mapped mounts."""
    linux = document["linux"]
    linux["namespaces"] += [{"type": "user"}, {"type": "time"}]
    linux["timeOffsets"] = {"boottime": {"secs": 1}}
    rows = [{"containerID": 0, "hostID": 0, "size": 65536}]
    linux["uidMappings"] = linux["gidMappings"] = rows
    mount = {"destination": "/data", "type": "bind", "source": "/dev/shm", "options": ["bind"]}
    document["mounts"].append(mount | {"uidMappings": rows, "gidMappings": rows})


def in_the_hosts_mount_namespace(document: dict[str, Any]) -> None:
    """Its mounts are the host's."""
    linux = document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "mount"]


def ends_at_once(document: dict[str, Any]) -> None:
    document["process"]["args"] = ["/bin/echo", "ran"]


SCENARIOS = {
    "create": Scenario("create", "", flags=bundle_flags),
    "create-hooks": Scenario("create", "", with_hooks, bundle_flags),
    "create-host-pid": Scenario("create", "", in_the_hosts_pid_namespace, bundle_flags),
    "create-host-mounts": Scenario("create", "", in_the_hosts_mount_namespace, bundle_flags),
    "create-user": Scenario("create", "", in_a_user_namespace, bundle_flags),
    "run": Scenario("run", "", ends_at_once, bundle_flags),
    "run-detach": Scenario("run --detach", "", flags=bundle_flags),
    "start": Scenario("start", "create"),
    "start-hooks": Scenario("start", "create", with_hooks),
    "kill": Scenario("kill", "create start", after=("KILL",)),
    "kill-all": Scenario("kill --all", "create start", in_the_hosts_pid_namespace, after=("KILL",)),
    "exec": Scenario("exec", "create start", flags=pid_file, after=("/bin/sleep", "60")),
    "exec-user": Scenario(
        "exec", "create start", in_a_user_namespace, pid_file, ("/bin/sleep", "60")
    ),
    "update": Scenario("update", "create start", flags=lambda bundle: update_flags(bundle)),
    "pause": Scenario("pause", "create start"),
    "resume": Scenario("resume", "create start pause"),
    "delete": Scenario("delete", "create start kill"),
    "delete-created": Scenario("delete", "create"),
    "delete-hooks": Scenario("delete", "create", with_hooks),
    "delete-force": Scenario("delete --force", "create start"),
    "delete-host-pid": Scenario("delete --force", "create start", in_the_hosts_pid_namespace),
    "delete-host-mounts": Scenario("delete", "create start kill", in_the_hosts_mount_namespace),
    "delete-paused": Scenario("delete --force", "create start pause"),
}


def update_flags(bundle: Any) -> list[str]:
    new = dict(resources(), devices=[{"allow": True, "access": "rwm"}])
    file = bundle.path.parent / "resources.json"
    file.write_text(json.dumps(new))
    return ["--resources", str(file)]


@pytest.fixture(params=SCENARIOS)
def scenario(request: pytest.FixtureRequest, bundle: Any) -> Scenario:
    found = SCENARIOS[request.param]
    document = bundle.document
    document["process"]["args"] = ["/bin/sleep", "600"]
    document["linux"]["resources"] = resources()
    document["mounts"] += [
        {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    ]
    found.change(document)
    bundle.write()
    return found


def test_killed_at_a_step(
    ocirt: Any, faulty: faults.Faults, bundle: Any, scenario: Scenario, request: Any
) -> None:
    """Before the step, and while it is at work: both are all that a step can be cut to."""
    name = request.node.callspec.id
    words = scenario.words(bundle)
    scenario.prepare(faulty, bundle)
    whole = faulty.steps(*words)
    assert whole.status in (0, 137), whole.stderr
    ocirt("delete", "--force", bundle.id, check=True)
    assert faults.leftovers(bundle, faulty) == []
    chance = random.Random(f"{faults.SEED} {name}")
    seen: dict[str, int] = {}
    tried = 0
    for step in faults.choose(len(whole.steps), name):
        for delay in (0, chance.randrange(1, 3000)):
            scenario.prepare(faulty, bundle)
            outcome = faulty.kill(step, *words, delay=delay)
            where = (
                f"{name}: killed at step {step} of {len(whole.steps)}, {delay} us: {outcome.steps}"
            )
            status = faults.check_said(ocirt, bundle.id)
            seen[status] = seen.get(status, 0) + 1
            check_pid_file(bundle, where)
            done = ocirt("delete", "--force", bundle.id)
            assert (done.returncode, done.stderr) == (0, ""), where
            assert faults.leftovers(bundle, faulty) == [], where
            tried += outcome.hit
    print(f"{name}: {len(whole.steps)} steps, {tried} kills, {seen}")
    ocirt("create", "--bundle", str(bundle.path), bundle.id, check=True)


# What the kernel may answer, and what it is likely to.
ERRORS = {
    "write": (errno.ENOSPC, errno.EIO, errno.EINTR),
    "openat": (errno.EMFILE, errno.ENOSPC, errno.EACCES, errno.EINTR),
    "open": (errno.EMFILE, errno.ENOSPC, errno.EACCES),
    "mkdir": (errno.ENOSPC, errno.EACCES),
    "clone3": (errno.EAGAIN, errno.ENOMEM),
    "memfd_create": (errno.EMFILE, errno.ENOMEM),
    "socketpair": (errno.EMFILE, errno.ENFILE),
    "sendmsg": (errno.ENOBUFS, errno.EINTR, errno.ETOOMANYREFS),
    "recvmsg": (errno.EMFILE, errno.EINTR, errno.ENOMEM),
    "poll": (errno.EINTR, errno.ENOMEM),
    "rmdir": (errno.EBUSY, errno.EIO),
    "flock": (errno.EINTR, errno.ENOLCK),
}
OTHERS = (errno.EIO, errno.ENOMEM, errno.EPERM)


def test_refused_at_a_step(
    ocirt: Any, faulty: faults.Faults, bundle: Any, scenario: Scenario, request: Any
) -> None:
    """Every errno that is likely there in turn; those that do no harm are no failure."""
    name = request.node.callspec.id
    words = scenario.words(bundle)
    scenario.prepare(faulty, bundle)
    whole = faulty.steps(*words)
    ocirt("delete", "--force", bundle.id, check=True)
    chance = random.Random(f"{faults.SEED} {name}")
    problems: list[str] = []
    refused = 0
    for step in faults.choose(len(whole.steps) - 1, name):  # the last one is the end of the process
        call = whole.steps[step - 1].split(" ")[0]
        if call == "dup2":  # the kernel has no reason, and of stderr there is nowhere to say it
            continue
        scenario.prepare(faulty, bundle)
        number = chance.choice(ERRORS.get(call, OTHERS))
        outcome = faulty.fail(step, number, *words)
        where = f"{name}: {errno.errorcode[number]} at step {step}: {outcome.steps}"
        problems += [f"{where}: {text}" for text in problems_of(outcome)]
        check_pid_file(bundle, where)
        # What run can't remove when its container has ended is left to delete.
        ran = outcome.stdout == "ran\n"
        if outcome.status and name.startswith("create" if ran else ("create", "run")):
            problems += [f"{where}: {text}" for text in faults.leftovers(bundle, faulty)]
        done = ocirt("delete", "--force", bundle.id)
        assert (done.returncode, done.stderr) == (0, ""), where
        assert faults.leftovers(bundle, faulty) == [], where
        refused += outcome.status != 0
    print(f"{name}: {len(whole.steps)} steps, {refused} refused", *problems, sep="\n  ")
    assert problems == []


def test_a_report_that_is_lost(ocirt: Any, faulty: faults.Faults, bundle: Any) -> None:
    """Of a machine that has forked: the new process is a child that ocirt does not know, and the
    pid namespace does not end before it is reaped."""
    with_hooks(bundle.document)
    bundle.write()
    words = ("create", "--bundle", str(bundle.path), bundle.id)
    names = [step.split()[0] for step in faulty.steps(*words).steps]
    ocirt("delete", "--force", bundle.id, check=True)
    clones = [step for step, name in enumerate(names, 1) if name == "clone3"]
    for clone in (clones[0], clones[-1]):  # the container's, and that of the createContainer hook
        reports = [s for s, name in enumerate(names, 1) if name == "recvmsg" and s > clone]
        for step in reports[:3]:
            outcome = faulty.fail(step, errno.ENOMEM, *words)
            assert outcome.status == 1, outcome.steps
            assert faults.leftovers(bundle, faulty) == []


def problems_of(outcome: faults.Outcome) -> Iterator[str]:
    """With what is said: it should be one line, beside warnings and hints."""
    said = [
        line
        for line in outcome.stderr.splitlines()
        if not line.startswith(("ocirt: warning: ", "ocirt:   hint: "))
    ]
    if outcome.status not in (0, 1, 255):
        yield f"exit status {outcome.status}"
    if len(said) != (outcome.status != 0) or not all(line.startswith("ocirt: ") for line in said):
        yield f"exit status {outcome.status}, said {said}"
    if "internal error" in outcome.stderr:
        yield f"said {said}"


def check_pid_file(bundle: Any, where: str) -> None:
    """Whole, or not there. What it is before its rename may be left: nobody but the caller of
    create knows this place."""
    for file in bundle.path.glob(".pid.*"):
        file.unlink()
    file = bundle.path / "pid"
    if file.exists():
        assert file.read_text().isdigit(), where
        file.unlink()
