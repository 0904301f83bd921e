"""``checkpoint ID`` (CONTRACT.md row 26)."""

from __future__ import annotations

import os

from ocirt.criu.messages import CGROUP_MODES
from ocirt.errors import UsageError
from ocirt.runtime.checkpoint import Options as CheckpointOptions
from ocirt.runtime.checkpoint import checkpoint
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options

DEFAULT_IMAGE = "checkpoint"
_SHARED = ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "lazy_pages", "auto_dedup")


def run(options: Options) -> int:
    """The container is gone when it is saved, unless it is to stay."""
    wanted = CheckpointOptions(options.image_path or DEFAULT_IMAGE)
    take_shared(options, wanted, ("tcp_skip_in_flight", "link_remap"))
    wanted.parent = options.parent_path
    wanted.leave_running = options.leave_running
    wanted.pre_dump = options.pre_dump
    wanted.page_server = _page_server(options.page_server)
    wanted.status_fd = _status_fd(options.status_fd)
    checkpoint(Store(options.globals.root).open(options.id), wanted)
    return 0


def take_shared(options: Options, wanted: CheckpointOptions, more: tuple[str, ...]) -> None:
    """What checkpoint and restore have in common, and the switches ``more``."""
    wanted.work = os.path.abspath(options.work_path) if options.work_path else ""
    wanted.plain = {name: True for name in (*_SHARED, *more) if getattr(options, name)}
    wanted.plain["manage_cgroups_mode"] = CGROUP_MODES[options.manage_cgroups_mode]
    for name in options.empty_ns:
        if name != "network":
            raise UsageError(f"--empty-ns {name}: criu can leave network namespaces empty alone")


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16):
        raise UsageError(f"--page-server {text}: HOST:PORT is wanted")
    return address.strip("[]"), int(port)


def _status_fd(text: str) -> int:
    if not text:
        return -1
    problem = "a descriptor that can be written to is wanted"
    try:
        fd = int(text)
        if os.get_inheritable(fd) and fd > 2:
            os.write(fd, b"")
            return fd
    except (ValueError, OSError):
        pass
    raise UsageError(f"--status-fd {text}: {problem}")
