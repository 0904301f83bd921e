"""Does a restored container keep to its config.json? Looked at when it is whole and stands still.

A checkpoint says what its processes were: their capabilities, filters, namespaces and mounts, and
CRIU restores all of that. It may come from anywhere, and so it is not believed (CVE-2026-92574,
CVE-2024-8676). What the config allows a container to gain by itself is no violation: new mounts and
namespaces with CAP_SYS_ADMIN, other users with CAP_SETUID or a set-user-ID program.
"""

from __future__ import annotations

import os
import stat

from ocirt import log
from ocirt.criu.images import first_filters
from ocirt.criu.messages import CGROUP_MODES
from ocirt.criu.tree import cgroup_roots, tree
from ocirt.errors import StateError
from ocirt.host import id_maps, kernel
from ocirt.host.constants import CAPABILITIES, DEV_NULL, NAMESPACE_FILES, RESOLVE_IN_ROOT, RLIMITS
from ocirt.host.mountinfo import mounts
from ocirt.plan import mount_options
from ocirt.plan.id_mapped import rows
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.paths import inside
from ocirt.plan.process import capability_mask
from ocirt.runtime.external import destination, mount_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from ocirt.host.id_maps import Row
    from ocirt.host.mountinfo import Mount
    from ocirt.plan.program import Pin, Plan
    from ocirt.runtime.restore import Restored
    from ocirt.seccomp.filter import Filter

_SETS = {
    "CapBnd": "bounding",
    "CapPrm": "permitted",
    "CapEff": "effective",
    "CapInh": "inheritable",
    "CapAmb": "ambient",
}
_ALL = (1 << 64) - 1
_RESTRICTIONS = {
    mount_options.RDONLY: "ro",
    mount_options.NOSUID: "nosuid",
    mount_options.NODEV: "nodev",
    mount_options.NOEXEC: "noexec",
}
_LAYERS = ("lowerdir", "upperdir", "workdir", "datadir")
_IDS = (("uid", "Uid", "CAP_SETUID"), ("gid", "Gid", "CAP_SETGID"))


def check(restored: Restored) -> None:
    """Raises StateError at the place in config.json that is not kept to."""
    document, pid = restored.document, restored.pid
    linux = document.get("linux") or {}
    wanted = Namespaces(linux)
    rules = _Rules(document["process"], linux if "user" in wanted.new else {})
    ignore = restored.options.plain["manage_cgroups_mode"] == CGROUP_MODES["ignore"]
    if ignore and wanted.new.pop("cgroup", ""):
        # Then CRIU makes none. Callers ask for that, and so it is no violation.
        log.warning("--manage-cgroups-mode ignore: it has no cgroup namespace of its own")
    namespaces = _check_namespaces(pid, wanted)
    if "user" in wanted.new:
        check_maps({key: id_maps.read(pid, key) for key in id_maps.FILES}, linux)
    for one in tree(pid):
        for task in os.listdir(f"/proc/{one}/task"):
            rules.check(_status(f"/proc/{one}/task/{task}/status"), restored.filter is not None)
        rules.check_limits(one)
        rules.check_labels(one, restored.options.plain.get("lsm_profile") or "")
        _check_cgroups(one, restored.cgroups)
        if not rules.admin:
            _check_same(one, namespaces)
    if restored.filter:
        _check_filters(restored.files.image, restored.filter)
    if not rules.admin:
        cgroups = restored.manager.cgroups.values()
        _Mounts(pid, document, restored.plan, restored.fds, cgroups, ignore).check()


def _violation(text: str, at: str) -> StateError:
    hint = "a checkpoint can't have more than the config.json that it is restored with"
    return StateError(f"the checkpoint does not keep to the config: {text}", at=at, hint=hint)


def check_maps(maps: dict[str, list[Row]], linux: dict[str, Any]) -> None:
    """Of a user namespace, by the keys of config.json. Raises StateError where they are not the
    config's."""
    for key, found in maps.items():
        if sorted(found) != sorted(rows(linux.get(key) or [])):
            text = "its user namespace has other mappings"
            raise _violation(text, f"/linux/{key}")


def _status(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


class _Rules:
    """What ``process`` of the config says about each of the container's threads. ``admin``: it may
    mount, and make namespaces."""

    __slots__ = ("_maps", "_process", "admin")

    def __init__(self, process: dict[str, Any], maps: dict[str, Any]) -> None:
        """``maps``: uidMappings and gidMappings, if it has a user namespace."""
        self._process = process
        self._maps = maps
        self.admin = self._can("CAP_SYS_ADMIN")

    def _can(self, capability: str) -> bool:
        return bool(self._allowed("bounding") >> CAPABILITIES[capability] & 1)

    def _allowed(self, kind: str) -> int:
        """Without capabilities in the config nothing is taken away."""
        sets = self._process.get("capabilities")
        return _ALL if sets is None else capability_mask(sets.get(kind))

    def check(self, status: dict[str, str], filtered: bool) -> None:
        """Raises StateError."""
        name = status["Name"]
        for field, kind in _SETS.items():
            # A program with file capabilities may have whatever the bounding set lets through.
            extra = int(status[field], 16) & ~(self._allowed("bounding") | self._allowed(kind))
            if extra:
                names = [c for c, bit in CAPABILITIES.items() if extra >> bit & 1]
                text = f"{name} has {', '.join(names) or hex(extra)} in its {kind} set"
                raise _violation(text, f"/process/capabilities/{kind}")
        if filtered and status["Seccomp"] != "2":
            raise _violation(f"{name} has no seccomp filter", "/linux/seccomp")
        user = self._process.get("user") or {}
        more = {int(each) for each in status["Groups"].split()}
        for gid in (user.get("gid") or 0, *(user.get("additionalGids") or [])):
            more.discard(self._outside("gid", gid))
        if more and not self._can("CAP_SETGID"):
            text = f"{name} is in the groups {sorted(more)}"
            raise _violation(text, "/process/user/additionalGids")
        if not self._process.get("noNewPrivileges"):
            return
        if status["NoNewPrivs"] != "1":
            raise _violation(f"{name} can gain privileges", "/process/noNewPrivileges")
        for what, field, capability in _IDS:
            ids = {int(each) for each in status[field].split()}
            if not self._can(capability) and ids != {self._outside(what, user.get(what) or 0)}:
                text = f"{name} has the {what}s {status[field]}"
                raise _violation(text, f"/process/user/{what}")

    def _outside(self, what: str, id: int) -> int:
        """A uid or gid of the config, as this process sees it; -1 where it is not mapped."""
        mappings = self._maps.get(f"{what}Mappings")
        if not mappings:
            return id
        found = id_maps.host_id(rows(mappings), id)
        return -1 if found is None else found

    def check_limits(self, pid: int) -> None:
        """rlimits, and how likely it is to be killed when memory is short. Raises StateError."""
        if self._can("CAP_SYS_RESOURCE"):
            return
        import resource

        for index, limit in enumerate(self._process.get("rlimits") or []):
            hard = resource.prlimit(pid, RLIMITS[limit["type"]])[1] & _ALL
            if hard > limit["hard"] & _ALL:
                text = f"process {pid} has {limit['type']} {hard}"
                raise _violation(text, f"/process/rlimits/{index}/hard")
        least = self._process.get("oomScoreAdj")
        with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
            score = int(file.read())
        if least is not None and score < least:
            text = f"process {pid} has an oom_score_adj of {score}"
            raise _violation(text, "/process/oomScoreAdj")

    def check_labels(self, pid: int, other: str) -> None:
        """AppArmor's profile, SELinux's label; ``other``: what --lsm-profile puts in the place of one,
        or "". Raises StateError."""
        kind, _, given = other.partition(":")
        profile, label = (self._process.get(key) for key in ("apparmorProfile", "selinuxLabel"))
        if profile and profile != "unconfined":
            found = _read(f"/proc/{pid}/attr/apparmor/current")  # not there: no AppArmor here
            if found and not is_profile(found, given if kind == "apparmor" else profile):
                raise _violation(f"process {pid} is {found}", "/process/apparmorProfile")
        if label:
            found = _read(f"/proc/{pid}/attr/current")
            if found != (given if kind == "selinux" else label):
                text = f"process {pid} is {found or 'without a label'}"
                raise _violation(text, "/process/selinuxLabel")


def _read(path: str) -> str:
    """A label, or "" where the kernel has none to tell."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""


def is_profile(found: str, wanted: str) -> bool:
    """Is ``found``, of attr/apparmor/current, that profile, or one below it (apparmor.d(5))?"""
    return f"{found.partition(' (')[0]}//".startswith(f"{wanted}//")


def _check_namespaces(pid: int, wanted: Namespaces) -> dict[str, int]:
    """{type: inode} of those of the first process. Raises StateError where they are not what the
    config says: of its own, the one of the path, or the host's."""
    found = {}
    for kind, name in NAMESPACE_FILES.items():
        try:
            inode = found[kind] = os.stat(f"/proc/{pid}/ns/{name}").st_ino
            own = os.stat(f"/proc/self/ns/{name}").st_ino
        except FileNotFoundError:
            continue  # of a kernel without it
        if kind in wanted.joined:
            path, at = wanted.joined[kind]
            if os.stat(path).st_ino != inode:
                raise _violation(f"it is not in the {kind} namespace {path}", at)
        elif kind in wanted.new:
            if inode == own:
                raise _violation(f"it has no {kind} namespace of its own", wanted.new[kind])
        elif inode != own and kind != "time":  # CRIU always makes that one
            raise _violation(f"it has a {kind} namespace of its own", "/linux/namespaces")
    return found


def _check_same(pid: int, namespaces: dict[str, int]) -> None:
    for kind, inode in namespaces.items():
        if os.stat(f"/proc/{pid}/ns/{NAMESPACE_FILES[kind]}").st_ino != inode:
            raise _violation(f"process {pid} has another {kind} namespace", "/linux/namespaces")


def _check_cgroups(pid: int, wanted: list[dict[str, str]]) -> None:
    """CRIU moves processes to where the image says: that must be in the container's cgroups."""
    places = {root["ctrl"]: root["path"] for root in wanted}
    for root in cgroup_roots(pid):
        own = places.get(root["ctrl"])
        if own is None or not f"{root['path']}/".startswith(f"{own}/".replace("//", "/")):
            raise _violation(f"process {pid} is in the cgroup {root['path']}", "/linux/cgroupsPath")


def _check_filters(image: int, filter: Filter) -> None:
    """The first filter of every process is the config's; what comes after can only forbid more."""
    if any(program != filter.program for program in first_filters(image)):
        raise _violation("it has another seccomp filter", "/linux/seccomp")


class _Mounts:
    """The mounts that the first process sees, and what the config has for each."""

    __slots__ = ("_cgroups", "_document", "_expected", "_fds", "_ignore", "_plan", "_root", "_seen")

    def __init__(
        self,
        pid: int,
        document: dict[str, Any],
        plan: Plan,
        fds: dict[int, int],
        cgroups: Collection[str],
        ignore: bool,
    ) -> None:
        """``cgroups``: the container's own; ``ignore``: it may see all of them."""
        self._ignore = ignore
        self._document = document
        self._plan = plan
        self._fds = fds
        self._cgroups = cgroups
        self._seen = mounts(pid)
        self._root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._expected: set[str] = set()  # ids of mounts

    def check(self) -> None:
        """Raises StateError."""
        try:
            root = self._expect("/")[0]
            if root and self._document["root"].get("readonly"):
                _require(root, "ro", "/root/readonly")
            for pin in self._plan.pins:
                if destination(pin):
                    self._check_bind(pin)
            for index, wanted in enumerate(self._document.get("mounts") or []):
                self._check_mount(wanted, f"/mounts/{index}")
            self._check_paths(self._document.get("linux") or {})
            console = self._expect("/dev/console")[0]
            for mount in self._seen:
                unknown = mount.words[0] not in self._expected
                if unknown or mount is console and mount.fs_type not in ("devpts", "tmpfs"):
                    raise _violation(f"{mount.fs_type} is mounted on {mount.point}", "/mounts")
        finally:
            os.close(self._root)

    def _expect(self, path: str) -> tuple[Mount | None, os.stat_result | None]:
        """The mount that ``path`` leads to, and the file there. All that is mounted at the same
        place is expected."""
        try:
            fd = kernel.openat2(self._root, inside(path), os.O_PATH, RESOLVE_IN_ROOT)
        except OSError:
            return None, None
        try:
            id, status = mount_id(fd), os.fstat(fd)
        finally:
            os.close(fd)
        mount = next((each for each in self._seen if each.words[0] == id), None)
        if mount:
            self._expected.update(m.words[0] for m in self._seen if m.point == mount.point)
        return mount, status

    def _check_bind(self, pin: Pin) -> None:
        """It shows the very file that was pinned, and so does what is mounted below it."""
        place, ours = destination(pin), self._fds[pin.slot]
        mount, status = self._expect(place)
        if not mount or not status or not os.path.samestat(status, os.fstat(ours)):
            raise _violation(f"{place} is not {pin.path} of the host", pin.at)
        for each in self._seen if pin.recursive else ():
            if each.point.startswith(f"{mount.point}/"):
                inner = each.point[len(mount.point) + 1 :]
                if _same(self._root, each.point.lstrip("/"), ours, inner):
                    self._expected.add(each.words[0])

    def _check_mount(self, wanted: dict[str, Any], at: str) -> None:
        options = mount_options.parse(wanted.get("options") or [])
        kind = wanted.get("type") or ""
        mount, _ = self._expect(wanted["destination"])
        if not mount or options.remount:
            return
        found = [mount]
        if kind == "cgroup":
            found += [each for each in self._seen if each.point.startswith(f"{mount.point}/")]
            self._check_cgroups(found, at)
        elif not options.bind and kind not in ("bind", mount.fs_type):
            text = f"{mount.fs_type} is mounted on {mount.point}, and not {kind}"
            raise _violation(text, f"{at}/type")
        elif mount.fs_type == "overlay" and kind == "overlay":
            layers = _layers(wanted.get("options") or [])
            if _layers(mount.options.split(",")) != layers:
                raise _violation(f"{mount.point} has other layers", f"{at}/options")
        for bit, name in _RESTRICTIONS.items():
            if (options.set | options.all_set) & bit:
                for each in found:
                    _require(each, name, f"{at}/options")

    def _check_cgroups(self, found: list[Mount], at: str) -> None:
        """The container's own; others at most to look at."""
        for mount in found:
            seen = self._ignore and "ro" in mount.words[5].split(",")
            if mount.fs_type in ("cgroup", "cgroup2") and (seen or mount.root in self._cgroups):
                self._expected.add(mount.words[0])
            elif mount.fs_type != "tmpfs":
                text = f"{mount.root} of {mount.fs_type} is mounted on {mount.point}"
                raise _violation(text, at)

    def _check_paths(self, linux: dict[str, Any]) -> None:
        for index, path in enumerate(linux.get("readonlyPaths") or []):
            mount, _ = self._expect(path)
            if mount:
                _require(mount, "ro", f"/linux/readonlyPaths/{index}")
        for index, path in enumerate(linux.get("maskedPaths") or []):
            mount, status = self._expect(path)
            if not mount or not status:
                continue
            null = stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(*DEV_NULL)
            if not null and mount.fs_type != "tmpfs":
                raise _violation(f"{path} can be seen", f"/linux/maskedPaths/{index}")


def _layers(options: list[str]) -> set[str]:
    """The folders of the host that an overlay shows."""
    return {option for option in options if option.partition("=")[0].rstrip("+") in _LAYERS}


def _require(mount: Mount, option: str, at: str) -> None:
    if option not in mount.words[5].split(","):
        raise _violation(f"{mount.point} is mounted without {option}", at)


def _same(folder: int, path: str, other: int, inner: str) -> bool:
    """Do both lead to the same file?"""
    found = []
    try:
        for root, name in ((folder, path), (other, inner)):
            fd = kernel.openat2(root, name, os.O_PATH, RESOLVE_IN_ROOT)
            found.append(os.fstat(fd))
            os.close(fd)
    except OSError:
        return False
    return os.path.samestat(*found)
