"""What the schema can't say about linux.intelRdt (config-linux.md, "IntelRdt").

Only what is wrong on every host; imported where a config has that object.
"""

from __future__ import annotations

from ocirt.config.report import Report
from ocirt.config.schema import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME_MAX = 255
# What the kernel has at the top of a resctrl file system beside the groups (resctrl.rst).
_KERNEL_NAMES = frozenset(
    "cpus cpus_list info mode mon_data mon_groups schemata size tasks".split()
)


def check(settings: dict[str, Any], at: str, report: Report) -> None:
    """``at``: the JSON pointer of ``settings``."""
    _clos(settings.get("closID") or "", f"{at}/closID", report)
    l3_cache = settings.get("l3CacheSchema") or ""
    if l3_cache and not l3_cache.startswith("L3:"):
        report.warn(f"{at}/l3CacheSchema", f"{shown(l3_cache)} should start with L3:")
    if "\n" in l3_cache:
        report.warn(f"{at}/l3CacheSchema", "should be one line, each of several is written")
    for index, line in enumerate(settings.get("schemata") or []):
        if "\n" in line:
            report.wrong(f"{at}/schemata/{index}", "must be one line")
        elif line and ":" not in line:
            text = f"{shown(line)} is no line of a schemata file"
            report.wrong(f"{at}/schemata/{index}", text, hint='such as "L3:0=7f0;1=1f"')


def _clos(name: str, at: str, report: Report) -> None:
    """It is the name of a folder, but for "/", the default class. The kernel refuses a newline."""
    if name == "/":
        return
    if name in (".", "..") or "/" in name or "\n" in name:
        text = f'{shown(name)} must be the name of one folder, or "/" for the default class'
        report.wrong(at, text)
    elif name in _KERNEL_NAMES:
        report.wrong(at, f"{name} is a name of the kernel's own in a resctrl file system")
    elif len(name.encode("utf-8", "replace")) > _NAME_MAX:
        report.wrong(at, f"must be at most {_NAME_MAX} bytes long")
