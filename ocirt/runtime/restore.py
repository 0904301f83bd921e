"""``restore``: CRIU makes a container's processes again from the files of a checkpoint.

What the processes were is the image's; what they may do is for the config.json to say. So the
host's objects are those that it names, and before anything runs again all that can be seen of the
processes is compared with it (``ocirt.runtime.restore_check``).
"""

from __future__ import annotations

import errno
import os

from ocirt import log
from ocirt.config.load import Config, load
from ocirt.criu import cgroups, images, messages, sharing
from ocirt.criu.files import Files
from ocirt.criu.process import Criu, check_feature, check_version
from ocirt.criu.tree import cgroup_roots, tree
from ocirt.errors import KernelError, OcirtError, StateError, from_os_error
from ocirt.host import kernel
from ocirt.host.constants import CLONE_NEWNS
from ocirt.host.mountinfo import mounts
from ocirt.host.pins import open_pin
from ocirt.json_text import dumps, loads
from ocirt.runtime import notify
from ocirt.runtime.checkpoint import NAMESPACE_KEYS, common_options, require_root
from ocirt.runtime.checkpoint import Options as CheckpointOptions
from ocirt.runtime.console import check_console, hand_over
from ocirt.runtime.external import compile_plan
from ocirt.runtime.new_container import NewContainer
from ocirt.runtime.new_state import mark_created
from ocirt.runtime.pid_file import remove_pid_file, write_pid_file
from ocirt.runtime.restore_check import check, check_maps
from ocirt.runtime.restore_stage import Stage, reachable
from ocirt.runtime.status import process as process_status
from ocirt.runtime.store import CONFIG
from ocirt.runtime.undo import undo
from ocirt.runtime.verbs import FILE as VERBS
from ocirt.runtime.verbs import compile_verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.store import Store

_LOG = "restore.log"
_SIGKILL = 9
_REPORT_MAX = 1 << 20
_JOINED = ("ipc", "uts", "time")  # by CRIU, which has the same names for them


class Options(CheckpointOptions):
    """``keep_console``: the caller keeps the terminal's master side."""

    __slots__ = (
        "bundle",
        "cgroup_driver",
        "console_socket",
        "keep_console",
        "pid_file",
        "systemd_annotations",
    )

    def __init__(self, image: str, bundle: str) -> None:
        super().__init__(image)
        self.bundle = os.path.abspath(bundle)
        self.cgroup_driver = "cgroupfs"
        self.console_socket = ""
        self.keep_console = False
        self.pid_file = ""
        self.systemd_annotations = True


def restore(store: Store, id: str, options: Options) -> Restored:
    """Raises OcirtError, and leaves nothing behind then."""
    require_root()
    check_version()
    if options.plain.get("lazy_pages"):
        check_feature("lazy_pages", "--lazy-pages")
    config = load(options.bundle)
    for warning in config.warnings:
        log.warning(str(warning))
    check_console(config.document["process"], options.console_socket, options.keep_console)
    files = Files(options.image, options.work, _LOG, make=False)
    try:
        restored = Restored(config, store, id, options, files)
        restored.run()
        if restored.notify:
            _tell_ready(restored.pid)
        return restored
    finally:
        files.close()


def _tell_ready(pid: int) -> None:
    """It was ready before it was saved. It runs, whether the service manager hears of it or not."""
    try:
        notify.tell(os.environ["NOTIFY_SOCKET"], b"READY=1", pid)
    except OcirtError as error:
        log.warning(str(error))


class Restored(NewContainer):
    """A container that runs again: ``pid`` is a child of ours, ``master`` that of its terminal, or
    -1."""

    def __init__(
        self, config: Config, store: Store, id: str, options: Options, files: Files
    ) -> None:
        super().__init__(config, store, id, options.cgroup_driver, options.systemd_annotations)
        self.options = options
        self.files = files
        self.filter = self.compile_filter(store)
        self.plan = compile_plan(
            self.document, config.bundle, self.layout, self.manager, self.filter
        )
        self.cgroups: list[dict[str, str]] = []  # of CRIU, one a controller
        self.pid = 0
        self.pidfd = self.master = -1
        self.criu = Criu()
        self.criu.streams = True
        self.container = store.create(id)

    def run(self) -> None:
        """Raises OcirtError, and leaves nothing behind then."""
        self.claim()
        try:
            self.begin()
            for pin in self.plan.pins:
                if pin.kind not in ("fifo", "namespace"):
                    self.fds[pin.slot] = open_pin(pin)
            keys = self._start()
            self.manager.join(self.criu.pid)
            self.manager.enter(self.criu.pid)
            self.join_rdt(self.criu.pid)
            # CRIU opens what the image says was open: whoever has a device open keeps it.
            self.manager.limit_devices(self.device_rules)
            self._call(keys)
            self.container.unlock()
        except BaseException as error:
            self._undo()
            if isinstance(error, OSError):
                raise from_os_error(error, "restore: ") from None
            raise
        finally:
            self.close()

    # ---- CRIU's process

    def _start(self) -> list[list[str]]:
        """Starts it in its mount namespace: the keys of external mounts, and where they are."""
        self.files.make_private(self.user.root() if self.user else (0, 0))
        folder = os.path.realpath(self.container.folder)
        if self.user:
            folder = reachable(folder)
        stage = Stage(folder, self.plan, self.document, self.fds)
        self.folders = self.files.options(self.criu)
        self.inherited = self._inherit()

        def prepare() -> bytes:
            report: dict[str, Any]
            try:
                _leave_keyring(self.state.keyring)
                kernel.unshare(CLONE_NEWNS)
                self.files.open_again(self.criu)
                report = {"keys": stage.build()}
                self.files.attach(self.criu, stage.images, stage.original)
            except OcirtError as error:
                report = {"error": error.message, "at": error.at, "errno": error.errno}
            except OSError as error:
                place = "" if error.filename is None else f" {error.filename}"
                text = f"prepare criu{place}: {error.strerror}"
                report = {"error": text, "at": None, "errno": error.errno}
            return dumps(report).encode()

        report = loads(self.criu.start(prepare, die=True), "report")
        if "error" in report:
            raise KernelError(report["error"], at=report["at"], errno=report["errno"] or 0)
        self.root = stage.root
        found: list[list[str]] = report["keys"]
        return found

    def _inherit(self) -> list[dict[str, Any]]:
        """Descriptors that come from our caller, and the namespaces that are joined."""
        found = []
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(images.DESCRIPTORS, flags, dir_fd=self.files.image)
        except OSError as error:
            text = f"{self.options.image} is no image of a checkpoint: {images.DESCRIPTORS}"
            raise OcirtError(f"{text}: {error.strerror}", errno=error.errno or 0) from None
        with os.fdopen(fd, "rb") as file:
            names = loads(file.read(_REPORT_MAX), images.DESCRIPTORS)
        if self.document["process"].get("terminal") or not isinstance(names, list):
            names = []  # what a container with a terminal has open is its own
        for number, name in enumerate(names[:3]):
            if isinstance(name, str) and name.isascii() and name.startswith(("pipe:", "file[")):
                # Not the number itself: CRIU closes its own 0 with --shell-job.
                found.append({"key": name, "fd": self.criu.inherit(number)})
        for pin in self.plan.pins:
            if pin.kind == "namespace" and pin.detail in NAMESPACE_KEYS:
                fd = self.fds[pin.slot] = open_pin(pin)
                key = NAMESPACE_KEYS[pin.detail][1]
                found.append({"key": key, "fd": self.criu.inherit(fd)})
        return found

    def _joins(self) -> list[dict[str, str]]:
        found = []
        for kind, (path, at) in self.namespaces.joined.items():
            if kind in NAMESPACE_KEYS:
                continue
            if kind not in _JOINED:
                raise StateError(f"criu can't join a {kind} namespace", at=at)
            found.append({"ns": kind, "ns_file": path})
        return found

    def _call(self, keys: list[list[str]]) -> None:
        self.cgroups = cgroup_roots(self.criu.pid)  # where the processes go too
        self._check_image({key for key, _path in keys})
        slaves = {mount.point for mount in mounts(self.criu.pid) if mount.is_slave()}
        sources = [[sharing.ROOT, self.root], *keys]
        sharing.separate(self.files.image, {key for key, path in sources if path in slaves})
        options = {
            **self.folders,
            **common_options(self.document),
            **self.options.plain,
            "root": self.root,
            "rst_sibling": True,
            "evasive_devices": True,
            "ext_mnt": [{"key": key, "val": path} for key, path in keys],
            "inherit_fd": self.inherited,
            "join_ns": self._joins(),
            "cg_root": self.cgroups,
        }
        try:
            self.criu.call({"type": messages.RESTORE, "opts": options}, self._notify)
        except OcirtError as error:
            if error.at is not None or isinstance(error, (KernelError, StateError)):
                raise
            raise self.files.explain(error, f"restore of {self.state.id}") from None

    def _check_image(self, keys: set[str]) -> None:
        """CRIU would refuse a mount that it can't find, in words of its own."""
        images.check(self.files.image)
        own = self.manager.cgroups.values()
        cgroups.keep(self.files.image, {c["ctrl"] for c in self.cgroups if c["path"] in own})
        for maps in images.id_maps(self.files.image):
            check_maps(maps, self.linux)
        for key, path in images.external_mounts(self.files.image).items():
            if key not in keys:
                text = f"the checkpoint has a mount of the host at {path}, the config has none"
                raise StateError(text, at="/mounts")

    # ---- what CRIU tells

    def _notify(self, script: str, pid: int, fd: int) -> None:
        if pid:
            self.pid = pid
        if script == "setup-namespaces":
            self._namespaces()
        elif script == "orphan-pts-master":
            self._console(fd)
        elif script == "pre-resume":
            # A failure of this script is no failure for CRIU.
            try:
                self._ready()
            except BaseException:
                self._kill()
                raise

    def _namespaces(self) -> None:
        """They exist, and nothing is in them yet."""
        if "network" in self.namespaces.new:
            from ocirt.host.netlink import Route

            namespace = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                route = Route(namespace)
                route.set_up(1)  # loopback
                route.close()
            finally:
                os.close(namespace)
            if self.linux.get("netDevices"):
                from ocirt.runtime.net_devices import NetDevices

                self.net_devices = NetDevices(self.pid)
                self.net_devices.move(self.linux["netDevices"])
        hooks = self.document.get("hooks") or {}
        if hooks.get("prestart") or hooks.get("createRuntime"):
            from ocirt.runtime.hooks import run_hooks
            from ocirt.runtime.spec_state import spec_state

            self._remember()
            self.container.write_state(self.state)
            state = spec_state(self.state, "created")
            for kind in ("prestart", "createRuntime"):
                run_hooks(hooks.get(kind) or [], kind, state)

    def _console(self, master: int) -> None:
        if not hand_over(master, self.document["process"], self.options.console_socket):
            self.master = os.dup(master)

    def _ready(self) -> None:
        """All is as it was, and stands still."""
        self.manager.limit(self.linux.get("resources") or {}, "/linux/resources")
        check(self)
        if self.user:
            self.user.give_cgroup(self.pid, self.manager)
        self._join_time()
        self._remember()
        self.pidfd = kernel.pidfd_open(self.pid)
        mark_created(self.state)
        self.container.write_state(self.state)
        verbs = compile_verbs(self.state, self.manager, self.document)
        if verbs:
            self.container.write(VERBS, verbs)
        if self.options.pid_file:
            write_pid_file(self.options.pid_file, self.pid)

    def _join_time(self) -> None:
        """CRIU has given it a time namespace, in which its clocks go on: exec has to know that."""
        if self.namespaces.has("time"):
            return
        try:
            own = os.stat("/proc/self/ns/time").st_ino
        except FileNotFoundError:
            return  # a kernel without them
        if os.stat(f"/proc/{self.pid}/ns/time").st_ino != own:
            document = loads(self.config.raw, CONFIG)
            linux = document.setdefault("linux", {})
            linux["namespaces"] = [*(linux.get("namespaces") or []), {"type": "time"}]
            self.container.write(CONFIG, dumps(document).encode())

    def _remember(self) -> None:
        self.state.pid = self.pid
        self.state.pid_start = process_status(self.pid)[1]

    # ---- failures

    def _kill(self) -> None:
        """All of them: CRIU holds them, or they are stopped by now. The first is a child of ours."""
        if self.pid:
            try:
                for pid in tree(self.pid)[::-1]:
                    os.kill(pid, _SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended, and with it its pid namespace

    def _undo(self) -> None:
        self.criu.close()
        if self.net_devices:
            undo(self.net_devices.put_back)
        undo(self._kill, self.manager.kill, self._reap, self.manager.destroy)
        if self.rdt:
            undo(self.rdt.destroy)
        if self.options.pid_file and self.state.created:
            undo(lambda: remove_pid_file(self.options.pid_file))
        undo(self.container.remove)

    def _reap(self) -> None:
        if self.pid:
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass


def _leave_keyring(name: str) -> None:
    """In the process that will be CRIU: what it makes has its session keyring, and none is in the
    checkpoint. Without, the container would have the keys of our caller. Raises OSError."""
    try:
        kernel.join_keyring(name)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # no keyrings in this kernel
            raise
