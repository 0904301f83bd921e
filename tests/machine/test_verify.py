"""Malformed segments: the machine refuses each one, and never crashes.

Each is made from a good segment by changing the bytes that its name says.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from ocirt.plan import ops
from ocirt.plan.encode import RECORD, encode_segment

from .conftest import Start
from .driver import Report, op

HEAD = 8
WRITE = [op("WRITE", 0, "path", b"data"), op("UMASK", 0)]
FIND = [op("FIND_EXEC", ["/a", "/b"])]
EXEC = [op("EXEC", ["a", "b"], ["c"], 3)]


def change(segment: bytes, offset: int, form: str, *values: int) -> bytes:
    """``segment`` with other bytes from ``offset`` on."""
    data = struct.pack("<" + form, *values)
    return segment[:offset] + data + segment[offset + len(data) :]


def operand(record: int, number: int) -> int:
    """The offset of an operand in a segment."""
    return HEAD + RECORD * record + 8 + 8 * number


def text(segment: bytes) -> int:
    """The offset of the text in a segment."""
    return HEAD + RECORD * int.from_bytes(segment[:4], "little")


def list_at(segment: bytes, number: int) -> int:
    """The offset in a segment of the list that is operand ``number`` of record 0."""
    place: int = struct.unpack_from("<Q", segment, operand(0, number))[0]
    return text(segment) + place


def one_op(name: str, *operands: int, texts: bytes = b"\0" * 64, over: int = 0) -> bytes:
    """A segment of one record, with no check of anything."""
    record = struct.pack("<HHHH", ops.OPS[name].code, over, 0, 0)
    record += struct.pack("<6Q", *operands, *[0] * (6 - len(operands)))
    return struct.pack("<II", 1, len(texts)) + record + texts


def _write() -> bytes:
    return encode_segment(WRITE)


def _find() -> bytes:
    return encode_segment(FIND)


def _exec() -> bytes:
    return encode_segment(EXEC)


def _text_size() -> int:
    return len(_write()) - text(_write())


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


MALFORMED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "half a head": lambda: b"\0" * 7,
    "no text": lambda: b"\0" * 8,
    "one byte less": lambda: _write()[:-1],
    "one byte more": lambda: _write() + b"\0",
    "more records than bytes": lambda: change(_write(), 0, "I", 3),
    "fewer records": lambda: change(_write(), 0, "I", 1),
    "so many records that their size overflows": lambda: change(_write(), 0, "I", 0xFFFFFFFF),
    "record count that overflows 32 bits to 0": lambda: change(_write(), 0, "I", 0x04924925),
    "text that is longer": lambda: change(_write(), 4, "I", 0xFFFFFFFF),
    "text that is shorter": lambda: change(_write(), 4, "I", 1),
    "text without its NUL": lambda: _write()[:-1] + b"x",
    "code 0": lambda: change(_write(), HEAD, "H", 0),
    "code that is unknown": lambda: change(_write(), HEAD, "H", len(ops.OPS) + 1),
    "code 65535": lambda: change(_write(), HEAD, "H", 0xFFFF),
    "second code that is unknown": lambda: change(_write(), HEAD + RECORD, "H", 0x7FFF),
    "skip over the end": lambda: change(_write(), HEAD + 2, "H", 2),
    "skip over the end from the last": lambda: change(_write(), HEAD + RECORD + 2, "H", 1),
    "skip of 65535": lambda: change(_write(), HEAD + 2, "H", 0xFFFF),
    "operand that the operation lacks": lambda: change(_write(), operand(0, 5), "Q", 1),
    "slot beyond the table": lambda: change(_write(), operand(0, 0), "Q", ops.SLOTS),
    "slot NO_SLOT": lambda: change(_write(), operand(0, 0), "Q", ops.NO_SLOT),
    "slot that is negative": lambda: change(_write(), operand(0, 0), "q", -1),
    "slot that fits in 32 bits only": lambda: change(_write(), operand(0, 0), "Q", 1 << 32),
    "optional slot beyond the table": lambda: one_op("KEEP", ops.SLOTS),
    "optional slot that is negative": lambda: one_op("KEEP", (1 << 64) - 1),
    "defined slot beyond the table": lambda: one_op("OPEN_ROOT", ops.SLOTS),
    "defined slot NO_SLOT": lambda: one_op("OPEN_ROOT", ops.NO_SLOT),
    "string at the end": lambda: change(_write(), operand(0, 1), "Q", _text_size()),
    "string that is far": lambda: change(_write(), operand(0, 1), "Q", 1 << 63),
    "string before the text": lambda: change(_write(), operand(0, 1), "q", -1),
    "data that is not aligned": lambda: change(_write(), operand(0, 2), "II", 1, 1),
    "data beyond the end": lambda: change(_write(), operand(0, 2), "II", 8, _text_size() - 7),
    "data that starts beyond the end": lambda: change(_write(), operand(0, 2), "II", 1 << 20, 0),
    "data of 4 GiB": lambda: change(_write(), operand(0, 2), "II", 0, 0xFFFFFFFF),
    "list that is not aligned": lambda: one_op("FIND_EXEC", 4),
    "list beyond the end": lambda: one_op("FIND_EXEC", 64),
    "list that is far": lambda: one_op("FIND_EXEC", 1 << 62),
    "list without room for its end": lambda: one_op("FIND_EXEC", 56),
    "list of one too many": lambda: change(_find(), list_at(_find(), 0), "Q", 3),
    "list of too many": lambda: change(_find(), list_at(_find(), 0), "Q", 100),
    "list whose size overflows": lambda: change(_find(), list_at(_find(), 0), "Q", 1 << 61),
    "list whose size overflows with its end": lambda: change(
        _find(), list_at(_find(), 0), "q", -1
    ),
    "list without its end": lambda: change(_find(), list_at(_find(), 0) + 24, "Q", 1),
    "list with a string that is far": lambda: change(_find(), list_at(_find(), 0) + 8, "Q", 1 << 40),
    "list with a string at the end": lambda: one_op(
        "FIND_EXEC", 0, texts=words(1, 32, 0, 0)
    ),
    "list that is used twice": lambda: change(
        _exec(), operand(0, 1), "Q", struct.unpack_from("<Q", _exec(), operand(0, 0))[0]
    ),
    "lists that overlap": lambda: one_op("EXEC", 0, 8, texts=words(3, 1, 8, 0, 0)),
    # The first list's pointer reaches over the NUL that ends the text.
    "list that ends at the end of the text": lambda: one_op(
        "FIND_EXEC", 0, texts=words(1, 0, 0) + b"x"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_segment(start: Start, name: str) -> None:
    machine = start()
    machine.send_segment(MALFORMED[name](), first=77)
    text = "the segment is malformed"
    assert machine.report() == Report(ops.REPORT_FAILED, 77, 0, errno.EINVAL, 0, text)
    assert machine.wait() == 1


@pytest.mark.parametrize("second", [0, 8])
def test_list_that_changes_the_count_of_another(start: Start, second: int) -> None:
    """An empty list whose count is an entry of another one: it ends at that one's NULL."""
    # At 0: [3: "", "", ""], 0. At 8: what it says has become pointers, so it is no list.
    # At 8 first: [0], 0. Then at 0 its count becomes a pointer; FIND_EXEC ends all the same.
    empty, whole = (8, 0) if second == 0 else (0, 8)
    texts = words(2, 0, 0, 0, 0)
    code = ops.OPS["FIND_EXEC"].code
    records = b"".join(
        struct.pack("<HHHH6Q", code, 0, errno.ENOENT, 0, place, 0, 0, 0, 0, 0)
        for place in (empty, whole)
    )
    machine = start()
    machine.send_segment(struct.pack("<II", 2, len(texts)) + records + texts)
    report = machine.report()
    assert report
    if second == 0:
        assert report == Report(ops.REPORT_DONE, 2, 0, 0, 0, "")
    else:
        assert (report.kind, report.errno) == (ops.REPORT_FAILED, errno.EINVAL)
        assert machine.wait() == 1


@pytest.mark.parametrize(
    "good",
    [
        one_op("KEEP", ops.NO_SLOT, ops.NO_SLOT, ops.NO_SLOT, ops.NO_SLOT),
        one_op("GROUPS", 64, texts=b"\0" * 65)[:-1] + b"\0",
        struct.pack("<II", 0, 1) + b"\0",
    ],
)
def test_well_formed_to_the_last_byte(start: Start, good: bytes) -> None:
    machine = start()
    machine.send_segment(good)
    report = machine.report()
    assert report and (report.kind == ops.REPORT_DONE or report.errno == errno.EPERM)
