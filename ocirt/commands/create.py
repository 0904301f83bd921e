"""ocirt create"""

from __future__ import annotations

from ocirt.host.rootless import is_rootless
from ocirt.runtime.create import create
from ocirt.runtime.create_options import CreateOptions
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def create_options(options: Options) -> CreateOptions:
    """What create and run have in common."""
    globals = options.globals
    wanted = CreateOptions(options.bundle or ".")
    wanted.config = options.config
    wanted.cgroup_driver = "systemd" if globals.systemd_cgroup else globals.cgroup_manager
    wanted.rootless = lacks_rights(globals.rootless)
    wanted.systemd_annotations = globals.systemd_annotations == "true"
    wanted.pid_file = options.pid_file
    wanted.console_socket = options.console_socket
    wanted.pidfd_socket = options.pidfd_socket
    wanted.pivot = not options.no_pivot
    wanted.keyring = not options.no_new_keyring
    wanted.preserve_fds = options.preserve_fds
    return wanted


def lacks_rights(rootless: str) -> bool:
    """What the global option says of the host's cgroups: true, false or auto."""
    return is_rootless() if rootless in ("auto", "") else rootless == "true"


def run(options: Options) -> int:
    """Makes the container and leaves it waiting for start."""
    create(Store(options.globals.root), options.id, create_options(options))
    return 0
