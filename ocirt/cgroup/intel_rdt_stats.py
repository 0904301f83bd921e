"""What a resctrl group uses, in the JSON of ``runc events``: its member intel_rdt (runc's
types/events.go, as of 1.5).

A counter that the hardware can't read at the moment ("Unavailable") is 0: the JSON knows no other
word for it.
"""

from __future__ import annotations

import os

from ocirt.cgroup.stat_files import number, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# (folder in info, the member for what is in it, its files, the members for the lines of schemata)
_RESOURCES = (
    ("L3", "l3_cache_info", ("min_cbm_bits", "num_closids"), "l3_cache_schema"),
    (
        "MB",
        "mem_bw_info",
        ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"),
        "mem_bw_schema",
    ),
)
# (member, the features of the hardware that are its members, and files)
_MONITORS = (
    ("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")),
    ("cmt_stats", ("llc_occupancy",)),
)


def read_stats(state: dict[str, Any]) -> dict[str, Any]:
    """``state``: of ``ocirt.cgroup.intel_rdt``; {} where there is none. Without a monitoring group
    of its own the counters are those of all that is in the container's class. Raises
    KernelError."""
    if not state:
        return {}
    root, folder = state["root"], state["folder"]
    above, own = _lines(root), _lines(folder)
    found: dict[str, Any] = {}
    for resource, info, files, schema in _RESOURCES:
        inside = f"{root}/info/{resource}"
        if os.path.isdir(inside):
            values: dict[str, Any] = {"cbm_mask": (read(inside, "cbm_mask") or "").strip()}
            values.update((name, number(inside, name)) for name in files)
            found[info] = {key: value for key, value in values.items() if value}
            found[f"{schema}_root"] = _line_of(resource, above)
            found[schema] = _line_of(resource, own)
    found["schemata"] = own
    found = {key: value for key, value in found.items() if value or key.endswith("_info")}
    return {**found, **_monitors(root, state["monitor"] or folder)}


def _monitors(root: str, folder: str) -> dict[str, Any]:
    features = (read(f"{root}/info/L3_MON", "mon_features") or "").split()
    try:
        names = sorted(n for n in os.listdir(f"{folder}/mon_data") if n.startswith("mon_L3_"))
    except OSError:
        return {}
    found = {}
    for member, counters in _MONITORS:
        if any(counter in features for counter in counters):
            domains = [f"{folder}/mon_data/{name}" for name in names]
            found[member] = [{c: number(d, c) for c in counters} for d in domains]
    return found


def _lines(folder: str) -> list[str]:
    return [line.strip() for line in (read(folder, "schemata") or "").splitlines()]


def _line_of(resource: str, lines: list[str]) -> str:
    return next((line for line in lines if line.partition(":")[0] == resource), "")
