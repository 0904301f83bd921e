"""What the schema can't say about linux (config-linux.md)."""

from __future__ import annotations

from ocirt.config import resource_rules
from ocirt.config.process_rules import ID_MAX
from ocirt.config.report import Report, absolute
from ocirt.errors import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLOCKS = ("monotonic", "boottime")
_NANOSECONDS = 1_000_000_000
_MAJOR_MAX, _MINOR_MAX = (1 << 12) - 1, (1 << 20) - 1  # the bits of a dev_t
_TYPE_BITS = {"c": 0o2, "u": 0o2, "b": 0o6, "p": 0o1}
_IPC_SYSCTLS = frozenset(
    "kernel/" + name
    for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)


def linux_of(document: dict[str, Any]) -> dict[str, Any]:
    """The linux object, empty where there is none."""
    linux: dict[str, Any] = document.get("linux") or {}
    return linux


def kinds_of(document: dict[str, Any]) -> set[str]:
    """The types of namespaces that the container has for its own, new or joined."""
    return {namespace["type"] for namespace in linux_of(document).get("namespaces") or []}


def add_namespace(kind: str) -> str:
    """The hint for what needs one more namespace."""
    return f'add {{"type": "{kind}"}} to linux.namespaces'


def _namespaces(document: dict[str, Any], base: str, report: Report) -> None:
    seen = set()
    for index, namespace in enumerate(linux_of(document).get("namespaces") or []):
        at, kind = f"/linux/namespaces/{index}", namespace["type"]
        if kind in seen:
            report.wrong(f"{at}/type", f"there are two namespaces of type {kind}")
        seen.add(kind)
        if namespace.get("path"):
            absolute(report, f"{at}/path", namespace["path"])


def _user_namespace(document: dict[str, Any], base: str, report: Report) -> None:
    linux = linux_of(document)
    for namespace in linux.get("namespaces") or []:
        if namespace["type"] == "user":
            from ocirt.config import id_map_rules

            id_map_rules.check_namespace(document, namespace, report)
            return
    for key in ("uidMappings", "gidMappings"):
        if linux.get(key):
            report.wrong(f"/linux/{key}", "needs a user namespace", hint=add_namespace("user"))


def _id_mapped_mounts(document: dict[str, Any], base: str, report: Report) -> None:
    for index, mount in enumerate(document.get("mounts") or []):
        if (
            mount.get("uidMappings")
            or mount.get("gidMappings")
            or any(option.startswith(("idmap", "ridmap")) for option in mount.get("options") or ())
        ):
            from ocirt.config import id_map_rules

            own = "user" in kinds_of(document)
            id_map_rules.check_mount(mount, f"/mounts/{index}", linux_of(document), own, report)


def _names(document: dict[str, Any], base: str, report: Report) -> None:
    for key in ("hostname", "domainname"):
        name = document.get(key)
        if not name:
            continue
        if "uts" not in kinds_of(document):
            report.wrong(f"/{key}", "needs a uts namespace", hint=add_namespace("uts"))
        if len(name.encode("utf-8", "replace")) > 64:  # __NEW_UTS_LEN
            report.wrong(f"/{key}", "must be at most 64 bytes long")


def _time_offsets(document: dict[str, Any], base: str, report: Report) -> None:
    linux, at = linux_of(document), "/linux/timeOffsets"
    offsets = linux.get("timeOffsets") or {}
    own = [n for n in linux.get("namespaces") or [] if n["type"] == "time"]
    if offsets and not own:
        report.wrong(at, "needs a new time namespace", hint=add_namespace("time"))
    elif offsets and own[0].get("path"):
        report.wrong(at, "needs a new time namespace, this one is joined by its path")
    for clock, offset in offsets.items():
        if clock not in _CLOCKS:
            from ocirt.config.schema import shown

            text = f"{shown(clock)} is none of {', '.join(_CLOCKS)}"
            report.wrong(at + pointer(clock), text)
        elif offset.get("nanosecs", 0) >= _NANOSECONDS:
            report.wrong(f"{at}/{clock}/nanosecs", f"must be below {_NANOSECONDS}")


def _mount_namespace(document: dict[str, Any], base: str, report: Report) -> None:
    """What can't be done in the host's mount namespace, where the container's user namespace has no
    rights, and where a mount's propagation is the host's."""
    kinds, linux = kinds_of(document), linux_of(document)
    if "mount" in kinds:
        return
    wanted = [("/linux/rootfsPropagation", linux.get("rootfsPropagation"))]
    if "user" in kinds:
        wanted += [
            ("/mounts", document.get("mounts")),
            ("/root/readonly", (document.get("root") or {}).get("readonly")),
            ("/linux/maskedPaths", linux.get("maskedPaths")),
            ("/linux/readonlyPaths", linux.get("readonlyPaths")),
            ("/process/terminal", (document.get("process") or {}).get("terminal")),
        ]
    for at, value in wanted:
        if value:
            text = "needs a mount namespace of the container's own"
            report.wrong(at, text, hint=add_namespace("mount"))


def _devices(document: dict[str, Any], base: str, report: Report) -> None:
    seen: dict[str, Any] = {}
    for index, device in enumerate(linux_of(document).get("devices") or []):
        at, path, kind = f"/linux/devices/{index}", device["path"], device["type"]
        absolute(report, f"{at}/path", path)
        if path.rpartition("/")[2] in ("", ".", ".."):
            report.wrong(f"{at}/path", "must end in the name of a file")
        if kind != "p":
            _number(device, "major", _MAJOR_MAX, at, report)
            _number(device, "minor", _MINOR_MAX, at, report)
        for key in ("uid", "gid"):
            if device.get(key, 0) > ID_MAX:
                report.wrong(f"{at}/{key}", f"must be at most {ID_MAX}, not {device[key]}")
        bits = device.get("fileMode", 0) >> 12
        if bits and bits != _TYPE_BITS[kind]:
            text = f"its file type bits are not those of type {kind}, ignored"
            report.warn(f"{at}/fileMode", text)
        node = (kind, device.get("major"), device.get("minor"))
        if seen.setdefault(path, node) != node:
            report.wrong(f"{at}/path", f"{path} is another device further up")


def _number(device: dict[str, Any], key: str, greatest: int, at: str, report: Report) -> None:
    if key not in device:
        report.wrong(f"{at}/{key}", f"is required for type {device['type']}")
    elif not 0 <= device[key] <= greatest:
        report.wrong(f"{at}/{key}", f"must be from 0 to {greatest}, not {device[key]}")


def _sysctl(document: dict[str, Any], base: str, report: Report) -> None:
    """Only what belongs to a namespace of the container: the rest is the host's."""
    kinds = kinds_of(document)
    for key, value in (linux_of(document).get("sysctl") or {}).items():
        at, path = pointer("linux", "sysctl", key), sysctl_path(key)
        need = _sysctl_namespace(path)
        # Nothing may name another file than it seems to (CVE-2022-0811).
        if not path or not key.isprintable() or any(c in key for c in "+ "):
            report.wrong(at, "is no name of a sysctl")
        elif any(part in ("", ".", "..") for part in path.split("/")):
            report.wrong(at, "is no name of a sysctl")
        elif not value.rstrip("\n").replace("\t", " ").isprintable():
            report.wrong(at, "its value has a control character")
        elif path == "kernel/hostname":
            report.wrong(at, "conflicts with hostname", hint="set hostname instead")
        elif path == "kernel/domainname" and document.get("domainname") not in (None, "", value):
            report.wrong(at, "conflicts with domainname")
        elif not need:
            report.wrong(at, "is in no namespace: it would change the host")
        elif need not in kinds:
            report.wrong(at, f"needs a namespace of type {need}", hint=add_namespace(need))


def sysctl_path(key: str) -> str:
    """The file below /proc/sys: of "." and "/" the one that comes first separates, the other
    is then part of a name, as "." is in net/ipv4/conf/eth0.1/forwarding (sysctl(8))."""
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    return key.translate({ord("."): "/", ord("/"): "."})


def _sysctl_namespace(path: str) -> str:
    if path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        return "ipc"
    if path.startswith("net/"):
        return "network"
    if path == "kernel/domainname":
        return "uts"
    return "user" if path.startswith("user/") else ""


def _paths(document: dict[str, Any], base: str, report: Report) -> None:
    linux = linux_of(document)
    for key in ("maskedPaths", "readonlyPaths"):
        for index, path in enumerate(linux.get(key) or []):
            absolute(report, f"/linux/{key}/{index}", path)


def _cgroups_path(document: dict[str, Any], base: str, report: Report) -> None:
    path = linux_of(document).get("cgroupsPath") or ""
    if ".." in path.split("/"):
        report.wrong("/linux/cgroupsPath", 'must not contain ".."')


def _resources(document: dict[str, Any], base: str, report: Report) -> None:
    linux = document.get("linux")
    resources = linux.get("resources") if isinstance(linux, dict) else None
    if isinstance(resources, dict):  # its rules look themselves what is intact
        report.apply(resource_rules.RULES, resources, "/linux/resources")


def _personality(document: dict[str, Any], base: str, report: Report) -> None:
    personality = linux_of(document).get("personality")
    if personality is None:
        return
    if "domain" not in personality:
        report.wrong("/linux/personality/domain", "is required")
    if personality.get("flags"):
        report.warn("/linux/personality/flags", "none are defined, ignored")


def _intel_rdt(document: dict[str, Any], base: str, report: Report) -> None:
    settings = linux_of(document).get("intelRdt")
    if settings:
        from ocirt.config import intel_rdt_rules

        intel_rdt_rules.check(settings, "/linux/intelRdt", report)


def _seccomp(document: dict[str, Any], base: str, report: Report) -> None:
    settings = linux_of(document).get("seccomp")
    if settings:
        from ocirt.config import seccomp_rules

        seccomp_rules.check(settings, "/linux/seccomp", report)


def _memory_policy(document: dict[str, Any], base: str, report: Report) -> None:
    policy = linux_of(document).get("memoryPolicy")
    if policy is not None:
        from ocirt.config import memory_policy_rules

        memory_policy_rules.check(policy, "/linux/memoryPolicy", report)


def _net_devices(document: dict[str, Any], base: str, report: Report) -> None:
    devices, at = linux_of(document).get("netDevices"), "/linux/netDevices"
    if devices:
        if "network" not in kinds_of(document):
            text = "needs a network namespace of the container's own"
            report.wrong(at, text, hint=add_namespace("network"))
        from ocirt.config import net_device_rules

        net_device_rules.check(devices, at, report)


_MOUNT_NAMESPACE = (
    "linux/namespaces",
    "mounts",
    "root",
    "process/terminal",
    "linux/maskedPaths",
    "linux/readonlyPaths",
    "linux/rootfsPropagation",
)
# Each with the members of the whole document that it reads.
RULES = (
    (("linux/namespaces",), _namespaces),
    (_MOUNT_NAMESPACE, _mount_namespace),
    (("linux/namespaces", "linux/uidMappings", "linux/gidMappings"), _user_namespace),
    (
        ("mounts", "linux/namespaces", "linux/uidMappings", "linux/gidMappings"),
        _id_mapped_mounts,
    ),
    (("linux/namespaces", "hostname", "domainname"), _names),
    (("linux/namespaces", "linux/timeOffsets"), _time_offsets),
    (("linux/namespaces", "linux/sysctl", "domainname"), _sysctl),
    (("linux/devices",), _devices),
    (("linux/maskedPaths", "linux/readonlyPaths"), _paths),
    (("linux/cgroupsPath",), _cgroups_path),
    ((), _resources),
    (("linux/intelRdt",), _intel_rdt),
    (("linux/personality",), _personality),
    (("linux/seccomp",), _seccomp),
    (("linux/memoryPolicy",), _memory_policy),
    (("linux/namespaces", "linux/netDevices"), _net_devices),
)
