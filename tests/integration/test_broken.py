"""Broken bundles: exit status 1, the exact place, a message that says what, and nothing left.

What the schema and the rules alone can find is in tests/unit/test_config_problems.py, in the
same form; here the command meets a real kernel and real files.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Change = Callable[[dict[str, Any], Path], None]


def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def add_mount(*row: str) -> Change:
    return lambda document, _path: document["mounts"].append(mount(*row))


def put(value: Any, *path: Any) -> Change:
    """Sets the member at ``path``."""

    def change(document: dict[str, Any], _path: Path) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def drop(*path: str) -> Change:
    def change(document: dict[str, Any], _path: Path) -> None:
        place = document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def link(name: str, target: str) -> Change:
    """A hostile image: ``name`` in the root file system is a link."""

    def change(_document: dict[str, Any], path: Path) -> None:
        (path / "rootfs" / name).symlink_to(target)

    return change


def both(*changes: Change) -> Change:
    def change(document: dict[str, Any], path: Path) -> None:
        for each in changes:
            each(document, path)

    return change


def hook(kind: str, script: str, **more: Any) -> Change:
    def change(document: dict[str, Any], path: Path) -> None:
        program = path / "hook"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        document["hooks"] = {kind: [{"path": str(program), **more}]}

    return change


def without_namespace(kind: str) -> Change:
    def change(document: dict[str, Any], _path: Path) -> None:
        found = document["linux"]["namespaces"]
        document["linux"]["namespaces"] = [n for n in found if n["type"] != kind]

    return change


def join(kind: str, target: str) -> Change:
    def change(document: dict[str, Any], _path: Path) -> None:
        for namespace in document["linux"]["namespaces"]:
            if namespace["type"] == kind:
                namespace["path"] = target

    return change


SECCOMP = ("linux", "seccomp")
ONE = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
TWO_ACTIONS = [
    {"names": ["socket"], "action": f"SCMP_ACT_{action}", "args": [ONE]}
    for action in ("TRAP", "KILL")
]
NO_AGENT = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "listenerPath": "/no/such",
    "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_NOTIFY"}],
}


def rule(name: str, **members: Any) -> Change:
    """A filter that allows all but one call."""
    rows = [{"names": [name], "action": "SCMP_ACT_ERRNO", **members}]
    return put({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rows}, *SECCOMP)


LAST = "/mounts/7"  # the default has seven
CASES: dict[str, tuple[Change, str, str]] = {
    # ---- the root
    "no rootfs": (put("missing", "root", "path"), "/root/path", "No such file or directory"),
    "rootfs is a file": (put("config.json", "root", "path"), "/root/path", "Not a directory"),
    "no root": (drop("root"), "/root", "is required"),
    # ---- mounts
    "no bind source": (
        add_mount("/a", "bind", "/no/such"),
        f"{LAST}/source",
        "bind source /no/such",
    ),
    "unknown type": (add_mount("/a", "nofs", "x"), f"{LAST}/type", "fsopen nofs: ENODEV"),
    "bad tmpfs size": (
        add_mount("/a", "tmpfs", "tmpfs", "nosuid", "size=1x"),
        f"{LAST}/options/1",
        "tmpfs on /a: fsconfig size=1x: EINVAL (Invalid argument): tmpfs: Bad value for 'size'",
    ),
    "unknown tmpfs option": (
        add_mount("/a", "tmpfs", "tmpfs", "colour=red"),
        f"{LAST}/options/0",
        "fsconfig colour=red: EINVAL (Invalid argument): tmpfs: Unknown parameter 'colour'",
    ),
    "folder on a file": (
        add_mount("/etc/passwd", "tmpfs", "tmpfs"),
        f"{LAST}/destination",
        "ENOTDIR",
    ),
    "file on a folder": (add_mount("/etc", "bind", "/etc/passwd"), f"{LAST}/destination", "EISDIR"),
    "below a file": (add_mount("/etc/passwd/x", "tmpfs", "t"), f"{LAST}/destination", "ENOTDIR"),
    "over /proc": (
        add_mount("/proc", "bind", "/tmp"),
        f"{LAST}/destination",
        "cannot be mounted because it is inside /proc",
    ),
    "in /proc": (
        add_mount("/proc/self/attr", "bind", "/tmp"),
        f"{LAST}/destination",
        "cannot be mounted because it is inside /proc",
    ),
    "tmpfs over /proc": (
        add_mount("/proc", "tmpfs", "tmpfs"),
        f"{LAST}/destination",
        "cannot be mounted because it is inside /proc",
    ),
    "/proc is a link": (
        link("proc", "/bad"),
        "/mounts/0/destination",
        "must be mounted on ordinary directory",
    ),
    "/sys is a link": (
        link("sys", "/bad"),
        "/mounts/5/destination",
        "must be mounted on ordinary directory",
    ),
    "a loop of links": (
        both(link("a", "/b"), link("b", "/a"), add_mount("/a/x", "tmpfs", "t")),
        f"{LAST}/destination",
        "ELOOP",
    ),
    "remount of nothing": (
        add_mount("/a", "", "", "remount", "ro"),
        f"{LAST}/destination",
        "ENOENT",
    ),
    "idmap without mappings": (
        add_mount("/a", "bind", "/tmp", "idmap"),
        f"{LAST}/options/0",
        "there are no mappings and no user namespace",
    ),
    "idmap of a file system without": (
        add_mount("/a", "bind", "/proc/sys", "rbind", "idmap=uids=0-1-1;gids=0-1-1"),
        f"{LAST}/options/1",
        "id-mapped mount of /proc/sys: Invalid argument",
    ),
    "no source for a bind": (
        add_mount("/a", "bind", ""),
        f"{LAST}/source",
        "is required for a bind mount",
    ),
    # ---- the program
    "no such program": (
        put(["missing"], "process", "args"),
        "/process/args/0",
        "executable file not found in $PATH",
    ),
    "no such file": (
        put(["/bin/missing"], "process", "args"),
        "/process/args/0",
        "(no such file or directory)",
    ),
    "a folder": (put(["/etc"], "process", "args"), "/process/args/0", "(is a directory)"),
    "not executable": (
        put(["/etc/passwd"], "process", "args"),
        "/process/args/0",
        "(permission denied)",
    ),
    "below a file as program": (
        put(["/etc/passwd/x"], "process", "args"),
        "/process/args/0",
        "(not a directory)",
    ),
    "no args": (put([], "process", "args"), "/process/args", "must name a program"),
    "relative cwd": (
        put("tmp", "process", "cwd"),
        "/process/cwd",
        "must be an absolute path, not 'tmp'",
    ),
    "cwd is a file": (put("/etc/passwd", "process", "cwd"), "/process/cwd", "ENOTDIR"),
    "cwd leaves by a descriptor": (
        put("/proc/self/fd/3", "process", "cwd"),
        "/process/cwd",
        "working directory",
    ),
    "uid overflow": (
        put(1 << 31, "process", "user", "uid"),
        "/process/user/uid",
        "must be at most 2147483647, not 2147483648",
    ),
    "negative uid": (
        put(-1, "process", "user", "uid"),
        "/process/user/uid",
        "must be at least 0",
    ),
    "bad limit": (
        put([{"type": "RLIMIT_WHAT", "soft": 1, "hard": 1}], "process", "rlimits"),
        "/process/rlimits/0/type",
        "unknown limit RLIMIT_WHAT",
    ),
    "soft over hard": (
        put([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}], "process", "rlimits"),
        "/process/rlimits/0/soft",
        "the soft limit 9 is over the hard limit 8",
    ),
    "terminal without socket": (
        put(True, "process", "terminal"),
        "/process/terminal",
        "cannot allocate tty",
    ),
    "AppArmor profile that is not there": (
        put("no-such-profile", "process", "apparmorProfile"),
        "/process/apparmorProfile",
        "AppArmor profile",
    ),
    "process label without SELinux": (
        put("system_u:system_r:container_t:s0", "process", "selinuxLabel"),
        "/process/selinuxLabel",
        "SELinux label: write self/attr/keycreate: EINVAL",
    ),
    "mount label without SELinux": (
        put("system_u:object_r:container_file_t:s0", "linux", "mountLabel"),
        "/linux/mountLabel",
        "Unknown parameter 'context'",
    ),
    # ---- namespaces and what needs them
    "hostname without uts": (without_namespace("uts"), "/hostname", "needs a uts namespace"),
    "joined namespace that is missing": (
        join("ipc", "/no/such"),
        "/linux/namespaces/2/path",
        "namespace /no/such: No such file or directory",
    ),
    "joined namespace of another type": (
        join("ipc", "/proc/self/ns/uts"),
        "/linux/namespaces/2/path",
        "is no ipc namespace",
    ),
    "joined namespace that is a file": (
        join("ipc", "/etc/passwd"),
        "/linux/namespaces/2/path",
        "is no ipc namespace",
    ),
    "the host's mount namespace": (
        join("mount", "/proc/self/ns/mnt"),
        "/linux/namespaces/4/path",
        "is the mount namespace of the host",
    ),
    "user namespace without mappings": (
        lambda document, _path: document["linux"]["namespaces"].insert(0, {"type": "user"}),
        "/linux/uidMappings",
        "is required for a new user namespace",
    ),
    "the host's user namespace": (
        lambda document, _path: document["linux"]["namespaces"].insert(
            0, {"type": "user", "path": "/proc/self/ns/user"}
        ),
        "/linux/namespaces/0/path",
        "is the user namespace of the host",
    ),
    "sysctl without its namespace": (
        both(without_namespace("network"), put({"net.ipv4.ip_forward": "1"}, "linux", "sysctl")),
        "/linux/sysctl/net.ipv4.ip_forward",
        "needs a namespace of type network",
    ),
    "sysctl of the host": (
        put({"kernel.core_pattern": "x"}, "linux", "sysctl"),
        "/linux/sysctl/kernel.core_pattern",
        "is in no namespace: it would change the host",
    ),
    "sysctl that is missing": (
        put({"net.no.such": "1"}, "linux", "sysctl"),
        "/linux/sysctl/net.no.such",
        "sysctl net.no.such",
    ),
    "sysctl with a bad value": (
        put({"net.ipv4.ip_forward": "many"}, "linux", "sysctl"),
        "/linux/sysctl/net.ipv4.ip_forward",
        "EINVAL",
    ),
    # ---- network devices: more in test_net_devices.py
    "network device that is missing": (
        put({"no-such-device": {"name": "eth0"}}, "linux", "netDevices"),
        "/linux/netDevices/no-such-device",
        "network device no-such-device: No such device",
    ),
    "network device in the host's network": (
        both(without_namespace("network"), put({"no-such-device": {}}, "linux", "netDevices")),
        "/linux/netDevices",
        "needs a network namespace of the container's own",
    ),
    "network device in a joined namespace of the host": (
        both(
            join("network", "/proc/self/ns/net"),
            put({"no-such-device": {}}, "linux", "netDevices"),
        ),
        "/linux/netDevices",
        "the container's network namespace is the host's own",
    ),
    # ---- seccomp
    "seccomp: unknown action": (
        put({"defaultAction": "SCMP_ACT_ALOW"}, "linux", "seccomp"),
        "/linux/seccomp/defaultAction",
        "'SCMP_ACT_ALOW' is none of",
    ),
    "seccomp: architecture that libseccomp lacks": (
        put({"defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_S390X"]}, *SECCOMP),
        "/linux/seccomp/architectures/0",
        "can't be in one filter with this host's architecture",
    ),
    "seccomp: argument 6": (
        rule("getpid", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]),
        "/linux/seccomp/syscalls/0/args/0/index",
        "must be from 0 to 5, not 6",
    ),
    "seccomp: two actions for one call": (
        put({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": TWO_ACTIONS}, *SECCOMP),
        "/linux/seccomp/syscalls/1/names/0",
        "an earlier rule has another action for the same calls",
    ),
    "seccomp: no agent": (
        put(NO_AGENT, *SECCOMP),
        "/linux/seccomp/listenerPath",
        "failed to connect with seccomp agent /no/such: No such file or directory",
    ),
    "seccomp: capset is forbidden": (
        both(rule("capset"), put(False, "process", "noNewPrivileges")),
        "/process/capabilities",
        "capset: EPERM",
    ),
    # ---- later releases
    "memory limit": (
        put({"memory": {"limit": 4096, "checkBeforeUpdate": True}}, "linux", "resources"),
        "/linux/resources/memory/limit",
        "4096",  # version 1: EBUSY, version 2: rejected
    ),
    "cgroup root": (put("/", "linux", "cgroupsPath"), "/linux/cgroupsPath", "is the root"),
    # ---- devices
    "device over a folder": (
        put([{"path": "/etc", "type": "c", "major": 1, "minor": 3}], "linux", "devices"),
        "/linux/devices/0",
        "EEXIST",
    ),
    "device without number": (
        put([{"path": "/dev/x", "type": "c"}], "linux", "devices"),
        "/linux/devices/0/major",
        "is required",
    ),
    # ---- hooks
    "prestart fails": (
        hook("prestart", "echo bad news; exit 3"),
        "/hooks/prestart/0",
        "exit status 3: bad news",
    ),
    "createRuntime fails": (
        hook("createRuntime", "exit 1"),
        "/hooks/createRuntime/0",
        "exit status 1",
    ),
    "createContainer fails": (
        hook("createContainer", "exit 1"),
        "/hooks/createContainer/0",
        "exit status 1",
    ),
    "hook runs too long": (
        hook("createRuntime", "exec sleep 60", timeout=1),
        "/hooks/createRuntime/0",
        "killed after its timeout of 1 s",
    ),
    "hook that is missing": (
        put({"createRuntime": [{"path": "/no/such"}]}, "hooks"),
        "/hooks/createRuntime/0/path",
        "/no/such: No such file or directory",
    ),
    # ---- the document
    "another major version": (
        put("2.0.0", "ociVersion"),
        "/ociVersion",
        "version 2.0.0 is not supported, only 1.x.y is",
    ),
    "no version": (drop("ociVersion"), "/ociVersion", "is required"),
    "wrong type": (put("x", "mounts"), "/mounts", "must be an array, not a string"),
    "another platform": (
        put({"layerFolders": ["x"]}, "windows"),
        "/windows",
        "is for another platform than Linux",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_broken_bundle(name: str, ocirt: Any, bundle: Any, leftovers: Any) -> None:
    change, place, message = CASES[name]
    assert len(bundle.document["mounts"]) == 7
    change(bundle.document, bundle.path)
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if f"config.json#{place}: " in line]
    assert lines, done.stderr
    assert message
    assert message in lines[0]
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 column 1"),
        ("{", "line 1 column 2"),
        ('{"ociVersion": "1.0.0",}', "not valid JSON"),
        ("[]", "must be an object"),
        ("[" * 100_000, "deep"),
        ('{"a": NaN}', "NaN"),
    ],
)
def test_broken_text(text: str, message: str, ocirt: Any, bundle: Any) -> None:
    bundle.write()
    (bundle.path / "config.json").write_text(text)
    done = ocirt("create", "--bundle", str(bundle.path), bundle.id)
    assert done.returncode == 1
    assert message in done.stderr
    assert "config.json#: " in done.stderr
    assert ocirt.ids() == []


def test_labels_of_a_security_module_that_is_missing(ocirt: Any, bundle: Any) -> None:
    bundle.document["process"]["apparmorProfile"] = "no-such-profile"
    hint = "hint: AppArmor is not enabled on this machine, or has no such profile"
    assert hint in bundle.run(ocirt).stderr


def test_no_bundle(ocirt: Any, tmp_path: Path) -> None:
    done = ocirt("create", "--bundle", str(tmp_path), "x")
    assert done.returncode == 1
    assert f"{tmp_path}/config.json: no such file or directory" in done.stderr
    assert ocirt.ids() == []


def test_config_that_is_no_file(ocirt: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    for verb in (("create", "x", "--bundle"), ("check",), ("plan",)):
        done = ocirt(*verb, str(tmp_path))
        assert done.returncode == 1
        assert f"{tmp_path}/config.json: not a regular file" in done.stderr
    assert ocirt.ids() == []


def test_interpreter_that_is_missing_is_found_at_start(ocirt: Any, bundle: Any) -> None:
    script = bundle.path / "rootfs/bin/script"
    script.write_text("#!/no/such\n")
    script.chmod(0o755)
    bundle.document["process"]["args"] = ["/bin/script"]
    done = bundle.run(ocirt)
    assert done.returncode == 1
    assert "config.json#/process/args/0: " in done.stderr
    assert "no such file or directory" in done.stderr
    assert ocirt.ids() == []


def test_what_is_tolerated(ocirt: Any, bundle: Any) -> None:
    """A cwd that is missing is made; a capability that no kernel knows is a warning."""
    bundle.shell("pwd")
    bundle.document["root"]["readonly"] = False
    bundle.document["process"]["cwd"] = "/var/empty/new"
    bundle.document["process"]["capabilities"]["bounding"].append("CAP_NEW")
    done = bundle.run(ocirt)
    assert (done.returncode, done.stdout) == (0, "/var/empty/new\n")
    assert "warning" in done.stderr
    assert "CAP_NEW" in done.stderr


def test_a_link_in_the_image_never_leads_out(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    """A missing mount point below a link to the host is made inside the root."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (bundle.path / "rootfs/out").symlink_to(canary)
    bundle.shell("mount | grep -c ' /.*new '; cat /proc/mounts | grep new")
    bundle.document["mounts"].append(mount("/out/new", "tmpfs", "tmpfs"))
    done = bundle.run(ocirt)
    assert os.listdir(canary) == []
    assert f"{canary}/new tmpfs" in done.stdout


def test_unreadable_is_said(ocirt: Any, bundle: Any) -> None:
    subprocess.run(["rm", "-rf", str(bundle.path / "rootfs")], check=True)
    (bundle.path / "rootfs").symlink_to("/no/such/place")
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert "config.json#/root/path: root file system" in done.stderr
