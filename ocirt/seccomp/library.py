"""libseccomp, with Python's types. It is loaded by ``Library()`` and not before."""

from __future__ import annotations

import os

from ocirt.errors import OcirtError, errno_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LIBRARY = "libseccomp.so.2"
UNKNOWN = -1  # __NR_SCMP_ERROR
_BINARY_TREE = (8, 2)  # SCMP_FLTATR_CTL_OPTIMIZE


class LibraryError(Exception):
    """What libseccomp answered; ``errno`` > 0."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno_name(errno))
        self.errno = errno


class Library:
    """``version``: such as "2.5.4"; ``native``: the token of this machine's architecture."""

    __slots__ = ("_ffi", "_lib", "native", "version")

    def __init__(self) -> None:
        """Raises OcirtError where there is no libseccomp."""
        from ocirt.seccomp._libseccomp import ffi

        self._ffi: Any = ffi
        try:
            self._lib: Any = ffi.dlopen(LIBRARY)
        except OSError as error:
            text = f"load {LIBRARY}: {error}"
            hint = "install libseccomp (Debian: libseccomp2), or take seccomp out of the config"
            raise OcirtError(text, at="/linux/seccomp", hint=hint) from None
        version = self._lib.seccomp_version()
        self.version = f"{version.major}.{version.minor}.{version.micro}"
        self.native: int = self._lib.seccomp_arch_native()

    def path(self) -> str:
        """The file that was loaded, "" if that is not known."""
        with open("/proc/self/maps") as maps:
            for line in maps:
                path = "/" + line.rstrip("\n").partition("/")[2]
                if os.path.basename(path).startswith("libseccomp.so."):
                    return path
        return ""

    def architecture(self, name: str) -> int:
        """The token of ``SCMP_ARCH_...``, 0 if this libseccomp does not know it."""
        word = name.removeprefix("SCMP_ARCH_").lower()
        token: int = self._lib.seccomp_arch_resolve_name(word.encode())
        return token

    def call(self, name: str, architecture: int) -> int:
        """The number of a system call: negative (a stand-in of libseccomp's) where that
        architecture has none of the name, UNKNOWN where none has."""
        data = name.encode("utf-8", "replace")
        number: int = self._lib.seccomp_syscall_resolve_name_arch(architecture, data)
        return number

    def context(self, default_action: int) -> Context:
        """A new filter for the native architecture. Raises LibraryError."""
        return Context(self._ffi, self._lib, default_action)


class Context:
    """A filter under construction; to be closed. Every method raises LibraryError."""

    __slots__ = ("_context", "_ffi", "_lib")

    def __init__(self, ffi: Any, lib: Any, default_action: int) -> None:
        self._ffi = ffi
        self._lib = lib
        self._context: Any = lib.seccomp_init(default_action)
        if not self._context:
            raise LibraryError(22)  # it does not say why

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.seccomp_release(self._context)

    def add_architecture(self, token: int) -> None:
        """One more; those that are there already are no error."""
        error = self._lib.seccomp_arch_add(self._context, token)
        if error and error != -17:  # EEXIST
            raise LibraryError(-error)

    def use_binary_tree(self) -> None:
        """Faster for many calls. A libseccomp that can't is no error."""
        self._lib.seccomp_attr_set(self._context, *_BINARY_TREE)

    def add_rule(
        self, action: int, call: int, conditions: Sequence[tuple[int, int, int, int]]
    ) -> None:
        """``conditions``, all of which must hold: (argument, operator, value, second value)."""
        array = self._ffi.new("struct scmp_arg_cmp[]", list(conditions))
        add = self._lib.seccomp_rule_add_array
        error = add(self._context, action, call, len(conditions), array)
        if error:
            raise LibraryError(-error)

    def export(self) -> bytes:
        """The program: struct sock_filter, 8 bytes each."""
        fd = os.memfd_create("ocirt-seccomp", os.MFD_CLOEXEC)
        try:
            error = self._lib.seccomp_export_bpf(self._context, fd)
            if error:
                raise LibraryError(-error)
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
