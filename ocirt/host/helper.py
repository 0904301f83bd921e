"""The child that the launcher started (csrc/launcher_cgroup.c): it must not become our caller's."""

from __future__ import annotations

import os
import sys

_pids = [int(sys._xoptions.get("helper") or 0)]


def reap_helper() -> None:
    """Waits for its end, which is no later than that of a create, and forgets it."""
    pid, _pids[0] = _pids[0], 0
    if pid:
        try:
            os.waitpid(pid, 0)
        except OSError:
            pass  # nobody's loss
