"""What this release of ocirt does not do is refused, never ignored.

Callers also send objects that ask for nothing: empty ones, zeros. Those are accepted.
"""

from __future__ import annotations

from ocirt.config.linux_rules import linux_of
from ocirt.config.report import Report
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLATFORMS = ("freebsd", "solaris", "vm", "windows", "zos")
_LATER = "come with a later release of ocirt"
_LINUX = {
    "memoryPolicy": f"memory policies {_LATER}",
    "netDevices": f"network devices {_LATER}",
}


def check(document: dict[str, Any], problems: list[OcirtError], warnings: list[OcirtError]) -> None:
    """Adds what is refused, and what is passed over, to what was found before."""
    Report(problems, warnings).apply(_RULES, document, "")


def _platforms(document: dict[str, Any], base: str, report: Report) -> None:
    for key in _PLATFORMS:
        if document.get(key):
            report.wrong(f"/{key}", "is for another platform than Linux")


def _linux(document: dict[str, Any], base: str, report: Report) -> None:
    linux = linux_of(document)
    for key, text in _LINUX.items():
        # An empty netDevices.eth0 asks for eth0.
        present = key == "netDevices" and linux.get(key)
        if present or not _asks_for_nothing(linux.get(key)):
            report.wrong(f"/linux/{key}", text)


def _asks_for_nothing(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_asks_for_nothing(item) for item in value.values())
    return value in (None, False, 0, -1, "", [])


_RULES = (
    (_PLATFORMS, _platforms),
    (tuple(f"linux/{key}" for key in _LINUX), _linux),
)
