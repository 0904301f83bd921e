"""RESULTS.md: one section for each suite, which that suite's command `table` makes anew."""

from __future__ import annotations

from pathlib import Path


def replace_section(path: str, title: str, text: str) -> None:
    """Puts ``text`` under the heading ``title`` of the file ``path``, in the place of what is there
    or at the end."""
    file = Path(path)
    parts = ("\n" + file.read_text() if file.exists() else "").split("\n# ")
    sections = dict(part.split("\n", 1) for part in parts if part.strip())
    sections[title] = f"\n{text.strip()}\n"
    file.write_text("\n".join(f"# {name}\n{body}" for name, body in sections.items()))


def row(*cells: object) -> str:
    """Of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def rule(columns: int) -> str:
    """The line under a table's head."""
    return row(*["---"] * columns)
