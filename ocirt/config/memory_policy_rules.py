"""What the schema can't say about linux.memoryPolicy: what set_mempolicy(2) refuses on every host."""

from __future__ import annotations

from ocirt.config.report import Report
from ocirt.config.resource_rules import numbers_problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NODES_MAX = 1 << 10  # no kernel has more: CONFIG_NODES_SHIFT is 10 at most
_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
_BALANCED = ("MPOL_BIND", "MPOL_PREFERRED_MANY")
_RELATIVE, _STATIC = "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"


def check(policy: dict[str, Any], at: str, report: Report) -> None:
    """Puts what is wrong with the object at ``at`` into the report."""
    mode, nodes = policy.get("mode"), policy.get("nodes") or ""
    if mode is None:
        report.wrong(f"{at}/mode", "is required", hint='such as "MPOL_BIND"')
    text = _nodes_problem(nodes)
    if text:
        report.wrong(f"{at}/nodes", text, hint='such as "0-3,7"')
    elif mode in _WITHOUT_NODES and nodes.strip():
        report.wrong(f"{at}/nodes", f"{mode} takes no nodes")
    elif mode not in (None, "MPOL_PREFERRED", *_WITHOUT_NODES) and not nodes.strip():
        report.wrong(f"{at}/nodes", f"{mode} needs at least one node", hint='such as "0-3,7"')
    if mode is not None:
        _flags(policy.get("flags") or [], mode, nodes, f"{at}/flags", report)


def _nodes_problem(nodes: str) -> str:
    text = numbers_problem(nodes)
    if not text and ":" in nodes:
        return "a range of nodes has no stride"
    if not text and any(int(number) >= _NODES_MAX for number in _numbers(nodes)):
        return f"nodes are numbers below {_NODES_MAX}"
    return text


def _numbers(nodes: str) -> list[str]:
    return nodes.replace("-", ",").split(",") if nodes.strip() else []


def _flags(flags: list[str], mode: str, nodes: str, at: str, report: Report) -> None:
    for index, flag in enumerate(flags):
        here = f"{at}/{index}"
        if flag == "MPOL_F_NUMA_BALANCING":
            if mode not in _BALANCED:
                report.wrong(here, f"{flag} is for {' and '.join(_BALANCED)}, not for {mode}")
        elif flag == _STATIC and _RELATIVE in flags:
            report.wrong(here, f"{_STATIC} and {_RELATIVE} exclude one another")
        elif mode == "MPOL_LOCAL" or (mode == "MPOL_PREFERRED" and not nodes.strip()):
            report.wrong(here, f"{flag} needs nodes")
