"""Containers in a user namespace: their root is nobody on the host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ocirt.host.constants import CAPABILITIES

from .conftest import V2, cgroups_of

FIRST, COUNT = 200_000, 65_536


def own(folder: Path, first: int = FIRST) -> None:
    """The files are those of the container's root."""
    for where, _folders, files in os.walk(folder):
        for name in (".", *files):
            os.chown(os.path.join(where, name), first, first, follow_symlinks=False)


def mapped(bundle: Any, first: int = FIRST, count: int = COUNT) -> Any:
    """The bundle, in a new user namespace."""
    own(bundle.path / "rootfs", first)
    bundle.path.chmod(0o711)
    linux = bundle.document["linux"]
    linux["namespaces"].append({"type": "user"})
    row = {"containerID": 0, "hostID": first, "size": count}
    linux["uidMappings"], linux["gidMappings"] = [row], [dict(row)]
    return bundle


@pytest.fixture
def inside(bundle: Any) -> Any:
    return mapped(bundle)


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def running(ocirt: Any, bundle: Any) -> int:
    """Its pid."""
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    ocirt("start", bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    assert isinstance(pid, int)
    return pid


def test_who_it_is(ocirt: Any, inside: Any) -> None:
    """Root inside, an id of the mappings outside; from create on, when the machine waits."""
    inside.shell("exec sleep 1000")
    ocirt("create", "--bundle", inside.write(), inside.id, check=True)
    pid = ocirt.state(inside.id)["pid"]
    parked = status(pid)
    assert parked["Uid"] == parked["Gid"] == [str(FIRST)] * 4
    assert parked["Groups"] == []
    # Not even a process of that user may look at it: it is not dumpable.
    assert os.stat(f"/proc/{pid}/fd").st_uid == 0
    ocirt("start", inside.id, check=True)
    assert status(pid)["Uid"] == [str(FIRST)] * 4
    for name in ("uid_map", "gid_map"):
        row = Path(f"/proc/{pid}/{name}").read_text().split()
        assert row == ["0", str(FIRST), str(COUNT)]
    assert Path(f"/proc/{pid}/setgroups").read_text() == "allow\n"
    done = ocirt("exec", inside.id, "id", check=True)
    assert done.stdout.startswith("uid=0(root) gid=0")
    assert str(FIRST) in ocirt("ps", inside.id, check=True).stdout


def test_every_namespace_belongs_to_it(ocirt: Any, inside: Any) -> None:
    """So its root can do there what root does, and nothing on the host."""
    names = ("CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_SYS_CHROOT", "CAP_SETUID")
    sets = inside.document["process"]["capabilities"]
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = list(names)
    inside.document["root"]["readonly"] = False
    secret = inside.path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    folder = {"destination": "/host", "type": "bind", "source": str(inside.path)}
    inside.document["mounts"].append(folder | {"options": ["rbind"]})
    inside.shell(
        "hostname other && hostname; mount -t tmpfs none /tmp && echo mounted;"
        "cat /host/secret; busybox mknod /null c 1 3; busybox touch /host/new;"
        "busybox sysctl -w kernel.core_pattern=x"
    )
    done = inside.run(ocirt)
    assert done.stdout.split() == ["other", "mounted"]
    for text in (
        "'/host/secret': Permission denied",
        "/null: Operation not permitted",
        "/host/new: Permission denied",
        "'kernel.core_pattern': Read-only file system",
    ):
        assert text in done.stderr


def test_devices_are_those_of_the_host(ocirt: Any, inside: Any) -> None:
    inside.shell(
        "echo x > /dev/null && head -c 3 /dev/zero | busybox od -An -tx1; stat -c %t,%T /dev/*"
    )
    done = inside.run(ocirt)
    lines = done.stdout.split("\n")
    assert lines[0].split() == ["00"] * 3, done.stderr
    for number in ("1,3", "1,5", "1,7", "1,8", "1,9", "5,0"):
        assert number in lines
    assert done.returncode == 0


def test_exec(ocirt: Any, inside: Any) -> None:
    inside.document["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5]}
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    assert status(pid)["Uid"] == [str(FIRST + 1000)] * 4
    assert status(pid)["Groups"] == [str(FIRST + 5)]
    assert ocirt("exec", inside.id, "id", check=True).stdout.startswith("uid=1000(u) gid=1000")
    done = ocirt("exec", "--user", "7:8", inside.id, "cat", "/proc/self/status", check=True)
    assert "Uid:\t7\t7\t7\t7\n" in done.stdout and "Gid:\t8\t8\t8\t8\n" in done.stdout
    link = ocirt("exec", inside.id, "busybox", "readlink", "/proc/self/ns/user", check=True)
    assert link.stdout.strip() == os.readlink(f"/proc/{pid}/ns/user")
    refused = ocirt("exec", "--user", "70000", inside.id, "id")
    assert refused.returncode != 0
    assert "config.json#/process/user/uid: " in refused.stderr
    assert "not mapped" in refused.stderr


def test_joined_by_path(ocirt: Any, inside: Any, make_bundle: Any) -> None:
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    second = make_bundle()
    own(second.path / "rootfs")
    second.path.chmod(0o711)
    second.document["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{pid}/ns/user"})
    second.shell("busybox readlink /proc/self/ns/user; id; echo x > /dev/null")
    done = second.run(ocirt)
    assert done.stdout.startswith(os.readlink(f"/proc/{pid}/ns/user")), done.stderr
    assert "uid=0(root)" in done.stdout


def test_joined_with_other_mappings(ocirt: Any, inside: Any, make_bundle: Any) -> None:
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    second = mapped(make_bundle())
    linux = second.document["linux"]
    linux["namespaces"][-1]["path"] = f"/proc/{pid}/ns/user"
    assert second.run(ocirt).returncode == 0
    linux["gidMappings"][0]["hostID"] += 1
    done = second.run(ocirt)
    text = "/linux/gidMappings: these are not the mappings of the user namespace that is joined"
    assert text in done.stderr


def test_delete_leaves_nothing(ocirt: Any, inside: Any, leftovers: Any) -> None:
    inside.shell("exec sleep 1000")
    running(ocirt, inside)
    ocirt("kill", inside.id, "KILL", check=True)
    ocirt("delete", "--force", inside.id, check=True)
    assert ocirt.ids() == []
    assert leftovers(inside) == []


def test_what_the_host_has_restricted_stays_so(ocirt: Any, inside: Any, tmp_path: Path) -> None:
    """The kernel locks the flags of its mounts, so that not even CAP_SYS_ADMIN takes them away."""
    folder = tmp_path / "restricted"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,nosuid,nodev", "x", folder], check=True)
    try:
        mount = {"destination": "/data", "type": "bind", "source": str(folder)}
        inside.document["mounts"].append(mount | {"options": ["rbind", "noexec"]})
        for kind in ("bounding", "effective", "permitted"):
            inside.document["process"]["capabilities"][kind] = ["CAP_SYS_ADMIN"]
        inside.shell(
            "for options in rw,nosuid,nodev ro,suid,nodev ro,nosuid,dev ro,nosuid,nodev; do "
            "mount -o remount,bind,$options /data 2> /dev/null && echo $options; done;"
            "grep ' /data ' /proc/self/mountinfo"
        )
        done = inside.run(ocirt)
        lines = done.stdout.split("\n")
        assert lines[0] == "ro,nosuid,nodev", done.stderr
        assert " /data ro,nosuid,nodev" in lines[1]
        inside.document["mounts"][-1]["options"] = ["rbind", "rw"]
        done = inside.run(ocirt)
        assert "config.json#/mounts/7/options: " in done.stderr
        assert "are locked in a user namespace" in done.stderr
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_bind_that_is_not_recursive(ocirt: Any, inside: Any, tmp_path: Path) -> None:
    """It shows what is below a mount, which only the host may."""
    inner = tmp_path / "outer" / "inner"
    inner.parent.mkdir()
    # Without the flags that a /tmp may have.
    subprocess.run(["mount", "-t", "tmpfs", "x", inner.parent], check=True)
    try:
        inner.mkdir()
        (inner / "below").touch()
        subprocess.run(["mount", "-t", "tmpfs", "x", inner], check=True)
        mount = {"destination": "/data", "type": "bind", "source": str(inner.parent)}
        inside.document["mounts"].append(mount | {"options": ["bind"]})
        assert inside.shell("ls /data/inner").run(ocirt).stdout == "below\n"
    finally:
        subprocess.run(["umount", "--recursive", inner.parent], check=True)


def test_a_bind_that_is_not_recursive_of_what_is_restricted(
    ocirt: Any, inside: Any, tmp_path: Path, leftovers: Any
) -> None:
    """The kernel makes no copy of it whose flags it locks."""
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    subprocess.run(["mount", "--bind", outer, outer], check=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "x", outer / "inner"], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", outer], check=True)
        mount = {"destination": "/data", "type": "bind", "source": str(outer)}
        inside.document["mounts"].append(mount | {"options": ["bind"]})
        done = inside.shell("true").run(ocirt)
        assert done.returncode == 1
        assert "mounted ro, nosuid, nodev or noexec, which can't be kept" in done.stderr
        assert f"/mounts/{len(inside.document['mounts']) - 1}" in done.stderr
        inside.document["mounts"][-1]["options"] = ["rbind"]
        assert inside.shell("touch /data/x").run(ocirt).returncode == 1
    finally:
        subprocess.run(["umount", "--recursive", outer], check=True)
    assert leftovers(inside) == []


@pytest.mark.parametrize(
    ("missing", "mount", "message"),
    [
        ("network", "/sys", "hint: in a user namespace this needs a new network namespace"),
        ("ipc", "/dev/mqueue", "hint: in a user namespace this needs a new ipc namespace"),
        ("pid", "/proc", "hint: in a user namespace this needs a new pid namespace"),
    ],
)
def test_file_systems_of_namespaces(
    missing: str, mount: str, message: str, ocirt: Any, inside: Any, leftovers: Any
) -> None:
    linux = inside.document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != missing]
    done = inside.run(ocirt)
    places = [m["destination"] for m in inside.document["mounts"]]
    assert f"config.json#/mounts/{places.index(mount)}" in done.stderr
    assert message in done.stderr
    assert (ocirt.ids(), leftovers(inside)) == ([], [])


def test_root_file_system_of_somebody_else(ocirt: Any, inside: Any, leftovers: Any) -> None:
    own(inside.path / "rootfs", 0)
    done = inside.run(ocirt)
    assert "config.json#/mounts/0/destination: " in done.stderr
    assert "hint: is the owner of the root file system mapped" in done.stderr
    assert (ocirt.ids(), leftovers(inside)) == ([], [])


def test_terminal_group_that_is_not_mapped(ocirt: Any, bundle: Any) -> None:
    done = mapped(bundle, count=5).run(ocirt)
    assert "fsconfig gid=5: EINVAL" in done.stderr
    assert "hint: it is not mapped in the user namespace" in done.stderr


def test_device_that_the_host_has_not(ocirt: Any, inside: Any) -> None:
    device = {"path": "/dev/null2", "type": "c", "major": 1, "minor": 3}
    inside.document["linux"]["devices"] = [device]
    done = inside.run(ocirt)
    assert "config.json#/linux/devices/0: device /dev/null2: No such file" in done.stderr
    device["path"] = "/dev/zero"
    done = inside.run(ocirt)
    text = "config.json#/linux/devices/0: /dev/zero of the host is not the device c 1:3"
    assert text in done.stderr


def test_device_that_is_a_link_in_the_image(ocirt: Any, inside: Any) -> None:
    """What is bound lands nowhere else."""
    (inside.path / "rootfs/dev").mkdir(exist_ok=True)
    (inside.path / "rootfs/dev/null").symlink_to("/etc/passwd")
    own(inside.path / "rootfs")
    inside.document["mounts"] = [
        m for m in inside.document["mounts"] if not m["destination"].startswith("/dev")
    ]
    done = inside.run(ocirt)
    assert "config.json#/linux/devices: default devices: must be mounted on ordinary" in done.stderr


def test_hooks(ocirt: Any, inside: Any) -> None:
    """Those of the container run in its user namespace, the others on the host."""
    script = "readlink /proc/self/ns/user; id -u; exit 1"
    host = os.readlink("/proc/self/ns/user")
    for kind in ("createRuntime", "createContainer", "startContainer"):
        path = "/bin/busybox" if kind == "startContainer" else "/bin/sh"
        args = ["sh", "-c", f"busybox {script}" if kind == "startContainer" else script]
        inside.document["hooks"] = {kind: [{"path": path, "args": args}]}
        done = inside.run(ocirt)
        assert f"config.json#/hooks/{kind}/0: " in done.stderr, done.stderr
        assert "user:[" in done.stderr and "\\n0" in done.stderr
        assert (host in done.stderr) == (kind == "createRuntime")


def test_settings(ocirt: Any, inside: Any) -> None:
    """The host's part is done with the host's rights, sysctls and clocks are the container's."""
    process, linux = inside.document["process"], inside.document["linux"]
    process["oomScoreAdj"] = 300
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    linux["sysctl"] = {"net.ipv4.ip_forward": "1", "user.max_user_namespaces": "7"}
    linux["namespaces"].append({"type": "time"})
    linux["timeOffsets"] = {"boottime": {"secs": 100_000}}
    inside.shell(
        "cat /proc/self/oom_score_adj; ulimit -n; cat /proc/sys/net/ipv4/ip_forward;"
        "cat /proc/sys/user/max_user_namespaces; grep boottime /proc/self/timens_offsets"
    )
    done = inside.run(ocirt)
    assert done.stdout.split() == ["300", "77", "1", "7", "boottime", "100000", "0"], done.stderr


def test_tmpcopyup(ocirt: Any, inside: Any) -> None:
    folder = inside.path / "rootfs/up/inner"
    folder.mkdir(parents=True)
    (folder / "file").write_text("text\n")
    own(inside.path / "rootfs")
    os.chown(folder / "file", FIRST + 7, FIRST + 8)
    mount = {"destination": "/up", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]}
    inside.document["mounts"].append(mount)
    inside.shell("stat -c '%u %g' /up/inner/file && cat /up/inner/file && stat -f -c %T /up")
    assert inside.run(ocirt).stdout.split() == ["7", "8", "text", "tmpfs"]


def test_root_that_is_not_mapped(ocirt: Any, bundle: Any) -> None:
    inside = mapped(bundle, FIRST, 1)
    linux, process = inside.document["linux"], inside.document["process"]
    for key in ("uidMappings", "gidMappings"):
        linux[key][0]["containerID"] = 1000
    process["user"] = {"uid": 1000, "gid": 1000}
    inside.document["mounts"][2]["options"].remove("gid=5")
    inside.shell("busybox id -u; stat -c %u /tmp /dev/shm; echo x > /dev/null")
    done = inside.run(ocirt)
    assert (done.stdout.split(), done.stderr) == (["1000"] * 3, "")


def test_terminal(ocirt: Any, inside: Any) -> None:
    inside.document["process"].update(terminal=True, user={"uid": 1000, "gid": 1000})
    inside.shell("tty; stat -c '%u %g' /dev/pts/0 /dev/console; sleep 1000")
    inside.write()
    done = inside.run(ocirt, "--detach", "--console-socket", "/no/such")
    assert "/no/such" in done.stderr  # the terminal was made, and nobody wanted it
    inside.document["process"]["terminal"] = False
    running(ocirt, inside.shell("exec sleep 1000"))
    done = ocirt("exec", "--tty", inside.id, "sh", "-c", "tty; stat -c %u /dev/pts/0")
    assert done.stdout.split() == ["/dev/pts/0", "1000"]


def test_cgroup_belongs_to_its_root(ocirt: Any, inside: Any) -> None:
    """On version 2, where it may write to it; the limits stay the host's."""
    (mount,) = (m for m in inside.document["mounts"] if m["type"] == "cgroup")
    linux = inside.document["linux"]
    if all(n["type"] != "cgroup" for n in linux["namespaces"]):
        linux["namespaces"].append({"type": "cgroup"})
    inside.shell("exec sleep 1000")
    for options, owner in ((["nosuid"], FIRST if V2 else 0), (["nosuid", "ro"], 0)):
        mount["options"] = options
        running(ocirt, inside)
        (folder, *_) = cgroups_of(inside.id)
        owners = [os.stat(f"{folder}/{name}").st_uid for name in (".", "cgroup.procs")]
        assert owners == [owner, owner]
        ocirt("delete", "--force", inside.id, check=True)


def test_the_hosts_cgroup_namespace(ocirt: Any, inside: Any) -> None:
    """CVE-2023-25809: it sees its own cgroup, read-only, even as the host's root."""
    linux = inside.document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "cgroup"]
    linux["uidMappings"][0].update(hostID=0)
    linux["gidMappings"][0].update(hostID=0)
    own(inside.path / "rootfs", 0)
    (mount,) = (m for m in inside.document["mounts"] if m["type"] == "cgroup")
    mount["options"] = ["nosuid", "noexec", "nodev"]
    inside.shell(
        "grep -c cgroup /proc/self/mountinfo; grep cgroup /proc/self/mountinfo | grep -v ' ro';"
        "for folder in /sys/fs/cgroup /sys/fs/cgroup/*/; do busybox mkdir $folder/new; done"
    )
    done = inside.run(ocirt)
    assert int(done.stdout.split("\n")[0]) > 0
    assert "new': Read-only file system" in done.stderr
    made = [path for path in cgroups_of("new") if inside.id in path]
    assert made == []


def test_all_capabilities(ocirt: Any, inside: Any) -> None:
    """Inside there are also those that ocirt itself has not got, as none of them is of the host."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    names = [name for name, number in CAPABILITIES.items() if number <= last]
    for kind in ("bounding", "effective", "permitted"):
        inside.document["process"]["capabilities"][kind] = names
    inside.shell("exec sleep 1000")
    done = ocirt("create", "--bundle", inside.write(), inside.id, check=True)
    assert done.stderr == ""
    ocirt("start", inside.id, check=True)
    pid = ocirt.state(inside.id)["pid"]
    for kind in ("CapBnd", "CapEff", "CapPrm"):
        assert int(status(pid)[kind][0], 16) == (1 << last + 1) - 1
    assert (status(pid)["CapInh"], status(pid)["CapAmb"]) == (["0" * 16], ["0" * 16])


def test_other_verbs(ocirt: Any, inside: Any) -> None:
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    ocirt("pause", inside.id, check=True)
    assert ocirt.state(inside.id)["status"] == "paused"
    ocirt("resume", inside.id, check=True)
    assert ocirt("events", "--stats", inside.id, check=True).stdout
    ocirt("update", "--resources", "-", inside.id, input="{}", check=True)
    assert ocirt("ps", "--format", "json", inside.id, check=True).stdout.strip() == f"[{pid}]"
    ocirt("kill", inside.id, "KILL", check=True)


def test_a_machine_that_root_inside_can_see(ocirt: Any, inside: Any, make_bundle: Any) -> None:
    """CVE-2016-9962: it may trace all that is its own, and not a machine, which has descriptors of
    the host. It sees one that waits for start in its pid namespace."""
    for kind in ("bounding", "effective", "permitted"):
        inside.document["process"]["capabilities"][kind] = ["CAP_SYS_PTRACE"]
    inside.shell("exec sleep 1000")
    pid = running(ocirt, inside)
    second = mapped(make_bundle())
    linux = second.document["linux"]
    for namespace in linux["namespaces"]:
        if namespace["type"] in ("pid", "user"):
            namespace["path"] = f"/proc/{pid}/ns/{namespace['type']}"
    ocirt("create", "--bundle", second.write(), second.id, check=True)
    script = "cat /proc/1/maps > /dev/null && cat /proc/2/status; cat /proc/2/maps; ls /proc/2/fd/"
    done = ocirt("exec", inside.id, "sh", "-c", script)
    ocirt("delete", "--force", second.id, check=True)
    assert "Uid:\t0\t0\t0\t0\n" in done.stdout
    assert done.stderr.count("Permission denied") == 2, done.stderr
    assert "/proc/1/" not in done.stderr


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp(no_new_privileges: bool, ocirt: Any, inside: Any) -> None:
    """A filter may be loaded by who has CAP_SYS_ADMIN in the user namespace that it is in."""
    process = inside.document["process"]
    process.update(noNewPrivileges=no_new_privileges, user={"uid": 1000, "gid": 1000})
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}
    inside.document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    inside.shell("grep -c '^Seccomp:.*2' /proc/self/status; busybox mkdir /tmp/new")
    done = inside.run(ocirt)
    assert done.stdout == "1\n", done.stderr
    assert "Input/output error" in done.stderr
    inside.shell("exec sleep 1000")
    running(ocirt, inside)
    assert "Input/output error" in ocirt("exec", inside.id, "busybox", "mkdir", "/tmp/new").stderr
