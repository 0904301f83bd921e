"""``python3 -m ocirt``, and what the launcher (csrc/launcher.c) calls."""

from __future__ import annotations

import os
import sys

from ocirt.cli import main
from ocirt.host.helper import reap_helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def run(folder: str = "", verb: str = "") -> NoReturn:
    """Does what ``sys.argv`` says and ends the process. ``verb``: it lacks an image (ocirt.image),
    and the package is in ``folder``.

    Without tearing the interpreter down: that costs a millisecond or more, and everything
    that ocirt holds is a file descriptor.
    """
    status = main(sys.argv)
    reap_helper()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # a caller may have closed 1 or 2
                stream.flush()
        except OSError:
            status = status or 1  # the output is lost: that is no success
    if verb:
        from ocirt.image_writer import write

        write(folder, verb)
    os._exit(status)


if __name__ == "__main__":
    if sys.argv and sys.argv[0] == __file__:
        sys.argv[0] = "ocirt"  # python3 -m gives the path of this file
    run()
