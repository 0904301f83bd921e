"""ocirt run"""

from __future__ import annotations

import errno

from ocirt import log
from ocirt.commands.create import create_options
from ocirt.errors import StateError
from ocirt.plan.host_work import TAG_MASTER
from ocirt.runtime.create import create
from ocirt.runtime.delete import delete
from ocirt.runtime.start import start
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options
    from ocirt.runtime.store import Container


def run(options: Options) -> int:
    """In the foreground: the container's exit status."""
    wanted = create_options(options)
    wanted.keep_console = not options.detach and not options.console_socket
    signals = None
    if not options.detach:
        from ocirt.runtime.foreground import Signals

        signals = Signals()  # from now on, so that none is lost
    created = create(Store(options.globals.root), options.id, wanted)
    try:
        proxy = start(created.container, created.state)
    except BaseException:
        delete(created.container, force=True)
        raise
    session = created.session
    if signals is None:
        if proxy:
            log.flush()
            proxy.wait(session.pid, session.pidfd)
        return 0
    from ocirt.runtime.foreground import wait

    log.flush()
    master = session.received.get(TAG_MASTER, -1)
    try:
        return wait(session.pid, session.pidfd, master, signals, proxy)
    finally:
        if not options.keep:
            _delete(created.container)


def _delete(container: Container) -> None:
    """Somebody else may have done it: that is what ended it, then."""
    try:
        delete(container, force=True)
    except StateError as error:
        if error.errno != errno.ENOENT:
            raise
