"""--log and --log-format, --debug, and what goes to stderr (CONTRACT.md rows 31 to 33).

A line of the file is written by one write(2) on an O_APPEND descriptor, so that two
processes never mix their lines.

Podman takes the whole file of a failed create for one JSON document, so it must be one line:
warnings wait until ``flush``, and go to stderr only where an error comes instead.
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
_waiting: list[str] = []


def configure(path: str, json: bool, debug: bool) -> None:
    """Opens the log file ("" is none). Raises OcirtError."""
    _settings.update(fd=-1, json=json, debug=debug)
    _waiting.clear()
    if not path:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        _settings["fd"] = os.open(path, flags, 0o644)
    except OSError as error:
        text = f"open the log file {path}: {error.strerror}"
        raise OcirtError(text, errno=error.errno or 0) from None


def debugging() -> bool:
    """Was --debug given?"""
    return bool(_settings["debug"])


def error(problem: OcirtError) -> None:
    """One line in the log; every problem and its hint on stderr."""
    problems = problem.problems if isinstance(problem, ConfigError) else [problem]
    more = f" (and {len(problems) - 1} more: see ocirt check)" if len(problems) > 1 else ""
    _to_file("error", f"{problems[0]}{more}")
    lines = [f"warning: {text}" for text in _waiting]
    _waiting.clear()
    for each in problems:
        lines.append(str(each))
        if each.hint:
            lines.append(f"  hint: {each.hint}")
    _to_stderr(lines)


def warning(text: str) -> None:
    """What was passed over. Goes to the log (see ``flush``), or to stderr if there is none."""
    if _settings["fd"] >= 0:
        _waiting.append(text)
    else:
        _to_stderr([f"warning: {text}"])


def flush() -> None:
    """The verb, or the part of it that callers wait for, succeeded: warnings go to the log."""
    for text in _waiting:
        _to_file("warning", text)
    _waiting.clear()


def debug(text: str) -> None:
    """What is being done, if --debug was given."""
    if debugging():
        if _settings["fd"] >= 0:
            _to_file("debug", text)
        else:
            _to_stderr([f"debug: {text}"])


def _to_stderr(lines: list[str]) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write("".join(f"ocirt: {_one_line(line)}\n" for line in lines))
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
        os.write(_settings["fd"], line.encode() + b"\n")
    except OSError:
        pass  # a full disk must not stop a container


def _one_line(text: str) -> str:
    """Text from a config.json or the kernel can hold anything, terminal controls too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
