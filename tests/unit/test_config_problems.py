"""Broken documents: each is refused at the exact place with the exact words, and only there."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ocirt.config.load import examine
from ocirt.errors import pointer

DELETE = object()
VALID: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/bin", "EMPTY="],
        "cwd": "/",
        "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2048}],
    },
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "source": "data", "options": ["rbind", "ro"]},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
    ],
    "hooks": {"prestart": [{"path": "/bin/true", "env": ["A=1"]}]},
    "linux": {
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "time")],
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "maskedPaths": ["/proc/kcore"],
    },
}

NO_MOUNT = "needs a mount namespace of the container's own"
NOT_SYSCTL = "is no name of a sysctl"
RLIMIT: dict[str, Any] = {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}
SCHEDULER = "/process/scheduler"
SYSCTL = "/linux/sysctl"
CONTROL = "its value has a control character"
DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000, "period": 4000}
DEVICE: dict[str, Any] = {"path": "/dev/x", "type": "c", "major": 1, "minor": 1}
RDT = "/linux/intelRdt"
DEVICES = "/linux/netDevices"
POLICY = "/linux/memoryPolicy"
NO_FOLDER = 'must be the name of one folder, or "/" for the default class'
KERNELS = "is a name of the kernel's own in a resctrl file system"
NO_BANDWIDTH = r"does not match ^MB:[^\n]*$"
MAPPING = [{"containerID": 0, "hostID": 1, "size": 1}]
Ids = list[tuple[int, int, int]]


def user(uids: Ids | None = None, gids: Ids | None = None) -> dict[str, Any]:
    """The changes for a user namespace; None: ten ids."""
    keys = ("containerID", "hostID", "size")
    uids, gids = ([(0, 1000, 10)] if ids is None else ids for ids in (uids, gids))
    return {
        "/linux/namespaces/0": {"type": "user"},
        "/linux/uidMappings": [dict(zip(keys, row, strict=True)) for row in uids],
        "/linux/gidMappings": [dict(zip(keys, row, strict=True)) for row in gids],
    }


SECCOMP = "/linux/seccomp"
RULE = f"{SECCOMP}/syscalls/0"
NOTIFY = "SCMP_ACT_NOTIFY"
NO_DEFAULT = f"{NOTIFY} can't be the default: the agent would have to start the container"
NO_OPERATOR = "'SCMP_CMP_EX' is none of " + ", ".join(
    f"SCMP_CMP_{name}" for name in "NE LT LE EQ GE GT MASKED_EQ".split()
)
U64 = "must be at most 18446744073709551615"
FLAGS = ", ".join(
    f"SECCOMP_FILTER_FLAG_{name}" for name in "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV".split()
)
ACTIONS = ", ".join(
    f"SCMP_ACT_{name}"
    for name in "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY".split()
)


def seccomp(**members: Any) -> dict[str, Any]:
    """Changes that add a profile."""
    profile = {"defaultAction": "SCMP_ACT_ALLOW", **members}
    return {SECCOMP: {key: value for key, value in profile.items() if value is not DELETE}}


def rule(**members: Any) -> dict[str, Any]:
    return seccomp(syscalls=[{"names": ["read"], "action": "SCMP_ACT_ERRNO", **members}])


def argument(**members: Any) -> dict[str, Any]:
    return {"index": 0, "value": 0, "op": "SCMP_CMP_EQ", **members}


# (where to put what, the problem's pointer, its message)
ROWS: list[tuple[dict[str, Any], str, str]] = [
    # ---- the schema: types, required members, limits of numbers, words
    ({"/ociVersion": DELETE}, "/ociVersion", "is required"),
    ({"/ociVersion": 1}, "/ociVersion", "must be a string, not an integer"),
    ({"/root": []}, "/root", "must be an object, not an array"),
    ({"/root/path": DELETE}, "/root/path", "is required"),
    ({"/root/path": None}, "/root/path", "is required"),
    ({"/root/readonly": "yes"}, "/root/readonly", "must be a boolean, not a string"),
    ({"/process/cwd": DELETE}, "/process/cwd", "is required"),
    ({"/process/args": "sh"}, "/process/args", "must be an array, not a string"),
    ({"/process/args": ["sh", 1]}, "/process/args/1", "must be a string, not an integer"),
    ({"/process/args": ["sh", None]}, "/process/args/1", "must be a string, not null"),
    ({"/process/terminal": 1}, "/process/terminal", "must be a boolean, not an integer"),
    ({"/process/user/uid": "root"}, "/process/user/uid", "must be an integer, not a string"),
    ({"/process/user/uid": True}, "/process/user/uid", "must be an integer, not a boolean"),
    (
        {"/process/user/uid": 1.0},
        "/process/user/uid",
        "must be an integer, not a number with a fraction",
    ),
    ({"/process/user/uid": -1}, "/process/user/uid", "must be at least 0"),
    ({"/process/user/uid": 1 << 32}, "/process/user/uid", "must be at most 4294967295"),
    ({"/process/rlimits/0/soft": DELETE}, "/process/rlimits/0/soft", "is required"),
    ({"/process/rlimits/0/hard": -1}, "/process/rlimits/0/hard", "must be at least 0"),
    (
        {"/process/rlimits/0/type": "NOFILE"},
        "/process/rlimits/0/type",
        "'NOFILE' does not match ^RLIMIT_[A-Z]+$",
    ),
    ({SCHEDULER: {"policy": "FIFO"}}, f"{SCHEDULER}/policy", "'FIFO' is none of SCHED_OTHER, "),
    ({"/process/ioPriority": {}}, "/process/ioPriority/class", "is required"),
    (
        {"/process/execCPUAffinity": {"final": "all"}},
        "/process/execCPUAffinity/final",
        "'all' does not match ^[0-9, -]*$",
    ),
    ({"/mounts": {}}, "/mounts", "must be an array, not an object"),
    ({"/mounts/0": "/proc"}, "/mounts/0", "must be an object, not a string"),
    ({"/mounts/0/destination": DELETE}, "/mounts/0/destination", "is required"),
    ({"/mounts/2/options/0": 1}, "/mounts/2/options/0", "must be a string, not an integer"),
    ({"/hooks/prestart/0/path": DELETE}, "/hooks/prestart/0/path", "is required"),
    ({"/hooks/prestart/0/timeout": 0}, "/hooks/prestart/0/timeout", "must be at least 1"),
    ({"/annotations": {"a": 1}}, "/annotations/a", "must be a string, not an integer"),
    ({"/annotations": {"a/b~": 1}}, "/annotations/a~1b~0", "must be a string, not an integer"),
    ({"/linux": "x"}, "/linux", "must be an object, not a string"),
    (
        {"/linux/namespaces/0/type": "net"},
        "/linux/namespaces/0/type",
        "'net' is none of mount, pid, network, uts, ipc, user, cgroup, time",
    ),
    ({"/linux/devices/0/type": "x"}, "/linux/devices/0/type", "'x' does not match ^[cbup]$"),
    ({"/linux/devices/0/fileMode": 1 << 16}, "/linux/devices/0/fileMode", "at most 65535"),
    ({"/linux/rootfsPropagation": "all"}, "/linux/rootfsPropagation", "'all' is none of private"),
    ({"/linux/personality": {"domain": "BSD"}}, "/linux/personality/domain", "'BSD' is none of"),
    (
        {"/linux/timeOffsets": {"boottime": {"secs": "1"}}},
        "/linux/timeOffsets/boottime/secs",
        "must be an integer, not a string",
    ),
    # ---- ociVersion, root, process
    ({"/ociVersion": "one"}, "/ociVersion", "'one' is no version"),
    ({"/ociVersion": "1.0"}, "/ociVersion", "'1.0' is no version"),
    ({"/ociVersion": ""}, "/ociVersion", "'' is no version"),
    ({"/ociVersion": "2.0.0"}, "/ociVersion", "version 2.0.0 is not supported, only 1.x.y is"),
    ({"/ociVersion": "0.9.0-rc1"}, "/ociVersion", "version 0.9.0-rc1 is not supported"),
    ({"/root": DELETE}, "/root", "is required"),
    ({"/root/path": ""}, "/root/path", "must not be empty"),
    ({"/root/path": "a\0b"}, "/root/path", "must not contain a NUL byte"),
    ({"/root/path": "\ud800"}, "/root/path", "must not contain half a surrogate pair"),
    ({"/process": DELETE}, "/process", "is required"),
    ({"/process/args": DELETE}, "/process/args", "is required"),
    ({"/process/args": []}, "/process/args", "must name a program"),
    ({"/process/args/0": ""}, "/process/args/0", "must name a program, it is empty"),
    ({"/process/args": ["sh", "\0"]}, "/process/args/1", "must not contain a NUL byte"),
    ({"/process/cwd": "tmp"}, "/process/cwd", "must be an absolute path, not 'tmp'"),
    ({"/process/cwd": ""}, "/process/cwd", "must be an absolute path, not ''"),
    ({"/process/env/0": "SECRET"}, "/process/env/0", "must be NAME=VALUE"),
    ({"/process/env/1": "=SECRET"}, "/process/env/1", "must be NAME=VALUE"),
    ({"/process/env/1": "A=\0"}, "/process/env/1", "must not contain a NUL byte"),
    ({"/process/user/uid": 1 << 31}, "/process/user/uid", "must be at most 2147483647, not"),
    ({"/process/user/gid": 1 << 31}, "/process/user/gid", "must be at most 2147483647, not"),
    (
        {"/process/user/additionalGids": [1, (1 << 32) - 1]},
        "/process/user/additionalGids/1",
        "must be at most 2147483647, not 4294967295",
    ),
    ({"/process/user/umask": 777}, "/process/user/umask", "must be at most 511 (octal 777), not"),
    (
        {
            "/process/consoleSize": {"height": 1, "width": 65536},
            "/process/terminal": True,
        },
        "/process/consoleSize/width",
        "must be at most 65535",
    ),
    ({"/process/oomScoreAdj": 1001}, "/process/oomScoreAdj", "must be from -1000 to 1000, not"),
    ({"/process/oomScoreAdj": -1001}, "/process/oomScoreAdj", "must be from -1000 to 1000, not"),
    (
        {"/process/rlimits/0/type": "RLIMIT_FILES"},
        "/process/rlimits/0/type",
        "unknown limit RLIMIT_FILES",
    ),
    (
        {"/process/rlimits": [RLIMIT, RLIMIT]},
        "/process/rlimits/1/type",
        "RLIMIT_CPU is given twice",
    ),
    (
        {"/process/rlimits/0/soft": 4096},
        "/process/rlimits/0/soft",
        "the soft limit 4096 is over the hard limit 2048",
    ),
    ({SCHEDULER: {"policy": "SCHED_ISO"}}, f"{SCHEDULER}/policy", "no Linux kernel has SCHED_ISO"),
    (
        {SCHEDULER: {"policy": "SCHED_OTHER", "nice": 20}},
        f"{SCHEDULER}/nice",
        "must be from -20 to 19, not 20",
    ),
    (
        {SCHEDULER: {"policy": "SCHED_BATCH", "priority": 1}},
        f"{SCHEDULER}/priority",
        "is for SCHED_FIFO and SCHED_RR, not for SCHED_BATCH",
    ),
    (
        {SCHEDULER: {"policy": "SCHED_RR"}},
        f"{SCHEDULER}/priority",
        "must be from 1 to 99 for SCHED_RR, not 0",
    ),
    (
        {SCHEDULER: {"policy": "SCHED_IDLE", "runtime": 1}},
        f"{SCHEDULER}/runtime",
        "is for SCHED_DEADLINE, not for SCHED_IDLE",
    ),
    (
        {SCHEDULER: DEADLINE | {"runtime": 1023}},
        f"{SCHEDULER}/runtime",
        "must be from 1024 ns to 2^63 - 1, not 1023",
    ),
    (
        {SCHEDULER: DEADLINE | {"runtime": 3001}},
        f"{SCHEDULER}/runtime",
        "must be at most the deadline, 3000, not 3001",
    ),
    (
        {SCHEDULER: DEADLINE | {"period": 2999}},
        f"{SCHEDULER}/deadline",
        "must be at most the period, 2999, not 3000",
    ),
    (
        {"/process/ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}},
        "/process/ioPriority/priority",
        "must be from 0 to 7, not 8",
    ),
    (
        {"/process/execCPUAffinity": {"initial": "3-1"}},
        "/process/execCPUAffinity/initial",
        "'3-1' is no list of CPUs",
    ),
    (
        {"/process/execCPUAffinity": {"final": "0,65537"}},
        "/process/execCPUAffinity/final",
        "'0,65537' is no list of CPUs",
    ),
    # ---- mounts, hooks, annotations
    ({"/mounts/0/destination": ""}, "/mounts/0/destination", "must not be empty"),
    ({"/mounts/0/destination": "/\0"}, "/mounts/0/destination", "must not contain a NUL byte"),
    ({"/mounts/0/type": DELETE}, "/mounts/0/type", "is required"),
    ({"/mounts/1/source": DELETE}, "/mounts/1/source", "is required for a bind mount"),
    ({"/mounts/1/source": ""}, "/mounts/1/source", "is required for a bind mount"),
    ({"/mounts/2/options/0": "x=\0"}, "/mounts/2/options/0", "must not contain a NUL byte"),
    (
        {"/mounts/1/options/1": "tmpcopyup"},
        "/mounts/1/options/1",
        "tmpcopyup is for tmpfs alone",
    ),
    (
        {"/hooks/prestart/0/path": "true"},
        "/hooks/prestart/0/path",
        "must be an absolute path, not 'true'",
    ),
    ({"/hooks/prestart/0/env/0": "A"}, "/hooks/prestart/0/env/0", "must be NAME=VALUE"),
    ({"/hooks/poststop": [{"path": ""}]}, "/hooks/poststop/0/path", "must be an absolute path"),
    ({"/annotations": {"": ""}}, "/annotations/", "the name of an annotation must not be empty"),
    (
        {"/annotations": {"run.oci.mount_context_type": "seclabel"}},
        "/annotations/run.oci.mount_context_type",
        "'seclabel' is none of context, fscontext, defcontext, rootcontext",
    ),
    (
        {"/annotations": {"run.oci.hooks.stdout": "log"}},
        "/annotations/run.oci.hooks.stdout",
        "must be an absolute path, not 'log'",
    ),
    (
        {"/annotations": {"run.oci.hooks.stderr": "/log\0"}},
        "/annotations/run.oci.hooks.stderr",
        "must not contain a NUL byte",
    ),
    # ---- namespaces and what needs them
    (
        {"/linux/namespaces/1/type": "pid", "/linux/sysctl": DELETE},
        "/linux/namespaces/1/type",
        "there are two namespaces of type pid",
    ),
    (
        {"/linux/namespaces/0/path": "proc/1/ns/pid"},
        "/linux/namespaces/0/path",
        "must be an absolute path, not 'proc/1/ns/pid'",
    ),
    ({"/linux/namespaces/3": {"type": "cgroup"}}, "/hostname", "needs a uts namespace"),
    (
        {"/linux/namespaces/3": {"type": "cgroup"}, "/hostname": "", "/domainname": "d"},
        "/domainname",
        "needs a uts namespace",
    ),
    ({"/hostname": "x" * 65}, "/hostname", "must be at most 64 bytes long"),
    ({"/domainname": "ä" * 33}, "/domainname", "must be at most 64 bytes long"),
    (
        {
            "/linux/namespaces/5": {"type": "cgroup"},
            "/linux/timeOffsets": {"boottime": {"secs": 1}},
        },
        "/linux/timeOffsets",
        "needs a new time namespace",
    ),
    (
        {
            "/linux/namespaces/5/path": "/proc/1/ns/time",
            "/linux/timeOffsets": {"boottime": {"secs": 1}},
        },
        "/linux/timeOffsets",
        "needs a new time namespace, this one is joined by its path",
    ),
    (
        {"/linux/timeOffsets": {"realtime": {"secs": 1}}},
        "/linux/timeOffsets/realtime",
        "'realtime' is none of monotonic, boottime",
    ),
    (
        {"/linux/timeOffsets": {"monotonic": {"nanosecs": 1_000_000_000}}},
        "/linux/timeOffsets/monotonic/nanosecs",
        "must be below 1000000000",
    ),
    (
        {
            "/linux/namespaces/4": {"type": "user", "path": "/x"},
            "/root/readonly": DELETE,
            "/linux/maskedPaths": [],
        },
        "/mounts",
        NO_MOUNT,
    ),
    (
        {
            "/linux": {"namespaces": [{"type": "user", "path": "/x"}, {"type": "uts"}]},
            "/mounts": [],
            "/root/readonly": False,
            "/process/terminal": True,
        },
        "/process/terminal",
        NO_MOUNT,
    ),
    (
        {"/linux/namespaces/4": {"type": "cgroup"}, "/linux/rootfsPropagation": "rslave"},
        "/linux/rootfsPropagation",
        NO_MOUNT,
    ),
    # ---- sysctl
    ({SYSCTL: {"kernel.core_pattern": "|/x"}}, f"{SYSCTL}/kernel.core_pattern", "is in no name"),
    ({SYSCTL: {"kernel/core_pattern": "|/x"}}, f"{SYSCTL}/kernel~1core_pattern", "is in no name"),
    ({SYSCTL: {"vm.swappiness": "1"}}, f"{SYSCTL}/vm.swappiness", "is in no namespace: it would"),
    ({SYSCTL: {"kernel.shm": "1"}}, f"{SYSCTL}/kernel.shm", "is in no namespace"),
    ({SYSCTL: {"net": "1"}}, f"{SYSCTL}/net", "is in no namespace"),
    ({SYSCTL: {"": "1"}}, f"{SYSCTL}/", NOT_SYSCTL),
    ({SYSCTL: {"net.ipv4+x": "1"}}, f"{SYSCTL}/net.ipv4+x", NOT_SYSCTL),
    ({SYSCTL: {"net.ipv4\nx": "1"}}, f"{SYSCTL}/net.ipv4\nx", NOT_SYSCTL),
    ({SYSCTL: {"net.x\0": "1"}}, f"{SYSCTL}/net.x\0", NOT_SYSCTL),
    (
        {SYSCTL: {"net/../kernel/core_pattern": "1"}},
        f"{SYSCTL}/net~1..~1kernel~1core_pattern",
        NOT_SYSCTL,
    ),
    (
        {SYSCTL: {"net.//.kernel.core_pattern": "1"}},
        f"{SYSCTL}/net.~1~1.kernel.core_pattern",
        NOT_SYSCTL,
    ),
    ({SYSCTL: {"net...kernel": "1"}}, f"{SYSCTL}/net...kernel", NOT_SYSCTL),
    ({SYSCTL: {"/net/core/x": "1"}}, f"{SYSCTL}/~1net~1core~1x", NOT_SYSCTL),
    ({SYSCTL: {"net.core.x": "1\n2"}}, f"{SYSCTL}/net.core.x", CONTROL),
    ({SYSCTL: {"kernel.hostname": "x"}}, f"{SYSCTL}/kernel.hostname", "conflicts with hostname"),
    (
        {SYSCTL: {"kernel.domainname": "x"}, "/domainname": "y"},
        f"{SYSCTL}/kernel.domainname",
        "conflicts with domainname",
    ),
    (
        {SYSCTL: {"user.max_user_namespaces": "0"}},
        f"{SYSCTL}/user.max_user_namespaces",
        "needs a namespace of type user",
    ),
    (
        {"/linux/namespaces/1": {"type": "cgroup"}},
        f"{SYSCTL}/net.ipv4.ip_forward",
        "needs a namespace of type network",
    ),
    (
        {"/linux/namespaces/2": {"type": "cgroup"}, SYSCTL: {"fs/mqueue/msg_max": "1"}},
        f"{SYSCTL}/fs~1mqueue~1msg_max",
        "needs a namespace of type ipc",
    ),
    # ---- the rest of linux
    ({"/linux/devices/0/path": "fuse"}, "/linux/devices/0/path", "must be an absolute path, not"),
    ({"/linux/devices/0/path": "/dev/"}, "/linux/devices/0/path", "must end in the name of a file"),
    ({"/linux/devices/0/major": DELETE}, "/linux/devices/0/major", "is required for type c"),
    ({"/linux/devices/0/minor": -1}, "/linux/devices/0/minor", "must be from 0 to 1048575, not"),
    ({"/linux/devices/0/major": 4096}, "/linux/devices/0/major", "must be from 0 to 4095, not"),
    ({"/linux/devices/0/gid": 1 << 31}, "/linux/devices/0/gid", "must be at most 2147483647, not"),
    (
        {"/linux/devices": [DEVICE, DEVICE | {"minor": 2}]},
        "/linux/devices/1/path",
        "/dev/x is another device further up",
    ),
    ({"/linux/maskedPaths/0": "proc"}, "/linux/maskedPaths/0", "must be an absolute path, not"),
    ({"/linux/readonlyPaths": ["a"]}, "/linux/readonlyPaths/0", "must be an absolute path, not"),
    ({"/linux/cgroupsPath": "/a/../../b"}, "/linux/cgroupsPath", 'must not contain ".."'),
    ({"/linux/personality": {}}, "/linux/personality/domain", "is required"),
    # ---- network devices
    (
        {"/linux/namespaces/1": {"type": "cgroup"}, SYSCTL: {}, DEVICES: {"eth0": {}}},
        DEVICES,
        "needs a network namespace of the container's own",
    ),
    *(
        ({DEVICES: {name: {}}}, DEVICES + pointer(name), "is no name of a network device")
        for name in (
            "",
            ".",
            "..",
            "a/b",
            "a:0",
            "a b",
            "a\tb",
            "a\nb",
            "a\u00e0",
            "x" * 16,
            "\ud800",
        )
    ),
    *(
        ({DEVICES: {"eth0": {"name": name}}}, f"{DEVICES}/eth0/name", text)
        for name, text in (
            ("..", "'..' is no name of a network device"),
            ("a/b", "'a/b' is no name of a network device"),
            ("ä" * 8, "is no name of a network device"),
            ("a%s", 'of "%" only one %d is allowed'),
            ("a%", 'of "%" only one %d is allowed'),
            ("a%d%d", 'of "%" only one %d is allowed'),
        )
    ),
    (
        {DEVICES: {"eth0": {"name": "net0"}, "eth1": {"name": "net0"}}},
        f"{DEVICES}/eth1",
        "the container would have two devices net0",
    ),
    (
        {DEVICES: {"eth0": {"name": "eth1"}, "eth1": {}}},
        f"{DEVICES}/eth1",
        "the container would have two devices eth1",
    ),
    ({DEVICES: {"eth0": {"name": 1}}}, f"{DEVICES}/eth0/name", "must be a string, not an integer"),
    # ---- memory policy
    ({POLICY: {}}, f"{POLICY}/mode", "is required"),
    ({POLICY: {"nodes": "0-7"}}, f"{POLICY}/mode", "is required"),
    ({POLICY: {"mode": "BIND"}}, f"{POLICY}/mode", "'BIND' is none of MPOL_DEFAULT, MPOL_BIND"),
    (
        {POLICY: {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_ALL"]}},
        f"{POLICY}/flags/0",
        "'MPOL_F_ALL' is none of MPOL_F_NUMA_BALANCING",
    ),
    *(
        ({POLICY: {"mode": mode}}, f"{POLICY}/nodes", f"{mode} needs at least one node")
        for mode in (
            *("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE"),
            "MPOL_PREFERRED_MANY",
        )
    ),
    *(
        ({POLICY: {"mode": mode, "nodes": "0-7"}}, f"{POLICY}/nodes", f"{mode} takes no nodes")
        for mode in ("MPOL_DEFAULT", "MPOL_LOCAL")
    ),
    *(
        ({POLICY: {"mode": "MPOL_BIND", "nodes": nodes}}, f"{POLICY}/nodes", text)
        for nodes, text in (
            ("all", "'all' is no number or range"),
            ("0-9876543210", "'0-9876543210' is no number or range"),
            ("0,,1", "'' is no number or range"),
            ("3-1", "3-1 is no range of numbers below 65536"),
            ("0-6:2", "a range of nodes has no stride"),
            ("0,1024", "nodes are numbers below 1024"),
            ("0-1024", "nodes are numbers below 1024"),
        )
    ),
    (
        {POLICY: {"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}},
        f"{POLICY}/flags/0",
        "MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY, not for MPOL_INTERLEAVE",
    ),
    (
        {
            POLICY: {
                "mode": "MPOL_BIND",
                "nodes": "0",
                "flags": ["MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            }
        },
        f"{POLICY}/flags/1",
        "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude one another",
    ),
    *(
        (
            {POLICY: {"mode": mode, "flags": ["MPOL_F_RELATIVE_NODES"]}},
            f"{POLICY}/flags/0",
            "MPOL_F_RELATIVE_NODES needs nodes",
        )
        for mode in ("MPOL_PREFERRED", "MPOL_LOCAL")
    ),
    # ---- Intel RDT
    ({RDT: {"closID": "."}}, f"{RDT}/closID", f"'.' {NO_FOLDER}"),
    ({RDT: {"closID": ".."}}, f"{RDT}/closID", f"'..' {NO_FOLDER}"),
    ({RDT: {"closID": "a/b"}}, f"{RDT}/closID", f"'a/b' {NO_FOLDER}"),
    ({RDT: {"closID": "//"}}, f"{RDT}/closID", f"'//' {NO_FOLDER}"),
    ({RDT: {"closID": "/a"}}, f"{RDT}/closID", f"'/a' {NO_FOLDER}"),
    ({RDT: {"closID": "a\n"}}, f"{RDT}/closID", rf"'a\n' {NO_FOLDER}"),
    ({RDT: {"closID": "info"}}, f"{RDT}/closID", f"info {KERNELS}"),
    ({RDT: {"closID": "mon_groups"}}, f"{RDT}/closID", f"mon_groups {KERNELS}"),
    ({RDT: {"closID": "é" * 128}}, f"{RDT}/closID", "must be at most 255 bytes long"),
    ({RDT: {"closID": "a\0"}}, f"{RDT}/closID", "must not contain a NUL byte"),
    ({RDT: {"closID": 1}}, f"{RDT}/closID", "must be a string, not an integer"),
    ({RDT: {"memBwSchema": "L3:0=f"}}, f"{RDT}/memBwSchema", rf"'L3:0=f' {NO_BANDWIDTH}"),
    ({RDT: {"memBwSchema": "MB:0=2\n"}}, f"{RDT}/memBwSchema", rf"'MB:0=2\n' {NO_BANDWIDTH}"),
    ({RDT: {"schemata": ["L3:0=f", "L3:0=f\n"]}}, f"{RDT}/schemata/1", "must be one line"),
    ({RDT: {"schemata": ["L3"]}}, f"{RDT}/schemata/0", "'L3' is no line of a schemata file"),
    (
        {RDT: {"enableMonitoring": 1}},
        f"{RDT}/enableMonitoring",
        "must be a boolean, not an integer",
    ),
    # ---- user namespaces
    ({"/linux/uidMappings": MAPPING}, "/linux/uidMappings", "needs a user namespace"),
    ({"/linux/gidMappings": MAPPING}, "/linux/gidMappings", "needs a user namespace"),
    (user(uids=[]), "/linux/uidMappings", "is required for a new user namespace"),
    (user(gids=[]), "/linux/gidMappings", "is required for a new user namespace"),
    (user(uids=[(0, 1, 0)]), "/linux/uidMappings/0/size", "must not be 0"),
    (
        user(uids=[(0, 1, 1), (1, (1 << 32) - 2, 2)]),
        "/linux/uidMappings/1/hostID",
        "with its size it goes over 4294967294",
    ),
    (
        user(gids=[(0, 1, 1), ((1 << 32) - 1, 2, 1)]),
        "/linux/gidMappings/1/containerID",
        "with its size it goes over 4294967294",
    ),
    (
        user(uids=[(0, 1000, 10), (20, 5000, 10), (9, 7000, 5)]),
        "/linux/uidMappings/2/containerID",
        "overlaps with that of mapping 0",
    ),
    (
        user(gids=[(0, 1000, 10), (20, 991, 10)]),
        "/linux/gidMappings/1/hostID",
        "overlaps with that of mapping 0",
    ),
    (
        user(uids=[(i, 1000 + i, 1) for i in range(341)]),
        "/linux/uidMappings",
        "has 341 mappings, the kernel takes 340",
    ),
    (
        user() | {"/process/user/uid": 10},
        "/process/user/uid",
        "uid 10 is not mapped in linux.uidMappings",
    ),
    (
        user() | {"/process/user/gid": 10},
        "/process/user/gid",
        "gid 10 is not mapped in linux.gidMappings",
    ),
    (
        user() | {"/process/user/additionalGids": [9, 10]},
        "/process/user/additionalGids/1",
        "gid 10 is not mapped in linux.gidMappings",
    ),
    (
        {"/linux/uidMappings": [{"containerID": 0, "hostID": 1 << 32, "size": 1}]},
        "/linux/uidMappings/0/hostID",
        "must be at most 4294967295",
    ),
    # ---- id-mapped mounts
    (
        {"/mounts/1/uidMappings": MAPPING},
        "/mounts/1/gidMappings",
        "is required with uidMappings",
    ),
    (
        {"/mounts/1/gidMappings": MAPPING},
        "/mounts/1/uidMappings",
        "is required with gidMappings",
    ),
    (
        {
            "/mounts/1/uidMappings": [*MAPPING, {"containerID": 0, "hostID": 5, "size": 1}],
            "/mounts/1/gidMappings": MAPPING,
        },
        "/mounts/1/uidMappings/1/containerID",
        "overlaps with that of mapping 0",
    ),
    (
        {"/mounts/2/uidMappings": MAPPING, "/mounts/2/gidMappings": MAPPING},
        "/mounts/2/uidMappings",
        "only a bind mount can be id-mapped",
    ),
    (
        {"/mounts/1/options/1": "ridmap"},
        "/mounts/1/options/1",
        "there are no mappings and no user namespace",
    ),
    (
        user() | {"/mounts/2/options/0": "idmap"},
        "/mounts/2/options/0",
        "only a bind mount can be id-mapped",
    ),
    *(
        ({"/mounts/1/options/1": f"idmap={value}"}, "/mounts/1/options/1", message)
        for value, message in (
            ("", "must be uids=...;gids=..."),
            ("uids=1-2-3", "must have both uids and gids"),
            ("uids=1-2-3;uids=1-2-3", "must be uids=...;gids=..."),
            ("uids=1-2-3;gids=1-2", "'1-2' is no mapping ID-ID-SIZE"),
            ("uids=1-2-3;gids=1--2-3", "'1--2-3' is no mapping ID-ID-SIZE"),
            ("uids=1-2-0;gids=1-2-3", "mapping 0/size: must not be 0"),
            ("uids=1-2-3#9-3-3;gids=1-2-3", "mapping 1/hostID: overlaps with that of mapping 0"),
            ("uids=@1-2-3;gids=1-2-3", "@2 and its size are not in one mapping of the container"),
        )
    ),
    (
        {
            "/mounts/1/options/1": "idmap=uids=0-1-1;gids=0-1-1",
            "/mounts/1/uidMappings": MAPPING,
            "/mounts/1/gidMappings": MAPPING,
        },
        "/mounts/1/options/1",
        "the mount has mappings already",
    ),
    # ---- seccomp
    (seccomp(defaultAction=DELETE), f"{SECCOMP}/defaultAction", "is required"),
    (
        seccomp(defaultAction="SCMP_ACT_ALOW"),
        f"{SECCOMP}/defaultAction",
        f"'SCMP_ACT_ALOW' is none of {ACTIONS}",
    ),
    (seccomp(defaultAction=NOTIFY), f"{SECCOMP}/defaultAction", NO_DEFAULT),
    (
        seccomp(defaultErrnoRet=1),
        f"{SECCOMP}/defaultErrnoRet",
        "is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE, not for SCMP_ACT_ALLOW",
    ),
    (rule(errnoRet=4095), f"{RULE}/errnoRet", "must be at most 4094, not 4095"),
    (
        rule(errnoRet=65536, action="SCMP_ACT_TRACE"),
        f"{RULE}/errnoRet",
        "must be at most 65535, not 65536",
    ),
    (rule(names=[]), f"{RULE}/names", "needs 1 or more items"),
    (rule(names=["read", ""]), f"{RULE}/names/1", "must not be empty"),
    (rule(names=["a\0"]), f"{RULE}/names/0", "must not contain a NUL byte"),
    (rule(args=[argument(index=6)]), f"{RULE}/args/0/index", "must be from 0 to 5, not 6"),
    (rule(args=[argument(value=-1)]), f"{RULE}/args/0/value", "must be at least 0"),
    (rule(args=[argument(value=1 << 64)]), f"{RULE}/args/0/value", U64),
    (rule(args=[argument(op="SCMP_CMP_EX")]), f"{RULE}/args/0/op", NO_OPERATOR),
    (
        seccomp(architectures=["SCMP_ARCH_X64"]),
        f"{SECCOMP}/architectures/0",
        "'SCMP_ARCH_X64' is none of the known words",
    ),
    (
        seccomp(flags=["SECCOMP_FILTER_FLAG_NEW_LISTENER"]),
        f"{SECCOMP}/flags/0",
        f"'SECCOMP_FILTER_FLAG_NEW_LISTENER' is none of {FLAGS}",
    ),
    (rule(action=NOTIFY), f"{SECCOMP}/listenerPath", "is required: a rule has SCMP_ACT_NOTIFY"),
    (
        seccomp(listenerPath="agent.sock"),
        f"{SECCOMP}/listenerPath",
        "must be an absolute path, not 'agent.sock'",
    ),
    (
        seccomp(listenerMetadata="x"),
        f"{SECCOMP}/listenerMetadata",
        "must not be set without listenerPath",
    ),
    (
        rule(action=NOTIFY, names=["write"]) | {f"{SECCOMP}/listenerPath": "/a"},
        f"{RULE}/names/0",
        "SCMP_ACT_NOTIFY cannot be used for the write syscall: it tells that the container is ready",
    ),
    # ---- other platforms
    ({"/windows": {"layerFolders": ["a"]}}, "/windows", "is for another platform than Linux"),
    ({"/windows": {"layerFolders": 3}}, "/windows/layerFolders", "must be an array"),
    ({"/vm": {"kernel": {"path": "/k"}}}, "/vm", "is for another platform than Linux"),
    ({"/vm": {"kernel": {"path": 3}}}, "/vm/kernel/path", "must be a string"),
    ({"/freebsd": {"devices": []}}, "/freebsd", "is for another platform than Linux"),
    ({"/freebsd": {"devices": [{"path": 3}]}}, "/freebsd/devices/0/path", "must be a string"),
    ({"/solaris": {"milestone": "m"}}, "/solaris", "is for another platform than Linux"),
    ({"/solaris": {"milestone": 3}}, "/solaris/milestone", "must be a string"),
    ({"/zos": {"namespaces": []}}, "/zos", "is for another platform than Linux"),
    ({"/zos": {"namespaces": [{"type": 3}]}}, "/zos/namespaces/0/type", "must be a string"),
]
# ---- resources (pointer below /linux/resources, its object, message)
NOT_CPUS = "is no number or range"
ROWS += [
    ({"/linux/resources": value}, f"/linux/resources/{at}", message)
    for at, value, message in [
        ("memory/limit", {"memory": {"limit": -2}}, "must be at least -1, not -2"),
        ("memory/swap", {"memory": {"swap": -5}}, "must be at least -1, not -5"),
        ("memory/swappiness", {"memory": {"swappiness": 101}}, "must be from 0 to 100, not 101"),
        (
            "memory/swap",
            {"memory": {"limit": 20, "swap": 10}},
            "memory and swap together, 10, are less than the memory, 20",
        ),
        ("cpu/quota", {"cpu": {"quota": -2}}, "must be at least -1, not -2"),
        ("cpu/shares", {"cpu": {"shares": 262145}}, "must be at most 262144, not 262145"),
        ("cpu/idle", {"cpu": {"idle": 2}}, "must be 0 or 1, not 2"),
        ("cpu/burst", {"cpu": {"quota": 5, "burst": 6}}, "6 is more than the quota, 5"),
        ("cpu/cpus", {"cpu": {"cpus": "0-"}}, f"'0-' {NOT_CPUS}"),
        ("cpu/cpus", {"cpu": {"cpus": "1,,2"}}, f"'' {NOT_CPUS}"),
        ("cpu/cpus", {"cpu": {"cpus": "nonsense"}}, f"'nonsense' {NOT_CPUS}"),
        ("cpu/cpus", {"cpu": {"cpus": "٣"}}, f"'٣' {NOT_CPUS}"),
        ("cpu/mems", {"cpu": {"mems": "3-1"}}, "3-1 is no range of numbers below 65536"),
        ("cpu/mems", {"cpu": {"mems": "99999"}}, "99999 is no range of numbers below 65536"),
        ("blockIO/weight", {"blockIO": {"weight": 9}}, "must be from 10 to 1000, not 9"),
        (
            "blockIO/leafWeight",
            {"blockIO": {"leafWeight": 1001}},
            "must be from 10 to 1000, not 1001",
        ),
        (
            "blockIO/weightDevice/0",
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}},
            "has neither weight nor leafWeight",
        ),
        (
            "blockIO/throttleReadBpsDevice/0/rate",
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}},
            "is required",
        ),
        (
            "blockIO/throttleWriteIOPSDevice/0/minor",
            {"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": -1, "rate": 1}]}},
            "must be at least 0, not -1",
        ),
        ("pids/limit", {"pids": {"limit": -2}}, "must be at least -1, not -2"),
        (
            "network/priorities/0/name",
            {"network": {"priorities": [{"name": "a b", "priority": 1}]}},
            "'a b' is no name of a network interface",
        ),
        ("rdma/", {"rdma": {"": {"hcaHandles": 1}}}, "is no name of an RDMA device"),
        ("rdma/mlx5_1", {"rdma": {"mlx5_1": {}}}, "has neither hcaHandles nor hcaObjects"),
        ("unified/a~1b.max", {"unified": {"a/b.max": "1"}}, "is no name of a file of a cgroup"),
        ("unified/memory", {"unified": {"memory": "1"}}, "is not CONTROLLER.PARAMETER"),
        ("unified/.max", {"unified": {".max": "1"}}, "is not CONTROLLER.PARAMETER"),
        (
            "unified/cgroup.procs",
            {"unified": {"cgroup.procs": "1"}},
            "is no limit; of cgroup.* only cgroup.max.depth, cgroup.max.descendants,"
            " cgroup.pressure are",
        ),
    ]
]


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of the document with values put at pointers."""
    document = copy.deepcopy(document)
    for at, value in changes.items():
        *parents, last = at[1:].split("/")
        place: Any = document
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        key: Any = int(last) if isinstance(place, list) else last
        if value is DELETE:
            del place[key]
        else:
            place[key] = value
    return document


def problems_of(document: Any) -> list[tuple[str, str]]:
    _, problems, _ = examine(json.dumps(document).encode())
    return [(str(problem.at), problem.message) for problem in problems]


def test_the_document_that_the_rows_break_is_valid() -> None:
    _, problems, warnings = examine(json.dumps(VALID).encode())
    assert (problems, warnings) == ([], [])


@pytest.mark.parametrize(("changes", "at", "message"), ROWS, ids=[row[1] for row in ROWS])
def test_problem(changes: dict[str, Any], at: str, message: str) -> None:
    found = problems_of(changed(VALID, changes))
    assert [place for place, _ in found] == [at]
    assert message in found[0][1]


def test_rows_are_many_and_differ() -> None:
    assert len(ROWS) >= 140
    assert len({json.dumps(changed(VALID, changes)) for changes, _, _ in ROWS}) == len(ROWS)


def test_all_at_once_and_rules_where_the_schema_is_content() -> None:
    """One part that the schema refuses does not hide what the rules find in the others, nor do
    rules stumble over it."""
    found = problems_of(
        changed(
            VALID,
            {
                "/ociVersion": "9.0.0",
                "/process/cwd": "x",
                "/process/user": "root",
                "/process/env": ["x"],
                "/mounts/0": 1,
                "/hooks/prestart/0/path": "x",
                "/linux/namespaces/0/type": "none",
                "/linux/maskedPaths": ["x"],
            },
        )
    )
    assert sorted(place for place, _ in found) == [
        "/hooks/prestart/0/path",
        "/linux/maskedPaths/0",
        "/linux/namespaces/0/type",
        "/mounts/0",
        "/ociVersion",
        "/process/cwd",
        "/process/env/0",
        "/process/user",
    ]


def test_secrets_are_not_shown() -> None:
    for entry in ("hunter2", "=hunter2", "A=hunter2\0"):
        found = problems_of(changed(VALID, {"/process/env/0": entry}))
        assert len(found) == 1 and "hunter2" not in found[0][1]


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"/linux/namespaces/0/type": "networks"}, "did you mean network?"),
        ({"/process/rlimits/0/type": "RLIMIT_NOFILES"}, "did you mean RLIMIT_NOFILE?"),
        ({"/linux/namespaces/3": {"type": "cgroup"}}, 'add {"type": "uts"} to linux.namespaces'),
        ({"/ociVersion": "1"}, 'such as "1.3.0"'),
        ({"/root": DELETE}, 'such as {"path": "rootfs"}'),
        ({"/mounts/1/options": ["ro"]}, "is it a bind mount? Then options need bind or rbind"),
        ({"/process/user/umask": 777}, "JSON has no octal numbers"),
        ({SYSCTL: {"kernel.hostname": "a"}}, "set hostname instead"),
    ],
)
def test_hint(changes: dict[str, Any], hint: str) -> None:
    _, problems, _ = examine(json.dumps(changed(VALID, changes)).encode())
    assert problems[0].hint == hint


@pytest.mark.parametrize(
    "changes",
    [
        {"/ociVersion": "1.0.2-dev"},
        {"/ociVersion": "1.99.0+build-1.2"},
        {"/root/path": "/abs/roo\u00e9"},
        {"/process/args": ["sh", ""]},
        {"/process/user": {"uid": (1 << 31) - 1, "gid": 5, "umask": 0o777}},
        {"/process/consoleSize": {"height": 1 << 20, "width": 1}},  # without a terminal: ignored
        {"/process/oomScoreAdj": -1000},
        {"/process/rlimits/0/hard": (1 << 64) - 1},
        {SCHEDULER: {"policy": "SCHED_OTHER", "nice": -20}},
        {SCHEDULER: {"policy": "SCHED_FIFO", "priority": 99}},
        {SCHEDULER: DEADLINE},
        {SCHEDULER: DEADLINE | {"period": 0}},
        {"/process/execCPUAffinity": {"initial": "0-3, 7,", "final": ""}},
        {"/process/capabilities": {}},
        {"/mounts/0/type": "none", "/mounts/0/options": ["bind"]},
        {"/mounts/0": {"destination": "/proc", "options": ["remount", "ro"]}},
        {"/mounts/2/options": ["tmpcopyup"]},
        {"/annotations": {"org.example": "a\0b"}},
        {"/linux/rootfsPropagation": "rslave"},
        {"/linux/devices": [DEVICE, DEVICE, {"path": "/dev/p", "type": "p"}]},
        {"/linux/devices/0/fileMode": 0o20666},
        {"/linux/devices/0/fileMode": 0o4755},
        {SYSCTL: {"net/ipv4/conf/eth0.1/forwarding": "1", "kernel.shm_rmid_forced": "1"}},
        {SYSCTL: {"net.ipv4.tcp_rmem": "4096\t87380\t6291456", "kernel.domainname": "x"}},
        {"/linux/timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 999_999_999}}},
        {"/linux/namespaces/5/path": "/proc/1/ns/time", "/linux/timeOffsets": {}},
        {"/linux/resources": {"pids": {"limit": 0}, "memory": {}, "cpu": {"shares": 0}}},
        {"/linux/resources": {"pids": {"limit": -1}, "unified": {}, "hugepageLimits": []}},
        {"/linux/resources": {"memory": {"limit": -1, "swap": 5}, "cpu": {"cpus": "0-3,7, 9"}}},
        {"/linux/resources": {"cpu": {"cpus": "", "quota": -1, "burst": 3}, "blockIO": {}}},
        {"/linux/seccomp": None, "/linux/uidMappings": [], "/linux/netDevices": {}},
        seccomp(),
        seccomp(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=0, syscalls=[], flags=[]),
        rule(errnoRet=4094, names=["no_such_call", "read"]),
        rule(args=[argument(op="SCMP_CMP_MASKED_EQ", valueTwo=(1 << 64) - 1), argument(index=5)]),
        rule(action=NOTIFY)
        | {f"{SECCOMP}/listenerPath": "/run/agent", f"{SECCOMP}/listenerMetadata": "x"},
        {"/windows": None, "/freebsd": {}},
        {DEVICES: {"eth0": {"name": "eth1"}, "eth1": {"name": "eth0"}, "x" * 15: {"name": ""}}},
        {DEVICES: {"eth0": {"name": "net%d"}, "eth1": {"name": "net%d"}}},
        {POLICY: {"mode": "MPOL_DEFAULT"}},
        {POLICY: {"mode": "MPOL_PREFERRED", "nodes": " \n"}},
        {POLICY: {"mode": "MPOL_PREFERRED_MANY", "nodes": "0-3, 7", "flags": []}},
        {POLICY: {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}},
        {RDT: {}},
        {RDT: {"closID": "/", "l3CacheSchema": "", "schemata": [], "enableMonitoring": False}},
        {RDT: {"closID": "guaranteed group", "schemata": ["L3:0=7f0;1=1f", "", "MB:0=20;1=70"]}},
        {RDT: {"closID": "é" * 127, "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}},
        {"/linux/cgroupsPath": "machine.slice:libpod:abc..def"},
        user(),
        user([(0, 0, (1 << 32) - 1)], [(5, 1000, 5), (0, 2000, 5), (10, 1005, 5)]),
        {"/linux/namespaces/0": {"type": "user", "path": "/proc/1/ns/user"}},
        user() | {"/mounts/1/options/1": "ridmap"},
        user() | {"/mounts/1/options/1": "idmap=uids=@0-3-1;gids=0-4-1"},
        {"/mounts/1/uidMappings": MAPPING, "/mounts/1/gidMappings": MAPPING},
        {"/mounts/1/options/1": "ridmap=uids=0-1-2#2-9-3;gids=0-4-1"},
        user([(1, 1001, 1)], [(1, 1001, 1)]) | {"/process/user": {"uid": 1, "gid": 1}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_accepted(changes: dict[str, Any]) -> None:
    _, problems, warnings = examine(json.dumps(changed(VALID, changes)).encode())
    assert (problems, warnings) == ([], [])


@pytest.mark.parametrize(
    ("changes", "at", "message", "hint"),
    [
        (
            {"/process/capabilities/bounding": ["CAP_KILL", "CAP_SYS_ADMINS"]},
            "/process/capabilities/bounding/1",
            "unknown capability 'CAP_SYS_ADMINS', ignored",
            "did you mean CAP_SYS_ADMIN?",
        ),
        (
            {"/process/capabilities/bounding": ["net_raw"]},
            "/process/capabilities/bounding/0",
            "unknown capability 'net_raw', ignored",
            "did you mean CAP_NET_RAW?",
        ),
        (
            {"/process/capabilities/effective": ["CAP_CHOWN"]},
            "/process/capabilities/effective/0",
            "CAP_CHOWN is not in permitted, ignored",
            "",
        ),
        (
            {"/process/capabilities/ambient": ["CAP_KILL"]},
            "/process/capabilities/ambient/0",
            "can't raise ambient capability CAP_KILL: it is not in both permitted and inheritable",
            "",
        ),
        (
            {"/mounts/0/destination": "proc"},
            "/mounts/0/destination",
            "proc is relative, taken as /proc",
            "",
        ),
        ({"/process/commandLine": "x"}, "/process/commandLine", "is for Windows, ignored", ""),
        (
            {"/process/user/username": "x"},
            "/process/user/username",
            "is for Windows, ignored",
            "give uid and gid",
        ),
        (
            {"/linux/devices/0/fileMode": 0o60666},
            "/linux/devices/0/fileMode",
            "its file type bits are not those of type c, ignored",
            "",
        ),
        (
            {"/linux/personality": {"domain": "LINUX", "flags": ["X"]}},
            "/linux/personality/flags",
            "none are defined, ignored",
            "",
        ),
        (
            {RDT: {"l3CacheSchema": "L2:0=f"}},
            f"{RDT}/l3CacheSchema",
            "'L2:0=f' should start with L3:",
            "",
        ),
        (
            {RDT: {"l3CacheSchema": "L3:0=f\nL3:1=f"}},
            f"{RDT}/l3CacheSchema",
            "should be one line, each of several is written",
            "",
        ),
    ],
)
def test_warning(changes: dict[str, Any], at: str, message: str, hint: str) -> None:
    _, problems, warnings = examine(json.dumps(changed(VALID, changes)).encode())
    assert problems == []
    assert [(w.at, w.message, w.hint) for w in warnings] == [(at, message, hint)]
