"""config.mounts to operations (config.md, "Mounts"), in the order they are listed.

A mount is made detached, its target is found (or made) inside the root file system as
a verified descriptor, and the one is attached to the other: no path is resolved twice.
"""

from __future__ import annotations

import errno
import posixpath

from ocirt.config.annotation_rules import CONTEXTS
from ocirt.errors import OcirtError
from ocirt.host.constants import (
    MS_PRIVATE,
    MS_SLAVE,
    PROC_SUPER_MAGIC,
)
from ocirt.plan import mount_options
from ocirt.plan.mount_options import (
    ATIME,
    NODEV,
    NODIRATIME,
    NOEXEC,
    NOSUID,
    NOSYMFOLLOW,
    RDONLY,
    MountOptions,
)
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.ops import (
    KIND_DIR,
    KIND_LIKE,
    NO_SLOT,
    TARGET_NO_CREATE,
    TARGET_NO_PROC,
    TARGET_NO_SYS,
    TARGET_ORDINARY,
)
from ocirt.plan.paths import MountLabel, inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.mounts import CgroupMount
    from ocirt.plan.overlay import Setting
    from ocirt.plan.program import Plan

AT_RECURSIVE = 0x8000
O_PATH = 0o10000000
LOCKABLE = (RDONLY, NOSUID, NODEV, NOEXEC)  # in a user namespace, with the atime mode

# Files that lxcfs and its like mount over procfs; everything else there stays the kernel's
# (CVE-2019-16884). The list is runc's.
PROC_FILES = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)
INSIDE_PROC = "cannot be mounted because it is inside /proc"
# Their superblocks can be shared with the host or with other containers: read-only is a
# matter of the mount alone.
SHARED_SUPERBLOCK = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs")
# The labels of these are the policy's. That of an mqueue, which the kernel made with the ipc
# namespace, is changed afterwards.
NOT_LABELLED = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue")


class MountContext:
    """What the mounts of one container have in common.

    ``root``: slot of the root file system, ``rootfs``: its path on the host; ``bundle``: folder that
    relative bind sources start from; ``propagation``: what bind mounts get when they ask for nothing (MS_SLAVE or
    MS_PRIVATE, 0 keeps the source's); ``label``: that of linux.mountLabel;
    ``cgroup``: what a mount of type cgroup is made of; ``linux``: of the config; ``readonly``:
    [(slot, at, note)] of mounts that become read-only only after the folders inside them were made.
    """

    __slots__ = ("bundle", "cgroup", "label", "linux", "propagation", "readonly", "root", "rootfs")

    def __init__(
        self,
        root: int,
        rootfs: str,
        bundle: str,
        propagation: int,
        linux: dict[str, Any],
        cgroup: list[CgroupMount],
        label: MountLabel,
    ) -> None:
        self.root = root
        self.rootfs = rootfs
        self.bundle = bundle
        self.propagation = propagation
        self.linux = linux
        self.label = label
        self.cgroup = cgroup
        self.readonly: list[tuple[int, str, str]] = []


def compile_mounts(plan: Plan, mounts: list[dict[str, Any]], context: MountContext) -> None:
    """Append the operations of every mount."""
    for index, mount in enumerate(mounts):
        options = mount_options.parse(mount.get("options") or [])
        kind = mount.get("type") or ""
        at = f"/mounts/{index}"
        found = below(mount["destination"], context.rootfs)
        if found:
            mount = {**mount, "destination": f"/{found}"}
        if options.bind or kind == "bind":
            _bind(plan, mount, options, context, at)
        elif options.remount:
            _remount(plan, mount, options, context, at)
        elif kind == "cgroup":
            _cgroup(plan, mount, options, context, at)
        else:
            _filesystem(plan, mount, options, context, at)


def _bind(
    plan: Plan, mount: dict[str, Any], options: MountOptions, context: MountContext, at: str
) -> None:
    destination = mount["destination"]
    _pass_over_data(plan, options, at)
    source = posixpath.join(context.bundle, mount["source"])
    note = f"bind of {mount['source']} on {destination}"
    own = below(source, context.rootfs)
    if own:
        slot = _own_source(plan, own, options.recursive, context, at, note)
    else:
        slot = plan.pin(
            f"bind {at}", "tree", source, f"{at}/source", destination, options.recursive
        )
    if options.id_map or mount.get("uidMappings"):
        from ocirt.plan.id_mapped import id_map_of, map_inside

        id_map = id_map_of(plan, mount, options, context.linux, at)
        if own:
            map_inside(plan, slot, own, id_map, f"{at}/source", note)
        else:
            plan.pins[-1].id_map = id_map
    if context.propagation and not any(kind == MS_PRIVATE for kind, _ in options.propagation[:1]):
        plan.add(
            "SETATTR", slot, 0, 0, context.propagation, AT_RECURSIVE, NO_SLOT, at=at, note=note
        )
    _bind_attributes(plan, slot, options, context, f"{at}/options", note)
    if inside(destination) == "proc":
        plan.add("CHECK_FS", slot, PROC_SUPER_MAGIC, at=f"{at}/destination", note=note)
    target = _target(plan, mount, context, at, note, KIND_LIKE, slot)
    plan.add("ATTACH", slot, target, at=at, note=note)
    _propagation(plan, slot, options, f"{at}/options", note)
    plan.add("CLOSE", slot, at=at, note=note)


def below(path: str, rootfs: str) -> str:
    """What ``path`` is called in the container if it names a file of its root file system as the
    host does, else "". runc takes such paths, in destinations too."""
    clean = posixpath.normpath(path)
    return clean[len(rootfs) + 1 :] if clean.startswith(f"{rootfs}/") else ""


def _own_source(
    plan: Plan, path: str, recursive: bool, context: MountContext, at: str, note: str
) -> int:
    """A copy of what the container has at ``path`` by now, with the mounts before this one. A link
    there may lead to /proc or /sys, of which it would have a copy without masks, or writable."""
    found, slot = plan.slot("found"), plan.slot(f"bind {at}")
    source, flags = f"{at}/source", TARGET_NO_CREATE | TARGET_NO_PROC
    if not f"{path}/".startswith("sys/"):
        flags |= TARGET_NO_SYS
    plan.add("TARGET", context.root, path, KIND_DIR, NO_SLOT, flags, found, at=source, note=note)
    plan.add("CLONE_TREE", found, int(recursive), slot, at=source, note=note)
    plan.add("CLOSE", found, at=source, note=note)
    return slot


def _bind_attributes(
    plan: Plan, slot: int, options: MountOptions, context: MountContext, at: str, note: str
) -> None:
    """With the peers, who names one attribute names all: those that the source's mount has and that
    are not named go, but for the atime mode, and for what is locked in a user namespace."""
    if options.all_set or options.all_clear:
        _set(plan, slot, options.all_set, options.all_clear, AT_RECURSIVE, at, note)
    chosen, clear = options.set, options.clear
    if not chosen and not clear:
        return
    if (chosen | clear) & (ATIME | NODIRATIME):
        clear |= ATIME | NODIRATIME & ~chosen
    unnamed = [flag for flag in LOCKABLE if not flag & (chosen | clear | options.all_set)]
    clear |= NOSYMFOLLOW & ~(chosen | options.all_set)
    if not Namespaces(context.linux).has("user"):
        clear |= sum(unnamed)
        unnamed = []
    _set(plan, slot, chosen, clear, 0, at, note)
    for flag in unnamed:
        plan.add(
            "SETATTR", slot, 0, flag, 0, 0, NO_SLOT, at=at, note=note, skip=(errno.EPERM,), over=0
        )


def _pass_over_data(plan: Plan, options: MountOptions, at: str) -> None:
    """A bind mount has no file system of its own that could take options: those with a value are
    passed over, as crun does, and runtime-tools wants. A word is rather a flag with a slip in it, and
    mount(8)'s "ro=recursive" is meant as one."""
    for index, key, value in options.filesystem:
        if key in mount_options.SUPERBLOCK:
            continue
        problem = OcirtError(f"{key}: a bind mount has no such option", at=f"{at}/options/{index}")
        if value is None or key in mount_options.ATTRIBUTES:
            raise problem
        plan.warnings.append(problem)


def _remount(
    plan: Plan, mount: dict[str, Any], options: MountOptions, context: MountContext, at: str
) -> None:
    """Change the attributes of what an earlier mount put there."""
    note = f"remount of {mount['destination']}"
    target = _target(plan, mount, context, at, note, KIND_DIR, NO_SLOT, TARGET_NO_CREATE)
    _attributes(plan, target, options, f"{at}/options", note)
    _propagation(plan, target, options, f"{at}/options", note)


def _filesystem(
    plan: Plan, mount: dict[str, Any], options: MountOptions, context: MountContext, at: str
) -> None:
    kind, destination = mount["type"], mount["destination"]
    note = f"{kind} on {destination}"
    if inside(destination) == "proc" and kind != "proc":
        raise OcirtError(f"{note}: {INSIDE_PROC}", at=f"{at}/destination")
    named = any(key == "mode" for _, key, _ in options.filesystem)
    # With runc a tmpfs takes the mode of the folder that it hides.
    like = None if named or kind != "tmpfs" else (context.root, inside(destination) or ".")
    late = bool(options.set & RDONLY) and (kind == "tmpfs" or inside(destination) == "dev")
    slot = new_filesystem(
        plan,
        kind,
        mount.get("source") or "",
        options,
        at,
        note,
        options.set & ~RDONLY if late else options.set,
        f"mount {at}",
        context.label,
        like,
    )
    if kind == "mqueue" and context.label.text:
        context.label.set_afterwards(plan, slot, note)
    target = _target(plan, mount, context, at, note, KIND_DIR, NO_SLOT)
    if options.tmpcopyup:
        from ocirt.plan.host_work import copy_up

        copy_up(plan, target, slot, at)
    plan.add("ATTACH", slot, target, at=at, note=note)
    _propagation(plan, slot, options, f"{at}/options", note)
    if late:
        context.readonly.append((slot, f"{at}/options", note))
    else:
        plan.add("CLOSE", slot, at=at, note=note)


def new_filesystem(
    plan: Plan,
    kind: str,
    source: str,
    options: MountOptions,
    at: str,
    note: str,
    attributes: int,
    name: str,
    label: MountLabel | None = None,
    like: tuple[int, str] | None = None,
) -> int:
    """A detached mount of a new file system in the slot called ``name``; ``like``: (root, path) of
    the folder whose mode it takes, if there is one."""
    fs = plan.slot("new file system")
    slot = plan.slot(name)
    folder, settings = "", options.filesystem
    if any(value and len(value) > 63 for _, _, value in settings):  # may be more than 255 bytes
        folder, settings = _fit(kind, settings, at)
    if folder:
        plan.add("CHDIR", folder, at=f"{at}/options", note=note)
    plan.add("FSOPEN", kind, fs, at=f"{at}/type", note=note)
    if source:
        plan.add("FSCONFIG", fs, "source", source, at=f"{at}/source", note=note)
    own_label = any(key in CONTEXTS for _, key, _ in options.filesystem)
    if label and not own_label and kind not in NOT_LABELLED:
        label.configure(plan, fs, note)
    if attributes & RDONLY and kind not in SHARED_SUPERBLOCK:
        plan.add("FSFLAG", fs, "ro", at=f"{at}/options", note=note)
    for index, key, value in settings:
        where = f"{at}/options/{index}"
        if value is None:
            plan.add("FSFLAG", fs, key, at=where, note=note)
        else:
            plan.add("FSCONFIG", fs, key, value, at=where, note=note)
    if like:
        plan.add("FSMODE", fs, *like, at=f"{at}/options", note=note)
    plan.add("FSMOUNT", fs, attributes, slot, at=at, note=note)
    if folder:
        plan.add("CHDIR", "/", at=f"{at}/options", note=note)
    if options.all_set or options.all_clear:
        _set(plan, slot, options.all_set, options.all_clear, AT_RECURSIVE, f"{at}/options", note)
    return slot


def _fit(kind: str, settings: list[Setting], at: str) -> tuple[str, list[Setting]]:
    """Settings that fsconfig(2) takes, and the folder that their paths start from if it is not "/".
    Raises OcirtError for one that can't be made short enough."""
    from ocirt.plan import overlay

    folder = ""
    if kind == "overlay" and any(overlay.is_long(value) for _, _, value in settings):
        folder, settings = overlay.shorten(settings)
    for index, key, value in settings:
        if overlay.is_long(value):
            text = f"{key}: the kernel takes no more than {overlay.LONGEST} bytes"
            raise OcirtError(text, at=f"{at}/options/{index}")
    return folder, settings


def _cgroup(
    plan: Plan, mount: dict[str, Any], options: MountOptions, context: MountContext, at: str
) -> None:
    """The container's view of its cgroups: on v1 a tmpfs with a folder for each hierarchy."""
    destination = mount["destination"]
    note = f"cgroup on {destination}"
    late = None
    for part in context.cgroup:
        where = posixpath.join(destination, part.folder) if part.folder else destination
        name = f"cgroup {at} {part.folder}".rstrip()
        if part.kind == "bind":
            slot = plan.pin(name, "tree", part.source, at, where, True)
            own = mount_options.parse(part.options)
            # Nobody needs the atime of a cgroup, and a user namespace may not change it.
            attributes = (options.set | own.set) & ~ATIME
            _set(plan, slot, attributes, options.clear & ~attributes & ~ATIME, 0, at, note)
        elif part.kind == "tmpfs":
            own = mount_options.parse(part.options)
            attributes = (options.set | own.set) & ~RDONLY
            slot = new_filesystem(
                plan, "tmpfs", part.source, own, at, note, attributes, name, context.label
            )
        else:
            own = mount_options.parse(part.options)
            attributes = options.set | own.set
            slot = new_filesystem(plan, part.kind, part.source, own, at, note, attributes, name)
        target = _target(plan, {"destination": where}, context, at, note, KIND_DIR, NO_SLOT)
        plan.add("ATTACH", slot, target, at=at, note=note)
        for link, to in part.links:
            plan.add("SYMLINK", slot, link, to, at=at, note=note)
        _propagation(plan, slot, options, f"{at}/options", note)
        if part.kind == "tmpfs" and options.set & RDONLY:
            late = slot
        else:
            plan.add("CLOSE", slot, at=at, note=note)
    if late is not None:
        context.readonly.append((late, f"{at}/options", note))


def _target(
    plan: Plan,
    mount: dict[str, Any],
    context: MountContext,
    at: str,
    note: str,
    kind: int,
    like: int,
    flags: int = 0,
) -> int:
    path = "/" + inside(mount["destination"])
    if mount.get("type") in ("proc", "sysfs"):
        # A link here would send procfs elsewhere and every check of /proc with it.
        flags |= TARGET_ORDINARY
    elif path not in PROC_FILES and (kind == KIND_LIKE or path != "/proc"):
        flags |= TARGET_NO_PROC
    slot = plan.slot("target")
    plan.add(
        "TARGET",
        context.root,
        inside(path),
        kind,
        like,
        flags,
        slot,
        at=f"{at}/destination" if "source" in mount or "type" in mount else at,
        note=note,
    )
    return slot


def _attributes(plan: Plan, slot: int, options: MountOptions, at: str, note: str) -> None:
    if options.all_set or options.all_clear:
        _set(plan, slot, options.all_set, options.all_clear, AT_RECURSIVE, at, note)
    _set(plan, slot, options.set, options.clear, 0, at, note)


def _set(
    plan: Plan, slot: int, attributes: int, clear: int, flags: int, at: str, note: str
) -> None:
    if attributes or clear:
        plan.add("SETATTR", slot, attributes, clear, 0, flags, NO_SLOT, at=at, note=note)


def _propagation(plan: Plan, slot: int, options: MountOptions, at: str, note: str) -> None:
    for kind, recursive in options.propagation:
        flags = AT_RECURSIVE if recursive else 0
        plan.add("SETATTR", slot, 0, 0, kind, flags, NO_SLOT, at=at, note=note)


def default_propagation(rootfs_propagation: str) -> int:
    """What a bind mount's propagation becomes when it asks for none (as with the peers: what
    linux.rootfsPropagation says of the namespace it is made in; shared keeps the source's)."""
    kind = rootfs_propagation.lstrip("r")
    return {"private": MS_PRIVATE, "unbindable": MS_PRIVATE, "shared": 0}.get(kind, MS_SLAVE)
