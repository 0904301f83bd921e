"""Configurations for another platform than Linux are refused, never ignored."""

from __future__ import annotations

from ocirt.config.report import Report
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLATFORMS = ("freebsd", "solaris", "vm", "windows", "zos")


def check(document: dict[str, Any], problems: list[OcirtError], warnings: list[OcirtError]) -> None:
    """Adds what is refused to what was found before. An empty object asks for nothing."""
    Report(problems, warnings).apply(_RULES, document, "")


def _platforms(document: dict[str, Any], base: str, report: Report) -> None:
    for key in _PLATFORMS:
        if document.get(key):
            report.wrong(f"/{key}", "is for another platform than Linux")


_RULES = ((_PLATFORMS, _platforms),)
