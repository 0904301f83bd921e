"""``create``: from a bundle to a container that waits for start.

Every step leaves what the next verb, or ``delete`` after a crash, needs to know: the state
with the cgroup's place is saved before the first cgroup is made, and the machine ends when
this process does.
"""

from __future__ import annotations

import errno
import os

from ocirt import log
from ocirt.config.load import Config, load
from ocirt.errors import OcirtError, from_os_error
from ocirt.host.kernel import NOWHERE
from ocirt.host.pins import open_pin
from ocirt.host.rootless import is_ordinary, is_rootless
from ocirt.plan.container import Request, compile_create
from ocirt.plan.host_work import (
    COPY_UP,
    HOOKS,
    ID_MAP,
    NET_DEVICES,
    READY,
    ROOT_MOUNT,
    TAG_COPY_FROM,
    TAG_COPY_TO,
    TAG_INSIDE,
    TAG_MASTER,
    TAG_ROOT,
    TAG_UNDER,
    TIME_OFFSETS,
)
from ocirt.plan.process import environment_of
from ocirt.plan.verify import verify
from ocirt.runtime import capabilities, schedule
from ocirt.runtime.create_options import CreateOptions
from ocirt.runtime.environment import add_listen_fds, check_preserved, complete
from ocirt.runtime.filters import give_listener
from ocirt.runtime.new_container import NewContainer
from ocirt.runtime.new_state import mark_created
from ocirt.runtime.session import Session
from ocirt.runtime.start import make_fifos
from ocirt.runtime.status import process as process_status
from ocirt.runtime.store import Container, State, Store, check_id
from ocirt.runtime.undo import undo
from ocirt.runtime.verbs import FILE as VERBS
from ocirt.runtime.verbs import compile_verbs

_NOT_ALL = "without a cgroup or a pid namespace not all its processes can be found and killed"
# runc's words, which callers look for.
_DISCOURAGED = "Such configuration is strongly discouraged"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan


class Created:
    """A created container: ``session`` has its pid, pidfd and terminal."""

    __slots__ = ("container", "session", "state")

    def __init__(self, container: Container, state: State, session: Session) -> None:
        self.container = container
        self.state = state
        self.session = session


def create(store: Store, id: str, options: CreateOptions) -> Created:
    """Creates container ``id``. Raises OcirtError, and leaves nothing behind then."""
    check_id(id)  # before anything is called by it
    config = load(options.bundle, options.config)
    for warning in config.warnings:
        log.warning(str(warning))
    return _Create(config, store, id, options).run()


class _Create(NewContainer):
    """One create at work."""

    __slots__ = ("hooked", "limited", "options", "plan", "session")

    def __init__(self, config: Config, store: Store, id: str, options: CreateOptions) -> None:
        self.options = options
        process = config.document["process"]
        if process.get("terminal") or options.console_socket:
            from ocirt.runtime.console import check_console

            check_console(process, options.console_socket, options.keep_console)
        add_listen_fds(process, options)
        check_preserved(options.preserve_fds)
        driver, annotations = options.cgroup_driver, options.systemd_annotations
        super().__init__(config, store, id, driver, annotations, options.rootless)
        if not self.user:
            capabilities.leave_out(process, "/process")
        if (self.linux.get("resources") or {}).get("devices") and driver == "disabled":
            text = "not applied, the container is in its caller's cgroup"
            log.warning(f"config.json#/linux/resources/devices: {text}")
        if not self.manager.folders and not self.namespaces.has("pid"):
            log.warning(f"config.json#/linux/namespaces: {_NOT_ALL}. {_DISCOURAGED}")
        if not options.keyring:
            self.state.keyring = ""
        self.session: Session | None = None
        self.limited = False
        self.hooked = False
        self.plan = self._compile(store)
        self.container = store.create(id)

    def _compile(self, store: Store) -> Plan:
        compiled = compile_create(
            Request(
                self.document,
                self.config.bundle,
                self._cgroup_mounts,
                3 + self.options.preserve_fds,
                self.state.keyring,
                self.options.pivot,
                self.compile_filter(store),
                is_rootless(),
                is_ordinary(),
                [] if self.options.pivot else _whole_pseudo_file_systems(),
            )
        )
        verify(compiled)
        for warning in compiled.warnings:
            log.warning(str(warning))
        return compiled

    def _cgroup_mounts(self) -> list[Any]:
        from ocirt.cgroup.mounts import cgroup_mounts

        kinds = {n["type"] for n in self.linux.get("namespaces") or []}
        return cgroup_mounts(self.layout, self.manager, kinds)

    def run(self) -> Created:
        self.claim()
        try:
            self.begin()
            self._open_pins()
            session = self._start()
            session.hand_over = self._give_listener
            session.run(
                self.fds,
                {
                    TIME_OFFSETS: self._time_offsets,
                    NET_DEVICES: self._move_net_devices,
                    COPY_UP: self._copy_up,
                    ID_MAP: self._map_inside,
                    ROOT_MOUNT: self._know_root_mount,
                    HOOKS: self._hooks,
                    READY: self._ready,
                }
                | (self.user.at_sync(session, self.fds) if self.user else {}),
            )
            if not session.parked:
                raise OcirtError("the set-up process ended too early")
            self.container.unlock()
        except BaseException as error:
            self.close_pins()  # they may be all the descriptors that we can have
            lack = self._lack_of_memory(error)
            self._undo()
            if lack:
                raise lack from None
            if isinstance(error, OSError):
                raise from_os_error(error, "create: ") from None
            raise
        finally:
            self.close()
        return Created(self.container, self.state, session)

    def _open_pins(self) -> None:
        fifos = make_fifos(self.container)
        self.fds = {pin.slot: fifos[pin.path] for pin in self.plan.pins if pin.kind == "fifo"}
        for pin in self.plan.pins:
            if pin.kind != "fifo":
                self.fds[pin.slot] = open_pin(pin)
        maps = [pin.id_map for pin in (*self.plan.pins, *self.plan.inside) if pin.id_map]
        if maps and is_ordinary():
            text = "a mount of the host's can be id-mapped by the host's root alone"
            raise OcirtError(text, at=maps[0].at)
        if maps:
            from ocirt.host.id_mapped import id_map

            id_map(self.plan.pins, self.fds)

    def _start(self) -> Session:
        birth = self.user.open() if self.user else NOWHERE
        cgroup = self.manager.open()
        try:
            first_fd = 3 + self.options.preserve_fds
            session = self.session = Session(self.plan, cgroup, first_fd, birth)
        finally:
            if cgroup >= 0:
                os.close(cgroup)
        self._remember(session)
        self.manager.enter(session.pid)
        self.join_rdt(session.pid)
        return session

    def _remember(self, session: Session) -> None:
        self.state.pid = session.pid
        self.state.pid_start = process_status(session.pid)[1]

    # ---- what the host does at each SYNC

    def _time_offsets(self) -> None:
        offsets = self.linux.get("timeOffsets")
        if offsets:
            from ocirt.runtime.time_offsets import write_time_offsets

            assert self.session
            write_time_offsets(self.session.pid, offsets)

    def _move_net_devices(self) -> None:
        from ocirt.runtime.net_devices import NetDevices

        assert self.session
        if is_ordinary():
            text = "network devices of the host can be moved by the host's root alone"
            raise OcirtError(text, at="/linux/netDevices")
        self.net_devices = NetDevices(self.session.pid)
        self.net_devices.move(self.linux["netDevices"])

    def _copy_up(self) -> None:
        from ocirt.runtime.copy_up import copy_up

        assert self.session
        received = self.session.received
        source, target = received.pop(TAG_COPY_FROM), received.pop(TAG_COPY_TO)
        try:
            if self.user:
                self.user.call_as_root(
                    self.session.pidfd, lambda: copy_up(source, target, "/mounts")
                )
            else:
                copy_up(source, target, "/mounts")
        finally:
            os.close(source)
            os.close(target)

    def _map_inside(self) -> None:
        from ocirt.host.id_mapped import id_map

        assert self.session
        for index, pin in enumerate(self.plan.inside):
            mount = self.session.received.pop(TAG_INSIDE + index, -1)
            if mount >= 0:
                try:
                    id_map([pin], {**self.fds, pin.slot: mount})
                finally:
                    os.close(mount)

    def _know_root_mount(self) -> None:
        from ocirt.host.root_mount import describe

        assert self.session
        mounts = [self.session.received.pop(tag) for tag in (TAG_ROOT, TAG_UNDER)]
        try:
            self.state.root_mount = describe(mounts)
        finally:
            for fd in mounts:
                os.close(fd)
        self._remember(self.session)
        self.container.write_state(self.state)

    def _limit(self) -> None:
        """Not before the set-up: it may need one more process, and devices to mount. But before
        the hooks, which may allow more devices."""
        if self.limited:
            return
        self.limited = True
        self.manager.limit(self.linux.get("resources") or {}, "/linux/resources")
        self.manager.limit_devices(self.device_rules)

    def _hooks(self) -> None:
        from ocirt.runtime.hooks import run_hooks
        from ocirt.runtime.spec_state import spec_state

        assert self.session
        self._limit()
        self._remember(self.session)
        self.container.write_state(self.state)
        self.hooked = True
        hooks = self.document["hooks"]
        # runtime.md: "created" is from step 2 of the lifecycle on, these hooks are step 3 to 5.
        state = spec_state(self.state, "created")
        for kind in ("prestart", "createRuntime"):
            run_hooks(hooks.get(kind) or [], kind, state)
        if hooks.get("createContainer"):
            from ocirt.runtime.container_hooks import run_create_container

            run_create_container(hooks["createContainer"], self.session, self.document, state)

    def _ready(self) -> None:
        session = self.session
        assert session
        process = self.document["process"]
        self._limit()
        if self.user:
            self.user.give_cgroup(session.pid, self.manager)
        schedule.apply(session.pid, process, "/process")
        complete(environment_of(self.plan), process, self._open_root)
        if process.get("terminal"):
            from ocirt.runtime.console import hand_over

            if hand_over(session.received[TAG_MASTER], process, self.options.console_socket):
                os.close(session.received.pop(TAG_MASTER))
        self._remember(session)
        mark_created(self.state)
        if self.rdt:
            self.state.intel_rdt = self.rdt.state(created=True)
        self.container.write_state(self.state)
        if not self.notify:
            verbs = compile_verbs(self.state, self.manager, self.document)
            if verbs:
                self.container.write(VERBS, verbs)
        if self.options.pidfd_socket:
            from ocirt.runtime.console import send_fd

            send_fd(self.options.pidfd_socket, session.pidfd, "pidfd")
        if self.options.pid_file:
            from ocirt.runtime.pid_file import write_pid_file

            write_pid_file(self.options.pid_file, session.pid)

    def _open_root(self) -> int:
        """The container's root; that of its process, where we may look at it."""
        assert self.session
        path = f"/proc/{self.session.pid}/root"
        if self.user and self.user.joined and is_ordinary():
            path = f"/proc/self/fd/{self.fds[self.plan.slot('root')]}"
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _give_listener(self, listener: int) -> None:
        assert self.session
        give_listener(listener, self.linux, self.session.pid, self.state, "creating")

    def _lack_of_memory(self, error: BaseException) -> OcirtError | None:
        """What ``error`` came from, if the set-up process went where its limit led it: version 2
        takes a limit that is less than what is used, and kills."""
        if not self.limited or getattr(error, "at", None) is not None:
            return None
        from ocirt.cgroup.oom import kills

        if not kills(self.manager):
            return None
        resources = self.linux["resources"]
        where = "/memory/limit" if (resources.get("memory") or {}).get("limit") else ""
        return OcirtError(
            "the kernel killed the set-up process: it needs more memory than that",
            at=f"/linux/resources{where}",
            errno=errno.ENOMEM,
        )

    def _undo(self) -> None:
        """Nothing of a create that failed is left."""
        if self.net_devices:
            undo(self.net_devices.put_back)  # virtual ones end with their namespace
        undo(self._undo_process)
        if self.state.root_mount:
            from ocirt.host.root_mount import unmount

            undo(lambda: unmount(self.state.root_mount, force=True))
        undo(self.manager.destroy)
        if self.options.pid_file and self.state.created:
            from ocirt.runtime.pid_file import remove_pid_file

            undo(lambda: remove_pid_file(self.options.pid_file))
        if self.rdt:
            undo(self.rdt.destroy)
        undo(self.container.remove)
        if self.hooked and self.document["hooks"].get("poststop"):
            from ocirt.runtime.hooks import run_lenient
            from ocirt.runtime.spec_state import spec_state

            state = spec_state(self.state, "stopped")
            run_lenient(self.document["hooks"]["poststop"], "poststop", state)

    def _undo_process(self) -> None:
        if self.session:
            self.session.kill()
            self.manager.kill()


def _whole_pseudo_file_systems() -> list[str]:
    """Where the host has all of procfs and sysfs."""
    from ocirt.host.mountinfo import mounts

    return [m.point for m in mounts() if m.fs_type in ("proc", "sysfs") and m.root == "/"]
