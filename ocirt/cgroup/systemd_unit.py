"""The systemd unit of a container: its name, its slice, and what it is like from the start.

Nothing here calls anything; systemd_bus.py does. Names and properties are those of runc's systemd
driver (its docs/systemd.md), so that engines find the cgroup where they look for it.
systemd.slice(5), systemd.scope(5) and org.freedesktop.systemd1(5) tell what they mean; limits are
in systemd_properties.py.
"""

from __future__ import annotations

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Property = tuple[str, str, Any]  # name, D-Bus type, value

_AT = "/linux/cgroupsPath"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_NAME_MAX = 255  # UNIT_NAME_MAX


class Unit:
    """``name``: of the unit, with its suffix; ``slice``: the name of the slice that it is in."""

    __slots__ = ("name", "slice")

    def __init__(self, name: str, slice: str) -> None:
        self.name = name
        self.slice = slice

    @property
    def is_slice(self) -> bool:
        """Then it can't be given processes: they have to be moved into its cgroup."""
        return self.name.endswith(".slice")

    def cgroup(self, manager: str = "/") -> str:
        """Its cgroup, the same in every hierarchy, v2's and v1's, from the root.

        ``manager``: the cgroup of a user's manager, below which its units are
        (``Bus.control_group()``).
        """
        path = expand(self.name if self.is_slice else self.slice)
        if not self.is_slice:
            path = f"{path.rstrip('/')}/{self.name}"
        return manager.rstrip("/") + path


def parse(cgroups_path: str, id: str, rootless: bool, prefix: str = "ocirt") -> Unit:
    """The unit of linux.cgroupsPath, "slice:prefix:name", or of none: ":PREFIX:ID".

    An empty slice is the system's or the user's. Raises OcirtError.
    """
    parts = (cgroups_path or f":{prefix}:{id}").split(":")
    if len(parts) != 3:
        text = f'{cgroups_path!r} is not "slice:prefix:name", as the systemd driver needs it'
        raise OcirtError(text, at=_AT, hint="give --cgroup-manager cgroupfs, if it is a path")
    slice, prefix, name = parts
    slice = slice or ("user.slice" if rootless else "system.slice")
    expand(slice)
    if not name.endswith(".slice"):
        name = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
        if name == ".scope" or len(name) > _NAME_MAX or not _LETTERS.issuperset(name):
            raise OcirtError(f"{name!r} is no name of a systemd unit", at=_AT)
    elif expand(name) == "/":
        raise OcirtError(f"{name} is the root of the hierarchy", at=_AT)
    return Unit(name, slice)


def expand(slice: str) -> str:
    """The cgroup of a slice: "a-b.slice" is "/a.slice/a-b.slice", "-.slice" is "/".

    Raises OcirtError for what is no slice's name.
    """
    stem, dot, suffix = slice.rpartition(".")
    if (dot, suffix) == (".", "slice") and stem == "-":
        return "/"
    parts = stem.split("-")
    good = "" not in parts and len(slice) <= _NAME_MAX and _LETTERS.issuperset(stem)
    if (dot, suffix) != (".", "slice") or not good:
        raise OcirtError(f"{slice!r} is no name of a systemd slice", at=_AT)
    names = ("-".join(parts[: i + 1]) for i in range(len(parts)))
    return "".join(f"/{name}.slice" for name in names)


def start_properties(unit: Unit, pids: Sequence[int], v2: bool) -> list[Property]:
    """What StartTransientUnit is told of every container."""
    found: list[Property] = [("Description", "s", f"ocirt container {unit.name}")]
    if unit.is_slice:
        found.append(("Wants", "as", [unit.slice]))
    else:
        found += [("Slice", "s", unit.slice), ("Delegate", "b", True), ("PIDs", "au", list(pids))]
    # All of them: a controller that is enabled later has missed what was before.
    for name in ("Memory", "CPU", "IO" if v2 else "BlockIO", "Tasks"):
        found.append((f"{name}Accounting", "b", True))
    found.append(("DefaultDependencies", "b", False))
    # Nothing is left of one that fails, for instance because its create was killed meanwhile.
    found.append(("CollectMode", "s", "inactive-or-failed"))
    return found
