"""ocirt.json_text against the json package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirt.errors import OcirtError
from ocirt.json_text import dumps, loads

# Any string, lone surrogates among them: file names that are not UTF-8 hold some.
TEXT = st.text(st.characters())
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
FINITE = SCALARS.filter(lambda v: v not in (float("inf"), float("-inf")))
VALUES = st.recursive(
    FINITE, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4)
)


@given(VALUES, st.sampled_from([None, 0, 2, 4]))
def test_what_is_written_reads_the_same(value: object, indent: int | None) -> None:
    text = dumps(value, indent)
    assert json.loads(text) == value
    assert loads(text, "x") == value
    assert text.isascii()


@given(VALUES)
def test_writes_what_json_writes(value: object) -> None:
    assert dumps(value) == json.dumps(value, separators=(",", ":"))
    assert dumps(value, 2) == json.dumps(value, indent=2)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = loads(data, "x")
    except OcirtError:
        return
    assert json.loads(data.decode("utf-8")) == value


@given(st.text('[]{}",:0123456789.eE+-truefalsn \n\\uD', max_size=30))
def test_accepts_what_json_accepts(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(OcirtError, match="^x#: not valid JSON: "):
            loads(text, "x")
        return
    try:
        assert loads(text, "x") == expected
    except OcirtError as error:
        assert "is out of range" in error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1 column 1: a value is expected here"),
        (b" \n ", "line 2 column 2: a value is expected here"),
        (b'{"a": }', "line 1 column 7: a value is expected here"),
        (b'{"a": 1, 2}', "line 1 column 10: expecting property name enclosed in double quotes"),
        (b'{"a" 1}', "line 1 column 6: expecting ':' delimiter"),
        (b'{"a": 1\n"b": 2}', "line 2 column 1: expecting ',' delimiter"),
        (b"[1, 2\n\n", "line 3 column 1: expecting ',' delimiter"),
        (b'"abc', "line 1 column 1: unterminated string starting at"),
        (b'"a\nb"', "line 1 column 3: invalid control character at"),
        (b'"\\x"', "line 1 column 2: invalid \\escape"),
        (b"{}\n{}", "line 2 column 1: extra data after the document"),
        (b'{}\n"\xff"', "line 2 column 2: not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "line 1 column 1: a byte order mark is not JSON"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "1e999 is out of range"),
        (b"[" + b"1" * 100_000 + b"]", "Exceeds the limit"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 1_000_000, "nested too deeply"),
    ],
)
def test_errors_say_where(text: bytes, message: str) -> None:
    with pytest.raises(OcirtError) as caught:
        loads(text, "config.json")
    assert message in caught.value.message
    assert (caught.value.at, caught.value.document) == ("", "config.json")


def test_last_of_equal_names_counts() -> None:
    assert loads(b'{"a": 1, "a": 2}', "x") == {"a": 2}


def test_errors_without_the_json_package() -> None:
    """Where nobody has imported json, _json cannot make its exception."""
    code = """
import sys
from ocirt.errors import OcirtError
from ocirt.json_text import dumps, loads
assert loads('{"a": [1, 2.5, null, "x"]}', "x") == {"a": [1, 2.5, None, "x"]}
dumps([1, "x"])
assert not {"json", "re", "typing", "enum"} & set(sys.modules), "imported on the way"
try:
    loads("[1,\\n}", "x")
except OcirtError as error:
    assert "line 2 column 1" in str(error), error
else:
    raise SystemExit("accepted")
"""
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
