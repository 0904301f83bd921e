"""What the schema can't say about config.json: rules across fields (config.md,
config-linux.md), and values that would reach the kernel and mean something else there."""

from __future__ import annotations

from ocirt.config import process_rules
from ocirt.config.process_rules import ID_MAX, Report
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
_PROPAGATION = ("private", "shared", "slave", "unbindable")
_IPC_SYSCTLS = frozenset(
    "kernel." + name
    for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
_HOSTNAME_MAX = 64
_NANOSECONDS = 1_000_000_000


def check(document: dict[str, Any], problems: list[OcirtError], warnings: list[OcirtError]) -> None:
    """Adds what is wrong, and what is passed over. The schema has accepted the document."""
    report = Report(problems, warnings)
    _version(document["ociVersion"], report)
    if "root" not in document:
        report.wrong("/root", "root is missing")
    elif not document["root"]["path"]:
        report.wrong("/root/path", "the path is empty")
    if "process" not in document:
        report.wrong("/process", "process is missing")
    else:
        process_rules.check(document["process"], "/process", problems, warnings)
    linux = document.get("linux") or {}
    kinds = _namespaces(linux, report)
    _names(document, kinds, report)
    _mounts(document.get("mounts") or [], report)
    _hooks(document.get("hooks") or {}, report)
    _devices(linux.get("devices") or [], report)
    _sysctl(linux.get("sysctl") or {}, document, kinds, report)
    _time(linux, kinds, report)
    _paths(linux, report)
    _texts(document, linux, report)


def _version(version: str, report: Report) -> None:
    """Semantic versioning: a newer minor only adds, another major is another format."""
    numbers = version.partition("-")[0].partition("+")[0].split(".")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
        report.wrong("/ociVersion", f"{version!r} is no version", hint='such as "1.3.0"')
    elif numbers[0] != "1":
        report.wrong("/ociVersion", f"version {version} is not supported, only 1.x.y is")


def _namespaces(linux: dict[str, Any], report: Report) -> set[str]:
    kinds: set[str] = set()
    for index, namespace in enumerate(linux.get("namespaces") or []):
        at, kind = f"/linux/namespaces/{index}", namespace["type"]
        if kind not in _NAMESPACES:
            report.wrong(f"{at}/type", f"{kind!r} is no type of namespace")
        if kind in kinds:
            report.wrong(f"{at}/type", f"there are two namespaces of type {kind}")
        kinds.add(kind)
        path = namespace.get("path")
        if path and not path.startswith("/"):
            report.wrong(f"{at}/path", f"must be an absolute path, not {path!r}")
    return kinds


def _names(document: dict[str, Any], kinds: set[str], report: Report) -> None:
    for key in ("hostname", "domainname"):
        name = document.get(key)
        if not name:
            continue
        if "uts" not in kinds:
            hint = 'add {"type": "uts"} to linux.namespaces'
            report.wrong(f"/{key}", f"{key} needs a uts namespace", hint=hint)
        if len(name.encode()) > _HOSTNAME_MAX:
            report.wrong(f"/{key}", f"is over {_HOSTNAME_MAX} bytes")


def _mounts(mounts: list[dict[str, Any]], report: Report) -> None:
    for index, mount in enumerate(mounts):
        at = f"/mounts/{index}"
        options = mount.get("options") or []
        destination = mount["destination"]
        if not destination.startswith("/"):
            text = f"{destination!r} is relative: it is taken from /"
            report.warn(f"{at}/destination", text)
        bind = mount.get("type") == "bind" or "bind" in options or "rbind" in options
        if bind and not mount.get("source"):
            report.wrong(f"{at}/source", "a bind mount needs a source")
        if not bind and not mount.get("type") and "remount" not in options:
            report.wrong(f"{at}/type", "the type of the file system is missing")
        for key in ("destination", "source", "type"):
            if "\0" in mount.get(key, ""):
                report.wrong(f"{at}/{key}", "has a NUL byte")
        for number, option in enumerate(options):
            if "\0" in option or not option:
                report.wrong(f"{at}/options/{number}", "is empty or has a NUL byte")
        if "tmpcopyup" in options and mount.get("type") != "tmpfs":
            where = f"{at}/options/{options.index('tmpcopyup')}"
            report.wrong(where, "tmpcopyup is for tmpfs")


def _hooks(hooks: dict[str, Any], report: Report) -> None:
    for kind, listed in hooks.items():
        for index, hook in enumerate(listed if isinstance(listed, list) else ()):
            at = pointer("hooks", kind, index)
            if not hook["path"].startswith("/"):
                report.wrong(f"{at}/path", f"must be an absolute path, not {hook['path']!r}")
            if hook.get("timeout", 1) <= 0:
                report.wrong(f"{at}/timeout", "must be over 0 seconds")


def _devices(devices: list[dict[str, Any]], report: Report) -> None:
    for index, device in enumerate(devices):
        at = f"/linux/devices/{index}"
        path = device["path"]
        if not path.startswith("/"):
            report.wrong(f"{at}/path", f"must be an absolute path, not {path!r}")
        elif path.rstrip("/").rpartition("/")[2] in ("", ".", ".."):
            report.wrong(f"{at}/path", f"{path!r} has no name for a device")
        if device["type"] != "p":
            for key in ("major", "minor"):
                if key not in device:
                    report.wrong(at, f"{key} is missing")
                elif not 0 <= device[key] < 1 << 20:
                    report.wrong(f"{at}/{key}", f"{device[key]} is no device number")
        for key in ("uid", "gid"):
            if device.get(key, 0) > ID_MAX:
                report.wrong(f"{at}/{key}", f"{device[key]} is over {ID_MAX}")


def _sysctl(
    values: dict[str, str], document: dict[str, Any], kinds: set[str], report: Report
) -> None:
    for key, value in values.items():
        at = pointer("linux", "sysctl", key)
        name = _dotted(key)
        need = _sysctl_namespace(name)
        # CVE-2022-0811: a value or key that sets another one than it seems to.
        if any(c in key for c in "+ \n\r\t\0") or ".." in key or key[0:1] in ("", "/", "."):
            report.wrong(at, f"{key!r} is no name of a sysctl")
        elif "\n" in value or "\0" in value:
            report.wrong(at, "the value has a newline or NUL byte")
        elif not need:
            report.wrong(at, f"sysctl {key} is not in any namespace: it is the host's")
        elif need not in kinds:
            hint = f'add {{"type": "{need}"}} to linux.namespaces'
            report.wrong(at, f"sysctl {key} needs a namespace of type {need}", hint=hint)
        elif name == "kernel.hostname" and document.get("hostname"):
            report.wrong(at, "conflicts with hostname")
        elif name == "kernel.domainname" and document.get("domainname"):
            report.wrong(at, "conflicts with domainname")


def _dotted(key: str) -> str:
    """The name with dots; the first separator tells which form ``key`` has (sysctl(8))."""
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key.translate({ord("/"): ".", ord("."): "/"})
    return key


def _sysctl_namespace(name: str) -> str:
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        return "ipc"
    if name.startswith("net."):
        return "network"
    if name in ("kernel.hostname", "kernel.domainname"):
        return "uts"
    return ""


def _time(linux: dict[str, Any], kinds: set[str], report: Report) -> None:
    offsets = linux.get("timeOffsets") or {}
    at = "/linux/timeOffsets"
    joined = [n for n in linux.get("namespaces") or [] if n["type"] == "time" and n.get("path")]
    if offsets and ("time" not in kinds or joined):
        report.wrong(at, "time offsets need a new namespace of type time")
    for clock, offset in offsets.items():
        if clock not in ("monotonic", "boottime"):
            report.wrong(pointer("linux", "timeOffsets", clock), f"{clock} has no offset")
        elif not 0 <= offset.get("nanosecs", 0) < _NANOSECONDS:
            report.wrong(f"{at}/{clock}/nanosecs", "is not below a second")


def _paths(linux: dict[str, Any], report: Report) -> None:
    for key in ("maskedPaths", "readonlyPaths"):
        for index, path in enumerate(linux.get(key) or []):
            if not path.startswith("/") or "\0" in path:
                report.wrong(f"/linux/{key}/{index}", f"must be an absolute path, not {path!r}")
    word = linux.get("rootfsPropagation")
    if word and word.removeprefix("r") not in _PROPAGATION:
        report.wrong("/linux/rootfsPropagation", f"{word!r} is no propagation")


def _texts(document: dict[str, Any], linux: dict[str, Any], report: Report) -> None:
    """NUL bytes: the kernel would see only what is before them."""
    process = document.get("process") or {}
    places = {
        "/root/path": (document.get("root") or {}).get("path"),
        "/hostname": document.get("hostname"),
        "/domainname": document.get("domainname"),
        "/linux/cgroupsPath": linux.get("cgroupsPath"),
        "/linux/mountLabel": linux.get("mountLabel"),
        "/process/apparmorProfile": process.get("apparmorProfile"),
        "/process/selinuxLabel": process.get("selinuxLabel"),
    }
    for at, text in places.items():
        if text and "\0" in text:
            report.wrong(at, "has a NUL byte")
