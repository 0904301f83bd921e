"""Every failure ocirt reports. Nothing here imports anything of ocirt.

One error is one line: where it was asked for, what was being done, errno, the
kernel's own words, and (on a line of its own) a hint where one is known::

    config.json#/mounts/3/options/1: tmpfs on /run: fsconfig size=1x: EINVAL (tmpfs: Bad value for 'size')
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def errno_name(number: int) -> str:
    """``EINVAL`` for 22; the bare number where Python knows no name for it."""
    import errno

    return errno.errorcode.get(number, str(number))


class OcirtError(Exception):
    """A failure with a place.

    ``message``: one line, what was being done and why it failed.
    ``at``: JSON pointer into ``document`` ("" is the whole document), or None
    where no document asked for the failing step.
    ``document``: the name printed before the pointer.
    ``errno``: the kernel's errno, 0 where none.
    ``hint``: what to do about it, or "".
    ``heading``: what comes before all else, or "" (ocirt.runc_words).
    """

    heading = ""

    def __init__(
        self,
        message: str,
        *,
        at: str | None = None,
        document: str = "config.json",
        errno: int = 0,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.document = document
        self.errno = errno
        self.hint = hint

    def __str__(self) -> str:
        if self.at is None:
            return self.heading + self.message
        return f"{self.heading}{self.document}#{self.at}: {self.message}"


class UsageError(OcirtError):
    """A command line that cannot be understood."""


class ConfigError(OcirtError):
    """A document that is refused. ``problems`` holds every one found, first first."""

    def __init__(self, problems: Iterable[OcirtError]) -> None:
        self.problems = list(problems)
        first = self.problems[0]
        super().__init__(
            first.message,
            at=first.at,
            document=first.document,
            errno=first.errno,
            hint=first.hint,
        )


class StateError(OcirtError):
    """A verb that does not fit the container's state (missing, stopped, ...)."""


class KernelError(OcirtError):
    """A system call that failed on the host or in the machine."""


def from_os_error(error: OSError, doing: str = "") -> OcirtError:
    """One that nobody expected, with the file that it names; ``doing`` is put before that."""
    place = "" if error.filename is None else f"{error.filename}: "
    return OcirtError(f"{doing}{place}{error.strerror or error}", errno=error.errno or 0)


def pointer(*parts: object) -> str:
    """The JSON pointer (RFC 6901) of the given reference tokens: ("a/b", 0) is "/a~1b/0"."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)
