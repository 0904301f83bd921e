"""What an ordinary user may do: containers without any right of the host's root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND, V2, Bundle, Runtime
from .ordinary_user import COUNT, FIRST, NAME, UID, OrdinaryUser

ROOT = Path(__file__).parent.parent.parent
NAMESPACES = ("user", "mount", "pid", "ipc", "uts", "network", "cgroup")


@pytest.fixture(scope="module")
def user() -> Iterator[OrdinaryUser]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    if not shutil.which("newuidmap"):
        pytest.skip("newuidmap is not installed (Debian package uidmap)")
    folder = Path(tempfile.mkdtemp(prefix="ocirt-user-"))
    yield OrdinaryUser(folder, ROOT)
    shutil.rmtree(folder)


def call(user: OrdinaryUser, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that leaves no process behind."""
    command = user.command(*words, **environment)
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def ocirt(user: OrdinaryUser) -> Iterator[Runtime]:
    """Called by the user."""
    runtime = Runtime(user.home / "state", user.command())
    yield runtime
    for id in runtime.ids():
        runtime("delete", "--force", id)
    shutil.rmtree(runtime.root, ignore_errors=True)


@pytest.fixture
def make_bundle(user: OrdinaryUser, busybox_rootfs: Path) -> Iterator[Callable[..., Bundle]]:
    """A new bundle of the user's at each call, as ``spec --rootless`` makes it."""
    made: list[Path] = []

    def make(*, mapped: bool = True) -> Bundle:
        path = Path(tempfile.mkdtemp(dir=user.home))
        made.append(path)
        shutil.copytree(busybox_rootfs, path / "rootfs", symlinks=True)
        user.give(path)
        done = call(user, str(COMMAND), "spec", "--rootless", "--bundle", str(path))
        assert done.returncode == 0, done.stderr
        bundle = Bundle(path, json.loads((path / "config.json").read_text()))
        bundle.document["process"].update(terminal=False, args=["/bin/true"])
        bundle.document["root"]["readonly"] = False
        if mapped:
            with_ranges(bundle)
        return bundle

    yield make
    for path in made:
        shutil.rmtree(path)


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle]) -> Bundle:
    return make_bundle()


@pytest.fixture
def alone(make_bundle: Callable[..., Bundle]) -> Bundle:
    """One in which the user's own id is all there is."""
    return make_bundle(mapped=False)


def with_ranges(bundle: Bundle) -> None:
    linux = bundle.document["linux"]
    for key in ("uidMappings", "gidMappings"):
        linux[key] = [
            {"containerID": 0, "hostID": UID, "size": 1},
            {"containerID": 1, "hostID": FIRST, "size": COUNT},
        ]


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def running(ocirt: Runtime, bundle: Bundle) -> int:
    """Its pid."""
    bundle.shell("exec sleep 1000")
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    ocirt("start", bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    assert isinstance(pid, int)
    return pid


# ---- a life


def test_life(ocirt: Runtime, bundle: Bundle, leftovers: Any) -> None:
    bundle.document["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    bundle.shell("exec sleep 1000")
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    state = ocirt.state(bundle.id)
    assert state["status"] == "created" and state["owner"] == NAME
    ocirt("start", bundle.id, check=True)
    seen = status(state["pid"])
    assert seen["Uid"] == [str(FIRST + 6)] * 4
    assert seen["Gid"] == [str(FIRST + 7)] * 4
    assert seen["Groups"] == [str(FIRST + 8)]
    for name in NAMESPACES:
        if name != "network" and (name != "cgroup" or V2):
            file = "mnt" if name == "mount" else name
            assert os.readlink(f"/proc/{state['pid']}/ns/{file}") != os.readlink(
                f"/proc/self/ns/{file}"
            )
    done = ocirt("exec", bundle.id, "id", check=True)
    assert done.stdout.split() == ["uid=7", "gid=8", "groups=9"]
    assert ocirt("exec", "--user", "0", bundle.id, "id", check=True).stdout.startswith("uid=0")
    assert ocirt("exec", bundle.id, "sh", "-c", "exit 3").returncode == 3
    assert json.loads(ocirt("ps", "--format", "json", bundle.id, check=True).stdout) == [
        state["pid"]
    ]
    ocirt("kill", bundle.id, "KILL", check=True)
    while ocirt.state(bundle.id)["status"] != "stopped":
        time.sleep(0.01)
    ocirt("delete", bundle.id, check=True)
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


def test_run(ocirt: Runtime, bundle: Bundle) -> None:
    bundle.shell("id -u; hostname; echo x > /dev/null; touch /new; exit 7")
    done = bundle.run(ocirt)
    assert (done.stdout.split(), done.returncode) == (["0", "ocirt"], 7), done.stderr
    assert (bundle.path / "rootfs/new").stat().st_uid == UID
    assert ocirt.ids() == []


def test_what_spec_makes(ocirt: Runtime, alone: Bundle) -> None:
    """It needs nothing but the user's own id: not even newuidmap."""
    runtime = Runtime(ocirt.root, [*ocirt.prefix, "env", "PATH=/nowhere"])
    alone.shell("id -u; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups")
    done = runtime("run", "--bundle", alone.write(), alone.id)
    assert done.stdout.split() == ["0", *(["0", str(UID), "1"] * 2), "deny"], done.stderr


def test_root_that_is_not_mapped(ocirt: Runtime, alone: Bundle) -> None:
    """Then the user of the process sets it up, as with crun."""
    for key in ("uidMappings", "gidMappings"):
        alone.document["linux"][key][0]["containerID"] = 7
    alone.document["process"]["user"] = {"uid": 7, "gid": 7}
    alone.shell("id; hostname; grep Cap /proc/self/status")
    done = alone.run(ocirt)
    lines = done.stdout.split("\n")
    assert lines[0].startswith("uid=7 gid=7"), done.stderr
    assert lines[1] == "ocirt"
    sets = dict(line.split(":\t") for line in lines[2:7])
    bounding = sets.pop("CapBnd")
    assert int(bounding, 16) and not any(int(mask, 16) for mask in sets.values())


def test_an_empty_environment(user: OrdinaryUser, ocirt: Runtime, bundle: Bundle) -> None:
    """Engines call so: newuidmap is found all the same."""
    runtime = Runtime(ocirt.root, [*ocirt.prefix, "env", "-i"])
    assert runtime("run", "--bundle", bundle.write(), bundle.id).returncode == 0


def test_terminal(ocirt: Runtime, bundle: Bundle) -> None:
    bundle.document["process"].update(terminal=True, args=["tty"])
    done = ocirt("run", "--bundle", bundle.write(), bundle.id)
    assert done.stdout.strip() == "/dev/pts/0", done.stderr


def test_hooks(ocirt: Runtime, bundle: Bundle, user: OrdinaryUser) -> None:
    """In whatever namespaces they run, they are the user's."""
    log = bundle.path / "log"
    log.touch()
    user.give(bundle.path)
    bundle.document["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} $(id -u) >> {log}"]}]
        for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    }
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer $(id -u) >> /log"]}
    bundle.document["hooks"]["startContainer"] = [inside]
    running(ocirt, bundle)
    ocirt("delete", "--force", bundle.id, check=True)
    assert log.read_text().split("\n") == [
        f"prestart {UID}",
        f"createRuntime {UID}",
        "createContainer 0",
        f"poststart {UID}",
        f"poststop {UID}",
        "",
    ]
    assert (bundle.path / "rootfs/log").read_text() == "startContainer 0\n"


def test_settings(ocirt: Runtime, bundle: Bundle) -> None:
    """What the set-up process and the host do to it."""
    document = bundle.document
    document["linux"]["namespaces"] += [{"type": "network"}, {"type": "time"}]
    document["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}}
    document["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    document["process"]["oomScoreAdj"] = 500
    (bundle.path / "rootfs/data").mkdir()
    (bundle.path / "rootfs/data/file").write_text("of the image\n")
    document["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "x", "options": ["tmpcopyup"]}
    )
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}
    document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.shell(
        "cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj /data/file;"
        "busybox cut -d. -f1 /proc/uptime; ip address show lo | grep -c UP; busybox mkdir /tmp/new"
    )
    done = bundle.run(ocirt)
    lines = done.stdout.split("\n")
    assert lines[:3] == ["1", "500", "of the image"], done.stderr
    assert int(lines[3]) >= 1000000
    assert lines[4] == "1"
    assert "Input/output error" in done.stderr


def test_notices_of_a_filter(ocirt: Runtime, bundle: Bundle) -> None:
    """The agent's socket gets the listener, which is taken out of the set-up process."""
    import array
    import socket

    path = bundle.path / "agent"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.bind(str(path))
        agent.listen()
        path.chmod(0o777)
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
        bundle.document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(path),
            "syscalls": [rule],
        }
        bundle.shell("exec sleep 1000")
        ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
        agent.settimeout(10)
        with agent.accept()[0] as connection:
            message, control, _flags, _address = connection.recvmsg(1 << 16, 256)
    assert json.loads(message)["state"]["id"] == bundle.id
    fds = array.array("i", control[0][2])
    assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
    os.close(fds[0])


# ---- rights


def test_what_root_inside_may_not(ocirt: Runtime, bundle: Bundle) -> None:
    """It is the user, outside."""
    for kind in ("bounding", "effective", "permitted"):
        bundle.document["process"]["capabilities"][kind] = [
            "CAP_SYS_ADMIN",
            "CAP_MKNOD",
            "CAP_DAC_OVERRIDE",
        ]
    folder = {"destination": "/host", "type": "bind", "source": "/etc", "options": ["rbind"]}
    bundle.document["mounts"].append(folder)
    bundle.shell(
        "cat /host/shadow; busybox mknod /null c 1 3; busybox touch /host/new;"
        "mount -t tmpfs none /tmp && echo mounted"
    )
    done = bundle.run(ocirt)
    assert done.stdout == "mounted\n", done.stderr
    for text in (
        "'/host/shadow': Permission denied",
        "/null: Operation not permitted",
        "/host/new: Permission denied",
    ):
        assert text in done.stderr


def test_what_the_host_has_restricted_stays_so(
    ocirt: Runtime, bundle: Bundle, tmp_path: Path
) -> None:
    """The kernel locks the flags of the mounts that are copied into the user namespace."""
    folder = Path(tempfile.mkdtemp(prefix="ocirt-restricted-"))
    folder.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,nosuid,nodev", "x", folder], check=True)
    try:
        mount = {"destination": "/data", "type": "bind", "source": str(folder)}
        bundle.document["mounts"].append(mount | {"options": ["rbind"]})
        for kind in ("bounding", "effective", "permitted"):
            bundle.document["process"]["capabilities"][kind] = ["CAP_SYS_ADMIN"]
        bundle.shell(
            "for options in rw,nosuid,nodev ro,suid,nodev ro,nosuid,dev ro,nosuid,nodev; do "
            "mount -o remount,bind,$options /data 2> /dev/null && echo $options; done"
        )
        done = bundle.run(ocirt)
        assert done.stdout == "ro,nosuid,nodev\n", done.stderr
        bundle.document["mounts"][-1]["options"] = ["rbind", "rw"]
        assert "are locked in a user namespace" in bundle.run(ocirt).stderr
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def test_a_bind_that_would_show_what_is_hidden(ocirt: Runtime, bundle: Bundle) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ocirt-hidden-"))
    folder.chmod(0o755)
    (folder / "inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", folder / "inner"], check=True)
    try:
        mount = {"destination": "/data", "type": "bind", "source": str(folder)}
        bundle.document["mounts"].append(mount | {"options": ["bind"]})
        done = bundle.run(ocirt)
        assert "can't be mounted without what is mounted below it" in done.stderr
        assert f"config.json#/mounts/{len(bundle.document['mounts']) - 1}/source" in done.stderr
        assert "hint: rbind" in done.stderr
        bundle.document["mounts"][-1]["options"] = ["rbind"]
        assert bundle.run(ocirt).returncode == 0
    finally:
        subprocess.run(["umount", folder / "inner"], check=True)
        shutil.rmtree(folder)


def test_a_source_of_somebody_else(ocirt: Runtime, bundle: Bundle) -> None:
    mount = {"destination": "/data", "type": "bind", "source": "/root/x", "options": ["rbind"]}
    bundle.document["mounts"].append(mount)
    done = bundle.run(ocirt)
    assert done.returncode == 1
    assert "/source: bind source /root/x: " in done.stderr
    assert ocirt.ids() == []


def test_a_machine_that_root_inside_can_see(
    ocirt: Runtime, bundle: Bundle, make_bundle: Any
) -> None:
    """CVE-2016-9962. A second container joins all of the first, whose root may trace what is its
    own, and not a machine, which has descriptors of the user's."""
    for kind in ("bounding", "effective", "permitted"):
        bundle.document["process"]["capabilities"][kind] = ["CAP_SYS_PTRACE"]
    pid = running(ocirt, bundle)
    second = make_bundle()
    linux = second.document["linux"]
    del linux["uidMappings"], linux["gidMappings"]
    for namespace in linux["namespaces"]:
        if namespace["type"] in ("pid", "user", "ipc", "uts"):
            namespace["path"] = f"/proc/{pid}/ns/{namespace['type']}"
    del second.document["hostname"]
    ocirt("create", "--bundle", second.write(), second.id, check=True)
    script = "cat /proc/1/maps > /dev/null && cat /proc/2/status; cat /proc/2/maps; ls /proc/2/fd/"
    done = ocirt("exec", bundle.id, "sh", "-c", script)
    ocirt("start", second.id, check=True)
    assert "Uid:\t0\t0\t0\t0\n" in done.stdout
    assert done.stderr.count("Permission denied") == 2, done.stderr
    assert "/proc/1/" not in done.stderr


def test_joined_with_other_mappings(ocirt: Runtime, bundle: Bundle, make_bundle: Any) -> None:
    pid = running(ocirt, bundle)
    second = make_bundle()
    linux = second.document["linux"]
    linux["namespaces"][-1]["path"] = f"/proc/{pid}/ns/user"
    second.shell("busybox readlink /proc/self/ns/user")
    done = second.run(ocirt)
    assert done.stdout.strip() == os.readlink(f"/proc/{pid}/ns/user"), done.stderr
    linux["gidMappings"][1]["size"] -= 1
    assert "not the mappings of the user namespace that is joined" in second.run(ocirt).stderr


# ---- what can't be


BIND = {"destination": "/x", "type": "bind", "source": "/tmp", "options": ["bind", "idmap"]}


def map_uids(document: dict[str, Any]) -> None:
    document["linux"]["uidMappings"][0]["hostID"] = 1


def map_gids(document: dict[str, Any]) -> None:
    document["linux"]["gidMappings"][1]["size"] += 1


def no_user_namespace(document: dict[str, Any]) -> None:
    linux = document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "user"]
    del linux["uidMappings"], linux["gidMappings"]


def namespace_of_the_host(document: dict[str, Any]) -> None:
    document["linux"]["namespaces"].append({"type": "network", "path": "/proc/self/ns/net"})


def network_device(document: dict[str, Any]) -> None:
    document["linux"]["namespaces"].append({"type": "network"})
    document["linux"]["netDevices"] = {"lo": {}}


def id_mapped_mount(document: dict[str, Any]) -> None:
    document["mounts"][0] = BIND


def id_mapped_own_file(document: dict[str, Any]) -> None:
    document["mounts"][0] = BIND | {"source": "rootfs/bin"}


def oom_score(document: dict[str, Any]) -> None:
    document["process"]["oomScoreAdj"] = -1000


def hard_limit(document: dict[str, Any]) -> None:
    limit = {"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1 << 40}
    document["process"]["rlimits"] = [limit]


def cgroup(document: dict[str, Any]) -> None:
    document["linux"]["cgroupsPath"] = "/x/y"


def limit(document: dict[str, Any]) -> None:
    document["linux"]["resources"] = {"memory": {"limit": 1 << 30}}


@pytest.mark.parametrize(
    ("change", "place", "text"),
    [
        (map_uids, "/linux/uidMappings", "newuidmap: uid range [0-1)"),
        (map_gids, "/linux/gidMappings", "newgidmap: gid range"),
        (no_user_namespace, "/linux/namespaces", "ocirt spec --rootless"),
        (namespace_of_the_host, "/linux/namespaces/6/path", "in which ocirt has rights"),
        (network_device, "/linux/netDevices", "the host's root alone"),
        (id_mapped_mount, "/mounts/0/options/1", "the host's root alone"),
        (id_mapped_own_file, "/mounts/0/options/1", "the host's root alone"),
        (oom_score, "/process/oomScoreAdj", "only the host's root"),
        (hard_limit, "/process/rlimits/0", "only the host's root"),
        (cgroup, "/linux/cgroupsPath", "--systemd-cgroup"),
        (limit, "/linux/resources/memory/limit", "is not the host's root"),
    ],
)
def test_a_clear_word(
    change: Callable[[dict[str, Any]], None],
    place: str,
    text: str,
    ocirt: Runtime,
    bundle: Bundle,
    leftovers: Any,
) -> None:
    change(bundle.document)
    if not V2:
        place = place.replace("/namespaces/6/", "/namespaces/5/")
    done = bundle.run(ocirt)
    assert done.returncode == 1
    assert f"config.json#{place}: " in done.stderr
    assert text in done.stderr
    assert ocirt.ids() == [] and leftovers(bundle) == []


def test_no_newuidmap(ocirt: Runtime, bundle: Bundle) -> None:
    runtime = Runtime(ocirt.root, [*ocirt.prefix, "env", "PATH=/nowhere"])
    done = runtime("run", "--bundle", bundle.write(), bundle.id)
    text = "config.json#/linux/uidMappings: to map other ids than one's own newuidmap is needed"
    assert text in done.stderr
    assert "hint: install it (Debian: uidmap)" in done.stderr


def test_groups_that_nobody_may_change(ocirt: Runtime, alone: Bundle) -> None:
    alone.document["process"]["user"]["additionalGids"] = [0]
    done = alone.run(ocirt)
    assert "config.json#/process/user/additionalGids: " in done.stderr
    assert "hint: in this user namespace nobody may change groups" in done.stderr


def test_devices_are_accepted(ocirt: Runtime, bundle: Bundle) -> None:
    """Engines always have rules for them; they are the host's to set."""
    rule = {"allow": False, "access": "rwm"}
    bundle.document["linux"]["resources"] = {"devices": [rule], "memory": {}}
    node = {"path": "/dev/fuse2", "type": "c", "major": 1, "minor": 3}
    bundle.document["linux"]["devices"] = []
    assert bundle.shell("echo x > /dev/null").run(ocirt).returncode == 0
    bundle.document["linux"]["devices"] = [node]
    done = bundle.run(ocirt)
    assert "config.json#/linux/devices/0: device /dev/fuse2: No such file" in done.stderr


def test_without_a_cgroup(ocirt: Runtime, bundle: Bundle) -> None:
    """The container is in its caller's, and some verbs have to say so."""
    pid = running(ocirt, bundle)
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    done = ocirt("pause", bundle.id)
    assert done.returncode == 1 and "the container has no cgroup" in done.stderr
    done = ocirt("update", "--pids-limit", "10", bundle.id)
    assert done.returncode == 1 and "config.json" not in done.stderr, done.stderr
    ocirt("exec", bundle.id, "sh", "-c", "sleep 1000 > /dev/null 2>&1 &", check=True)
    assert len(json.loads(ocirt("ps", "--format", "json", bundle.id).stdout)) == 2
    assert json.loads(ocirt("events", "--stats", bundle.id, check=True).stdout)["id"] == bundle.id
    ocirt("kill", "--all", bundle.id, "KILL", check=True)
    while ocirt.state(bundle.id)["status"] != "stopped":
        time.sleep(0.01)
    ocirt("kill", "--all", bundle.id, "KILL", check=True)


def test_without_a_cgroup_or_a_pid_namespace(ocirt: Runtime, bundle: Bundle) -> None:
    linux = bundle.document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "pid"]
    bundle.document["mounts"][0] = {
        "destination": "/proc",
        "type": "bind",
        "source": "/proc",
        "options": ["rbind"],
    }
    running(ocirt, bundle)
    done = ocirt("run", "--bundle", bundle.shell("true").write(), f"{bundle.id}-2")
    assert done.returncode == 0
    assert "Such configuration is strongly discouraged" in done.stderr
    ocirt("kill", "--all", bundle.id, "KILL", check=True)
    ocirt("delete", bundle.id, check=True)


# ---- the state root


def test_default_root(user: OrdinaryUser, bundle: Bundle) -> None:
    """Also for the launcher, which does state by itself."""
    bundle.shell("exec sleep 1000")
    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    create = user.command(str(COMMAND), "create", "--bundle", bundle.write(), bundle.id)
    try:
        subprocess.run(create, check=True, timeout=60, **files)  # type: ignore[call-overload]
        root = user.runtime / "ocirt"
        assert root.stat().st_mode & 0o7777 == 0o1700 and root.stat().st_uid == UID
        assert os.listdir(root) == [bundle.id]
        state = call(user, str(COMMAND), "state", bundle.id)
        assert json.loads(state.stdout)["status"] == "created"
        assert call(user, str(COMMAND), "list", "-q").stdout == f"{bundle.id}\n"
        without = call(user, str(COMMAND), "state", bundle.id, XDG_RUNTIME_DIR="")
        assert "does not exist" in without.stderr or "hint: set XDG_RUNTIME" in without.stderr
    finally:
        call(user, str(COMMAND), "delete", "--force", bundle.id)
    done = call(user, str(COMMAND), "run", "--bundle", str(bundle.path), "x", XDG_RUNTIME_DIR="")
    assert done.returncode == 1
    assert "hint: set XDG_RUNTIME_DIR" in done.stderr


# ---- cgroups


@pytest.fixture
def delegated(ocirt: Runtime) -> Iterator[tuple[Runtime, Path]]:
    """A runtime that is called in a cgroup of version 2 that is the user's, and that cgroup."""
    if not V2:
        pytest.skip("version 1 delegates in another way")
    top = Path(f"/sys/fs/cgroup/ocirt-delegated-{os.getpid()}")
    caller = top / "caller"
    caller.mkdir(parents=True)
    for folder in (top, caller):
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(folder / name, UID, UID)
    move = f'echo $$ > {caller}/cgroup.procs; exec "$@"'
    runtime = Runtime(ocirt.root, ["sh", "-c", move, "sh", *ocirt.prefix])
    yield runtime, top
    for id in runtime.ids():
        runtime("delete", "--force", id)
    caller.rmdir()
    top.rmdir()


def test_delegated_cgroup(
    delegated: tuple[Runtime, Path], bundle: Bundle, needs: Callable[..., None]
) -> None:
    needs("pids.max")
    ocirt, top = delegated
    bundle.document["linux"]["resources"] = {
        "pids": {"limit": 30},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    pid = running(ocirt, bundle)
    folder = top / bundle.id
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{top.name}/{bundle.id}\n"
    assert (folder / "pids.max").read_text() == "30\n"
    ocirt("update", "--pids-limit", "40", bundle.id, check=True)
    assert (folder / "pids.max").read_text() == "40\n"
    done = ocirt("exec", bundle.id, "cat", "/proc/self/cgroup", check=True)
    assert done.stdout == "0::/\n"
    ocirt("pause", bundle.id, check=True)
    assert ocirt.state(bundle.id)["status"] == "paused"
    ocirt("resume", bundle.id, check=True)
    outside = Runtime(ocirt.root, ocirt.prefix[4:])
    done = outside("exec", bundle.id, "true")
    assert done.returncode == 255
    assert "#/linux/cgroupsPath: start a process in the container's cgroup" in done.stderr
    ocirt("delete", "--force", bundle.id, check=True)
    assert not folder.exists()


def test_delegated_cgroup_by_its_path(delegated: tuple[Runtime, Path], bundle: Bundle) -> None:
    ocirt, top = delegated
    bundle.document["linux"]["cgroupsPath"] = f"/{top.name}/named"
    pid = running(ocirt, bundle)
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{top.name}/named\n"


# ---- root of a user namespace alone, as Podman's rootless containers are run


@pytest.fixture
def unshared(user: OrdinaryUser, ocirt: Runtime) -> Runtime:
    words = ("unshare", "--user", "--map-root-user", "--map-auto", "--mount")
    if call(user, *words, "true").returncode:
        pytest.skip("unshare has no --map-auto")
    return Runtime(ocirt.root, user.command(*words))


def test_root_of_a_user_namespace(unshared: Runtime, bundle: Bundle, alone: Bundle) -> None:
    """A container that has none of its own, and one in a namespace below."""
    no_user_namespace(bundle.document)
    bundle.document["process"]["user"] = {"uid": 7, "gid": 8}
    bundle.shell("id -u; cat /proc/self/uid_map; echo x > /dev/null && ls -l /dev/null")
    done = bundle.run(unshared)
    assert done.stdout.split()[:4] == ["7", "0", str(UID), "1"], done.stderr
    assert "1,   3" in done.stdout
    for key in ("uidMappings", "gidMappings"):
        alone.document["linux"][key] = [
            {"containerID": 0, "hostID": 1, "size": 5},
            {"containerID": 5, "hostID": 0, "size": 1},
        ]
    os.chown(alone.path / "rootfs", FIRST, FIRST)
    for where, _folders, files in os.walk(alone.path / "rootfs"):
        for name in (".", *files):
            os.chown(os.path.join(where, name), FIRST, FIRST, follow_symlinks=False)
    alone.path.chmod(0o755)
    alone.shell("id -u; cat /proc/self/uid_map; echo x > /dev/null")
    done = alone.run(unshared)
    assert done.stdout.split() == ["0", "0", "1", "5", "5", "0", "1"], done.stderr


def test_root_of_a_user_namespace_with_one_id(
    user: OrdinaryUser, ocirt: Runtime, alone: Bundle
) -> None:
    """Nobody may change groups there, and in the namespaces below."""
    runtime = Runtime(ocirt.root, user.command("unshare", "--user", "--map-root-user", "--mount"))
    for key in ("uidMappings", "gidMappings"):
        alone.document["linux"][key] = [{"containerID": 0, "hostID": 0, "size": 1}]
    assert alone.shell("id -u").run(runtime).stdout == "0\n"
    no_user_namespace(alone.document)
    done = alone.run(Runtime(ocirt.root, user.command("unshare", "--user", "--map-root-user")))
    assert "hint: ocirt needs a mount namespace that belongs to its user namespace" in done.stderr
    done = alone.run(runtime)
    assert done.stdout == "0\n", done.stderr
