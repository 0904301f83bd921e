"""What the schema can't say about process (config.md, "Process").

The same rules for config.json and for the document of exec --process. Where the specification
is silent they are runc's, and the kernel's own: a value that it refuses is better refused here.
"""

from __future__ import annotations

from ocirt.config.names import CAPABILITIES, RLIMITS
from ocirt.config.report import Report, absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.errors import OcirtError

# 2^31 and above have been taken for other users than the one meant (CVE-2024-40635).
ID_MAX = (1 << 31) - 1
# runc's limit for the numbers in a list of CPUs: no kernel has so many.
_CPU_MAX = 1 << 16
_DEADLINE = ("runtime", "deadline", "period")


def check(
    process: dict[str, Any], base: str, problems: list[OcirtError], warnings: list[OcirtError]
) -> None:
    """Adds what is wrong, and what is passed over, to what the schema has found.

    ``base``: JSON pointer of the process object.
    """
    Report(problems, warnings).apply(_RULES, process, base)


def _program(process: dict[str, Any], base: str, report: Report) -> None:
    args = process.get("args")
    if args is None:
        report.wrong(f"{base}/args", "is required", hint='such as ["sh"]')
    elif not args:
        report.wrong(f"{base}/args", "must name a program")
    elif not args[0]:
        report.wrong(f"{base}/args/0", "must name a program, it is empty")


def _windows(process: dict[str, Any], base: str, report: Report) -> None:
    if "commandLine" in process:
        report.warn(f"{base}/commandLine", "is for Windows, ignored")
    if "username" in (process.get("user") or {}):
        report.warn(f"{base}/user/username", "is for Windows, ignored", hint="give uid and gid")


def _environment(process: dict[str, Any], base: str, report: Report) -> None:
    check_environment(process.get("env") or [], f"{base}/env", report)


def check_environment(entries: list[str], at: str, report: Report) -> None:
    """Entries without a name or without "=" are refused, as runc does. None of them is shown:
    it may be a secret."""
    for index, entry in enumerate(entries):
        if "=" not in entry[1:]:
            report.wrong(f"{at}/{index}", "must be NAME=VALUE")


def _cwd(process: dict[str, Any], base: str, report: Report) -> None:
    absolute(report, f"{base}/cwd", process["cwd"])


def _console(process: dict[str, Any], base: str, report: Report) -> None:
    if not process.get("terminal"):
        return  # config.md: consoleSize must be ignored then
    for name in ("height", "width"):
        if (process.get("consoleSize") or {}).get(name, 0) > 0xFFFF:
            report.wrong(f"{base}/consoleSize/{name}", "must be at most 65535")


def _user(process: dict[str, Any], base: str, report: Report) -> None:
    user = process.get("user") or {}
    for name in ("uid", "gid"):
        _id(report, f"{base}/user/{name}", user.get(name, 0))
    for index, gid in enumerate(user.get("additionalGids") or []):
        _id(report, f"{base}/user/additionalGids/{index}", gid)
    if user.get("umask", 0) > 0o777:
        text = f"must be at most 511 (octal 777), not {user['umask']}"
        report.wrong(f"{base}/user/umask", text, hint="JSON has no octal numbers")


def _id(report: Report, at: str, value: int) -> None:
    if value > ID_MAX:
        report.wrong(at, f"must be at most {ID_MAX}, not {value}")


def _capabilities(process: dict[str, Any], base: str, report: Report) -> None:
    """Names that cannot be granted must not stop a container, but are said (config.md)."""
    sets = process.get("capabilities") or {}
    permitted = set(sets.get("permitted") or ())
    both = permitted & set(sets.get("inheritable") or ())
    for kind in ("bounding", "permitted", "effective", "inheritable", "ambient"):
        for index, name in enumerate(sets.get(kind) or ()):
            at = f"{base}/capabilities/{kind}/{index}"
            if name not in CAPABILITIES:
                _unknown_capability(name, at, report)
            elif kind == "effective" and name not in permitted:
                report.warn(at, f"{name} is not in permitted, ignored")
            elif kind == "ambient" and name not in both:
                why = "it is not in both permitted and inheritable"
                report.warn(at, f"can't raise ambient capability {name}: {why}")


def _unknown_capability(name: str, at: str, report: Report) -> None:
    from ocirt.config.schema import shown
    from ocirt.config.words import did_you_mean

    full = name if name.upper().startswith("CAP_") else f"CAP_{name}"
    report.warn(at, f"unknown capability {shown(name)}, ignored", did_you_mean(full, CAPABILITIES))


def _limits(process: dict[str, Any], base: str, report: Report) -> None:
    seen = set()
    for index, limit in enumerate(process.get("rlimits") or []):
        at, name = f"{base}/rlimits/{index}", limit["type"]
        if name not in RLIMITS:
            from ocirt.config.words import did_you_mean

            report.wrong(f"{at}/type", f"unknown limit {name}", did_you_mean(name, RLIMITS))
        if name in seen:
            report.wrong(f"{at}/type", f"{name} is given twice")
        seen.add(name)
        if limit["soft"] > limit["hard"]:
            text = f"the soft limit {limit['soft']} is over the hard limit {limit['hard']}"
            report.wrong(f"{at}/soft", text)


def _oom_score(process: dict[str, Any], base: str, report: Report) -> None:
    score = process.get("oomScoreAdj", 0)
    if not -1000 <= score <= 1000:
        report.wrong(f"{base}/oomScoreAdj", f"must be from -1000 to 1000, not {score}")


def _scheduler(process: dict[str, Any], base: str, report: Report) -> None:
    """sched_setattr(2), sched(7)."""
    scheduler, at = process.get("scheduler"), f"{base}/scheduler"
    if not scheduler:
        return
    policy, priority = scheduler["policy"], scheduler.get("priority", 0)
    if policy == "SCHED_ISO":
        report.wrong(f"{at}/policy", "no Linux kernel has SCHED_ISO")
    if not -20 <= scheduler.get("nice", 0) <= 19:
        report.wrong(f"{at}/nice", f"must be from -20 to 19, not {scheduler['nice']}")
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            report.wrong(f"{at}/priority", f"must be from 1 to 99 for {policy}, not {priority}")
    elif priority:
        report.wrong(f"{at}/priority", f"is for SCHED_FIFO and SCHED_RR, not for {policy}")
    if policy == "SCHED_DEADLINE":
        _deadline(scheduler, at, report)
    else:
        for name in _DEADLINE:
            if scheduler.get(name):
                report.wrong(f"{at}/{name}", f"is for SCHED_DEADLINE, not for {policy}")


def _deadline(scheduler: dict[str, Any], at: str, report: Report) -> None:
    runtime, deadline, period = (scheduler.get(name, 0) for name in _DEADLINE)
    for name in _DEADLINE:
        value = scheduler.get(name, 0)
        if not (1024 <= value < 1 << 63) and (value or name != "period"):
            report.wrong(f"{at}/{name}", f"must be from 1024 ns to 2^63 - 1, not {value}")
    if runtime > deadline:
        report.wrong(f"{at}/runtime", f"must be at most the deadline, {deadline}, not {runtime}")
    if period and deadline > period:
        report.wrong(f"{at}/deadline", f"must be at most the period, {period}, not {deadline}")


def _io_priority(process: dict[str, Any], base: str, report: Report) -> None:
    priority = (process.get("ioPriority") or {}).get("priority", 0)
    if not 0 <= priority <= 7:
        report.wrong(f"{base}/ioPriority/priority", f"must be from 0 to 7, not {priority}")


def _affinity(process: dict[str, Any], base: str, report: Report) -> None:
    for name, text in (process.get("execCPUAffinity") or {}).items():
        if name in ("initial", "final") and text and not is_cpu_list(text):
            from ocirt.config.schema import shown

            at = f"{base}/execCPUAffinity/{name}"
            report.wrong(at, f"{shown(text)} is no list of CPUs", hint='such as "0-3,7"')


def is_cpu_list(text: str) -> bool:
    """ "0-3,7", as runc reads it: spaces and empty parts do no harm, no number at all does."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        first, dash, last = part.partition("-")
        if not (first.isdigit() and len(first) < 6 and (last.isdigit() or not dash)):
            return False
        if not int(first) <= int(last[:6] or first) <= _CPU_MAX:
            return False
    return bool(parts)


def cpu_list(text: str) -> set[int]:
    """The numbers of a list such as "0-3,7" (cpuset(7), "List format")."""
    found: set[int] = set()
    for part in filter(None, "".join(text.split()).split(",")):
        first, _dash, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


_RULES = (
    (("args",), _program),
    (("env",), _environment),
    (("cwd",), _cwd),
    (("terminal", "consoleSize"), _console),
    (("user",), _user),
    (("capabilities",), _capabilities),
    (("rlimits",), _limits),
    (("oomScoreAdj",), _oom_score),
    (("scheduler",), _scheduler),
    (("ioPriority",), _io_priority),
    (("execCPUAffinity",), _affinity),
    (("commandLine", "user"), _windows),
)
