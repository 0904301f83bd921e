"""Supplementary groups of a process: those of the config, or what can't be left."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocirt.plan.program import Plan

SET, TRY, KEEP = range(3)


def rule(keep: bool, rootless: bool) -> int:
    """``keep``: an annotation asks for the groups of ocirt's caller; ``rootless``: ocirt lacks the
    rights of the host's root, and may be where nobody may change groups (user_namespaces(7))."""
    return KEEP if keep else TRY if rootless else SET


def set_groups(plan: Plan, gids: Sequence[int], rule: int, at: str, note: str) -> None:
    """The process has these and no others. TRY: who wants none has to live with those that can't be
    left."""
    if rule == KEEP:
        return
    skip = (errno.EPERM,) if rule == TRY and not gids else ()
    data = b"".join(gid.to_bytes(4, "little") for gid in gids)
    plan.add("GROUPS", data, at=at, note=note, skip=skip)
