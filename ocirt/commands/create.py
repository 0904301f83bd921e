"""ocirt create"""

from __future__ import annotations

from ocirt.errors import UsageError
from ocirt.runtime.create import Options as CreateOptions
from ocirt.runtime.create import create
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def create_options(options: Options) -> CreateOptions:
    """What create and run have in common."""
    if options.globals.systemd_cgroup or options.globals.cgroup_manager != "cgroupfs":
        raise UsageError(
            "only the cgroupfs driver is supported by this release of ocirt",
            hint="leave --systemd-cgroup out, or give --cgroup-manager cgroupfs",
        )
    wanted = CreateOptions(options.bundle or ".")
    wanted.pid_file = options.pid_file
    wanted.console_socket = options.console_socket
    wanted.pidfd_socket = options.pidfd_socket
    wanted.pivot = not options.no_pivot
    wanted.keyring = not options.no_new_keyring
    wanted.preserve_fds = options.preserve_fds
    return wanted


def run(options: Options) -> int:
    """Makes the container and leaves it waiting for start."""
    create(Store(options.globals.root), options.id, create_options(options))
    return 0
