"""The child that the launcher started (csrc/launcher_cgroup.c): it must not become our caller's."""

from __future__ import annotations

import os
import sys

_pids = [int(sys._xoptions.get("helper") or 0)]


def reap_helper() -> None:
    """Ends it, and forgets it: its work is done when a process has been moved."""
    pid, _pids[0] = _pids[0], 0
    if pid:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:  # it runs, and is a child of ours
                os.kill(pid, 9)
                os.waitpid(pid, 0)
        except OSError:
            pass  # nobody's loss
