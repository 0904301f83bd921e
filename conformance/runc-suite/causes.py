"""The file `causes`: why tests of runc's suite fail."""

from __future__ import annotations

from pathlib import Path

# FILE: TEST, with a * at the end for any ending; (kind, reason)
Causes = list[tuple[str, tuple[str, str]]]


def read_causes(uml: bool) -> Causes:
    """``uml``: with those of User Mode Linux."""
    found = []
    kind = reason = ""
    for line in (Path(__file__).parent / "causes").read_text().splitlines():
        if line.startswith("["):
            kind, _, reason = line.strip("[]").partition(": ")
        elif line and not line.startswith("#") and (kind != "uml" or uml):
            found.append((line, (kind, reason)))
    return found


def cause_of(causes: Causes, file: str, test: str) -> tuple[str, str] | None:
    """(kind, reason), or None."""
    for name, cause in causes:
        text = f"{file}: {test}"
        if text == name or (name.endswith("*") and text.startswith(name[:-1])):
            return cause
    return None
