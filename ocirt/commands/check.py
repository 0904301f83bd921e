"""ocirt check: everything that is wrong with a bundle, at once and without root."""

from __future__ import annotations

import os
import stat

from ocirt.commands.output import put, put_json
from ocirt.config.load import examine, read
from ocirt.config.unknown import unknown_fields
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options

_NAMES_SHOWN = 10


def run(options: Options) -> int:
    """Prints every problem and warning; 1 if there is a problem."""
    bundle = os.path.abspath(options.arguments[0] if options.arguments else ".")
    problems, warnings = find(bundle)
    if options.format == "json":
        put_json({"problems": _rows(problems), "warnings": _rows(warnings)})
    else:
        put(_text("error", problems) + _text("warning", warnings))
        if not problems:
            put(f"{_line(bundle)}: valid\n")
    return 1 if problems else 0


def find(bundle: str) -> tuple[list[OcirtError], list[OcirtError]]:
    """(problems, warnings) of the bundle in an absolute folder. Raises OcirtError if it has
    no config.json that can be read."""
    document, problems, warnings = examine(read(bundle))
    warnings += unknown_fields(document)
    if not problems:
        problems += _plan(document, bundle)
        _seccomp(document, problems, warnings)
    problems += _root(document, bundle)
    return problems, warnings


def _root(document: dict[str, Any], bundle: str) -> list[OcirtError]:
    root = document.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    if not path or not isinstance(path, str):
        return []  # that is among the problems already
    path = os.path.join(bundle, path)
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return []
        text = f"{path}: not a directory"
    except OSError as error:
        text = f"{path}: {(error.strerror or '').lower()}"
    except ValueError:  # NUL, half a surrogate pair: found by the rules
        return []
    return [OcirtError(text, at="/root/path")]


def _plan(document: dict[str, Any], bundle: str) -> list[OcirtError]:
    """What only the compiler sees. It ends at the first problem."""
    from ocirt.cgroup.device_rules import normalise
    from ocirt.plan.container import Request, compile_create

    resources = (document.get("linux") or {}).get("resources") or {}
    try:
        normalise(resources.get("devices") or [])
        compile_create(Request(document, bundle, list))
    except OcirtError as error:
        return [error]
    return []


def _seccomp(
    document: dict[str, Any], problems: list[OcirtError], warnings: list[OcirtError]
) -> None:
    """What this libseccomp can't do, and the names that it does not know."""
    profile = (document.get("linux") or {}).get("seccomp")
    if not profile:
        return
    from ocirt.seccomp.compile import compile_profile, unknown_names
    from ocirt.seccomp.library import Library

    try:
        library = Library()
    except OcirtError as error:
        warnings.append(error)  # the bundle may be for another host
        return
    try:
        compile_profile(profile, library)
    except OcirtError as error:
        problems.append(error)
    names = unknown_names(profile, library)
    if names:
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        count = f"{len(names)} name" + ("s" if len(names) > 1 else "")
        text = f"{count} of no system call that libseccomp {library.version} knows, ignored: "
        warnings.append(OcirtError(text + shown, at="/linux/seccomp/syscalls"))


def _rows(found: list[OcirtError]) -> list[dict[str, str]]:
    return [{"at": each.at or "", "message": each.message, "hint": each.hint} for each in found]


def _text(kind: str, found: list[OcirtError]) -> str:
    lines = ""
    for each in found:
        lines += f"{kind}: {_line(str(each))}\n"
        if each.hint:
            lines += f"  hint: {_line(each.hint)}\n"
    return lines


def _line(text: str) -> str:
    """The document's own words, harmless to a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
