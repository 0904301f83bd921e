"""The text of resctrl's ``schemata`` files (resctrl.rst, "Schemata files - general concepts").

A line is ``RESOURCE:DOMAIN=VALUE;DOMAIN=VALUE``. The values of a cache are masks in hexadecimal,
those of a bandwidth (MB, SMBA) decimal numbers, which the kernel rounds up to its next step.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def parse(text: str) -> dict[str, dict[str, str]]:
    """{resource: {domain: value}} of some lines; a later one counts."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        name, colon, values = line.partition(":")
        if colon:
            domains = found.setdefault(name.strip(), {})
            for part in filter(None, values.split(";")):
                domain, _equals, value = part.partition("=")
                domains[_domain(domain.strip())] = value.strip()
    return found


def differs(line: str, present: str, step_of: Callable[[str], int]) -> bool:
    """Would writing ``line`` change the file with the text ``present``?

    ``step_of``: by which steps the bandwidth of that resource goes, 0 for a cache. Domains that
    the line doesn't name stay as they are.
    """
    there = parse(present)
    for name, wanted in parse(line).items():
        step, domains = step_of(name), there.get(name, {})
        for domain, value in wanted.items():
            if not _same(value, domains.get(domain, ""), step):
                return True
    return False


def _domain(text: str) -> str:
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _same(wanted: str, present: str, step: int) -> bool:
    if wanted == present:
        return True
    try:
        if step:
            asked, has = int(wanted), int(present)
            # Not rounded where the unit is MBps (mount option mba_MBps).
            return has in (asked, -(-asked // step) * step)
        return int(wanted, 16) == int(present, 16)
    except ValueError:
        return False
