"""ocirt check"""

from __future__ import annotations

import os

from ocirt.config.load import examine, read
from ocirt.config.unknown import unknown_fields
from ocirt.errors import OcirtError
from ocirt.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options


def run(options: Options) -> int:
    """Prints every problem and warning; 1 if there is a problem."""
    bundle = os.path.abspath(options.arguments[0] if options.arguments else ".")
    document, problems, warnings = examine(read(bundle))
    if document:
        warnings = warnings + unknown_fields(document)
        _root(document, bundle, problems)
    if options.format == "json":
        print(dumps({"problems": _rows(problems), "warnings": _rows(warnings)}, 2))
    else:
        for kind, found in (("error", problems), ("warning", warnings)):
            for each in found:
                print(f"{kind}: {each}")
                if each.hint:
                    print(f"  hint: {each.hint}")
        if not problems:
            print(f"{bundle}: valid")
    return 1 if problems else 0


def _rows(found: list[OcirtError]) -> list[dict[str, Any]]:
    return [{"at": each.at, "message": each.message, "hint": each.hint} for each in found]


def _root(document: dict[str, Any], bundle: str, problems: list[OcirtError]) -> None:
    root = document.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    if isinstance(path, str) and path and not os.path.isdir(os.path.join(bundle, path)):
        problems.append(OcirtError(f"{path} is no folder", at="/root/path"))
