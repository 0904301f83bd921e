"""rtnetlink messages: what was recorded of a kernel (Linux 6.18), and sockets that answer wrongly."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any

import pytest

from ocirt.host import netlink
from ocirt.host.netlink import Malformed, Route

ASK_LINK = (
    "2c000000 1200 0100 01000000 00000000 00000000 00000000 00000000 00000000"
    "0900 0300 6e65743000 000000"
)
LINK = (  # shortened to its first two attributes
    "2c000000 1000 0000 01000000 30530000 00000100 03000000 03100000 00000000"
    "0900 0300 6e65743000 000000"
)
NO_LINK = "24000000 0200 0001 01000000 30530000 edffffff 2c000000 1200 0100 02000000 00000000"
ASK_ADDRESSES = "18000000 1600 0103 01000000 00000000 00000000 00000000"
PERMANENT = (
    "50000000 1400 0200 01000000 30530000 02188000 03000000"
    "0800 0100 0a000001 0800 0200 0a000001 0900 0300 6e65743000 000000 0800 0800 80000000"
    "1400 0600 ffffffff ffffffff 68051e00 68051e00"
)
DYNAMIC = (
    "50000000 1400 0200 01000000 30530000 02180000 03000000"
    "0800 0100 0a010001 0800 0200 0a010001 0900 0300 6e65743000 000000 0800 0800 00000000"
    "1400 0600 84030000 e8030000 69051e00 69051e00"
)
IPV6 = (
    "48000000 1400 0200 01000000 30530000 0a40e000 03000000"
    "1400 0100 20010db8000000000000000000000005 1400 0600 00000000 ffffffff 68051e00 68051e00"
    "0800 0800 e0020000"
)
OF_ANOTHER = PERMANENT.replace("02188000 03000000", "02188000 04000000")
DONE = "14000000 0300 0200 01000000 30530000 00000000"
ACK = "24000000 0200 0001 01000000 30530000 00000000 20000000 1000 0500 05000000 00000000"
UP = "20000000 1000 0500 01000000 00000000 00000000 03000000 01000000 01000000"
REFUSED = (
    "44000000 0200 0003 01000000 30530000 eaffffff 20000000 1400 0504 08000000 00000000"
    "2000 0100 697076343a20496e76616c696420707265666978206c656e67746800"
)
# The request comes back with an error where NETLINK_CAP_ACK is not set.
REFUSED_WHOLE = (
    "34000000 0200 0002 01000000 30530000 ffffffff 14000000 1400 0504 08000000 00000000 01020304"
    "0c00 0100 4e6f2068 61680000"
)


class Kernel:
    """A socket: it has seen ``sent``, and gives ``answers``."""

    def __init__(self, *answers: str) -> None:
        self.answers = [bytes.fromhex(answer) for answer in answers]
        self.sent: list[bytes] = []
        self.sender = 0
        self.flags = 0

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recvmsg(self, size: int) -> tuple[bytes, list[Any], int, tuple[int, int]]:
        assert size >= 1 << 15
        return self.answers.pop(0), [], self.flags, (self.sender, 0)

    def close(self) -> None:
        pass


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(netlink, "_open", lambda: made)
    return made


def answer(kernel: Kernel, *answers: str) -> Route:
    kernel.answers = [bytes.fromhex(answer) for answer in answers]
    return Route()


def test_link(kernel: Kernel) -> None:
    link = answer(kernel, LINK).link("net0")
    assert kernel.sent == [bytes.fromhex(ASK_LINK)]
    assert (link.index, link.name, link.up) == (3, "net0", True)


def test_no_link(kernel: Kernel) -> None:
    with pytest.raises(OSError, match="No such device") as caught:
        answer(kernel, NO_LINK).link("none")
    assert caught.value.errno == errno.ENODEV


def test_links(kernel: Kernel) -> None:
    found = answer(kernel, LINK + LINK, LINK + DONE).links()
    assert [(link.index, link.name) for link in found] == [(3, "net0")] * 3


def test_addresses(kernel: Kernel) -> None:
    found = answer(kernel, PERMANENT + DYNAMIC + OF_ANOTHER, IPV6, DONE).addresses(3)
    assert kernel.sent == [bytes.fromhex(ASK_ADDRESSES)]
    shown = [(str(address), address.is_global()) for address in found]
    assert shown == [("10.0.0.1/24", True), ("10.1.0.1/24", False), ("2001:db8::5/64", True)]


def test_an_address_is_given_on(kernel: Kernel) -> None:
    """With its lifetimes and its flag noprefixroute; its state (permanent, tentative) is not."""
    route = answer(kernel, IPV6 + PERMANENT + DONE)
    ipv6, ipv4 = route.addresses(3)
    kernel.answers = [
        bytes.fromhex(ACK.replace("01000000", n, 1)) for n in ("02000000", "03000000")
    ]
    route.add(ipv6, 7, label=True)
    route.add(ipv4, 7, label=False)
    head = "48000000 1400 0505 02000000 00000000"
    body = "0a400000 07000000" + IPV6[IPV6.index("1400 0100") :].replace("e0020000", "00020000")
    assert kernel.sent[1] == bytes.fromhex(head + body)
    assert b"net0" not in kernel.sent[2]


@pytest.mark.parametrize(
    ("scope", "flags", "wanted"),
    [(0, 0x80, True), (0, 0x81, True), (0, 0x02, False), (253, 0x80, False), (254, 0x80, False)],
)
def test_which_addresses_go(scope: int, flags: int, wanted: bool) -> None:
    body = bytes((socket.AF_INET, 8, flags, scope, 1, 0, 0, 0))
    assert netlink.decode_address(body).is_global() is wanted


def test_an_address_without_a_text() -> None:
    assert str(netlink.decode_address(bytes((99, 8, 0, 0, 1, 0, 0, 0)))) == "/8"


def test_up(kernel: Kernel) -> None:
    answer(kernel, ACK).set_up(3)
    assert kernel.sent == [bytes.fromhex(UP)]


def test_move(kernel: Kernel) -> None:
    route = answer(kernel, ACK)
    route.move(3, 9, "eth%d", 5)
    attributes = netlink.decode_attributes(kernel.sent[0][32:])
    assert attributes == {3: b"eth%d\0", 28: b"\x09\0\0\0", 49: b"\x05\0\0\0"}


def test_the_words_of_the_kernel(kernel: Kernel) -> None:
    for text, message, number in (
        (REFUSED, r"Invalid argument \(ipv4: Invalid prefix length\)", errno.EINVAL),
        (REFUSED_WHOLE, r"Operation not permitted \(No hah\)", errno.EPERM),
    ):
        with pytest.raises(OSError, match=message) as caught:
            answer(kernel, text).set_up(3)
        assert caught.value.errno == number


def test_answers_to_others_are_passed_over(kernel: Kernel) -> None:
    late = LINK.replace("1000 0000 01000000", "1000 0000 09000000")
    answer(kernel, late + ACK).set_up(3)
    assert answer(kernel, late, LINK).link("net0").index == 3


def test_other_processes_are_not_heard(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    senders = [1234, 0]
    given = kernel.recvmsg
    monkeypatch.setattr(
        kernel, "recvmsg", lambda size: (*given(size)[:3], (senders.pop(0), 0)), raising=True
    )
    assert answer(kernel, NO_LINK, LINK).link("net0").index == 3


def test_a_list_that_changes_is_asked_for_again(kernel: Kernel) -> None:
    changed = DONE.replace("0300 0200", "0300 1200")
    second = (LINK + DONE).replace("01000000 30530000", "02000000 30530000")
    found = answer(kernel, LINK + changed, second).links()
    assert len(found) == 1
    numbers = [
        text.replace("01000000", f"0{n}000000", 1) for n, text in enumerate([changed] * 5, 1)
    ]
    with pytest.raises(OSError, match="does not stop changing"):
        answer(kernel, *numbers).links()


def test_a_list_that_ends_with_an_error(kernel: Kernel) -> None:
    with pytest.raises(OSError, match="Operation not permitted"):
        answer(kernel, DONE[:-8] + "ffffffff").links()


def test_a_message_that_is_cut(kernel: Kernel) -> None:
    kernel.flags = socket.MSG_TRUNC
    with pytest.raises(OSError, match="too long"):
        answer(kernel, LINK).link("net0")


@pytest.mark.parametrize(
    "text",
    [
        "10000000",  # half a header
        "0f000000" + "00" * 12,  # shorter than a header
        "ffffff7f" + "00" * 12,  # longer than what came
        "00000000" * 4,  # would be read for ever
        "22000000" + LINK[8 : LINK.index("0900")] + "0900",  # half an attribute
        LINK.replace("0900 0300", "0300 0300"),
        LINK.replace("0900 0300", "ff00 0300"),
        "18000000 1000 0000 01000000 30530000 00000100 03000000",  # half a device
        "14000000 0200 0001 01000000 30530000 edffffff",  # half an error
        NO_LINK.replace("edffffff", "00000080"),  # no errno
        ACK,  # without an answer
        NO_LINK.replace("edffffff", "01000000"),
    ],
)
def test_malformed(text: str, kernel: Kernel) -> None:
    with pytest.raises(Malformed):
        answer(kernel, text).link("net0")


@pytest.mark.parametrize(("kind", "size"), [(1, 0x10000), (1, 0xFFFC), (-1, 0), (0x4000, 0)])
def test_attributes_that_can_not_be(kind: int, size: int) -> None:
    with pytest.raises(ValueError, match="no attribute"):
        netlink.encode_attribute(kind, bytes(size))


def test_this_kernel() -> None:
    """Needs no right: every network namespace has its loopback device."""
    route = Route()
    loopback = route.link("lo")
    assert (loopback.name, loopback.index) == ("lo", 1)
    assert "lo" in {link.name for link in route.links()}
    for address in route.addresses(1):
        assert str(address).partition("/")[0] in ("127.0.0.1", "::1") or not address.is_global()
    with pytest.raises(OSError, match="No such device"):
        route.link("no-such-device")
    route.close()


def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError, match="no thread can be started"):
        Route(0)


def test_a_namespace_that_is_none(tmp_path: Any) -> None:
    """And the process has not left its own."""
    before = os.readlink("/proc/self/ns/net")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument|Operation not permitted"):
        Route(fd)
    os.close(fd)
    assert os.readlink("/proc/self/ns/net") == before
