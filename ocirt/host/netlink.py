"""rtnetlink(7): network devices and their addresses, in a network namespace of choice.

Messages are built and read here, so that no program of the host is called. Nothing that the kernel
sends is trusted to be whole: every length is checked before it is used. The socket module is
imported with this one, which only a container with linux.netDevices does.
"""

from __future__ import annotations

import errno
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# ---- numbers of include/uapi/linux: netlink.h, rtnetlink.h, if_link.h, if_addr.h, if.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # of an NLMSG_ERROR
NLMSGERR_ATTR_MSG = 1
IFLA_IFNAME, IFLA_NET_NS_FD, IFLA_NEW_IFINDEX = 3, 28, 49
IFF_UP = 1
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST = 1, 2, 3, 4
IFA_CACHEINFO, IFA_FLAGS, IFA_RT_PRIORITY, IFA_PROTO = 6, 8, 9, 11
IFA_F_PERMANENT = 0x80
RT_SCOPE_UNIVERSE = 0
_ATTRIBUTE_TYPE = 0x3FFF  # the other bits say nested, or byte order
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11

_HEADER, _LINK, _ADDRESS = 16, 16, 8  # bytes of nlmsghdr, ifinfomsg, ifaddrmsg
_ATTRIBUTE_MAX = 0xFFFF - 4
_BUFFER = 1 << 16
_ERRNOS = 4096  # MAX_ERRNO + 1
_DUMPS = 5  # tries to get a list that did not change meanwhile
# What the kernel takes when an address is added; the other flags are its own words on the state.
# nodad, home, mngtmpaddr, noprefixroute, autojoin
_ADDRESS_FLAGS = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
_ADDRESS_KEPT = (IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO, IFA_RT_PRIORITY, IFA_PROTO)

# (type, flags, sequence number, what follows the header)
Message = tuple[int, int, int, bytes]


class Malformed(ValueError):
    """Bytes that are no messages or attributes."""


def _number(data: bytes, start: int, size: int, signed: bool = False) -> int:
    return int.from_bytes(data[start : start + size], "little", signed=signed)


def _bytes(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


# ---- messages and attributes


def encode_attribute(kind: int, value: bytes) -> bytes:
    """A struct rtattr and its value, padded. Raises ValueError for one that is too long."""
    if len(value) > _ATTRIBUTE_MAX or not 0 <= kind <= _ATTRIBUTE_TYPE:
        raise ValueError(f"no attribute: type {kind}, {len(value)} bytes")
    head = _bytes(4 + len(value), 2) + _bytes(kind, 2)
    return head + value + bytes(-len(value) % 4)


def decode_attributes(data: bytes) -> dict[int, bytes]:
    """The value of each type. Raises Malformed."""
    found: dict[int, bytes] = {}
    at = 0
    while len(data) - at >= 4:
        size = _number(data, at, 2)
        if not 4 <= size <= len(data) - at:
            raise Malformed(f"an attribute of {size} bytes in {len(data) - at}")
        found[_number(data, at + 2, 2) & _ATTRIBUTE_TYPE] = data[at + 4 : at + size]
        at += size + -size % 4
    if at < len(data):
        raise Malformed("half an attribute")
    return found


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message to the kernel."""
    head = _bytes(_HEADER + len(body), 4) + _bytes(kind, 2) + _bytes(flags, 2)
    return head + _bytes(sequence, 4) + _bytes(0, 4) + body


def decode_messages(data: bytes) -> Iterator[Message]:
    """The messages that were received together. Raises Malformed."""
    at = 0
    while at < len(data):
        size = _number(data, at, 4) if len(data) - at >= _HEADER else 0
        if not _HEADER <= size <= len(data) - at:
            raise Malformed(f"a message of {size} bytes in {len(data) - at}")
        kind, flags = _number(data, at + 4, 2), _number(data, at + 6, 2)
        yield kind, flags, _number(data, at + 8, 4), data[at + _HEADER : at + size]
        at += size + -size % 4


def decode_error(flags: int, body: bytes) -> OSError | None:
    """What an NLMSG_ERROR says; None: the request was carried out. Raises Malformed."""
    if len(body) < 4 + _HEADER:
        raise Malformed("half an error")
    number = -_number(body, 0, 4, signed=True)
    if not 0 <= number < _ERRNOS:
        raise Malformed(f"{number} is no errno")
    if number == 0:
        return None
    text = os.strerror(number)
    if flags & NLM_F_ACK_TLVS:
        size = _HEADER if flags & NLM_F_CAPPED else _number(body, 4, 4)
        said = decode_attributes(body[4 + size + -size % 4 :]).get(NLMSGERR_ATTR_MSG, b"")
        if said:
            text += f" ({_text(said)})"
    return OSError(number, text)


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")


# ---- devices


class Link:
    """A network device."""

    __slots__ = ("index", "name", "up")

    def __init__(self, index: int, name: str, up: bool) -> None:
        self.index = index
        self.name = name
        self.up = up


def decode_link(body: bytes) -> Link:
    """The device of an RTM_NEWLINK. Raises Malformed."""
    if len(body) < _LINK:
        raise Malformed("half a device")
    name = decode_attributes(body[_LINK:]).get(IFLA_IFNAME, b"").split(b"\0", 1)[0]
    return Link(_number(body, 4, 4, signed=True), os.fsdecode(name), bool(body[8] & IFF_UP))


def encode_link(index: int, up: bool | None = None, attributes: bytes = b"") -> bytes:
    """The body of a request about device ``index``; ``up``: set it up or down."""
    flags, change = (0, 0) if up is None else (IFF_UP if up else 0, IFF_UP)
    return bytes(4) + _bytes(index, 4) + _bytes(flags, 4) + _bytes(change, 4) + attributes


# ---- addresses


class Address:
    """An address of a device: the fields of ifaddrmsg, and its attributes as they came."""

    __slots__ = ("attributes", "family", "flags", "index", "prefix", "scope")

    def __init__(
        self,
        family: int,
        prefix: int,
        flags: int,
        scope: int,
        index: int,
        attributes: dict[int, bytes],
    ) -> None:
        self.family = family
        self.prefix = prefix
        self.flags = flags
        self.scope = scope
        self.index = index
        self.attributes = attributes

    def __str__(self) -> str:
        value = self.attributes.get(IFA_LOCAL) or self.attributes.get(IFA_ADDRESS) or b""
        try:
            return f"{socket.inet_ntop(self.family, value)}/{self.prefix}"
        except (OSError, ValueError):
            return f"{value.hex()}/{self.prefix}"

    def is_global(self) -> bool:
        """Permanent and of global scope: config-linux.md, "Network Devices"."""
        return bool(self.flags & IFA_F_PERMANENT) and self.scope == RT_SCOPE_UNIVERSE


def decode_address(body: bytes) -> Address:
    """The address of an RTM_NEWADDR. Raises Malformed."""
    if len(body) < _ADDRESS:
        raise Malformed("half an address")
    attributes = decode_attributes(body[_ADDRESS:])
    flags = _number(attributes.get(IFA_FLAGS) or body[2:3], 0, 4)
    family, prefix, _flags, scope = body[:4]
    return Address(family, prefix, flags, scope, _number(body, 4, 4), attributes)


def encode_address(address: Address, index: int, label: bool) -> bytes:
    """The body of a request to give device ``index`` the same address, with its prefix, peer,
    flags and lifetimes. ``label``: its label too, which has the name of the device in it."""
    flags = address.flags & _ADDRESS_FLAGS
    body = bytes((address.family, address.prefix, flags & 0xFF, address.scope)) + _bytes(index, 4)
    for kind in (*_ADDRESS_KEPT, IFA_LABEL) if label else _ADDRESS_KEPT:
        if kind in address.attributes:
            body += encode_attribute(kind, address.attributes[kind])
    return body + encode_attribute(IFA_FLAGS, _bytes(flags, 4))


# ---- the kernel


class Route:
    """A socket to the rtnetlink of one network namespace: that of the process, or ``namespace``.

    Its methods raise OSError with the kernel's words.
    """

    __slots__ = ("_sequence", "_socket")

    def __init__(self, namespace: int = -1) -> None:
        self._sequence = 0
        self._socket = _open() if namespace < 0 else _open_in(namespace)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def link(self, name: str) -> Link:
        """The device of that name (or alternative name); ENODEV if there is none."""
        attribute = encode_attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
        answers = self._ask(RTM_GETLINK, 0, encode_link(0, attributes=attribute))
        return decode_link(answers[0] if answers else b"")

    def links(self) -> list[Link]:
        """All devices."""
        return [decode_link(body) for body in self._dump(RTM_GETLINK, encode_link(0))]

    def addresses(self, index: int) -> list[Address]:
        """Those of device ``index``."""
        found = [decode_address(body) for body in self._dump(RTM_GETADDR, bytes(_ADDRESS))]
        return [address for address in found if address.index == index]

    def move(self, index: int, namespace: int, name: str, new_index: int) -> None:
        """Device ``index`` goes to ``namespace``, where it is ``name`` (the kernel puts a number for
        "%d") and ``new_index`` (0: any). It goes down and loses its addresses."""
        attributes = encode_attribute(IFLA_NET_NS_FD, _bytes(namespace, 4))
        attributes += encode_attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
        if new_index:
            attributes += encode_attribute(IFLA_NEW_IFINDEX, _bytes(new_index, 4))
        self._ask(RTM_NEWLINK, NLM_F_ACK, encode_link(index, attributes=attributes))

    def set_up(self, index: int) -> None:
        """Sets device ``index`` up."""
        self._ask(RTM_NEWLINK, NLM_F_ACK, encode_link(index, up=True))

    def add(self, address: Address, index: int, label: bool) -> None:
        """Gives an address to device ``index``, or its lifetimes if the device has it."""
        flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
        self._ask(RTM_NEWADDR, flags, encode_address(address, index, label))

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        for _ in range(_DUMPS):
            try:
                return self._ask(kind, NLM_F_DUMP, body)
            except InterruptedError:
                continue
        raise OSError(errno.EAGAIN, "the list of network devices does not stop changing")

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """The bodies of the answers. InterruptedError: a list that changed meanwhile."""
        self._sequence += 1
        self._socket.send(encode_message(kind, flags | NLM_F_REQUEST, self._sequence, body))
        answers: list[bytes] = []
        interrupted = False
        while True:
            for answer, answer_flags, sequence, found in decode_messages(self._receive()):
                if sequence != self._sequence:
                    continue  # of a list that was given up
                interrupted |= bool(answer_flags & NLM_F_DUMP_INTR)
                if answer == NLMSG_ERROR:
                    error = decode_error(answer_flags, found)
                    if error:
                        raise error
                    return answers
                if answer == NLMSG_DONE:
                    number = -_number(found, 0, 4, signed=True)
                    if 0 < number < _ERRNOS:
                        raise OSError(number, os.strerror(number))
                    if interrupted:
                        raise InterruptedError
                    return answers
                answers.append(found)
                if not flags:
                    return answers

    def _receive(self) -> bytes:
        while True:
            data, _ancillary, flags, sender = self._socket.recvmsg(_BUFFER)
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, "a message of the kernel is too long")
            if sender[0] == 0:  # else it is another process's
                return data


def _open() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        made.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        made.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        made.bind((0, 0))
    except BaseException:
        made.close()
        raise
    return made


def _open_in(namespace: int) -> socket.socket:
    """A socket stays in the namespace that it was made in, and a thread can be in another one than
    its process: so the process never leaves its own."""
    import threading

    from ocirt.host import kernel
    from ocirt.host.constants import CLONE_NEWNET

    done: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            kernel.setns(namespace, CLONE_NEWNET)
            done.append(_open())
        except OSError as error:
            done.append(error)

    thread = threading.Thread(target=make)
    try:
        thread.start()
    except RuntimeError:  # which does not say why
        raise OSError(errno.EAGAIN, "no thread can be started") from None
    thread.join()
    found = done[0]
    if isinstance(found, OSError):
        raise found
    return found
