"""rtnetlink messages: what is encoded is decoded to the same, and no bytes do harm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocirt.host import netlink
from ocirt.host.netlink import Address, Malformed

kinds = st.integers(0, 0x3FFF)
attributes = st.dictionaries(kinds, st.binary(max_size=40), max_size=8)
small = st.integers(0, 255)


def encode(values: dict[int, bytes]) -> bytes:
    return b"".join(netlink.encode_attribute(kind, value) for kind, value in values.items())


@given(attributes)
def test_attributes(values: dict[int, bytes]) -> None:
    data = encode(values)
    assert len(data) % 4 == 0
    assert netlink.decode_attributes(data) == values


@given(st.lists(st.tuples(small, small, small, attributes), max_size=5))
def test_messages(rows: list[tuple[int, int, int, dict[int, bytes]]]) -> None:
    wanted = [(kind, flags, sequence, encode(body)) for kind, flags, sequence, body in rows]
    data = b"".join(netlink.encode_message(*row) for row in wanted)
    assert list(netlink.decode_messages(data)) == wanted


KEPT = (netlink.IFA_ADDRESS, netlink.IFA_LOCAL, netlink.IFA_BROADCAST, netlink.IFA_CACHEINFO)


@given(small, small, small, st.dictionaries(st.sampled_from(KEPT), st.binary(max_size=20)))
def test_addresses(family: int, prefix: int, scope: int, values: dict[int, bytes]) -> None:
    address = Address(family, prefix, 0x280, scope, 1, values)
    found = netlink.decode_address(netlink.encode_address(address, 9, label=False))
    assert (found.family, found.prefix, found.scope, found.index) == (family, prefix, scope, 9)
    assert found.flags == 0x200  # that it is permanent follows from its lifetime
    assert found.attributes.pop(netlink.IFA_FLAGS) == b"\0\2\0\0"
    assert found.attributes == values
    str(found)


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_do_harm(data: bytes, told: bool) -> None:
    flags = netlink.NLM_F_ACK_TLVS if told else 0
    calls = (
        lambda: netlink.decode_attributes(data),
        lambda: list(netlink.decode_messages(data)),
        lambda: netlink.decode_error(flags, data),
        lambda: netlink.decode_error(flags | netlink.NLM_F_CAPPED, data),
        lambda: str(netlink.decode_address(data)),
        lambda: netlink.decode_link(data).name,
    )
    for call in calls:
        try:
            call()
        except Malformed:
            pass


@given(st.binary(min_size=1, max_size=60), st.integers(0, 100), small)
def test_a_message_with_a_changed_byte(body: bytes, where: int, byte: int) -> None:
    data = bytearray(netlink.encode_message(16, 0, 1, body) * 2)
    data[where % len(data)] = byte
    try:
        found = list(netlink.decode_messages(bytes(data)))
    except Malformed:
        return
    assert sum(len(row[3]) for row in found) <= len(data)
