"""What this release of ocirt does not do yet is refused, never ignored."""

from __future__ import annotations

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLATFORMS = ("windows", "solaris", "vm", "zos", "freebsd")
_LINUX = {
    "seccomp": "seccomp filters",
    "uidMappings": "user namespaces",
    "gidMappings": "user namespaces",
    "intelRdt": "cache and memory bandwidth allocation",
    "netDevices": "moving network devices",
    "memoryPolicy": "memory policies",
}


def check(document: dict[str, Any], problems: list[OcirtError], warnings: list[OcirtError]) -> None:
    """Adds a problem for each such part that asks for something."""
    for key in _PLATFORMS:
        if document.get(key):
            text = f"{key} is the configuration of another platform than Linux"
            problems.append(OcirtError(text, at=f"/{key}"))
    linux = document.get("linux") or {}
    for key, what in _LINUX.items():
        if not _is_empty(linux.get(key)):
            _refuse(f"/linux/{key}", what, problems)
    for index, namespace in enumerate(linux.get("namespaces") or []):
        if namespace["type"] == "user":
            _refuse(f"/linux/namespaces/{index}", "user namespaces", problems)
    for key, value in (linux.get("resources") or {}).items():
        if key == "devices":
            if value:
                text = "device rules are not applied in this release: every device is allowed"
                warnings.append(OcirtError(text, at="/linux/resources/devices"))
        elif not _is_empty(value):
            _refuse(f"/linux/resources/{key}", "resource limits", problems)
    for index, mount in enumerate(document.get("mounts") or []):
        at = f"/mounts/{index}"
        for key in ("uidMappings", "gidMappings"):
            if mount.get(key):
                _refuse(f"{at}/{key}", "id-mapped mounts", problems)
        for number, option in enumerate(mount.get("options") or []):
            if option in ("idmap", "ridmap"):
                _refuse(f"{at}/options/{number}", "id-mapped mounts", problems)


def _refuse(at: str, what: str, problems: list[OcirtError]) -> None:
    problems.append(OcirtError(f"{what}: not supported by this release of ocirt", at=at))


def _is_empty(value: Any) -> bool:
    """Does it ask for nothing? Callers send empty objects, zeros, and -1 for no limit."""
    if isinstance(value, dict):
        return all(_is_empty(item) for item in value.values())
    if isinstance(value, list):
        return not value
    return value is None or value is False or value in (0, -1, "")
