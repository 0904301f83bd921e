"""What the schema can't say about linux.netDevices (config-linux.md, "Network Devices")."""

from __future__ import annotations

from ocirt.config.report import Report
from ocirt.config.schema import shown
from ocirt.errors import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME_MAX = 15  # IFNAMSIZ - 1
# What the kernel's isspace() takes for a blank, in UTF-8's bytes as well.
_NOT_IN_A_NAME = frozenset(b"\0/: \t\n\v\f\r\xa0")


def check(devices: dict[str, Any], at: str, report: Report) -> None:
    """Puts what is wrong with the object at ``at`` into the report."""
    targets: set[str] = set()
    for name, settings in devices.items():
        here = at + pointer(name)
        target = settings.get("name") or name
        if not _is_valid(name):
            report.wrong(here, "is no name of a network device")
        elif not _is_valid(target):
            report.wrong(f"{here}/name", f"{shown(target)} is no name of a network device")
        elif "%" in target and (target.count("%") > 1 or "%d" not in target):
            report.wrong(f"{here}/name", 'of "%" only one %d is allowed, for a number')
        elif target in targets:
            report.wrong(here, f"the container would have two devices {target}")
        if "%" not in target:
            targets.add(target)


def _is_valid(name: str) -> bool:
    """As the kernel's dev_valid_name() has it."""
    try:
        data = name.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    if not 0 < len(data) <= _NAME_MAX or name in (".", ".."):
        return False
    return not any(byte in _NOT_IN_A_NAME for byte in data)
