"""spec-schemas/ against the official release, and the tables made from it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ocirt.config import schema

ROOT = Path(__file__).parents[2]
OURS = ROOT / "spec-schemas"
OFFICIAL = ROOT.parent / "shared" / "spec-schemas"
SAMPLES = OFFICIAL / "test" / "config"

needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="../shared/spec-schemas is absent"
)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """tools/generate_validator.py as a module."""
    path = ROOT / "tools" / "generate_validator.py"
    spec = importlib.util.spec_from_file_location("generate_validator", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}


@needs_official
def test_same_as_the_official_release_but_for_two_errata() -> None:
    official, ours = parsed(OFFICIAL), parsed(OURS)
    array = official["defs.json"]["definitions"]["ArrayOfUint32"]
    assert array["items"] == {"$ref": "#definitions/uint32"}
    array["items"] = {"$ref": "#/definitions/uint32"}
    iomems = official["config-vm.json"]["vm"]["properties"]["hwConfig"]["properties"]["iomems"]
    assert isinstance(iomems["items"], list)
    [iomems["items"]] = iomems["items"]
    assert ours == official


@needs_official
def test_samples_of_the_specification() -> None:
    """Its own good and bad documents. One is not JSON: json_text's tests have such."""
    good = [json.loads(path.read_text()) for path in sorted((SAMPLES / "good").iterdir())]
    bad = [
        json.loads(path.read_text())
        for path in sorted((SAMPLES / "bad").iterdir())
        if path.name != "invalid-json.json"
    ]
    assert len(good) >= 9 and len(bad) >= 4
    assert [schema.validate(document) for document in good] == [[]] * len(good)
    assert all(schema.validate(document) for document in bad)


def test_tables_are_those_of_the_schemas(generator: ModuleType) -> None:
    assert Path(generator.OUTPUT).read_text() == generator.tables(), (
        "run tools/generate_validator.py"
    )


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[cbup]$", ["c", "p"], ["", "x", "cc", "c\n"]),
        ("^RLIMIT_[A-Z]+$", ["RLIMIT_CPU"], ["RLIMIT_", "RLIMIT_cpu", "CPU", "RLIMIT_CPU "]),
        ("^[0-9, -]*$", ["", "0-3, 7"], ["a", "0;1"]),
        ("^[1-9][0-9]*[KMG]B$", ["2MB", "1048576KB"], ["02MB", "MB", "2B", "2MB2"]),
        (r"^MB:[^\n]*$", ["MB:", "MB:0=1;1=2"], ["M", "MB", "MB:\n"]),
    ],
)
def test_patterns(generator: ModuleType, pattern: str, good: list[str], bad: list[str]) -> None:
    parts = generator.compile_pattern(pattern)
    assert all(schema._matches(text, parts) for text in good)
    assert not any(schema._matches(text, parts) for text in bad)


@pytest.mark.parametrize("pattern", ["^a.b$", "^(a)$", "abc", "^[0-9]*5$", "^[^a]*b$"])
def test_other_patterns_are_not_supported(generator: ModuleType, pattern: str) -> None:
    with pytest.raises(AssertionError):
        generator.compile_pattern(pattern)


@pytest.mark.parametrize(
    "unknown",
    [
        {"type": "string", "format": "uri"},
        {"type": "integer", "multipleOf": 2},
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True},
        {"type": "object", "minProperties": 1},
        {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
    ],
)
def test_keywords_that_it_does_not_know_are_errors(
    generator: ModuleType, unknown: dict[str, Any]
) -> None:
    with pytest.raises(AssertionError):
        generator.Compiler({}).compile(unknown, "x.json")
