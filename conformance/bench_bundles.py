"""The bundles that conformance/bench measures a create of, each for what makes it dear."""

from __future__ import annotations

import json
import os

from bundle import make_bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What Podman gives its containers, and Docker all but for a few calls; Debian's package
# golang-github-containers-common has it.
ENGINE_PROFILE = "/usr/share/containers/seccomp.json"
MOUNTS = 50
MAPPED_MOUNTS = 20
MAPPINGS = [{"containerID": 0, "hostID": 200_000, "size": 65_536}]
KINDS = {
    "limits": "ten limits",
    "seccomp": "an engine's default profile, seen before",
    "cold": "the same, never seen before",
    "userns": "a user namespace",
    "mounts": f"{MOUNTS} bind mounts",
    "idmap": f"{MAPPED_MOUNTS} id-mapped mounts",
}


def make(kind: str, folder: str, cgroup: str) -> str:
    """Makes the bundle of ``kind`` in ``folder``. Raises FileNotFoundError where the host lacks
    what it is made of."""
    os.makedirs(folder)
    path = make_bundle(folder, ["sleep", "1000"], linux__cgroupsPath=cgroup)
    with open(f"{path}/config.json") as file:
        config = json.load(file)
    linux = config["linux"]
    if kind == "limits":
        linux["resources"] = ten_limits()
    elif kind in ("seccomp", "cold"):
        linux["seccomp"] = engine_profile(config["process"]["capabilities"]["bounding"])
    elif kind == "userns":
        linux["namespaces"].append({"type": "user"})
        linux |= {"uidMappings": MAPPINGS, "gidMappings": MAPPINGS}
    elif kind == "mounts":
        config["mounts"] += binds(folder, MOUNTS)
    elif kind == "idmap":
        mapped = {"uidMappings": MAPPINGS, "gidMappings": MAPPINGS}
        config["mounts"] += [bind | mapped for bind in binds(folder, MAPPED_MOUNTS)]
    with open(f"{path}/config.json", "w") as file:
        json.dump(config, file)
    return path


def renew_profile(path: str, number: int) -> None:
    """Makes the profile of a bundle one that nobody has compiled: calls that it does not name
    fail with another errno."""
    with open(f"{path}/config.json") as file:
        config = json.load(file)
    config["linux"]["seccomp"]["defaultErrnoRet"] = 1 + number % 4095
    with open(f"{path}/config.json", "w") as file:
        json.dump(config, file)


def binds(folder: str, count: int) -> list[dict[str, Any]]:
    source = f"{folder}/source"
    os.mkdir(source)
    return [
        {"destination": f"/tmp/{n}", "type": "bind", "source": source, "options": ["bind"]}
        for n in range(count)
    ]


def engine_profile(capabilities: list[str]) -> dict[str, Any]:
    """linux.seccomp, as an engine makes it of its file: rules for another processor, or for
    capabilities that the container lacks, are left out. Raises FileNotFoundError."""
    with open(ENGINE_PROFILE) as file:
        document = json.load(file)
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    native = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}[here]

    def applies(rule: dict[str, Any]) -> bool:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        has = set(capabilities)
        return (
            here in includes.get("arches", [here])
            and has >= set(includes.get("caps", []))
            and here not in excludes.get("arches", [])
            and not has & set(excludes.get("caps", []))
        )

    members = ("names", "action", "args", "errnoRet")
    return {
        "defaultAction": document["defaultAction"],
        "defaultErrnoRet": document.get("defaultErrnoRet", 1),
        "architectures": [
            name
            for entry in document["archMap"]
            if entry["architecture"] == native
            for name in [native, *entry["subArchitectures"]]
        ],
        "syscalls": [
            {name: rule[name] for name in members if rule.get(name)}
            for rule in document["syscalls"]
            if applies(rule)
        ],
    }


def ten_limits() -> dict[str, Any]:
    """linux.resources with ten limits, which every runtime here can set."""
    cpu: dict[str, Any] = {"shares": 512, "quota": 50_000, "period": 100_000}
    unified = {}
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        # User Mode Linux has no cpuset.
        unified = {"memory.high": "60000000", "memory.min": "65536"}
    else:
        cpu |= {"cpus": "0", "mems": "0"}
    return {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20},
        "cpu": {**cpu, "burst": 10_000},
        "pids": {"limit": 100},
        **({"unified": unified} if unified else {}),
    }
