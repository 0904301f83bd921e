"""``checkpoint``: CRIU writes a container's processes to files."""

from __future__ import annotations

import os

from ocirt.cgroup.freezer import find
from ocirt.cgroup.layout import detect
from ocirt.cgroup.manager import from_state
from ocirt.criu import messages
from ocirt.criu.files import Files
from ocirt.criu.images import DESCRIPTORS, check_files
from ocirt.criu.process import Criu, check_feature, check_version
from ocirt.criu.tree import hierarchies, tree
from ocirt.errors import OcirtError, StateError
from ocirt.host.constants import CLONE_NEWNET
from ocirt.host.mountinfo import mounts
from ocirt.host.rootless import is_rootless
from ocirt.json_text import dumps, loads
from ocirt.plan.namespaces import Namespaces
from ocirt.runtime import notify
from ocirt.runtime.delete import delete
from ocirt.runtime.external import compile_plan, found_in, mount_id
from ocirt.runtime.status import living
from ocirt.runtime.store import CONFIG, file_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.runtime.store import Container, State

_LOG = "dump.log"
# The keys of namespaces that are the host's; those of the peers.
NAMESPACE_KEYS = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
_CONFIG_ANNOTATION = "org.criu.config"
_CONFIG_FILE = "/etc/criu/ocirt.conf"


class Options:
    """What the command lines of checkpoint and restore have in common, and checkpoint's own.

    ``plain``: {field of CRIU's options: value}, which are handed on as they are; ``status_fd``: -1
    for none; ``page_server``: (address, port); ``parent``: a path relative to ``image``.
    """

    __slots__ = (
        "image",
        "leave_running",
        "page_server",
        "parent",
        "plain",
        "pre_dump",
        "status_fd",
        "work",
    )

    def __init__(self, image: str) -> None:
        self.image = os.path.abspath(image)
        self.work = ""
        self.plain: dict[str, Any] = {}
        self.parent = ""
        self.leave_running = False
        self.pre_dump = False
        self.page_server: tuple[str, int] | None = None
        self.status_fd = -1


def checkpoint(container: Container, options: Options) -> None:
    """Afterwards the container is gone, unless it is to stay. Raises OcirtError, and the container
    goes on then."""
    require_root()
    container.lock()
    state, now = living(container, container.read_state())
    if now == "created":
        raise StateError(f"container {container.id} was not started: there is nothing to save")
    check_version()
    document = loads(container.read(CONFIG), CONFIG)
    if notify.has_folder(container):
        notify.add_mount(document, container.folder)
    if options.parent.startswith("/"):
        raise StateError(f"--parent-path {options.parent}: it must be relative to --image-path")
    files = Files(options.image, options.work, _LOG, make=True)
    try:
        check_files(files.image)
        _check_options(options)
        criu = Criu()
        request = _request(container, state, document, options)
        request["opts"] |= files.options(criu)
        if not options.pre_dump:
            _write_descriptors(files.image, _name_files(state, request["opts"]["external"]))
        try:
            _dump(criu, request, options)
        except BaseException as error:
            freezer = find(state.cgroup)
            if now == "running" and freezer and freezer.is_frozen():
                freezer.thaw()
            if isinstance(error, OcirtError):
                raise files.explain(error, f"checkpoint of {container.id}") from None
            raise
    finally:
        files.close()
    if not options.leave_running and not options.pre_dump:
        delete(container, force=True)


def require_root() -> None:
    """Raises StateError."""
    if is_rootless():
        raise StateError("only the host's root can checkpoint and restore: criu needs its rights")


def _check_options(options: Options) -> None:
    if options.parent and not os.path.isdir(os.path.join(options.image, options.parent)):
        raise StateError(f"--parent-path {options.parent}: {options.image} has no such folder")
    if options.pre_dump or options.parent:
        check_feature("mem_track", "--pre-dump" if options.pre_dump else "--parent-path")
    if options.plain.get("lazy_pages"):
        check_feature("lazy_pages", "--lazy-pages")


def _request(
    container: Container,
    state: State,
    document: dict[str, Any],
    options: Options,
) -> dict[str, Any]:
    linux = document.get("linux") or {}
    opts: dict[str, Any] = {
        **common_options(document),
        **options.plain,
        "pid": state.pid,
        "root": state.rootfs,
        "leave_running": options.leave_running or options.pre_dump,
        "external": _namespaces(state, linux),
    }
    if options.parent:
        opts["parent_img"] = options.parent
    if options.parent or options.pre_dump:
        opts["track_mem"] = True
    if options.page_server:
        address, port = options.page_server
        opts["ps"] = {"address": address, "port": port}
    freezer = find(state.cgroup)
    if freezer:
        opts["freeze_cgroup"] = freezer.folder
    manager = from_state(state.cgroup)
    # Of the other hierarchies CRIU would save all there is: the host's cgroups.
    opts["cgroup_dump_controller"] = [
        names
        for names, path in hierarchies(state.pid)
        if any(f"{path}/".startswith(f"{own}/") for own in manager.cgroups.values())
    ]
    if options.pre_dump:
        return {"type": messages.PRE_DUMP, "opts": opts}
    plan = compile_plan(document, state.bundle, detect(), manager)
    keys = found_in(state.pid, plan, document)
    opts["ext_mnt"] = [{"key": path, "val": key} for path, key in keys.items()]
    return {"type": messages.DUMP, "opts": opts}


def common_options(document: dict[str, Any]) -> dict[str, Any]:
    """Of dump and restore.

    The network namespace is made empty: its devices are the business of whoever gives them to
    containers. A file for CRIU's settings is the administrator's, or named by an annotation.
    """
    annotations = document.get("annotations") or {}
    return {
        "notify_scripts": True,
        "orphan_pts_master": True,
        "manage_cgroups": True,
        "empty_ns": CLONE_NEWNET,
        "config_file": annotations.get(_CONFIG_ANNOTATION, _CONFIG_FILE) or None,
    }


def _namespaces(state: State, linux: dict[str, Any]) -> list[str]:
    """Those that the container was given: they stay, and are joined again."""
    found = []
    for kind in Namespaces(linux).joined:
        if kind in NAMESPACE_KEYS:
            name, key = NAMESPACE_KEYS[kind]
            inode = os.stat(f"/proc/{state.pid}/ns/{name}").st_ino
            found.append(f"{name}[{inode}]:{key}")
    return found


def _name_files(state: State, external: list[str]) -> list[str]:
    """What the caller of create gave as standard input, output and error, in CRIU's words:
    ``pipe:[inode]``, or ``file[mount:inode]`` of a file that the container could not open itself;
    "" of anything else. Such files are added to ``external``."""
    found = [name if name.startswith("pipe:") else "" for name in state.descriptors]
    if not all(found):
        for name, mount, inode in _outer_files(state.pid):
            for index, given in enumerate(state.descriptors):
                if given == name:
                    found[index] = f"file[{mount:x}:{inode:x}]"
        external += [name for name in found if name.startswith("file[")]
    return found


def _outer_files(pid: int) -> Iterator[tuple[str, int, int]]:
    """(name as in ``State.descriptors``, mount, inode) of open files that are in no mount of the
    container."""
    inner = {mount.words[0] for mount in mounts(pid)}
    for process in tree(pid):
        for fd in os.listdir(f"/proc/{process}/fd"):
            try:
                path = f"/proc/{process}/fd/{fd}"
                if os.readlink(path).startswith("/"):
                    mount, status = mount_id(int(fd), process), os.stat(path)
                    if mount not in inner:
                        yield file_name(status), int(mount), status.st_ino
            except OSError:
                pass  # it was closed meanwhile


def _write_descriptors(folder: int, names: list[str]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(DESCRIPTORS, flags, 0o600, dir_fd=folder)
        try:
            os.write(fd, dumps(names).encode())
        finally:
            os.close(fd)
    except OSError as error:
        text = f"write {DESCRIPTORS} of the image: {error.strerror}"
        raise OcirtError(text, errno=error.errno or 0) from None


def _dump(criu: Criu, request: dict[str, Any], options: Options) -> None:
    def notify(script: str, _pid: int, _fd: int) -> None:
        if script == "status-ready" and options.status_fd >= 0:
            # Whoever fetches the pages can begin.
            os.write(options.status_fd, b"\0")
            os.close(options.status_fd)

    criu.call(request, notify)
