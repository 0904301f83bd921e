"""What the host does for a container in a user namespace, while its machine waits at a SYNC."""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError
from ocirt.host import id_maps, kernel
from ocirt.host.constants import CLONE_NEWUSER
from ocirt.host.rootless import is_ordinary, is_rootless
from ocirt.plan.groups import TRY
from ocirt.plan.host_work import ID_MAPS, SOURCES, TAG_MOUNTS, TAG_SOURCE
from ocirt.plan.id_mapped import rows
from ocirt.plan.mount_options import RDONLY, parse
from ocirt.plan.sources import KINDS, TREES, compile_sources
from ocirt.plan.user_namespace import become_root, set_up_ids
from ocirt.plan.verify import verify
from ocirt.runtime.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.cgroup.manager import Manager
    from ocirt.host.kernel import Birth
    from ocirt.plan.program import Pin, Plan

_TEXT_MAX = 4096
_LOCKED = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC


class UserNamespace:
    """That of the container of ``document``, new or joined.

    ``fd``: for an ordinary user, the namespace, else -1; ``joined``: it is none of the container's
    own.
    """

    __slots__ = ("at", "document", "fd", "joined", "linux", "path")

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.linux: dict[str, Any] = document["linux"]
        self.fd = -1
        index, found = next(
            (i, n) for i, n in enumerate(self.linux["namespaces"]) if n["type"] == "user"
        )
        self.at = f"/linux/namespaces/{index}"
        self.path: str = found.get("path") or ""
        self.joined = bool(self.path)

    def open(self) -> Birth:
        """For an ordinary user, who has no rights before the namespace is there: opens it, and makes
        it first if it is new. Where the machine is to be born. Raises OcirtError."""
        if not is_ordinary():
            return kernel.NOWHERE
        if self.joined:
            from ocirt.host.pins import open_pin
            from ocirt.plan.program import Pin

            self.fd = open_pin(Pin(0, "namespace", self.path, f"{self.at}/path", "user"))
        else:
            from ocirt.host.own_namespace import make

            mappings = {key: rows(self.linux.get(key) or []) for key in id_maps.FILES}
            self.fd = make(mappings, self.at)
        return self._birth()

    def _birth(self) -> Birth:
        """Not in one that is joined: who is in there could trace the machine."""
        if self.fd < 0 or self.joined:
            return kernel.NOWHERE
        return (self.fd, *self._ids())

    def _ids(self) -> tuple[int, int]:
        return set_up_ids(self.linux, self.document["process"])

    def root(self) -> tuple[int, int]:
        """What uid and gid of a new one's set-up process are outside. Raises OcirtError."""
        found = []
        for key, inside in zip(id_maps.FILES, self._ids()):
            id = id_maps.host_id(rows(self.linux[key]), inside)
            assert id is not None  # ocirt.config.id_map_rules
            found.append(id)
        return found[0], found[1]

    def close(self) -> None:
        """May be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def at_sync(self, session: Session, fds: dict[int, int]) -> dict[str, Callable[[], None]]:
        """For ``Session.run``; ``fds``: of the plan's slots, which this may change."""
        return {
            ID_MAPS: lambda: self._map_ids(session, fds),
            SOURCES: lambda: self._copy_mounts_inside(session, fds),
        }

    def _map_ids(self, session: Session, fds: dict[int, int]) -> None:
        """Writes the maps of a new user namespace; of one that was joined, sees whether it is the
        one that the config means."""
        new = any(n["type"] == "mount" and not n.get("path") for n in self.linux["namespaces"])
        if not new and not is_ordinary():
            _refuse_unlocked(session.plan.pins, fds)  # SOURCES does not come
        pid = session.pid
        for key in id_maps.FILES:
            wanted, at = rows(self.linux.get(key) or []), f"/linux/{key}"
            if not self.joined:
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

            try:
                give(manager.unified, uid)
            except KernelError as error:
                # Nobody but root gives files away; without it the container may only look.
                if error.errno != errno.EPERM or not is_rootless():
                    raise

    def call_as_root(self, pidfd: int, work: Callable[[], None]) -> None:
        """Calls ``work`` in a process that is the root of the namespace, which the process
        ``pidfd`` is in: no file of a tmpfs there can have an owner that is not mapped. Raises the
        KernelError that ``work`` raised."""
        namespace, ids = pidfd if self.fd < 0 else self.fd, self._ids()
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _child(namespace, ids, work, theirs)
        os.close(theirs)
        with os.fdopen(ours, "rb") as file:
            said = file.read(_TEXT_MAX)
        if os.waitpid(pid, 0)[1]:
            number, _, rest = said.decode(errors="replace").partition(" ")
            at, _, text = rest.partition(" ")
            raise KernelError(text or "a process ended too early", at=at, errno=int(number or 0))

    def _copy_mounts_inside(self, session: Session, fds: dict[int, int]) -> None:
        """Replaces the copies of mounts that the machine of ``session`` has by copies that were made
        in its mount namespace (ocirt.plan.sources says why), in ``fds`` too. Raises OcirtError."""
        pins = session.plan.pins
        by_mounts = TAG_MOUNTS in session.received
        plan = compile_sources(pins, self._enter if by_mounts else None)
        verify(plan)
        copier = Session(plan, birth=self._birth())
        try:
            given = [session.received[TAG_MOUNTS], self.fd] if by_mounts else [session.pidfd]
            copier.run({pin.slot: fd for pin, fd in zip(plan.pins, given)}, {})
            found = {}
            for index, pin in enumerate(pins):
                copy = copier.received.get(TAG_SOURCE + index)
                if copy is not None:
                    _same(pin, fds[pin.slot], copy)
                    found[pin] = copy
            missing = [pin for pin in pins if pin not in found]
            if is_ordinary():
                _refuse_uncopied(missing)
            else:
                _refuse_unlocked(missing, fds)
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

    def _enter(self, plan: Plan) -> None:
        """The copier's way to its rights, where it is not born with them."""
        slot = plan.pin("user namespace", "namespace", self.path, self.at, "user")
        plan.add("SETNS", slot, CLONE_NEWUSER, at=self.at, note="user namespace")
        plan.add("CLOSE", slot, at=self.at)
        become_root(plan, self.linux, self.document["process"], self.at, TRY)


def _child(namespace: int, ids: tuple[int, int], work: Callable[[], None], report: int) -> None:
    """Never returns."""
    try:
        # Nobody who is in that namespace may trace this copy of us (CVE-2016-9962).
        kernel.set_dumpable(False)
        kernel.setns(namespace, CLONE_NEWUSER)
        try:
            os.setgroups([])
        except PermissionError:  # nobody may in this namespace
            pass
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


def _refuse_unlocked(pins: list[Pin], fds: dict[int, int]) -> None:
    """Where there is only the copy that was made on the host, the container's root could clear its
    flags: so it must have none."""
    for pin in pins:
        if pin.kind in TREES and os.fstatvfs(fds[pin.slot]).f_flag & _LOCKED:
            text = f"{pin.path} is mounted ro, nosuid, nodev or noexec, which can't be kept"
            hint = "rbind, or a source without mounts below and not of another mount namespace"
            raise KernelError(text, at=pin.at, hint=hint)


def _refuse_uncopied(pins: list[Pin]) -> None:
    """There is no other copy. What is mounted below must stay in sight, whoever may hide it."""
    for pin in pins:
        if pin.kind in KINDS:
            text = f"{pin.path} can't be mounted without what is mounted below it"
            raise KernelError(text, at=pin.at, hint="rbind")


def _same(pin: Pin, host: int, copy: int) -> None:
    """The path was resolved a second time: it must have led to what was verified."""
    one, other = os.fstat(host), os.fstat(copy)
    if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino):
        text = f"{pin.path} is another file in the container's mount namespace"
        raise KernelError(text, at=pin.at)
