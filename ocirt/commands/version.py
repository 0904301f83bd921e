"""``--version`` (CONTRACT.md row 30): go-runc and dockerd read these lines."""

from __future__ import annotations

import os

from ocirt import SPEC_VERSION, __version__
from ocirt.commands.output import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """The word "version" is on the first line only: callers look for it."""
    name = options.globals.program
    return put(f"{name} version {__version__}\ncommit: {commit()}\nspec: {SPEC_VERSION}\n")


def commit() -> str:
    """What this was built from: in the file ``commit``, if the build wrote one."""
    try:
        with open(os.path.join(os.path.dirname(__file__), os.pardir, "commit")) as file:
            return file.read().strip() or "unknown"
    except OSError:
        return "unknown"
