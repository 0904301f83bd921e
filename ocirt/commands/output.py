"""Standard output of the verbs."""

from __future__ import annotations

import sys

from ocirt.errors import OcirtError


def put(text: str) -> int:
    """Prints ``text`` as it is; the exit status: 0, or 1 where the reader has gone.

    Raises OcirtError where it can't be written (a full disk).
    """
    if sys.stdout is None:
        return 0  # the caller closed it: nobody wants to know
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return 1
    except OSError as error:
        text = f"write to the standard output: {error.strerror}"
        raise OcirtError(text, errno=error.errno or 0) from None
    return 0


def put_json(value: object) -> int:
    """``put`` for a JSON value, indented."""
    from ocirt.json_text import dumps

    return put(dumps(value, 2) + "\n")
