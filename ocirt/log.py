"""--log and --log-format, --debug, and what goes to stderr (CONTRACT.md rows 31 to 33).

A line of the file is written by one write(2) on an O_APPEND descriptor, so that two
processes never mix their lines.
"""

from __future__ import annotations

import os
import sys
import time

from ocirt.errors import ConfigError, OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_settings: dict[str, Any] = {"fd": -1, "json": False, "debug": False}


def configure(path: str, json: bool, debug: bool) -> None:
    """Opens the log file ("" is none). Raises OcirtError."""
    _settings.update(json=json, debug=debug)
    if not path:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        _settings["fd"] = os.open(path, flags, 0o644)
    except OSError as error:
        raise OcirtError(f"open the log file {path}: {error.strerror}") from None


def debugging() -> bool:
    """Was --debug given?"""
    return bool(_settings["debug"])


def error(problem: OcirtError) -> None:
    """One line in the log; every problem and its hint on stderr."""
    problems = problem.problems if isinstance(problem, ConfigError) else [problem]
    more = f" (and {len(problems) - 1} more: see ocirt check)" if len(problems) > 1 else ""
    _to_file("error", f"{problems[0]}{more}")
    for each in problems:
        _to_stderr(f"ocirt: {each}")
        if each.hint:
            _to_stderr(f"ocirt:   hint: {each.hint}")


def warning(text: str) -> None:
    """What was passed over. Goes to the log; to stderr only where there is no log."""
    if _settings["fd"] >= 0:
        _to_file("warning", text)
    else:
        _to_stderr(f"ocirt: warning: {text}")


def debug(text: str) -> None:
    """What is being done, if --debug was given."""
    if debugging():
        if _settings["fd"] >= 0:
            _to_file("debug", text)
        else:
            _to_stderr(f"ocirt: debug: {text}")


def _to_stderr(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(_one_line(text) + "\n")
            sys.stderr.flush()
    except OSError:
        pass  # nobody listens


def _to_file(level: str, text: str) -> None:
    if _settings["fd"] < 0:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _settings["json"]:
        from ocirt.json_text import dumps

        line = dumps({"level": level, "msg": text, "time": now})
    else:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        line = f'time="{now}" level={level} msg="{_one_line(quoted)}"'
    try:
        os.write(_settings["fd"], line.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass  # a full disk must not stop a container


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")
