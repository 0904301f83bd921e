"""Control groups: where they are, making and removing them, their limits and figures."""

from __future__ import annotations


def folder_of(folders: dict[str, str], controller: str) -> str:
    """Of ``Manager.folders``, the one of a v1 controller; "" if there is none.

    A hierarchy of several controllers is called by all of them, for instance cpu,cpuacct.
    """
    return next((f for name, f in folders.items() if controller in name.split(",")), "")
