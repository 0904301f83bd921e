"""What the schema can't say about linux.seccomp (config-linux.md, "Seccomp"; seccomp(2)).

What this kernel or this libseccomp lacks is said when the filter is compiled.
"""

from __future__ import annotations

from ocirt.config.report import Report, absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOTIFY = "SCMP_ACT_NOTIFY"
# The greatest number that goes with an action: of libseccomp, the kernel has one errno more.
_NUMBERS = {"SCMP_ACT_ERRNO": 4094, "SCMP_ACT_TRACE": 0xFFFF}
_ARGUMENTS = 6  # of a system call
_MASKED = "SCMP_CMP_MASKED_EQ"


def check(settings: dict[str, Any], at: str, report: Report) -> None:
    """Adds what is wrong with linux.seccomp, whose pointer is ``at``."""
    _default(settings, at, report)
    rules = settings.get("syscalls") or []
    for index, rule in enumerate(rules):
        here = f"{at}/syscalls/{index}"
        _number(rule["action"], rule, "errnoRet", here, report)
        _names(rule, here, report)
        for position, argument in enumerate(rule.get("args") or []):
            _argument(argument, f"{here}/args/{position}", report)
    _listener(settings, any(rule["action"] == _NOTIFY for rule in rules), at, report)


def _default(settings: dict[str, Any], at: str, report: Report) -> None:
    if settings["defaultAction"] == _NOTIFY:
        text = f"{_NOTIFY} can't be the default: the agent would have to start the container"
        report.wrong(f"{at}/defaultAction", text)
    _number(settings["defaultAction"], settings, "defaultErrnoRet", at, report)


def _number(action: str, value: dict[str, Any], key: str, at: str, report: Report) -> None:
    number = value.get(key)
    if number is None:
        return
    greatest = _NUMBERS.get(action)
    if greatest is None:
        report.wrong(f"{at}/{key}", f"is for {' and '.join(_NUMBERS)}, not for {action}")
    elif number > greatest:
        report.wrong(f"{at}/{key}", f"must be at most {greatest}, not {number}")


def _names(rule: dict[str, Any], at: str, report: Report) -> None:
    for index, name in enumerate(rule["names"]):
        if not name:
            report.wrong(f"{at}/names/{index}", "must not be empty")
        elif name == "write" and rule["action"] == _NOTIFY:
            text = f"{_NOTIFY} cannot be used for the write syscall: it tells that the container is ready"
            report.wrong(f"{at}/names/{index}", text)


def _argument(argument: dict[str, Any], at: str, report: Report) -> None:
    if argument["index"] >= _ARGUMENTS:
        text = f"must be from 0 to {_ARGUMENTS - 1}, not {argument['index']}"
        report.wrong(f"{at}/index", text)
    elif argument.get("valueTwo") and argument["op"] != _MASKED:
        report.warn(f"{at}/valueTwo", f"is for {_MASKED} alone, ignored")


def _listener(settings: dict[str, Any], notifies: bool, at: str, report: Report) -> None:
    path = settings.get("listenerPath")
    if path:
        absolute(report, f"{at}/listenerPath", path)
    elif notifies:
        text = f"is required: a rule has {_NOTIFY}"
        report.wrong(f"{at}/listenerPath", text, hint="the socket of the agent that decides")
    if settings.get("listenerMetadata") and not path:
        report.wrong(f"{at}/listenerMetadata", "must not be set without listenerPath")
