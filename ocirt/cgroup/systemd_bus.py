"""Calls to systemd over D-Bus, with libsystemd's sd-bus. Nothing is loaded before ``connect``.

Root speaks to the system's manager through the system bus: that is the public interface, it is
what runc and crun use, and a host may show a container of tools the bus alone. Where the bus can't
be reached, ``/run/systemd/private`` serves, systemd's own socket for systemctl. Others speak to
their user's manager, in the same two ways.

Methods and signals: org.freedesktop.systemd1(5). Every step ends after ``TIMEOUT`` seconds.
"""

from __future__ import annotations

import os
import time

from ocirt.errors import KernelError, OcirtError, errno_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ocirt.cgroup.systemd_unit import Property

TIMEOUT = 30.0  # seconds
LIBRARY = "libsystemd.so.0"

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = f"{_NAME}.Manager"
UNIT_EXISTS = f"{_NAME}.UnitExists"  # SystemdError.name
_MISSING = f"{_NAME}.NoSuchUnit"
_MATCH = f"type='signal',sender='{_NAME}',interface='{_MANAGER}',member='JobRemoved'"
_EAGAIN, _EINTR = 11, 4
_PAUSE = 0.1  # seconds, until a bus is tried again that has too many callers

# What sd_bus_message_append_basic(3) wants a pointer to.
_CELLS = {
    "y": "uint8_t *",
    "b": "int *",
    "n": "int16_t *",
    "q": "uint16_t *",
    "i": "int32_t *",
    "u": "uint32_t *",
    "x": "int64_t *",
    "t": "uint64_t *",
    "d": "double *",
}


class SystemdError(KernelError):
    """What systemd, or the bus, answered. ``name``: that of the D-Bus error."""

    def __init__(self, what: str, name: str, message: str) -> None:
        super().__init__(f"systemd: {what}: {message or 'no message'} ({name})")
        self.name = name


def connect(user: bool) -> Bus:
    """A connection to the manager of the system, or of the user.

    Raises OcirtError where there is no libsystemd, KernelError where nobody can be reached.
    """
    from ocirt.cgroup._systemd import ffi

    try:
        lib = ffi.dlopen(LIBRARY)
    except OSError as error:
        hint = "install libsystemd (Debian: libsystemd0), or leave --systemd-cgroup out"
        raise OcirtError(f"load {LIBRARY} for the systemd driver: {error}", hint=hint) from None
    end = time.monotonic() + TIMEOUT
    while True:
        problems, full = [], False
        for name, address in _addresses(user):
            try:
                return Bus(ffi, lib, user, address, end)
            except KernelError as error:
                problems.append(f"{name}: {error.message}")
                full = full or error.errno == _EAGAIN
        if not full or time.monotonic() > end:
            break
        time.sleep(_PAUSE)
    hint = "is systemd running? without --systemd-cgroup it is not needed"
    if user:
        hint = "the user needs a D-Bus session (Debian: dbus-user-session) and XDG_RUNTIME_DIR"
    raise KernelError(f"systemd can't be reached: {'; '.join(problems)}", hint=hint)


def _addresses(user: bool) -> list[tuple[str, str]]:
    """What to try: (name for errors, D-Bus address, "" for the bus)."""
    if not user:
        return [("system bus", ""), ("its own socket", "unix:path=/run/systemd/private")]
    found = [("user bus", "")]
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    # In a D-Bus address other characters would have to be escaped.
    plain = "".join(c for c in folder if c not in "/-_.")
    if folder.startswith("/") and plain.isascii() and plain.isalnum():
        found.append(("its own socket", f"unix:path={folder}/systemd/private"))
    return found


class Bus:
    """One connection; to be closed, ``with connect(...) as bus`` does it. Not for a fork's child.

    ``user``: it leads to the user's manager; ``direct``: to systemd itself, not to a bus.
    """

    __slots__ = ("_bus", "_ffi", "_jobs", "_lib", "_listening", "direct", "user")

    def __init__(self, ffi: Any, lib: Any, user: bool, address: str, end: float) -> None:
        self._ffi = ffi
        self._lib = lib
        self._bus = ffi.NULL
        # {(its sender, path of a job): result}: anybody can send us a signal of that name
        self._jobs: dict[tuple[str, str], str] = {}
        self.user = user
        self.direct = bool(address)
        self._listening = self.direct  # systemd sends signals to its own socket unasked
        try:
            self._open(address)
            while self._check("connect", lib.sd_bus_is_ready(self._bus)) == 0:
                self._done(self._step("connect", end))
        except KernelError:
            self.close()
            raise

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection. May be called again."""
        if self._bus:
            self._lib.sd_bus_close(self._bus)
            self._lib.sd_bus_unref(self._bus)
            self._bus = self._ffi.NULL

    # ---- what systemd is asked for

    def version(self) -> int:
        """systemd's version, 0 where its text has no number. Raises KernelError."""
        text = str(self.property("Version", "s"))
        digits = text.lstrip('"v')
        end = next((i for i, c in enumerate(digits) if not "0" <= c <= "9"), len(digits))
        return int(digits[:end] or 0)

    def control_group(self, unit: str = "") -> str:
        """The cgroup of a unit that runs, from the hierarchy's root ("" if it has none); without
        a name that of the manager, below which all its units are. Raises KernelError."""
        return str(self.property("ControlGroup", "s", unit))

    def property(self, name: str, signature: str, unit: str = "") -> str | int | float:
        """A property of the manager, or of a slice or scope. Raises KernelError.

        ``signature``: its D-Bus type, a basic one.
        """
        path, interface = _PATH, _MANAGER
        if unit:
            path = f"{_PATH}/unit/{escape(unit)}"
            interface = f"{_NAME}.{'Slice' if unit.endswith('.slice') else 'Scope'}"
        what = f"read {name} of {unit or 'the manager'}"
        arguments = (("s", interface), ("s", name))
        reply = self._call(what, "Get", arguments, path, "org.freedesktop.DBus.Properties")
        enter = self._lib.sd_bus_message_enter_container
        try:
            self._check(what, enter(reply, b"v", signature.encode()))
            return self._read(what, reply, signature)
        finally:
            self._done(reply)

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        """Makes and starts a transient unit; returns when it has started.

        A unit of that name that failed earlier is forgotten first. Raises KernelError: SystemdError
        with what systemd says about the properties, or where such a unit is running.
        """
        arguments = (
            ("s", unit),
            ("s", "replace"),
            ("a(sv)", _variants(properties)),
            ("a(sa(sv))", ()),  # no further units
        )
        try:
            result = self._job(f"start {unit}", "StartTransientUnit", arguments)
        except SystemdError as error:
            if error.name != UNIT_EXISTS:
                raise
            self.reset_failed(unit)
            result = self._job(f"start {unit}", "StartTransientUnit", arguments)
        if result != "done":
            self.reset_failed(unit)
            raise KernelError(f"systemd: start {unit}: its job ended with {result!r}")

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Changes a running unit, until it stops. Returns when its cgroup has been changed.
        Raises KernelError."""
        arguments = (("s", unit), ("b", True), ("a(sv)", _variants(properties)))
        self._done(self._call(f"set properties of {unit}", "SetUnitProperties", arguments))
        # systemd answers first, writes to the cgroup then, and answers to nobody meanwhile.
        self.property("Version", "s")

    def stop(self, unit: str) -> None:
        """Stops a unit and forgets it; returns when that is done. No error if there is none.

        systemd sends SIGTERM to processes that are left, and waits long: kill them before.
        Raises KernelError, also where its job did not end as it should.
        """
        try:
            result = self._job(f"stop {unit}", "StopUnit", (("s", unit), ("s", "replace")))
        except SystemdError as error:
            if error.name != _MISSING:
                raise
            result = "done"
        self.reset_failed(unit)
        # "canceled": another one stops or starts it at the same moment
        if result not in ("done", "canceled", "skipped"):
            raise KernelError(f"systemd: stop {unit}: its job ended with {result!r}")

    def reset_failed(self, unit: str) -> None:
        """Makes systemd forget a unit that failed. No error if there is none, or it did not."""
        try:
            self._done(self._call(f"reset {unit}", "ResetFailedUnit", (("s", unit),)))
        except SystemdError:
            pass

    def attach(self, unit: str, pids: Sequence[int], sub: str = "/") -> None:
        """Moves processes to a unit's cgroup, or one below it, ``sub``: what a user that may not
        write to the cgroup where they are asks systemd for. Raises KernelError."""
        arguments = (("s", unit), ("s", sub), ("au", pids))
        self._done(self._call(f"attach to {unit}", "AttachProcessesToUnit", arguments))

    # ---- calls

    def _job(self, what: str, member: str, arguments: Sequence[tuple[str, Any]]) -> str:
        """Calls a method that returns a job, and waits for it; returns its result."""
        if not self._listening:
            self._listen()
        reply = self._call(what, member, arguments)
        try:
            job = (self._sender(reply), str(self._read(what, reply, "o")))
        finally:
            self._done(reply)
        end = time.monotonic() + TIMEOUT
        while job not in self._jobs:
            self._done(self._step(what, end))
        return self._jobs.pop(job)

    def _listen(self) -> None:
        """Asks the bus for JobRemoved signals. It handles messages in their order, so that its
        answer need not be waited for."""
        bus = "org.freedesktop.DBus"
        message = self._message("listen", bus, "/org/freedesktop/DBus", bus, "AddMatch")
        try:
            self._lib.sd_bus_message_set_expect_reply(message, 0)
            self._append("listen", message, "s", _MATCH)
            self._check("listen", self._lib.sd_bus_send(self._bus, message, self._ffi.NULL))
        finally:
            self._done(message)
        self._listening = True

    def _call(
        self,
        what: str,
        member: str,
        arguments: Sequence[tuple[str, Any]],
        path: str = _PATH,
        interface: str = _MANAGER,
    ) -> Any:
        """The reply to a method, which the caller must unref. Raises KernelError.

        Not sd_bus_call(3): its time does not count until the connection is ready, and signals
        end it with EINTR in some versions.
        """
        message = self._message(what, _NAME, path, interface, member)
        cookie = self._ffi.new("uint64_t *")
        try:
            for signature, value in arguments:
                self._append(what, message, signature, value)
            self._check(what, self._lib.sd_bus_send(self._bus, message, cookie))
        finally:
            self._done(message)
        end = time.monotonic() + TIMEOUT
        while True:
            reply = self._step(what, end)
            if not reply:
                continue
            answered = self._ffi.new("uint64_t *")
            found = self._lib.sd_bus_message_get_reply_cookie(reply, answered)
            if found < 0 or answered[0] != cookie[0]:
                self._done(reply)
                continue
            error = self._lib.sd_bus_message_get_error(reply)
            if error:
                texts = (self._text(error.name), self._text(error.message))
                self._done(reply)
                raise SystemdError(what, *texts)
            return reply

    def _step(self, what: str, end: float) -> Any:
        """Lets sd-bus work once, or waits until it can: the message that came, which the caller
        must unref, or NULL. A JobRemoved is noted. Raises KernelError, when ``end`` has passed
        too."""
        message = self._ffi.new("sd_bus_message **")
        busy = self._check(what, self._lib.sd_bus_process(self._bus, message))
        if message[0]:
            if self._lib.sd_bus_message_is_signal(message[0], _MANAGER.encode(), b"JobRemoved") > 0:
                self._note_job(message[0])
            return message[0]
        # Its end is a message in some versions, and nothing at all in others.
        if self._check(what, self._lib.sd_bus_is_open(self._bus)) == 0:
            raise KernelError(f"systemd: {what}: the connection was closed")
        left = end - time.monotonic()
        if left <= 0:  # asked for when it is busy too: others can send us what they like
            raise KernelError(f"systemd: {what}: no answer within {TIMEOUT:g} seconds")
        if not busy:
            found = self._lib.sd_bus_wait(self._bus, int(left * 1e6))
            if found != -_EINTR:
                self._check(what, found)
        return message[0]

    def _note_job(self, signal: Any) -> None:
        what = "JobRemoved"
        self._read(what, signal, "u")
        path = str(self._read(what, signal, "o"))
        self._read(what, signal, "s")
        self._jobs[self._sender(signal), path] = str(self._read(what, signal, "s"))

    # ---- messages

    def _open(self, address: str) -> None:
        """Begins to connect. Raises KernelError."""
        lib, new = self._lib, self._ffi.new("sd_bus **")
        if not address:
            opened = (lib.sd_bus_open_user if self.user else lib.sd_bus_open_system)(new)
            self._bus = new[0]
            self._check("connect", opened)
            return
        self._check("connect", lib.sd_bus_new(new))
        self._bus = new[0]
        self._check("connect", lib.sd_bus_set_address(self._bus, address.encode()))
        self._check("connect", lib.sd_bus_start(self._bus))

    def _message(self, what: str, name: str, path: str, interface: str, member: str) -> Any:
        new = self._ffi.new("sd_bus_message **")
        where = [text.encode() for text in (name, path, interface, member)]
        made = self._lib.sd_bus_message_new_method_call(self._bus, new, *where)
        self._check(what, made)
        return new[0]

    def _append(self, what: str, message: Any, signature: str, value: Any) -> None:
        """``signature``: a complete type; a variant's value is the pair of its type and value.
        The members of a structure are of one letter each here."""
        lib, kind = self._lib, signature[0]
        code = kind.encode()
        if signature == "ay":
            self._check(what, lib.sd_bus_message_append_array(message, b"y", value, len(value)))
        elif kind in "a(v":
            inside, items = signature[1:], [(signature[1:], item) for item in value]
            if kind == "(":
                inside = signature[1:-1]
                code, items = b"r", list(zip(inside, value))
            elif kind == "v":
                inside, items = value[0], [value]
            opened = lib.sd_bus_message_open_container(message, code, inside.encode())
            self._check(what, opened)
            for inner, item in items:
                self._append(what, message, inner, item)
            self._check(what, lib.sd_bus_message_close_container(message))
        else:
            try:
                cell = self._cell(kind, value)
            except (OverflowError, ValueError) as error:
                raise OcirtError(f"systemd: {what}: {value!r}: {error}") from None
            added = lib.sd_bus_message_append_basic(message, code, cell)
            self._check(f"{what}: {value!r}", added)

    def _cell(self, kind: str, value: Any) -> Any:
        """A basic value in C. Raises OverflowError, ValueError."""
        if kind in _CELLS:
            return self._ffi.new(_CELLS[kind], value)
        if "\0" in value:
            raise ValueError("it has a NUL character")
        return self._ffi.new("char[]", os.fsencode(value))

    def _read(self, what: str, message: Any, signature: str) -> str | int | float:
        """The next value of a message, of a basic type."""
        text = signature not in _CELLS
        cell = self._ffi.new("char **" if text else _CELLS[signature])
        read = self._lib.sd_bus_message_read_basic(message, signature.encode(), cell)
        if self._check(what, read) == 0:
            raise KernelError(f"systemd: {what}: its answer is too short")
        if text:
            return self._text(cell[0])
        value: int | float = cell[0]
        return value

    def _sender(self, message: Any) -> str:
        """The bus writes it, so that nobody can write another one; "" where there is no bus."""
        return self._text(self._lib.sd_bus_message_get_sender(message))

    def _text(self, pointer: Any) -> str:
        return self._ffi.string(pointer).decode(errors="replace") if pointer else ""

    def _done(self, message: Any) -> None:
        self._lib.sd_bus_message_unref(message)

    def _check(self, what: str, result: int) -> int:
        """sd-bus returns a negative errno. Raises KernelError."""
        if result < 0:
            text = f"systemd: {what}: {errno_name(-result)} ({os.strerror(-result)})"
            raise KernelError(text, errno=-result)
        return result


def escape(unit: str) -> str:
    """The last part of a unit's object path: all but letters and digits as _XX
    (sd_bus_path_encode(3))."""
    found = []
    for i, byte in enumerate(unit.encode()):
        letter = chr(byte)
        plain = letter.isascii() and (letter.isalpha() or (letter.isdigit() and i > 0))
        found.append(letter if plain else f"_{byte:02x}")
    return "".join(found) or "_"


def _variants(properties: Sequence[Property]) -> list[tuple[str, tuple[str, Any]]]:
    """As a(sv)."""
    return [(name, (signature, value)) for name, signature, value in properties]
