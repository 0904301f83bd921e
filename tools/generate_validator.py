"""Writes ocirt/config/schema_tables.py, what a config.json must look like, from spec-schemas/.

``python3 tools/generate_validator.py`` writes it; with ``--check`` it fails if the file differs.

A schema becomes a node, a tuple that ocirt/config/schema.py walks; equal schemas become the
same node. What the schemas do not use is not supported, and an error here.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMAS = os.path.join(ROOT, "spec-schemas")
OUTPUT = os.path.join(ROOT, "ocirt", "config", "schema_tables.py")

# Where the peers accept more than the schemas do, and engines rely on it.
WIDENED: dict[tuple[str, str], dict[str, Any]] = {
    # Engines pass mount(8)'s words for the recursive kinds (runc's propagation table).
    ("defs-linux.json", "RootfsPropagation"): {
        "type": "string",
        "enum": [r + kind for kind in "private shared slave unbindable".split() for r in ("", "r")],
    },
    # All of st_mode: set-id and sticky bits are the kernel's to accept; the file type is dropped.
    ("defs.json", "FileMode"): {"type": "integer", "minimum": 0, "maximum": 0o177777},
}
# Keywords that say nothing about what is valid.
SILENT = {"description", "$schema"}

HEAD = '''"""Made by tools/generate_validator.py from spec-schemas/. Do not edit."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# ("object", {member: node}, required members, node of every other member or None)
# ("array", node of its items, least length)
# ("string", allowed words or None, pattern or None)
# ("integer", least or None, greatest or None)
# ("boolean",)
# A node is its index here. A pattern is its text and its parts, each of them
# (characters, are these the ones that must not be, least number, greatest or None).
# fmt: off
'''


def load_schemas() -> dict[str, Any]:
    """Every file of spec-schemas/ by its name."""
    schemas = {}
    for name in sorted(os.listdir(SCHEMAS)):
        if name.endswith(".json"):
            with open(os.path.join(SCHEMAS, name), encoding="utf-8") as file:
                schemas[name] = json.load(file)
    return schemas


def widen(schemas: dict[str, Any]) -> dict[str, Any]:
    """The same schemas, accepting what the peers accept."""
    for (name, definition), schema in WIDENED.items():
        schemas[name]["definitions"][definition] = schema
    return schemas


class Compiler:
    """Schemas to nodes; ``nodes``: the text of each in the generated file."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self.schemas = schemas
        self.nodes: list[str] = []

    def resolve(self, schema: dict[str, Any], file: str) -> tuple[dict[str, Any], str]:
        """Follows references: (a copy of the schema, the file it is in).

        Draft 4: what stands beside a $ref does not count.
        """
        while "$ref" in schema:
            name, _, path = schema["$ref"].partition("#")
            file = name or file
            schema = self.schemas[file]
            for part in filter(None, path.split("/")):
                schema = schema[part]
        return {key: value for key, value in schema.items() if key not in SILENT}, file

    def compile(self, schema: dict[str, Any], file: str) -> int:
        """The node of a schema."""
        schema, file = self.resolve(schema, file)
        if list(schema) == ["anyOf"] and len(schema["anyOf"]) == 1:
            return self.compile(schema["anyOf"][0], file)
        kind = "object" if "allOf" in schema else schema.pop("type")
        text = repr(getattr(self, f"compile_{kind}")(schema, file))
        if text not in self.nodes:
            self.nodes.append(text)
        return self.nodes.index(text)

    def compile_object(self, schema: dict[str, Any], file: str) -> tuple[object, ...]:
        """allOf of objects is one object with the members of all."""
        members: dict[str, int] = {}
        required: list[str] = []
        others = None
        for each in schema.pop("allOf", None) or [schema]:
            part, where = self.resolve(each, file)
            part.pop("type", None)
            for name, member in part.pop("properties", {}).items():
                assert name not in members, f"{file}: two schemas for {name}"
                members[name] = self.compile(member, where)
            required += part.pop("required", [])
            patterns = part.pop("patternProperties", {})
            assert set(patterns) <= {".{1,}"}, f"{file}: {patterns}"
            # The schemas know no other pattern. The one name that it leaves out, the empty
            # one, is no place for other values either.
            for other in (*patterns.values(), part.pop("additionalProperties", None)):
                if other is not None:
                    others = self.compile(other, where)
            assert not part, f"{file}: {part}"
        return ("object", members, tuple(required), others)

    def compile_array(self, schema: dict[str, Any], file: str) -> tuple[object, ...]:
        node = ("array", self.compile(schema.pop("items"), file), schema.pop("minItems", 0))
        assert not schema, f"{file}: {schema}"
        return node

    def compile_string(self, schema: dict[str, Any], file: str) -> tuple[object, ...]:
        words, pattern = schema.pop("enum", None), schema.pop("pattern", None)
        assert not schema, f"{file}: {schema}"
        return ("string", words and tuple(words), pattern and (pattern, compile_pattern(pattern)))

    def compile_integer(self, schema: dict[str, Any], file: str) -> tuple[object, ...]:
        node = ("integer", schema.pop("minimum", None), schema.pop("maximum", None))
        assert not schema, f"{file}: {schema}"
        return node

    def compile_boolean(self, schema: dict[str, Any], file: str) -> tuple[object, ...]:
        assert not schema, f"{file}: {schema}"
        return ("boolean",)


def compile_pattern(pattern: str) -> tuple[tuple[str, bool, int, int | None], ...]:
    """An anchored sequence of characters and [classes], each once, ``*`` or ``+``.

    Matching without a way back is right only if no part can take what the next one needs.
    """
    assert pattern[0] == "^" and pattern[-1] == "$", pattern
    rest = pattern[1:-1]
    parts: list[tuple[str, bool, int, int | None]] = []
    while rest:
        if rest[0] == "[":
            inside, _, rest = rest[1:].partition("]")
            negated = inside.startswith("^")
            chars = expand(inside.removeprefix("^").replace(r"\n", "\n"))
        else:
            assert rest[0] not in r".\()|{}?*+$^", pattern
            negated, chars, rest = False, rest[0], rest[1:]
        least, most = {"*": (0, None), "+": (1, None)}.get(rest[:1], (1, 1))
        rest = rest[1:] if rest[:1] in ("*", "+") else rest
        if parts and parts[-1][3] is None:
            assert not parts[-1][1] and not negated and not set(parts[-1][0]) & set(chars), pattern
        parts.append((chars, negated, least, most))
    return tuple(parts)


def expand(inside: str) -> str:
    """The characters of a class: "A-C_" is "ABC_"; a "-" at an end is itself."""
    chars, index = "", 0
    while index < len(inside):
        if inside[index + 1 : index + 2] == "-" and index + 2 < len(inside):
            first, last = ord(inside[index]), ord(inside[index + 2])
            chars += "".join(map(chr, range(first, last + 1)))
            index += 3
        else:
            chars += inside[index]
            index += 1
    return chars


def tables() -> str:
    """The text of schema_tables.py."""
    compiler = Compiler(widen(load_schemas()))
    top = compiler.compile({"$ref": "config-schema.json#"}, "")
    process = compiler.compile({"$ref": "config-schema.json#/properties/process"}, "")
    lines = ["NODES: tuple[tuple[Any, ...], ...] = ("]
    lines += [f"    {node},  # {index}" for index, node in enumerate(compiler.nodes)]
    lines += [")", f"CONFIG = {top}", f"PROCESS = {process}"]
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Writes or compares the tables; returns the exit status."""
    if "--check" in sys.argv[1:]:
        with open(OUTPUT, encoding="utf-8") as file:
            return int(file.read() != tables())
    with open(OUTPUT, "w", encoding="utf-8") as file:
        file.write(tables())
    return 0


if __name__ == "__main__":
    sys.exit(main())
