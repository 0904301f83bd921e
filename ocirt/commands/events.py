"""``events [--stats] [--interval DURATION] ID`` (CONTRACT.md row 23)."""

from __future__ import annotations

import re

from ocirt.commands.output import put
from ocirt.errors import UsageError
from ocirt.json_text import dumps
from ocirt.runtime.events import events
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def run(options: Options) -> int:
    """One JSON document a line, each as soon as it is known."""
    seconds = duration(options.interval or "5s")
    container = Store(options.globals.root).open(options.id)
    for event in events(container, container.read_state(), seconds, options.stats):
        failed = put(dumps(event) + "\n")
        if failed:
            return failed
    return 0


def duration(text: str) -> float:
    """Seconds of ``5s``, ``1m30s``, ``.5h``, as Go writes durations. Raises UsageError."""
    parts = _PART.findall(text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        hint = "a number above 0 and its unit: 500ms, 5s, 1m30s"
        raise UsageError(f"invalid value {text!r} for flag --interval: not a duration", hint=hint)
    return seconds
