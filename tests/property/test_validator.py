"""The generated validator has the verdict, and finds the places, that jsonschema has."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from ocirt.config import schema
from ocirt.config.load import examine, examine_process, without_nulls
from ocirt.config.schema_tables import CONFIG, NODES
from ocirt.config.unknown import unknown_fields
from ocirt.errors import pointer

ROOT = Path(__file__).parents[2]
FULL = json.loads((Path(__file__).parent / "full_config.json").read_text())


def reference() -> Any:
    """jsonschema's validator of config.json, without references: every version of it has
    another way to resolve those."""
    path = ROOT / "tools" / "generate_validator.py"
    spec = importlib.util.spec_from_file_location("generate_validator", path)
    assert spec and spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    schemas = generator.widen(generator.load_schemas())

    def inline(value: Any, file: str) -> Any:
        if isinstance(value, list):
            return [inline(item, file) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("$ref"), str):
            name, _, path = value["$ref"].partition("#/")
            target = schemas[name or file]
            for part in path.split("/"):
                target = target[part]
            return inline(target, name or file)
        return {key: inline(item, file) for key, item in value.items()}

    flat = inline(schemas["config-schema.json"], "config-schema.json")
    jsonschema.Draft4Validator.check_schema(flat)
    return jsonschema.Draft4Validator(flat)


REFERENCE = reference()


def places(error: Any) -> Iterator[str]:
    """The pointers that our errors have where jsonschema has this one."""
    at = pointer(*error.absolute_path)
    if error.context:
        for each in error.context:
            yield from places(each)
    elif error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield at + pointer(name)
    else:
        yield at


def compare(document: Any) -> None:
    expected = {place for error in REFERENCE.iter_errors(document) for place in places(error)}
    assert {problem.at for problem in schema.validate(document)} == expected


def containers(value: Any) -> Iterator[Any]:
    """Every object and array in a document."""
    if isinstance(value, (dict, list)):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


# No newline: Python's "$" also matches before one at the end; the schemas' dialect does not.
NAMES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)
# Words of the schemas, so that some values fit somewhere else.
WORDS = st.sampled_from(
    ["", "c", "RLIMIT_CPU", "RLIMIT_x", "2MB", "MB:1", "pid", "SCHED_RR", "raw", "rslave", "new"]
)
NUMBERS = st.integers(-3, 3) | st.sampled_from(
    [v + d for v in (2**8, 2**16, 2**31, 2**32, 2**63, 2**64, -(2**63)) for d in (-1, 0)]
)
SIMPLE = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | NAMES
)
VALUES = st.recursive(
    SIMPLE, lambda v: st.lists(v, max_size=2) | st.dictionaries(NAMES, v, max_size=2), max_leaves=4
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The full document with one to four changes."""
    document = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(list(containers(document))))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        how = draw(st.sampled_from(["replace", "delete", "add", "move"]))
        if how == "add" or not keys:
            if isinstance(place, dict):
                place[draw(NAMES)] = draw(VALUES)
            else:
                place.append(draw(VALUES))
        elif how == "delete":
            del place[draw(st.sampled_from(keys))]
        elif how == "move":
            other = draw(st.sampled_from(list(containers(document))))
            place[draw(st.sampled_from(keys))] = copy.deepcopy(other)
        else:
            place[draw(st.sampled_from(keys))] = draw(VALUES)
    return document


def members(index: int, skipped: set[str]) -> Iterator[str]:
    """The names that the tables know from this node on."""
    node = NODES[index]
    if node[0] == "array":
        yield from members(node[1], skipped)
    elif node[0] == "object":
        for name in node[1].keys() - skipped:
            yield name
            yield from members(node[1][name], skipped)
        if node[3] is not None:
            yield from members(node[3], skipped)


def test_full_document_is_valid_and_has_every_member() -> None:
    assert schema.validate(FULL) == []
    compare(FULL)
    known = set(members(CONFIG, {"windows", "solaris", "vm", "zos", "freebsd"}))
    used = {key for place in containers(FULL) if isinstance(place, dict) for key in place}
    assert known - used == {"commandLine", "username"}  # Windows


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_agrees_with_jsonschema_on_changed_documents(document: Any) -> None:
    compare(document)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_agrees_with_jsonschema_on_any_document(document: Any) -> None:
    compare(document)


def test_every_single_change() -> None:
    """Each value of the document in turn becomes one of every other type, or is missing."""
    document = copy.deepcopy(FULL)
    for place in list(containers(document)):
        for key in list(place) if isinstance(place, dict) else range(len(place)):
            kept = place[key]
            others: tuple[Any, ...] = (None, True, 2**70, "no such word", [], {"a": 0})
            for value in others:
                place[key] = value
                found = {problem.at for problem in schema.validate(document)}
                errors = REFERENCE.iter_errors(document)
                assert found == {p for error in errors for p in places(error)}, (key, value)
            place[key] = kept


def examine_all(document: Any) -> None:
    """The rules, the process rules and the search for unknown fields take any document."""
    data = json.dumps(document).encode()
    _, problems, warnings = examine(data)
    if isinstance(document, dict):
        plain = without_nulls(document)
        assert {p.at for p in schema.validate(plain)} <= {p.at for p in problems}
        process = document.get("process")
        examine_process(json.dumps(process).encode(), "p")
    for each in (*problems, *warnings, *unknown_fields(document)):
        assert each.at is not None and each.at[:1] in ("", "/") and each.message


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_rules_take_whatever_the_schema_has_refused(document: Any) -> None:
    examine_all(document)


def test_rules_take_every_single_change() -> None:
    document = copy.deepcopy(FULL)
    for place in list(containers(document)):
        for key in list(place) if isinstance(place, dict) else range(len(place)):
            kept = place[key]
            for value in (None, -1, 2**70, "", "\0\ud800", [], {}, [0], {"a": [0]}):
                place[key] = value
                examine_all(document)
            place[key] = kept
