"""Errors in runc's words, where ocirt is called by the name runc: its callers hand them on, and some
of them tell by these words what has failed."""

from __future__ import annotations

import os

from ocirt.errors import ConfigError, KernelError, OcirtError


def reword(verb: str, error: OcirtError) -> None:
    """Changes the text of an error of ``verb``; its place and hint stay."""
    if isinstance(error, ConfigError):
        error = error.problems[0]
    begin = ""
    if verb in ("create", "run"):
        begin = f"runc {verb} failed: "
    elif verb == "exec":
        begin = "exec failed: "
    if begin and isinstance(error, KernelError):
        begin += "unable to start container process: "
        if error.at and error.at.startswith("/mounts/"):
            begin += "error during container init: error mounting: "
    if error.errno:
        # Go's names of errors.
        name = os.strerror(error.errno)
        error.message = error.message.replace(name, name.lower())
    error.heading = begin
