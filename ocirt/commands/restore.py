"""``restore ID`` (CONTRACT.md row 27)."""

from __future__ import annotations

import errno

from ocirt import log
from ocirt.commands.checkpoint import DEFAULT_IMAGE, take_shared
from ocirt.errors import StateError
from ocirt.runtime.delete import delete
from ocirt.runtime.restore import Options as RestoreOptions
from ocirt.runtime.restore import restore
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """In the foreground: the container's exit status."""
    globals = options.globals
    wanted = RestoreOptions(options.image_path or DEFAULT_IMAGE, options.bundle or ".")
    take_shared(options, wanted, ("tcp_close",))
    for name in ("lsm_profile", "lsm_mount_context"):
        if getattr(options, name):
            wanted.plain[name] = getattr(options, name)
    wanted.cgroup_driver = "systemd" if globals.systemd_cgroup else globals.cgroup_manager
    wanted.systemd_annotations = globals.systemd_annotations == "true"
    wanted.console_socket = options.console_socket
    wanted.pid_file = options.pid_file
    wanted.keep_console = not options.detach and not options.console_socket
    signals = None
    if not options.detach:
        from ocirt.runtime.foreground import Signals

        signals = Signals()
    restored = restore(Store(globals.root), options.id, wanted)
    log.flush()
    if signals is None:
        return 0
    from ocirt.runtime.foreground import wait

    try:
        return wait(restored.pid, restored.pidfd, restored.master, signals)
    finally:
        try:
            delete(restored.container, force=True)
        except StateError as error:
            if error.errno != errno.ENOENT:
                raise
