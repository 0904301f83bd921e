"""Writes ocirt/config/schema_tables.py from spec-schemas/.

A schema file is a graph of subschemas that refer to one another. Here each becomes a node: a
dict with only the keywords it has, whose references are numbers of other nodes. A validator
that walks it needs neither files nor ``jsonschema``.

``python3 tools/generate_validator.py`` writes the file; ``--check`` fails if it differs.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMAS = os.path.join(ROOT, "spec-schemas")
OUTPUT = os.path.join(ROOT, "ocirt", "config", "schema_tables.py")
COPIED = ("required", "enum", "minimum", "maximum", "minItems", "pattern")
IGNORED = {"$schema", "description", "definitions", "id"}
# Patterns as (prefix, characters that may follow, how many at least, how many at most), so that
# the common ones need no regular expressions.
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SIMPLE = {
    "^RLIMIT_[A-Z]+$": ("RLIMIT_", UPPER, 1, 1 << 30),
    "^[0-9, -]*$": ("", "0123456789, -", 0, 1 << 30),
    "^[cbup]$": ("", "cbup", 1, 1),
}


class Graph:
    """The nodes found so far; ``places``: the number of each (file, path in it)."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}
        self.nodes: list[dict[str, Any]] = []
        self.places: dict[tuple[str, str], int] = {}

    def load(self, name: str) -> Any:
        if name not in self.files:
            with open(os.path.join(SCHEMAS, name)) as file:
                self.files[name] = json.load(file)
        return self.files[name]

    def node(self, name: str, path: str) -> int:
        """The number of the subschema at ``path`` of file ``name``."""
        if (name, path) in self.places:
            return self.places[name, path]
        schema = self.load(name)
        for part in path.strip("/").split("/") if path.strip("/") else []:
            schema = schema[int(part)] if isinstance(schema, list) else schema[part]
        if set(schema) - IGNORED == {"$ref"}:
            file, _hash, inner = schema["$ref"].partition("#")
            number = self.node(file or name, inner)
            self.places[name, path] = number
            return number
        number = self.places[name, path] = len(self.nodes)
        self.nodes.append({})
        self.nodes[number] = self.convert(name, path, schema)
        return number

    def convert(self, name: str, path: str, schema: dict[str, Any]) -> dict[str, Any]:
        """The keywords of a node; a ``$ref`` beside others is one more schema to fulfil."""
        node: dict[str, Any] = {}
        for key, value in schema.items():
            inner = f"{path}/{key}"
            if key == "$ref":
                file, _hash, there = value.partition("#")
                node.setdefault("allOf", []).append(self.node(file or name, there))
            elif key == "type":
                node[key] = value if isinstance(value, list) else [value]
            elif key == "pattern":
                node[key] = SIMPLE.get(value, value)
            elif key in COPIED:
                node[key] = value
            elif key == "properties":
                node[key] = {k: self.node(name, f"{inner}/{k}") for k in value}
            elif key == "patternProperties":
                assert list(value) == [".{1,}"], value
                node["members"] = self.node(name, f"{inner}/.{{1,}}")
            elif key == "additionalProperties" and isinstance(value, dict):
                node["members"] = self.node(name, inner)
            elif key == "additionalProperties":
                assert value is True, value
            elif key == "items":
                node[key] = self.node(name, inner)
            elif key in ("allOf", "anyOf"):
                found = [self.node(name, f"{inner}/{i}") for i in range(len(value))]
                node.setdefault(key, []).extend(found)
            elif key not in IGNORED and not isinstance(value, dict):
                raise ValueError(f"{name}#{path}: keyword {key}")
        return node


def text() -> str:
    """The generated module."""
    graph = Graph()
    config = graph.node("config-schema.json", "")
    process = graph.node("config-schema.json", "/properties/process")
    lines = [
        '"""Made by tools/generate_validator.py from spec-schemas/. Do not edit."""',
        "",
        "# fmt: off",
        "from __future__ import annotations",
        "",
        f"CONFIG = {config}",
        f"PROCESS = {process}",
        "# ruff: noqa",
        "NODES: list[dict[str, object]] = [",
        *(f"    {node!r}," for node in graph.nodes),
        "]",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Writes or compares the module; returns the exit status."""
    if "--check" in sys.argv[1:]:
        with open(OUTPUT) as file:
            return int(file.read() != text())
    with open(OUTPUT, "w") as file:
        file.write(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
