"""The state folder of every container: ``<root>/<id>/``, mode 0700.

state.json     what later verbs need (class State), replaced atomically
config.json    the bundle's, as it was when the container was created
verbs          what create compiled for later verbs (``ocirt.runtime.verbs``)
start, report  FIFOs of a created container (``ocirt.runtime.start``)
failure        what the launcher read from report (``ocirt.runtime.start``)

Beside them, under a name that is no id: ``@seccomp``, compiled filters (``ocirt.seccomp.cache``).

A folder is claimed by mkdir(2), which only one process can win. The lock is flock(2) on the
folder: the kernel drops it when a process dies.
"""

from __future__ import annotations

import errno
import os

from ocirt.errors import OcirtError, StateError
from ocirt.json_text import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")
_ID_MAX = 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
STATE, CONFIG = "state.json", "config.json"
FILTERS = "@seccomp"


class State:
    """What is remembered of a container; the attributes are the keys of state.json.

    ``pid`` 0 until there is a process; ``pid_start``: its start time (field 22 of
    /proc/PID/stat), so that a pid that was given again is not taken for it;
    ``creator``, ``creator_start``: the same of the ``ocirt create``;
    ``created``: RFC 3339; ``cgroup``: of ``ocirt.cgroup.manager``; ``descriptors``: what 0, 1 and 2
    were that the caller handed on (``descriptors_now``); ``devices``: of ``ocirt.runtime.update``, {}
    while the rules are those of config.json; ``keyring``: what its session keyring is called, "" with
    --no-new-keyring; ``intel_rdt``: of ``ocirt.cgroup.intel_rdt``, {} while there is nothing of it;
    ``root_mount``: of ``ocirt.host.root_mount``, {} without one.
    """

    __slots__ = (
        "annotations",
        "bundle",
        "cgroup",
        "created",
        "creator",
        "creator_start",
        "descriptors",
        "devices",
        "id",
        "intel_rdt",
        "keyring",
        "oci_version",
        "owner",
        "pid",
        "pid_start",
        "root_mount",
        "rootfs",
        "systemd_cgroup",
    )

    def __init__(self, id: str) -> None:
        self.id = id
        self.pid = 0
        self.pid_start = 0
        self.creator = 0
        self.creator_start = 0
        self.bundle = ""
        self.rootfs = ""
        self.created = ""
        self.owner = ""
        self.oci_version = ""
        self.annotations: dict[str, str] = {}
        self.cgroup: dict[str, Any] = {}
        self.descriptors: list[str] = []
        self.devices: dict[str, Any] = {}
        self.intel_rdt: dict[str, Any] = {}
        self.root_mount: dict[str, Any] = {}
        self.keyring = "_ses"
        self.systemd_cgroup = False

    def to_json(self) -> str:
        """The text of state.json."""
        return dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, data: bytes, name: str) -> State:
        """Raises OcirtError if it is no state.json."""
        document = loads(data, name)
        state = cls("")
        if not isinstance(document, dict) or not document.get("id"):
            raise OcirtError("this is not the state of a container", at="", document=name)
        for key in cls.__slots__:
            value = document.get(key, getattr(state, key))
            if type(value) is not type(getattr(state, key)):
                text = f"this is not the state of a container: {key} is {value!r}"
                raise OcirtError(text, at=f"/{key}", document=name)
            setattr(state, key, value)
        return state


class Container:
    """The folder of one container. ``fd``, of the folder, is open until ``close``;
    ``locked``: by this object."""

    __slots__ = ("fd", "folder", "id", "locked")

    def __init__(self, id: str, folder: str, fd: int) -> None:
        self.id = id
        self.folder = folder
        self.fd = fd
        self.locked = False

    def lock(self) -> None:
        """Waits until no other verb works on this container. Raises StateError if it was
        deleted meanwhile: another one of the same id is none of our business."""
        import fcntl

        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.locked = True
        try:
            there = os.lstat(self.folder)
        except FileNotFoundError:
            raise _missing(self.id) from None
        if not os.path.samestat(there, os.fstat(self.fd)):
            raise _missing(self.id)

    def is_locked(self) -> bool:
        """Does a verb work on it, this one or another?"""
        import fcntl

        if self.locked:
            return True
        try:
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return False

    def unlock(self) -> None:
        """Lets others go on."""
        import fcntl

        fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.locked = False

    def close(self) -> None:
        """Gives the descriptor, and with it the lock, back."""
        os.close(self.fd)

    def read(self, name: str) -> bytes:
        """A file of the folder. Raises OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            parts = []
            while part := os.read(fd, 1 << 20):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(fd)

    def write(self, name: str, data: bytes) -> None:
        """Makes or replaces a file, whole or not at all. Raises OSError."""
        new = f".{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(new, flags, 0o600, dir_fd=self.fd)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
        os.rename(new, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def read_state(self) -> State | None:
        """None where a create was cut short before it had written any."""
        try:
            return State.from_json(self.read(STATE), os.path.join(self.folder, STATE))
        except FileNotFoundError:
            if not os.fstat(self.fd).st_nlink:  # deleted since it was opened
                raise _missing(self.id) from None
            return None

    def read_config(self) -> dict[str, Any]:
        """Its own copy of config.json; {} where a create was cut short before it was written."""
        try:
            document = loads(self.read(CONFIG), CONFIG)
        except (OSError, OcirtError):
            return {}
        return document if isinstance(document, dict) else {}

    def write_state(self, state: State) -> None:
        """Replaces state.json. Raises OSError."""
        self.write(STATE, state.to_json().encode())

    def remove(self) -> None:
        """Removes the folder; state.json goes last, so that a remove that was cut short can
        be done again. Raises StateError for a folder of somebody else (a wrong --root)."""
        names = os.listdir(self.fd)
        if STATE not in names and set(names) - {f".{STATE}.new"}:
            text = f"{self.folder} is no container's folder: it has files, but no {STATE}"
            raise StateError(text, hint="is --root the right folder?")
        for name in sorted(names, key=lambda name: name == STATE):
            try:
                os.unlink(name, dir_fd=self.fd)
            except FileNotFoundError:
                pass
            except IsADirectoryError:
                self._remove_folder(name)
        try:
            os.rmdir(self.folder)
        except FileNotFoundError:
            pass

    def _remove_folder(self, name: str) -> None:
        """One with files alone."""
        fd = os.open(name, _FOLDER, dir_fd=self.fd)
        try:
            for file in os.listdir(fd):
                os.unlink(file, dir_fd=fd)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=self.fd)


class Store:
    """All containers below ``root`` (--root, by default /run/ocirt)."""

    __slots__ = ("root",)

    def __init__(self, root: str = "") -> None:
        self.root = os.path.abspath(root) if root else default_root()

    def create(self, id: str) -> Container:
        """Claims ``id`` and locks it. Raises StateError if it is taken or no id."""
        check_id(id)
        self.make_root()
        folder = os.path.join(self.root, id)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            text = f"container with given ID already exists: {id}"
            raise StateError(text, hint="ocirt delete removes it once it has stopped") from None
        except OSError as error:
            text = f"make {folder}: {error.strerror}"
            raise StateError(text, errno=error.errno or 0, hint=_hint(error)) from None
        try:
            container = self._open(id, folder)
            container.lock()
        except (OSError, StateError) as error:
            if error.errno != errno.ENOENT:  # else somebody has deleted it already
                os.rmdir(folder)
            raise
        return container

    def open(self, id: str) -> Container:
        """The container ``id``. Raises StateError if there is none."""
        check_id(id)
        return self._open(id, os.path.join(self.root, id))

    def ids(self) -> list[str]:
        """Of every container, sorted."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if is_id(name))

    def _open(self, id: str, folder: str) -> Container:
        try:
            fd = os.open(folder, _FOLDER)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                raise _missing(id) from None
            text = f"open {folder}: {error.strerror}"
            raise StateError(text, errno=error.errno or 0, hint=_hint(error)) from None
        if os.fstat(fd).st_uid not in (os.geteuid(), 0):
            os.close(fd)
            raise StateError(f"{folder} belongs to another user", errno=errno.EPERM)
        return Container(id, folder, fd)

    def make_root(self) -> None:
        """Makes the folder of all, if it is not there. Raises StateError.

        For who is rootless it is sticky: what cleans $XDG_RUNTIME_DIR leaves it alone (XDG Base
        Directory Specification).
        """
        try:
            os.makedirs(os.path.dirname(self.root), exist_ok=True)
            try:
                os.mkdir(self.root, 0o700)
            except FileExistsError:
                pass
            else:
                os.chmod(self.root, 0o1700 if _is_rootless() else 0o700)
        except OSError as error:
            text = f"make the state folder {self.root}: {error.strerror}"
            raise StateError(text, errno=error.errno or 0, hint=_hint(error)) from None
        if os.stat(self.root).st_uid not in (os.geteuid(), 0):
            raise StateError(f"{self.root} belongs to another user", errno=errno.EPERM)


def _hint(error: OSError) -> str:
    denied = os.geteuid() != 0 and error.errno == errno.EACCES
    return "set XDG_RUNTIME_DIR, or give another --root" if denied else ""


def _missing(id: str) -> StateError:
    return StateError(f"container {id} does not exist", errno=errno.ENOENT)


def default_root() -> str:
    """/run/ocirt, or $XDG_RUNTIME_DIR/ocirt for who is rootless (CONTRACT.md row 5): an ordinary user,
    or as with runc, root of a user namespace who did not log in as root."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if folder and (os.geteuid() != 0 or (os.environ.get("USER") != "root" and _is_rootless())):
        return os.path.join(folder, "ocirt")
    return "/run/ocirt"


def _is_rootless() -> bool:
    from ocirt.host.rootless import is_rootless

    return is_rootless()


def descriptors_now() -> list[str]:
    """What 0, 1 and 2 are: ``pipe:[inode]``, ``file:device:inode``, or "" for anything else."""
    return [_descriptor(fd) for fd in (0, 1, 2)]


def _descriptor(fd: int) -> str:
    link = os.readlink(f"/proc/self/fd/{fd}")
    if link.startswith("/"):
        return file_name(os.fstat(fd))
    return link if link.startswith("pipe:") else ""


def file_name(status: os.stat_result) -> str:
    """Of a file, in ``State.descriptors``."""
    return f"file:{status.st_dev}:{status.st_ino}"


def is_id(id: str) -> bool:
    """Row 40 of CONTRACT.md."""
    return 0 < len(id) <= _ID_MAX and id not in (".", "..") and _ID.issuperset(id)


def check_id(id: str) -> None:
    """Raises StateError unless ``id`` is one."""
    if not is_id(id):
        hint = "letters, digits, _ + . and -"
        raise StateError(f"invalid container ID format: {id!r}", hint=hint)
