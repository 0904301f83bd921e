"""What a mount of type "cgroup" is made of on this host (config.md, "Mounts").

v2: the hierarchy itself. v1: a tmpfs with a folder for each hierarchy, and links for
controllers that share one (cpu -> cpu,cpuacct).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroup.layout import Layout
    from ocirt.cgroup.manager import Manager


class CgroupMount:
    """One mount. ``folder``: below the destination, "" for the destination itself;
    ``kind``: tmpfs, cgroup, cgroup2, or bind (of host folder ``source``);
    ``options``: for the file system; ``links``: [(name, target)] to make in it."""

    __slots__ = ("folder", "kind", "links", "options", "source")

    def __init__(self, folder: str, kind: str, source: str, options: list[str]) -> None:
        self.folder = folder
        self.kind = kind
        self.source = source
        self.options = options
        self.links: list[tuple[str, str]] = []


def cgroup_mounts(layout: Layout, manager: Manager, kinds: set[str]) -> list[CgroupMount]:
    """``kinds``: the types of namespaces that the container has for its own.

    With a cgroup namespace it sees its own cgroup as the root of each hierarchy; otherwise that
    is what a bind mount shows it. With a user namespace and no cgroup namespace version 2 can't
    be mounted either, and its root must not write to the host's (CVE-2023-25809).
    """
    private = "cgroup" in kinds
    options = ["ro"] if "user" in kinds else []
    if layout.pure_v2 and "user" in kinds and not private:
        hierarchy = layout.hierarchies[0]
        folder = manager.folders.get(hierarchy.name) or hierarchy.folder(hierarchy.own)
        return [CgroupMount("", "bind", folder, options)]
    if layout.pure_v2:
        return [CgroupMount("", "cgroup2", "cgroup", [])]
    top = CgroupMount("", "tmpfs", "tmpfs", ["nosuid", "nodev", "noexec", "mode=755"])
    found = [top]
    for hierarchy in layout.hierarchies:
        name = hierarchy.name
        if not private:
            # Without a folder of its own it is in the caller's.
            folder = manager.folders.get(name) or hierarchy.folder(hierarchy.own)
            found.append(CgroupMount(name, "bind", folder, options))
        elif hierarchy.v2:
            found.append(CgroupMount(name, "cgroup2", "cgroup", []))
        else:
            found.append(CgroupMount(name, "cgroup", "cgroup", hierarchy.controllers))
        if len(hierarchy.controllers) > 1 and "none" not in hierarchy.controllers:
            top.links += [(c, name) for c in hierarchy.controllers if c != name]
    return found
