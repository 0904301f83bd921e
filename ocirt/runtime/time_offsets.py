"""linux.timeOffsets: the clocks of a time namespace that nothing is in yet."""

from __future__ import annotations

import os

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_time_offsets(pid: int, offsets: dict[str, Any]) -> None:
    """Of the namespace that children of ``pid`` will be in (time_namespaces(7)). Raises
    OcirtError."""
    lines = [f"{c} {o.get('secs') or 0} {o.get('nanosecs') or 0}" for c, o in offsets.items()]
    fd = os.open(f"/proc/{pid}/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, "\n".join(lines).encode())
    except OSError as error:
        text = f"offsets of the time namespace: {error.strerror}"
        raise OcirtError(text, at="/linux/timeOffsets", errno=error.errno or 0) from None
    finally:
        os.close(fd)
