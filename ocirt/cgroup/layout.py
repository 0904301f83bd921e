"""Which cgroup hierarchies this host has, where they are mounted, and where we are in them.

cgroups(7): on a v2 host there is one; on v1 each controller or group of them has its own; a
hybrid host has those and a v2 hierarchy (without controllers) beside them.
"""

from __future__ import annotations

import posixpath

from ocirt.host.mountinfo import Mount, mounts

_OPTIONS_THAT_ARE_NO_CONTROLLERS = frozenset(
    ("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods")
)


class Hierarchy:
    """``name``: of its folder under /sys/fs/cgroup ("" on a pure v2 host); ``controllers``:
    v1 mount options that select it, for instance ["cpu", "cpuacct"] or ["none", "name=systemd"];
    ``v2``; ``point``: where it is mounted; ``root``: the cgroup that is mounted there;
    ``own``: the cgroup of this process."""

    __slots__ = ("controllers", "name", "own", "point", "root", "v2")

    def __init__(
        self, name: str, controllers: list[str], v2: bool, point: str, root: str, own: str
    ) -> None:
        self.name = name
        self.controllers = controllers
        self.v2 = v2
        self.point = point
        self.root = root
        self.own = own

    def folder(self, cgroup: str) -> str:
        """The path of a cgroup in the file system."""
        if self.root != "/" and (cgroup + "/").startswith(self.root + "/"):
            cgroup = cgroup[len(self.root) :]
        return posixpath.join(self.point, cgroup.lstrip("/")).rstrip("/")


class Layout:
    """``hierarchies``: every one that is mounted."""

    __slots__ = ("hierarchies",)

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self.hierarchies = hierarchies

    @property
    def pure_v2(self) -> bool:
        """One hierarchy, of version 2."""
        return [h.v2 for h in self.hierarchies] == [True]


def detect() -> Layout:
    """The layout that this process sees. Raises OSError."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return parse(mounts(), file.read())


def parse(mounted: list[Mount], own: str) -> Layout:
    """From the mounts and the text of /proc/self/cgroup."""
    places = {}
    for line in own.splitlines():
        _number, controllers, path = line.split(":", 2)
        places[frozenset(controllers.split(",")) - {""}] = path
    found: list[Hierarchy] = []
    seen: set[frozenset[str]] = set()
    for mount in mounted:
        if mount.fs_type == "cgroup2":
            key: frozenset[str] = frozenset()
        elif mount.fs_type == "cgroup":
            options = mount.options.split(",")
            names = [o for o in options if o not in _OPTIONS_THAT_ARE_NO_CONTROLLERS]
            key = frozenset(n for n in names if "=" not in n or n.startswith("name="))
        else:
            continue
        if key in seen or key not in places:
            continue
        seen.add(key)
        selected = sorted(key)
        if any(name.startswith("name=") for name in selected):
            selected.insert(0, "none")
        v2 = not key
        name = "" if v2 and mount.point == "/sys/fs/cgroup" else posixpath.basename(mount.point)
        if selected and selected[0] != "none" and set(name.split(",")) != key:
            name = ",".join(selected)  # what folder_of() and programs in a container look for
        found.append(Hierarchy(name, selected, v2, mount.point, mount.root, places[key]))
    return Layout(found)
