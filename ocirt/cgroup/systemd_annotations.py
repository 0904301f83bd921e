"""Annotations org.systemd.property.NAME: further properties of the unit, as runc has them.

The value is GVariant text (docs.gtk.org, "GVariant Text Format"); of it simple values and arrays of
them: true, 'text', 5, 0.5, uint32 5, objectpath '/a', ['a', 'b'], [uint32 1, 2], @as [].
"""

from __future__ import annotations

from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ocirt.cgroup.systemd_unit import Property

PREFIX = "org.systemd.property."

_SECOND = 1_000_000  # µs
_WORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
# The bits of a number, and whether it has a sign.
_NUMBERS = {
    "y": (8, False),
    "n": (16, True),
    "q": (16, False),
    "i": (32, True),
    "u": (32, False),
    "x": (64, True),
    "t": (64, False),
}
_BASIC = frozenset(_WORDS.values())
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HEX = {"u": 4, "U": 8}
_ENDS = " \t\n,]"


def annotated(annotations: Mapping[str, str], allow: bool) -> list[tuple[str, Property]]:
    """[(JSON pointer, (name, D-Bus type, value))]. NameSec of a number becomes NameUSec, which is
    what systemd calls it on the bus. Raises OcirtError; for the first one, unless ``allow``."""
    found = []
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name, at = key[len(PREFIX) :], pointer("annotations", key)
        if not allow:
            hint = "--systemd-annotations=true allows them"
            raise OcirtError("annotations may not set properties of systemd", at=at, hint=hint)
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise OcirtError(f"{name!r} is no name of a property of systemd", at=at)
        try:
            signature, value = parse_variant(text)
            if name.endswith("Sec") and name[-4:-3].islower():
                name = f"{name[:-3]}USec"
                signature, value = "t", _microseconds(signature, value)
        except (ValueError, OverflowError) as error:
            raise OcirtError(f"{text!r}: {error}", at=at) from None
        found.append((at, (name, signature, value)))
    return found


def _microseconds(signature: str, value: Any) -> int:
    if signature not in _NUMBERS and signature != "d":
        raise ValueError("not a number of seconds")
    result = int(value * _SECOND)
    if not 0 <= result < 1 << 64:
        raise ValueError("out of range")
    return result


def parse_variant(text: str) -> tuple[str, Any]:
    """(D-Bus type, value). Raises ValueError or OverflowError that says what is wrong."""
    reader = _Reader(text)
    found = reader.value("", True, False)
    if reader.peek():
        raise ValueError(f"{reader.text[reader.at :]!r} is too much")
    return found


class _Reader:
    """``at``: how far it has come."""

    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        """The next character that is no space, "" at the end."""
        while self.text[self.at : self.at + 1] in (" ", "\t", "\n"):
            self.at += 1
        return self.text[self.at : self.at + 1]

    def value(self, wanted: str, array: bool, typed: bool) -> tuple[str, Any]:
        """``wanted``: the type it must have, "" for any; ``array``: it may be one; ``typed``: the
        type was just before it."""
        start = self.peek()
        if start == "[" and array:
            return self._array(wanted)
        if start and start in "'\"":
            signature = wanted or "s"
            if signature not in "sog":
                raise ValueError("a string where none is expected")
            return signature, self._string()
        word = self._word()
        if word in ("true", "false"):
            if wanted not in ("", "b"):
                raise ValueError("a boolean where none is expected")
            return "b", word == "true"
        given = word[1:] if word.startswith("@") else _WORDS.get(word, "")
        if not given:
            return _number(word, wanted)
        simple = given in _BASIC or (array and given[0] == "a" and given[1:] in _BASIC)
        if typed or not simple or wanted not in ("", given):
            raise ValueError(f"a type that can't be here: {word}")
        return self.value(given, array and given[0] == "a", True)

    def _array(self, wanted: str) -> tuple[str, Any]:
        if wanted and wanted[0] != "a":
            raise ValueError("an array where none is expected")
        inner, values = wanted[1:], []
        self.at += 1
        while self.peek() != "]":
            inner, value = self.value(inner, False, False)
            values.append(value)
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != "]":
                raise ValueError("an array without its end")
        self.at += 1
        if not inner:
            raise ValueError("an empty array needs a type, for instance @as []")
        return f"a{inner}", bytes(values) if inner == "y" else values

    def _word(self) -> str:
        start = self.at
        while self.text[self.at : self.at + 1] not in ("", *_ENDS):
            self.at += 1
        word = self.text[start : self.at]
        if not word:
            raise ValueError("a value is missing")
        return word

    def _string(self) -> str:
        quote, found = self.text[self.at], ""
        self.at += 1
        while True:
            letter = self.text[self.at : self.at + 1]
            self.at += 1
            if not letter:
                raise ValueError("a string without its end")
            if letter == quote:
                return found
            found += self._escape() if letter == "\\" else letter

    def _escape(self) -> str:
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        if letter not in _HEX:
            return _ESCAPES.get(letter, letter)
        digits = self.text[self.at : self.at + _HEX[letter]]
        self.at += len(digits)
        if len(digits) < _HEX[letter] or not digits.isalnum():
            raise ValueError("an escape without its digits")
        return chr(int(digits, 16))


def _number(word: str, wanted: str) -> tuple[str, int | float]:
    """As in C: 0x10 and 010 are 16 and 8; with a point it is a double."""
    digits = word.lstrip("+-")
    sign = -1 if word.startswith("-") else 1
    plain = digits.isascii() and digits.isalnum() and len(word) - len(digits) < 2
    decimal = digits.replace("e", "").replace("E", "").isdigit() and not digits.isdigit()
    signature = wanted or ("d" if decimal or not plain else "i")
    try:
        if signature == "d" and "_" not in word:
            return "d", float(word)
        base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[:1] == "0" else 10
        number = sign * int(digits, base) if plain else None
    except ValueError:
        number = None
    if number is None or signature not in _NUMBERS:
        raise ValueError(f"{word!r} is no value")
    bits, signed = _NUMBERS[signature]
    low = -(1 << bits - 1) if signed else 0
    if not low <= number < low + (1 << bits):
        raise ValueError(f"{word} is out of range")
    return signature, number
