"""``spec``: a config.json to start from, a shell in a terminal with few privileges."""

from __future__ import annotations

import os

from ocirt import SPEC_VERSION
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
# (destination, type, source, options); the first five are those of config-linux.md, "Default
# Filesystems", and what a POSIX system has below /dev.
_MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)
# What tells about the host and its hardware, or changes it. /proc/sys is of the container's
# own namespaces only in part.
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACES = ("pid", "network", "ipc", "uts", "mount")


def run(options: Options) -> int:
    """Never replaces a file."""
    from ocirt.json_text import dumps

    path = os.path.join(options.bundle, "config.json")
    document = default_config()
    if options.rootless:
        make_rootless(document)
    text = dumps(document, 2) + "\n"
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise OcirtError(f"{path} exists", hint="remove it, or move it away, first") from None
    return 0


def default_config() -> dict[str, Any]:
    """The document. It has a cgroup namespace on a v2 host only: on v1, programs look for
    their cgroup by its path on the host."""
    namespaces = [{"type": kind} for kind in _NAMESPACES]
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        namespaces.append({"type": "cgroup"})
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            # No inheritable ones: a program with inheritable file capabilities would gain them
            # (CVE-2022-29162).
            "capabilities": {
                kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "ocirt",
        "mounts": [_mount(*row) for row in _MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": namespaces,
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }


def make_rootless(document: dict[str, Any]) -> None:
    """What an ordinary user without further ids can run: the caller is the container's root, the
    network is the host's, and nothing is limited."""
    linux = document["linux"]
    linux.pop("resources", None)
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "network"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    mounts = []
    for mount in document["mounts"]:
        if mount["destination"] == "/sys":
            # A sysfs belongs to a network namespace. The host's has its cgroups mounted in it.
            options = ["rbind", "nosuid", "noexec", "nodev", "ro"]
            mount = {"destination": "/sys", "type": "none", "source": "/sys", "options": options}
        elif mount["destination"] == "/dev/pts":
            # The group of terminals has no id in there.
            mount["options"] = [o for o in mount["options"] if not o.startswith("gid=")]
        mounts.append(mount)
    document["mounts"] = mounts


def _mount(destination: str, fs_type: str, source: str, options: str) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": fs_type, "source": source}
    if options:
        mount["options"] = options.split()
    return mount
