"""What the schema can't say about process (config.md, "Process").

The same rules for config.json and for the document of exec --process.
"""

from __future__ import annotations

from ocirt.errors import OcirtError
from ocirt.host.constants import CAPABILITIES, IOPRIO_CLASSES, RLIMITS, SCHED_FLAGS, SCHED_POLICIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# 2^31 and above have been taken for other users than the one meant (CVE-2024-40635).
ID_MAX = (1 << 31) - 1
_REALTIME = ("SCHED_FIFO", "SCHED_RR")


class Report:
    """Where rules put what they find."""

    __slots__ = ("problems", "warnings")

    def __init__(self, problems: list[OcirtError], warnings: list[OcirtError]) -> None:
        self.problems = problems
        self.warnings = warnings

    def wrong(self, at: str, text: str, hint: str = "") -> None:
        """The document is refused."""
        self.problems.append(OcirtError(text, at=at, hint=hint))

    def warn(self, at: str, text: str) -> None:
        """It is accepted, and this is said."""
        self.warnings.append(OcirtError(text, at=at))


def check(
    process: dict[str, Any], base: str, problems: list[OcirtError], warnings: list[OcirtError]
) -> None:
    """``base``: JSON pointer of the process object."""
    report = Report(problems, warnings)
    _program(process, base, report)
    _user(process.get("user") or {}, f"{base}/user", report)
    _capabilities(process.get("capabilities") or {}, f"{base}/capabilities", report)
    _limits(process.get("rlimits") or [], f"{base}/rlimits", report)
    _scheduling(process, base, report)


def _program(process: dict[str, Any], base: str, report: Report) -> None:
    args = process.get("args")
    if not args:
        report.wrong(f"{base}/args", "there must be a program to run")
    elif not args[0]:
        report.wrong(f"{base}/args/0", "the program's name is empty")
    for key in ("args", "env"):
        for index, text in enumerate(process.get(key) or []):
            if "\0" in text:
                report.wrong(f"{base}/{key}/{index}", "has a NUL byte")
    for index, entry in enumerate(process.get("env") or []):
        if "=" not in entry[1:]:
            report.warn(f"{base}/env/{index}", f"{entry!r} is not of the form NAME=VALUE")
    cwd = process["cwd"]
    if not cwd.startswith("/"):
        report.wrong(f"{base}/cwd", f"cwd must be an absolute path, not {cwd!r}")
    elif "\0" in cwd:
        report.wrong(f"{base}/cwd", "has a NUL byte")
    size = process.get("consoleSize") or {}
    for key, value in size.items():
        if key in ("height", "width") and value > 0xFFFF:
            report.wrong(f"{base}/consoleSize/{key}", f"{value} is over 65535")
    score = process.get("oomScoreAdj")
    if score is not None and not -1000 <= score <= 1000:
        report.wrong(f"{base}/oomScoreAdj", f"{score} is not between -1000 and 1000")


def _user(user: dict[str, Any], at: str, report: Report) -> None:
    for key in ("uid", "gid"):
        if user.get(key, 0) > ID_MAX:
            report.wrong(f"{at}/{key}", f"{user[key]} is over {ID_MAX}")
    for index, gid in enumerate(user.get("additionalGids") or []):
        if gid > ID_MAX:
            report.wrong(f"{at}/additionalGids/{index}", f"{gid} is over {ID_MAX}")
    if user.get("umask", 0) > 0o777:
        report.wrong(f"{at}/umask", f"{user['umask']:#o} is over 0o777")


def _capabilities(sets: dict[str, Any], at: str, report: Report) -> None:
    for kind, names in sets.items():
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if name not in CAPABILITIES:
                report.warn(f"{at}/{kind}/{index}", f"{name!r} is no capability of this kernel")
    permitted = set(sets.get("permitted") or ()) & CAPABILITIES.keys()
    inheritable = set(sets.get("inheritable") or ()) & CAPABILITIES.keys()
    for index, name in enumerate(sets.get("effective") or ()):
        if name in CAPABILITIES and name not in permitted:
            report.warn(f"{at}/effective/{index}", f"{name} is not in permitted: it has no effect")
    for index, name in enumerate(sets.get("ambient") or ()):
        if name in CAPABILITIES and name not in permitted & inheritable:
            text = f"{name} is not both in permitted and inheritable: it has no effect"
            report.warn(f"{at}/ambient/{index}", text)


def _limits(limits: list[dict[str, Any]], at: str, report: Report) -> None:
    seen = set()
    for index, limit in enumerate(limits):
        name = limit["type"]
        if name not in RLIMITS:
            known = ", ".join(sorted(RLIMITS))
            report.wrong(f"{at}/{index}/type", f"{name} is no limit", hint=f"one of {known}")
        if name in seen:
            report.wrong(f"{at}/{index}/type", f"{name} is given twice")
        seen.add(name)
        if limit["soft"] > limit["hard"]:
            text = f"the soft limit {limit['soft']} is over the hard limit {limit['hard']}"
            report.wrong(f"{at}/{index}/soft", text)


def _scheduling(process: dict[str, Any], base: str, report: Report) -> None:
    scheduler = process.get("scheduler")
    if scheduler:
        _scheduler(scheduler, f"{base}/scheduler", report)
    priority = process.get("ioPriority") or {}
    if priority:
        at = f"{base}/ioPriority"
        if priority.get("class") not in IOPRIO_CLASSES:
            report.wrong(f"{at}/class", f"{priority.get('class')!r} is no class")
        if not 0 <= priority.get("priority", 0) <= 7:
            report.wrong(f"{at}/priority", f"{priority['priority']} is not between 0 and 7")
    affinity = process.get("execCPUAffinity") or {}
    for key in ("initial", "final"):
        if key in affinity and not _is_cpu_list(affinity[key]):
            at = f"{base}/execCPUAffinity/{key}"
            report.wrong(at, f"{affinity[key]!r} is no list of CPUs", hint='such as "0-3,7"')


def _scheduler(scheduler: dict[str, Any], at: str, report: Report) -> None:
    policy = scheduler.get("policy")
    if policy not in SCHED_POLICIES:
        report.wrong(f"{at}/policy", f"{policy!r} is no policy")
    for index, flag in enumerate(scheduler.get("flags") or []):
        if flag not in SCHED_FLAGS:
            report.wrong(f"{at}/flags/{index}", f"{flag!r} is no flag")
    if not -20 <= scheduler.get("nice", 0) <= 19:
        report.wrong(f"{at}/nice", f"{scheduler['nice']} is not between -20 and 19")
    if scheduler.get("priority") and policy not in _REALTIME:
        report.wrong(f"{at}/priority", f"only {' and '.join(_REALTIME)} have one")
    for key in ("runtime", "deadline", "period"):
        if scheduler.get(key) and policy != "SCHED_DEADLINE":
            report.wrong(f"{at}/{key}", "only SCHED_DEADLINE has one")


def _is_cpu_list(text: str) -> bool:
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            return False
        if int(last or first) < int(first) or int(last or first) > 8191:
            return False
    return True
