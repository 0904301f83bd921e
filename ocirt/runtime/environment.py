"""What a program gets beside what its config says: descriptors of the caller, and HOME."""

from __future__ import annotations

import os

from ocirt.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def add_listen_fds(process: dict[str, Any], options: Any) -> None:
    """Socket activation: LISTEN_FDS descriptors come before those of --preserve-fds
    (sd_listen_fds(3), CONTRACT.md row 39)."""
    text = os.environ.get("LISTEN_FDS", "")
    if (
        text.isdigit()
        and int(text) > 0
        and os.environ.get("LISTEN_PID") in (None, str(os.getpid()))
    ):
        options.preserve_fds += int(text)
        process["env"] = [*(process.get("env") or []), f"LISTEN_FDS={text}", "LISTEN_PID=1"]


def check_preserved(count: int) -> None:
    """Every descriptor of --preserve-fds must have been handed to us by the caller: one that
    is closed there could be one of our own by the time it is handed on."""
    for fd in range(3, 3 + count):
        try:
            inherited = os.get_inheritable(fd)
        except OSError:
            inherited = False
        if not inherited:
            raise StateError(f"--preserve-fds {count}: descriptor {fd} is not open")


def add_home(environment: list[str], process: dict[str, Any], root: str) -> None:
    """HOME, where the config gives none: of the user's entry in the container's passwd."""
    if any(entry.startswith("HOME=") for entry in environment):
        return
    from ocirt.host.users import home_of

    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        environment.append("HOME=" + home_of((process.get("user") or {}).get("uid") or 0, fd))
    finally:
        os.close(fd)
