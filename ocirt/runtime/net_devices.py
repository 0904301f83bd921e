"""linux.netDevices: devices of the host go into the container's network namespace, and come back
if create fails (config-linux.md, "Network Devices").

What becomes of them later is the kernel's business: with the namespace virtual devices end, and
physical ones return to the host.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from ocirt import log
from ocirt.errors import KernelError, OcirtError, pointer
from ocirt.host.netlink import Malformed, Route
from ocirt.host.pins import open_pin
from ocirt.plan.program import Pin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.host.netlink import Address, Link

_AT = "/linux/netDevices"


class _Move:
    """A device on its way: as it was on the host, and what it is in the container."""

    __slots__ = ("addresses", "index", "link", "name")

    def __init__(self, link: Link, addresses: list[Address], name: str, index: int) -> None:
        self.link = link
        self.addresses = addresses
        self.name = name
        self.index = index


class NetDevices:
    """The devices of one create. ``close`` it when nothing can fail any more.

    It holds the namespace, which so outlives a container that fails, and with it the devices.
    """

    __slots__ = ("_host", "_host_namespace", "_inside", "_moves", "_namespace")

    def __init__(self, pid: int) -> None:
        """``pid``: a child of ours in the namespace, not yet waited for. Raises OcirtError."""
        self._moves: list[_Move] = []
        self._namespace = self._host_namespace = -1
        self._host: Route | None = None
        self._inside: Route | None = None
        try:
            self._namespace = _open_namespace(f"/proc/{pid}/ns/net")
            self._host_namespace = _open_namespace("/proc/self/ns/net")
            if os.path.sameopenfile(self._namespace, self._host_namespace):
                raise OcirtError("the container's network namespace is the host's own", at=_AT)
            self._host = Route()
            self._inside = Route(self._namespace)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                text = f"rtnetlink: {error.strerror}"
                raise KernelError(text, at=_AT, errno=error.errno or 0) from None
            raise

    def close(self) -> None:
        """Lets go of the namespaces."""
        for route in (self._host, self._inside):
            if route:
                route.close()
        for fd in (self._namespace, self._host_namespace):
            if fd >= 0:
                os.close(fd)
        self._host = self._inside = None
        self._namespace = self._host_namespace = -1

    def move(self, devices: dict[str, Any]) -> None:
        """Moves them all, if all can be. Raises OcirtError; ``put_back`` is due then."""
        assert self._inside
        with _place(""):
            there = self._inside.links()
        names, indexes = {link.name for link in there}, {link.index for link in there}
        moves = {}
        for name, settings in devices.items():
            with _place(name):
                move = moves[name] = self._plan(name, settings.get("name") or "", indexes)
                if move.name in names:
                    # The kernel would find this out when the device is there already.
                    raise OSError(errno.EEXIST, f"the container has a device {move.name}")
            indexes.add(move.index)
        for name, move in moves.items():
            with _place(name):
                self._go(move)

    def _plan(self, name: str, target: str, taken: set[int]) -> _Move:
        """The index is of our choice: so the device is known by it, whatever name the kernel
        makes of "eth%d"."""
        assert self._host
        link = self._host.link(name)
        index = link.index if link.index not in taken else max(taken) + 1
        # Where ``name`` is an alternative one, the device keeps its own.
        return _Move(link, self._host.addresses(link.index), target or link.name, index)

    def _go(self, move: _Move) -> None:
        assert self._host and self._inside
        self._moves.append(move)  # first: of a move that fails the kernel may have done a half
        self._host.move(move.link.index, self._namespace, move.name, move.index)
        for address in move.addresses:
            if address.is_global():
                _add(self._inside, address, move.index, move.name == move.link.name)
        self._inside.set_up(move.index)

    def put_back(self) -> None:
        """The devices are on the host again, as they were. What can't be is a warning."""
        while self._moves:
            move = self._moves.pop()
            try:
                self._return(move)
            except (OSError, Malformed) as error:
                text = error.strerror if isinstance(error, OSError) else error
                log.warning(f"network device {move.link.name}: put back: {text}")

    def _return(self, move: _Move) -> None:
        """Routes by the device and its place in a bridge are lost: the kernel forgets them."""
        assert self._host and self._inside
        name, wanted = move.link.name, move.link.index
        if any((link.index, link.name) == (wanted, name) for link in self._host.links()):
            return  # it never went
        try:
            self._inside.move(move.index, self._host_namespace, name, wanted)
        except OSError as error:
            if error.errno != errno.EBUSY:  # another device has got its number meanwhile
                raise
            self._inside.move(move.index, self._host_namespace, name, 0)
        index = self._host.link(name).index
        for address in move.addresses:
            try:
                _add(self._host, address, index, True)
            except OSError as error:  # the others, and that it is up, must not depend on it
                log.warning(f"network device {name}: put back: {error.strerror}")
        if move.link.up:
            self._host.set_up(index)


def _open_namespace(path: str) -> int:
    return open_pin(Pin(0, "namespace", path, _AT, "network"))


def _add(route: Route, address: Address, index: int, label: bool) -> None:
    try:
        route.add(address, index, label)
    except OSError as error:
        raise OSError(error.errno, f"address {address}: {error.strerror}") from None


@contextmanager
def _place(name: str) -> Iterator[None]:
    """What fails here was about the device ``name``."""
    at = _AT + (pointer(name) if name else "")
    what = f"network device {name}" if name else "network devices"
    try:
        yield
    except Malformed as error:
        raise OcirtError(f"{what}: {error}", at=at) from None
    except OSError as error:
        text = f"{what}: {error.strerror}"
        raise KernelError(text, at=at, errno=error.errno or 0) from None
