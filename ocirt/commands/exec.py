"""``exec ID COMMAND...`` or ``exec --process FILE ID`` (CONTRACT.md rows 13 to 16)."""

from __future__ import annotations

import os

from ocirt import log
from ocirt.errors import OcirtError, StateError, UsageError
from ocirt.json_text import loads
from ocirt.plan.host_work import TAG_MASTER
from ocirt.runtime.environment import add_listen_fds, check_preserved
from ocirt.runtime.exec import Options as ExecOptions
from ocirt.runtime.exec import execute
from ocirt.runtime.store import CONFIG, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options

_SHARED = (
    "apparmorProfile",
    "capabilities",
    "execCPUAffinity",
    "ioPriority",
    "rlimits",
    "scheduler",
    "selinuxLabel",
)


def run(options: Options) -> int:
    """In the foreground: the process's exit status."""
    container = Store(options.globals.root).open(options.id)
    state = container.read_state()
    if state is None or not state.created:
        raise StateError(f"container {container.id} is not created yet")
    document = loads(container.read(CONFIG), CONFIG)
    wanted = ExecOptions()
    process = _process(options, document, wanted)
    wanted.pid_file = options.pid_file
    wanted.console_socket = options.console_socket
    wanted.pidfd_socket = options.pidfd_socket
    wanted.preserve_fds = options.preserve_fds
    wanted.ignore_paused = options.ignore_paused
    wanted.keep_console = not options.detach and not options.console_socket
    wanted.cgroups = _cgroups(options.cgroup)
    add_listen_fds(process, wanted)
    check_preserved(wanted.preserve_fds)
    signals = None
    if not options.detach:
        from ocirt.runtime.foreground import Signals

        signals = Signals()
    try:
        session = execute(container, state, document, process, wanted)
    except OcirtError as error:
        if not wanted.base and error.at and not error.at.startswith("/linux"):
            error.document = os.path.basename(options.process)
        raise
    if signals is None:
        return 0
    from ocirt.runtime.foreground import wait

    log.flush()

    return wait(session.pid, session.pidfd, session.received.get(TAG_MASTER, -1), signals)


def _process(options: Options, document: dict[str, Any], wanted: ExecOptions) -> dict[str, Any]:
    """The process object: that of FILE, or the container's with what the options change."""
    if options.process:
        from ocirt.config.load import load_process

        if len(options.arguments) > 1:
            raise UsageError("exec: both --process and a command are given")
        try:
            with open(options.process, "rb") as file:
                data = file.read()
        except OSError as error:
            text = f"{options.process}: {error.strerror}"
            raise OcirtError(text, errno=error.errno or 0) from None
        wanted.base = ""
        process, warnings = load_process(data, os.path.basename(options.process))
        for warning in warnings:
            log.warning(str(warning))
        _share(process, document["process"])
    else:
        if len(options.arguments) < 2:
            raise UsageError("exec: a command or --process is missing")
        process = _from_container(options, document["process"])
    if options.tty:
        process["terminal"] = True
    return process


def _share(process: dict[str, Any], base: dict[str, Any]) -> None:
    """What a process says nothing of it has as its container's first one, as with runc: that it
    is confined like that one, above all."""
    for key in _SHARED:
        if process.get(key) in (None, "", []) and key in base:
            process[key] = base[key]
    mask = (base.get("user") or {}).get("umask")
    if mask is not None:
        process["user"] = {"umask": mask, **(process.get("user") or {})}


def _from_container(options: Options, base: dict[str, Any]) -> dict[str, Any]:
    process = dict(base, args=options.arguments[1:], terminal=options.tty)
    # What the first process alone is given.
    for key in ("consoleSize", "oomScoreAdj"):
        process.pop(key, None)
    process["env"] = [*(base.get("env") or []), *options.env]
    if options.cwd:
        if not options.cwd.startswith("/"):
            raise UsageError(f"--cwd {options.cwd}: it must be an absolute path")
        process["cwd"] = options.cwd
    if options.user or options.additional_gids:
        process["user"] = _user(options, base.get("user") or {})
    if options.apparmor:
        process["apparmorProfile"] = options.apparmor
    if options.process_label:
        process["selinuxLabel"] = options.process_label
    if options.no_new_privs:
        process["noNewPrivileges"] = True
    if options.cap:
        process["capabilities"] = _capabilities(options.cap, base.get("capabilities") or {})
    return process


def _user(options: Options, base: dict[str, Any]) -> dict[str, Any]:
    from ocirt.host.users import parse_user

    user = dict(base)
    if options.user:
        uid, gid = parse_user(options.user)
        user["uid"] = uid
        if gid is not None:
            user["gid"] = gid
    extra = [parse_user(text)[0] for text in options.additional_gids]
    user["additionalGids"] = [*(base.get("additionalGids") or []), *extra]
    return user


def _capabilities(names: list[str], base: dict[str, Any]) -> dict[str, Any]:
    """Added to the sets that give a capability to the program, never to the inheritable ones
    (CVE-2022-29162); to the ambient ones if config.json has it in the inheritable ones."""
    from ocirt.host.constants import CAPABILITIES

    wanted = []
    for name in names:
        full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
        if full not in CAPABILITIES:
            raise UsageError(f"--cap {name}: there is no such capability")
        wanted.append(full)
    sets = dict(base)
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = [*(base.get(kind) or []), *wanted]
    inheritable = base.get("inheritable") or ()
    ambient = [name for name in wanted if name in inheritable]
    sets["ambient"] = [*(base.get("ambient") or []), *ambient]
    return sets


def _cgroups(values: list[str]) -> dict[str, str]:
    """{controller: path} of CONTROLLER,...:PATH, or of one PATH, which is for all of them: ""."""
    found: dict[str, str] = {}
    for value in values:
        controllers, colon, path = value.rpartition(":")
        if not colon and len(values) > 1:
            raise UsageError(f"--cgroup {value}: for which controllers? CONTROLLER,...:PATH")
        for controller in controllers.split(","):
            if colon and not controller:
                raise UsageError(f"--cgroup {value}: a controller's name is empty")
            if controller in found:
                raise UsageError(f"--cgroup {value}: {controller} is given twice")
            found[controller] = path
    return found
