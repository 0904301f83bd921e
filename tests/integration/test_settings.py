"""What config.json sets on the process and its namespaces, from inside and as the host sees it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import V2

IOPRIO_GET = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
CPUS = sorted(os.sched_getaffinity(0))
FIRST, LAST = str(CPUS[0]), str(CPUS[-1])
ALLOWED = "grep Cpus_allowed_list: /proc/self/status"


@pytest.fixture
def sleeper(bundle: Any) -> Any:
    return bundle.shell("exec sleep 60")


def start(ocirt: Any, bundle: Any, *flags: str) -> int:
    """Runs it in the background: its pid."""
    ocirt("run", "--detach", "--bundle", bundle.write(), *flags, bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    assert isinstance(pid, int)
    return pid


def shell(ocirt: Any, bundle: Any, script: str) -> list[str]:
    done = ocirt("exec", bundle.id, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert isinstance(words, list)
    return words


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


# ---- the process


def test_umask(ocirt: Any, sleeper: Any) -> None:
    pid = start(ocirt, sleeper)
    assert (status(pid, "Umask"), shell(ocirt, sleeper, "umask")) == ("0022", ["0022"])
    ocirt("delete", "--force", sleeper.id, check=True)
    sleeper.document["process"]["user"]["umask"] = 0o177
    pid = start(ocirt, sleeper)
    assert (status(pid, "Umask"), shell(ocirt, sleeper, "umask")) == ("0177", ["0177"])


def test_limits_and_oom_score(ocirt: Any, sleeper: Any) -> None:
    process = sleeper.document["process"]
    process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    process["oomScoreAdj"] = 300
    pid = start(ocirt, sleeper)
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    shown = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert shown["Max open files"] == ["77", "88"]
    assert shown["Max core file size"] == ["0", "0"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "300\n"
    # The score is the first process's, as with the peers.
    script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/1/oom_score_adj"
    assert shell(ocirt, sleeper, script) == ["77", "88", "0", "300"]


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ],
)
def test_io_priority(name: str, level: int, shown: str, ocirt: Any, sleeper: Any) -> None:
    sleeper.document["process"]["ioPriority"] = {"class": name, "priority": level}
    pid = start(ocirt, sleeper)
    value = ctypes.CDLL(None).syscall(IOPRIO_GET, 1, pid)
    kind = ["", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"][value >> 13]
    assert (kind, value & 7) == (name, level)
    for target in ("", "-p 1"):
        done = ocirt("exec", sleeper.id, "sh", "-c", f"busybox ionice {target}")
        assert done.stdout.strip() == shown


class SchedAttr(ctypes.Structure):
    """struct sched_attr (sched_setattr(2))."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def schedule_of(pid: int) -> dict[str, int]:
    """What of it is not 0."""
    attr = SchedAttr()
    size = ctypes.sizeof(attr)
    assert ctypes.CDLL(None).syscall(SCHED_GETATTR, pid, ctypes.byref(attr), size, 0) == 0
    found = {name: getattr(attr, name) for name, *_ in SchedAttr._fields_ if name != "size"}
    if found["policy"] not in (1, 2, 6):
        found["runtime"] = 0  # newer kernels show the slice of a fair task
    return {name: value for name, value in found.items() if value}


DEADLINE = {"runtime": 1_000_000, "deadline": 500_000_000, "period": 1_000_000_000}


@pytest.mark.parametrize(
    ("scheduler", "shown"),
    [
        ({"policy": "SCHED_OTHER", "nice": 5}, {"nice": 5}),
        ({"policy": "SCHED_BATCH", "nice": -3}, {"policy": 3, "nice": -3}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        ({"policy": "SCHED_FIFO", "priority": 4}, {"policy": 1, "priority": 4}),
        (
            {"policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            {"policy": 2, "priority": 1, "flags": 1},
        ),
        (
            {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], **DEADLINE},
            {"policy": 6, "flags": 1, **DEADLINE},
        ),
    ],
    ids=["OTHER", "BATCH", "IDLE", "FIFO", "RR", "DEADLINE"],
)
def test_scheduler(
    scheduler: dict[str, Any], shown: dict[str, int], ocirt: Any, bundle: Any
) -> None:
    bundle.document["process"].update(scheduler=scheduler, args=["sleep", "60"])
    if scheduler["policy"] in ("SCHED_FIFO", "SCHED_RR"):
        # With CONFIG_RT_GROUP_SCHED a new cgroup of version 1 has no time for such ones.
        resources = bundle.document["linux"].setdefault("resources", {})
        if Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
            resources["cpu"] = {"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000}
    done = ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id)
    if V2 and scheduler.get("priority") and done.returncode:
        place = f"config.json#/process/scheduler: scheduler {scheduler['policy']}: "
        assert f"{place}Operation not permitted" in done.stderr
        pytest.skip("this kernel gives cgroups of version 2 no real-time scheduler")
    pid = ocirt.state(bundle.id)["pid"]
    assert schedule_of(pid) == shown
    # Fields of proc_pid_stat(5): nice, rt_priority, policy. cat is no child of a shell.
    fields = ocirt("exec", bundle.id, "cat", "/proc/self/stat", check=True).stdout.split()
    inside = {"nice": fields[18], "priority": fields[39], "policy": fields[40]}
    assert inside == {name: str(shown.get(name, 0)) for name in inside}


def test_scheduler_that_the_kernel_refuses(ocirt: Any, bundle: Any, leftovers: Any) -> None:
    """More than all of the time of all CPUs."""
    most = (1 << 63) - 1
    times = {"runtime": most, "deadline": most, "period": most}
    bundle.document["process"]["scheduler"] = {"policy": "SCHED_DEADLINE", **times}
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    assert "config.json#/process/scheduler: scheduler SCHED_DEADLINE: " in done.stderr
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


# ---- execCPUAffinity


def one_cpu() -> None:
    os.sched_setaffinity(0, {CPUS[0]})


@pytest.mark.parametrize(
    ("affinity", "allowed"),
    [
        ({"initial": LAST, "final": FIRST}, FIRST),
        ({"final": f" {LAST} , "}, LAST),
        ({"initial": LAST}, LAST),
        ({}, None),
    ],
)
def test_affinity_of_exec(
    affinity: dict[str, str], allowed: str | None, ocirt: Any, sleeper: Any, tmp_path: Path
) -> None:
    """Not of the first process; and none keeps the CPUs that ocirt's caller has."""
    file = tmp_path / "process.json"
    file.write_text(
        json.dumps(
            {"args": ["sh", "-c", ALLOWED], "cwd": "/", "env": ["PATH=/bin"]}
            | ({"execCPUAffinity": affinity} if affinity else {})
        )
    )
    ocirt("run", "--detach", "--bundle", sleeper.write(), sleeper.id, preexec_fn=one_cpu)
    pid = ocirt.state(sleeper.id)["pid"]
    assert set(CPUS) <= os.sched_getaffinity(pid)
    every = status(pid, "Cpus_allowed_list")
    done = ocirt("exec", "--process", str(file), sleeper.id, preexec_fn=one_cpu)
    assert done.stdout.split()[1:] == [allowed or every], done.stderr


def test_affinity_of_the_container(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    """It is that of a process that says nothing of it."""
    sleeper.document["process"]["execCPUAffinity"] = {"final": LAST}
    pid = start(ocirt, sleeper)
    assert set(CPUS) <= os.sched_getaffinity(pid)
    assert shell(ocirt, sleeper, ALLOWED)[1:] == [LAST]
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["/bin/sh", "-c", ALLOWED], "cwd": "/"}))
    done = ocirt("exec", "--process", str(file), sleeper.id)
    assert done.stdout.split()[1:] == [LAST], done.stderr


@pytest.mark.parametrize("when", ["initial", "final"])
def test_affinity_to_no_cpu(when: str, ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    pid = start(ocirt, sleeper)
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["true"], "cwd": "/", "execCPUAffinity": {when: "65535"}}))
    done = ocirt("exec", "--process", str(file), sleeper.id)
    assert done.returncode == 255
    place = f"process.json#/execCPUAffinity/{when}: CPUs 65535: Invalid argument"
    assert place in done.stderr
    assert ocirt("ps", "--format", "json", sleeper.id).stdout.strip() == f"[{pid}]"


# ---- a process of exec, and its container's


def test_what_a_process_of_exec_shares(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    """What it says nothing of, as with runc."""
    process = sleeper.document["process"]
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    process["user"]["umask"] = 0o137
    start(ocirt, sleeper)
    file = tmp_path / "process.json"
    show = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Umask):' /proc/self/status; ulimit -n"
    script = f"{show}; cut -d' ' -f19,41 /proc/self/stat"
    (sleeper.path / "rootfs/bin/cut").symlink_to("busybox")
    wanted: dict[str, Any] = {"args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]}
    file.write_text(json.dumps(wanted))
    words = ocirt("exec", "--process", str(file), sleeper.id).stdout.split()
    sets = [words[words.index(name) + 1] for name in ("CapEff:", "CapBnd:")]
    whole = ocirt("exec", sleeper.id, "sh", "-c", script).stdout.split()
    assert sets == [whole[whole.index(name) + 1] for name in ("CapEff:", "CapBnd:")]
    assert words[words.index("Umask:") + 1] == "0137"
    assert words[-3:] == ["77", "3", "3"]
    # But not this: it says so by saying nothing.
    assert words[words.index("NoNewPrivs:") + 1] == "0"
    wanted.update(
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 55, "hard": 66}],
        scheduler={"policy": "SCHED_OTHER"},
        user={"uid": 0, "gid": 0, "umask": 0o022},
        capabilities={},
        noNewPrivileges=True,
    )
    file.write_text(json.dumps(wanted))
    words = ocirt("exec", "--process", str(file), sleeper.id).stdout.split()
    assert int(words[words.index("CapEff:") + 1], 16) == 0
    assert words[words.index("NoNewPrivs:") + 1] == "1"
    assert words[-3:] == ["55", "0", "0"]


def test_errors_name_the_document(ocirt: Any, sleeper: Any, tmp_path: Path) -> None:
    start(ocirt, sleeper)
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["/bin/true"], "cwd": "/etc/passwd"}))
    assert "process.json#/cwd: " in ocirt("exec", "--process", str(file), sleeper.id).stderr


# ---- namespaces


def test_time_offsets(ocirt: Any, sleeper: Any) -> None:
    linux = sleeper.document["linux"]
    linux["namespaces"].append({"type": "time"})
    linux["timeOffsets"] = {
        "monotonic": {"secs": 864_000, "nanosecs": 500},
        "boottime": {"secs": 777_000},
    }
    pid = start(ocirt, sleeper)
    links = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("time", "time_for_children")}
    assert len(set(links.values())) == 1
    assert links["time"] != os.readlink("/proc/self/ns/time")
    offsets = Path(f"/proc/{pid}/timens_offsets").read_text().split()
    assert offsets == ["monotonic", "864000", "500", "boottime", "777000", "0"]
    up = float(shell(ocirt, sleeper, "cat /proc/uptime")[0])
    here = float(Path("/proc/uptime").read_text().split()[0])
    assert here + 776_000 < up < here + 778_000


def test_clocks_that_would_be_before_their_start(ocirt: Any, bundle: Any, leftovers: Any) -> None:
    linux = bundle.document["linux"]
    linux["namespaces"].append({"type": "time"})
    linux["timeOffsets"] = {"boottime": {"secs": -(10**12)}}
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    assert "config.json#/linux/timeOffsets: offsets of the time namespace: " in done.stderr
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


LINUX32 = 8


def of_32_bits() -> None:
    ctypes.CDLL(None).personality(LINUX32)


def test_personality(ocirt: Any, sleeper: Any) -> None:
    sleeper.document["linux"]["personality"] = {"domain": "LINUX32"}
    pid = start(ocirt, sleeper)
    assert Path(f"/proc/{pid}/personality").read_text() == "00000008\n"
    # User Mode Linux has no other name for it.
    machine = subprocess.check_output(["uname", "-m"], text=True, preexec_fn=of_32_bits).strip()
    inside = shell(ocirt, sleeper, "busybox uname -m; cat /proc/1/personality")
    assert inside == [machine, "00000008"]


def test_sysctl(ocirt: Any, sleeper: Any) -> None:
    """Either separator; the host's stay."""
    names = ("net/ipv4/ip_forward", "kernel/shm_rmid_forced", "fs/mqueue/msg_max")
    before = [Path(f"/proc/sys/{name}").read_text() for name in names]
    sleeper.document["linux"]["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "kernel/shm_rmid_forced": "1",
        "fs.mqueue.msg_max": "7",
        "kernel.domainname": "example.org",
    }
    pid = start(ocirt, sleeper)
    files = " ".join(f"/proc/sys/{name}" for name in (*names, "kernel/domainname"))
    assert shell(ocirt, sleeper, f"cat {files}") == ["1", "1", "7", "example.org"]
    assert [Path(f"/proc/sys/{name}").read_text() for name in names] == before
    assert os.readlink(f"/proc/{pid}/ns/ipc") != os.readlink("/proc/self/ns/ipc")


# ---- the session keyring


def keyrings(ocirt: Any, bundle: Any) -> list[list[str]]:
    """(serial, name) of those that a process of exec sees, by their name."""
    lines = ocirt("exec", bundle.id, "cat", "/proc/keys", check=True).stdout.splitlines()
    return [[line.split()[0], line.split()[8]] for line in lines if f"_ses.{bundle.id}" in line]


@pytest.mark.parametrize("user", [False, True])
def test_keyring_of_exec(user: bool, ocirt: Any, sleeper: Any) -> None:
    """It is the container's."""
    if user:
        row = {"containerID": 0, "hostID": 300_000, "size": 65_536}
        sleeper.document["linux"].update(uidMappings=[row], gidMappings=[row])
        sleeper.document["linux"]["namespaces"].append({"type": "user"})
        for path in (sleeper.path / "rootfs", *(sleeper.path / "rootfs").rglob("*")):
            os.lchown(path, 300_000, 300_000)
    sleeper.document["linux"]["maskedPaths"] = []
    start(ocirt, sleeper)
    first = keyrings(ocirt, sleeper)
    assert len(first) == 1
    assert keyrings(ocirt, sleeper) == first


def test_a_keyring_that_somebody_made_before(ocirt: Any, sleeper: Any) -> None:
    """Keyrings are joined by name, and of two the kernel takes the older: the container's is none
    that another has made for it, and no other may see what it is called."""

    def set_out() -> None:
        os.setuid(65534)
        own_secret(f"_ses.{sleeper.id}".encode())

    sleeper.document["linux"]["maskedPaths"] = []
    with subprocess.Popen(["sleep", "600"], preexec_fn=set_out) as trap:
        try:
            start(ocirt, sleeper)
            done = ocirt("exec", sleeper.id, "cat", "/proc/keys", check=True)
            assert "ocirt-secret" not in done.stdout
            [name] = {name for _, name in keyrings(ocirt, sleeper)} - {f"_ses.{sleeper.id}:"}
        finally:
            trap.kill()
    assert name not in Path("/proc/keys").read_text()


def test_no_new_keyring_of_exec(ocirt: Any, sleeper: Any) -> None:
    sleeper.document["linux"]["maskedPaths"] = []
    start(ocirt, sleeper, "--no-new-keyring")
    assert keyrings(ocirt, sleeper) == []


# ---- masked and read-only paths


def test_masked_and_readonly_paths(ocirt: Any, sleeper: Any) -> None:
    root = sleeper.path / "rootfs"
    for folder in ("masked", "readonly", "writable"):
        (root / folder).mkdir()
        (root / folder / "file").write_text("secret\n")
    (root / "file").write_text("secret\n")
    (root / "link").symlink_to("masked")
    document = sleeper.document
    document["root"]["readonly"] = False
    document["linux"]["maskedPaths"] = ["/masked", "/file", "/no/such", "/file/below", "/link"]
    document["linux"]["readonlyPaths"] = ["/readonly", "/no/such"]
    pid = start(ocirt, sleeper)
    script = """
        cat /masked/* /file /link/* 2>/dev/null
        for file in masked/new readonly/new readonly/file writable/new file
        do echo text 2>/dev/null > /$file && echo $file; done
    """
    done = ocirt("exec", sleeper.id, "sh", "-c", script)
    assert done.stdout.split() == ["writable/new", "file"], done.stderr
    assert (root / "file").read_text() == "secret\n"  # that was /dev/null
    assert not list(root.glob("*/new")) or [path.name for path in root.glob("*/new")] == ["new"]
    inside = Path(f"/proc/{pid}/root")
    assert list((inside / "masked").iterdir()) == []
    assert (inside / "file").stat().st_rdev == os.makedev(1, 3)
    points = {line.split()[4]: line for line in open(f"/proc/{pid}/mountinfo")}
    assert points["/readonly"].split()[5].startswith("ro")
    assert {"/masked", "/file", "/readonly"} <= set(points)


# ---- root


@pytest.fixture
def shared(bundle: Any, tmp_path: Path) -> Iterator[Any]:
    """The bundle, its root file system on a mount that is shared with others."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(place)], check=True)
        (bundle.path / "rootfs").rename(bundle.path / "moved")
        subprocess.run(["cp", "-a", str(bundle.path / "moved"), str(place / "rootfs")], check=True)
        for folder in ("of-host", "of-container", "copy"):
            (place / "rootfs" / folder).mkdir()
        bundle.document["root"] = {"path": str(place / "rootfs")}
        sets = bundle.document["process"]["capabilities"]
        for kind in ("bounding", "effective", "permitted"):
            sets[kind].append("CAP_SYS_ADMIN")
        yield bundle
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(place)], check=False)


PROPAGATION = ["private", "shared", "slave", "unbindable"]


@pytest.mark.parametrize("pivot", [True, False])
@pytest.mark.parametrize("kind", [None, *PROPAGATION, *(f"r{kind}" for kind in PROPAGATION)])
def test_rootfs_propagation(kind: str | None, pivot: bool, ocirt: Any, shared: Any) -> None:
    """Only a slave sees what the host mounts, and no host sees what a container mounts."""
    if kind:
        shared.document["linux"]["rootfsPropagation"] = kind
    pid = start(ocirt, shared.shell("exec sleep 60"), *([] if pivot else ["--no-pivot"]))
    word = (kind or "slave").removeprefix("r")
    root = Path(shared.document["root"]["path"])
    lines = [line.split() for line in open(f"/proc/{pid}/mountinfo")]
    fields = next(line for line in reversed(lines) if line[4] == "/")
    optional = {field.partition(":")[0] for field in fields[6 : fields.index("-")]}
    wanted = {
        "private": set(),
        "shared": {"shared", "master"},
        "slave": {"master"},
        "unbindable": {"unbindable"},
    }[word]
    assert optional == wanted

    subprocess.run(["mount", "-t", "tmpfs", "host", str(root / "of-host")], check=True)
    done = ocirt(
        "exec", shared.id, "sh", "-c",
        "grep -c ' /of-host ' /proc/self/mountinfo; mount -t tmpfs inside /of-container;"
        "grep -c ' /of-container ' /proc/1/mountinfo; mount --bind / /copy && echo bound",
    )  # fmt: skip
    seen = "1" if word in ("slave", "shared") else "0"
    bound = [] if word == "unbindable" else ["bound"]
    assert done.stdout.split() == [seen, "1", *bound], done.stderr
    assert "of-container" not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_a_procfs_without_masks(flags: tuple[str, ...], ocirt: Any, bundle: Any) -> None:
    """A user namespace that the container makes can have none, as long as there is no whole one
    in its mount namespace; without pivot_root(2) those of the host stay there."""
    (bundle.path / "rootfs/mnt").mkdir()
    mount = "busybox mount -t {0} {0} /mnt && echo mounted {0}"
    inner = "; ".join(mount.format(kind) for kind in ("proc", "sysfs"))
    bundle.document["process"]["user"] = {"uid": 1000, "gid": 1000}
    bundle.shell(f"busybox unshare -U -r -m -n -p -f sh -c 'echo inside; {inner}'")
    done = bundle.run(ocirt, *flags)
    assert done.stdout.split() == ["inside"], done.stderr
    assert done.stderr.count("permission denied") == 2, done.stderr
    # With nothing masked it may.
    bundle.document["linux"].update(maskedPaths=[], readonlyPaths=[])
    assert "mounted proc" in bundle.run(ocirt, *flags).stdout


def own_secret(keyring: bytes | None = None) -> None:
    """In a child: a session keyring, which everybody may join by its name, with a key that nobody sees
    who has not that keyring."""
    add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
    libc = ctypes.CDLL(None)
    serial = libc.syscall(keyctl, 1, keyring)  # KEYCTL_JOIN_SESSION_KEYRING
    assert libc.syscall(keyctl, 5, serial, 0x3F3F3F3F) == 0
    key = libc.syscall(add_key, b"user", b"ocirt-secret", b"x", 1, -3)
    assert libc.syscall(keyctl, 5, key, 0x3F000000) == 0  # KEYCTL_SETPERM


def test_keyring_of_a_start_container_hook(ocirt: Any, bundle: Any) -> None:
    """A program of the container's has not the keys of ocirt's caller."""
    args = ["busybox", "sh", "-c", "cat /proc/keys > /tmp/hook"]
    bundle.document["hooks"] = {"startContainer": [{"path": "/bin/busybox", "args": args}]}
    bundle.document["root"]["readonly"] = False
    bundle.document["linux"]["maskedPaths"] = []
    words = ("run", "--bundle", bundle.shell("true").write(), bundle.id)
    assert ocirt(*words, preexec_fn=own_secret).returncode == 0
    found = (bundle.path / "rootfs/tmp/hook").read_text()
    assert f"_ses.{bundle.id}" in found and "ocirt-secret" not in found
