"""What a program gets beside what its config says: descriptors of the caller, and a HOME."""

from __future__ import annotations

import os

from ocirt.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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


def complete(environment: list[str], process: dict[str, Any], open_root: Callable[[], int]) -> None:
    """As runc does: of a variable that is given more than once the last one counts; a HOME that is
    not given, or empty, is that of the user's entry in the container's passwd."""
    found: dict[str, str] = {}
    for entry in environment:
        name = entry.partition("=")[0]
        found.pop(name, None)
        found[name] = entry
    if found.get("HOME", "HOME=") == "HOME=":
        from ocirt.host.users import home_of

        fd = open_root()
        try:
            home = home_of((process.get("user") or {}).get("uid") or 0, fd)
        finally:
            os.close(fd)
        found["HOME"] = f"HOME={home}"
    environment[:] = found.values()
