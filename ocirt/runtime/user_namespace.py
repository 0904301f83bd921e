"""What the host does for a container in a user namespace, while its machine waits at a SYNC."""

from __future__ import annotations

import os

from ocirt.errors import KernelError
from ocirt.host import id_maps, kernel
from ocirt.host.constants import CLONE_NEWUSER
from ocirt.plan.host_work import ID_MAPS, SOURCES, TAG_SOURCE
from ocirt.plan.id_mapped import rows
from ocirt.plan.mount_options import RDONLY, parse
from ocirt.plan.sources import TREES, compile_sources
from ocirt.plan.user_namespace import set_up_ids
from ocirt.plan.verify import verify
from ocirt.runtime.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.cgroup.manager import Manager
    from ocirt.plan.program import Pin

_TEXT_MAX = 4096
_LOCKED = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC


class UserNamespace:
    """That of the container of ``document``, new or joined."""

    __slots__ = ("document", "linux")

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.linux: dict[str, Any] = document["linux"]

    def at_sync(self, session: Session, fds: dict[int, int]) -> dict[str, Callable[[], None]]:
        """For ``Session.run``; ``fds``: of the plan's slots, which this may change."""
        return {
            ID_MAPS: lambda: self._map_ids(session, fds),
            SOURCES: lambda: copy_mounts_inside(session, session.plan.pins, fds),
        }

    def _map_ids(self, session: Session, fds: dict[int, int]) -> None:
        """Writes the maps of a new user namespace; of one that was joined, sees whether it is the
        one that the config means."""
        if not any(n["type"] == "mount" and not n.get("path") for n in self.linux["namespaces"]):
            _refuse_unlocked(session.plan.pins, fds)  # SOURCES does not come
        pid = session.pid
        joined = any(n["type"] == "user" and n.get("path") for n in self.linux["namespaces"])
        for key in id_maps.FILES:
            wanted, at = rows(self.linux.get(key) or []), f"/linux/{key}"
            if not joined:
                id_maps.write(pid, key, wanted, at)
            elif wanted and sorted(id_maps.read(pid, key)) != sorted(wanted):
                text = "these are not the mappings of the user namespace that is joined"
                raise KernelError(text, at=at, hint="leave them out")

    def give_cgroup(self, pid: int, manager: Manager) -> None:
        """To the container's root, where it sees it as the root of a hierarchy that it may write
        to, as runc does. Raises KernelError."""
        own = any(n["type"] == "cgroup" and not n.get("path") for n in self.linux["namespaces"])
        writable = any(
            m.get("type") in ("cgroup", "cgroup2")
            and not parse(m.get("options") or []).set & RDONLY
            for m in self.document.get("mounts") or []
        )
        uid = id_maps.host_id(id_maps.read(pid, "uidMappings"), 0)
        if manager.pure and manager.folders and own and writable and uid is not None:
            from ocirt.cgroup.delegate import give

            give(manager.unified, uid)

    def call_as_root(self, pidfd: int, work: Callable[[], None]) -> None:
        """Calls ``work`` in a process that is the root of the namespace, which the process
        ``pidfd`` is in: no file of a tmpfs there can have an owner that is not mapped. Raises the
        KernelError that ``work`` raised."""
        ids = set_up_ids(self.linux, self.document["process"])
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _child(pidfd, ids, work, theirs)
        os.close(theirs)
        with os.fdopen(ours, "rb") as file:
            said = file.read(_TEXT_MAX)
        if os.waitpid(pid, 0)[1]:
            number, _, rest = said.decode(errors="replace").partition(" ")
            at, _, text = rest.partition(" ")
            raise KernelError(text or "a process ended too early", at=at, errno=int(number or 0))


def _child(pidfd: int, ids: tuple[int, int], work: Callable[[], None], report: int) -> None:
    """Never returns."""
    try:
        # Nobody who is in that namespace may trace this copy of us (CVE-2016-9962).
        kernel.set_dumpable(False)
        kernel.setns(pidfd, CLONE_NEWUSER)
        os.setgroups([])
        os.setresgid(ids[1], ids[1], ids[1])
        os.setresuid(ids[0], ids[0], ids[0])
        kernel.set_dumpable(False)  # which the new user has undone
        work()
        os._exit(0)
    except (OSError, KernelError) as error:
        at = getattr(error, "at", None) or ""
        os.write(report, f"{error.errno or 0} {at} {getattr(error, 'message', error)}".encode())
    finally:
        os._exit(1)


def copy_mounts_inside(session: Session, pins: list[Pin], fds: dict[int, int]) -> None:
    """Replaces the copies of mounts that the machine of ``session`` has by copies that were made
    in its mount namespace (ocirt.plan.sources says why), in ``fds`` too. Raises OcirtError."""
    plan = compile_sources(pins)
    verify(plan)
    copier = Session(plan)
    try:
        copier.run({plan.pins[0].slot: session.pidfd}, {})
        found = {}
        for index, pin in enumerate(pins):
            copy = copier.received.get(TAG_SOURCE + index)
            if copy is not None:
                _same(pin, fds[pin.slot], copy)
                found[pin] = copy
        _refuse_unlocked([pin for pin in pins if pin not in found], fds)
        for pin, copy in found.items():
            os.dup2(copy, fds[pin.slot], inheritable=False)
    finally:
        copier.close()  # which ends it
        os.waitpid(copier.pid, 0)
    mapped = [pin for pin in found if pin.id_map]
    if mapped:
        from ocirt.host.id_mapped import id_map

        id_map(mapped, fds)
    session.give({pin.slot: fds[pin.slot] for pin in found})


def _refuse_unlocked(pins: list[Pin], fds: dict[int, int]) -> None:
    """Where there is only the copy that was made on the host, the container's root could clear its
    flags: so it must have none."""
    for pin in pins:
        if pin.kind in TREES and os.fstatvfs(fds[pin.slot]).f_flag & _LOCKED:
            text = f"{pin.path} is mounted ro, nosuid, nodev or noexec, which can't be kept"
            hint = "rbind, or a source without mounts below and not of another mount namespace"
            raise KernelError(text, at=pin.at, hint=hint)


def _same(pin: Pin, host: int, copy: int) -> None:
    """The path was resolved a second time: it must have led to what was verified."""
    one, other = os.fstat(host), os.fstat(copy)
    if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino):
        text = f"{pin.path} is another file in the container's mount namespace"
        raise KernelError(text, at=pin.at)
