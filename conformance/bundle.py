#!/usr/bin/env python3
"""Makes a small bundle, of Debian's busybox-static, that runc, crun and ocirt accept alike.

Its config.json is the least that a real container has: its own namespaces, /proc, /dev, /sys,
masked and read-only paths; no limits, no seccomp, no user namespace.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
FOLDERS = "bin dev etc proc root sys tmp".split()


def busybox() -> str:
    """The path of a static busybox; FileNotFoundError if this machine has none."""
    path = shutil.which("busybox")
    if not path:
        raise FileNotFoundError("busybox (Debian package busybox-static)")
    return path


def make_rootfs(path: str) -> None:
    """A folder tree with busybox and links for all its applets."""
    program = busybox()
    for folder in FOLDERS:
        os.makedirs(os.path.join(path, folder), exist_ok=True)
    shutil.copy(program, os.path.join(path, "bin/busybox"))
    applets = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            os.symlink("busybox", os.path.join(path, "bin", applet))
    for name, line in (("passwd", "root:x:0:0:root:/root:/bin/sh"), ("group", "root:x:0:")):
        with open(os.path.join(path, "etc", name), "w") as file:
            file.write(line + "\n")


def mount(destination: str, kind: str, options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": kind,
        "source": kind,
        "options": options.split(","),
    }


def make_config(args: list[str], terminal: bool = False, cgroups_path: str = "") -> dict[str, Any]:
    """The parsed config.json of a container that runs ``args``."""
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "bundle",
        "mounts": [
            mount("/proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
            mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
            mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
        ],
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    }
    if cgroups_path:
        config["linux"]["cgroupsPath"] = cgroups_path
    return config


def make_bundle(path: str, args: list[str], terminal: bool = False, **changes: Any) -> str:
    """Makes the bundle in the folder ``path`` and returns it; an existing rootfs is kept.

    ``changes`` replace members of config.json by pointer, with ``__`` for ``/``:
    ``linux__cgroupsPath="/a/b"``, ``process__cwd="/tmp"``, ``hostname="x"``.
    """
    rootfs = os.path.join(path, "rootfs")
    if not os.path.exists(rootfs):
        make_rootfs(rootfs)
    config = make_config(args, terminal)
    for pointer, value in changes.items():
        *parents, last = pointer.split("__")
        place = config
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    with open(os.path.join(path, "config.json"), "w") as file:
        json.dump(config, file, indent=2)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", metavar="FOLDER")
    parser.add_argument("args", metavar="ARG", nargs="*", default=["sh"], help="default: sh")
    parser.add_argument("--terminal", action="store_true")
    parser.add_argument("--cgroups-path", metavar="PATH")
    arguments = parser.parse_args()
    changes = {"linux__cgroupsPath": arguments.cgroups_path} if arguments.cgroups_path else {}
    os.makedirs(arguments.path, exist_ok=True)
    make_bundle(arguments.path, arguments.args, arguments.terminal, **changes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
