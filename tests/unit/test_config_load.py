"""ocirt.config.load: reading, nulls, one document for exec, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ocirt.config import load, names
from ocirt.config.unknown import unknown_fields
from ocirt.config.words import closest
from ocirt.errors import ConfigError, OcirtError
from ocirt.host import constants

ROOT = Path(__file__).parents[2]
MINIMAL: dict[str, Any] = {
    "ociVersion": "1.0.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/"},
}


def write(bundle: Path, document: Any) -> bytes:
    data = json.dumps(document).encode()
    (bundle / "config.json").write_bytes(data)
    return data


def test_config_of_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path)
    config = load.load(".")
    assert config.document == MINIMAL
    assert config.raw == data
    assert config.bundle == str(tmp_path)
    assert config.warnings == []


def test_null_is_absent(tmp_path: Path) -> None:
    """Go's encoders write null for a nil slice or map; its decoders take it for nothing."""
    document = MINIMAL | {"hooks": None, "linux": {"namespaces": None, "seccomp": None}}
    data = write(tmp_path, document)
    config = load.load(str(tmp_path))
    assert config.document == MINIMAL | {"linux": {}}
    assert config.raw == data


def test_warnings_do_not_refuse() -> None:
    document = MINIMAL | {"process": MINIMAL["process"] | {"commandLine": "x"}}
    config = load.parse(json.dumps(document).encode(), "/b")
    assert [warning.at for warning in config.warnings] == ["/process/commandLine"]


def test_every_problem_is_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse(b'{"ociVersion": "2.0.0", "root": 1}', "/b")
    found = sorted(str(problem) for problem in caught.value.problems)
    assert found == [
        "config.json#/ociVersion: version 2.0.0 is not supported, only 1.x.y is",
        "config.json#/process: is required",
        "config.json#/root: must be an object, not an integer",
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "config.json#: not valid JSON: line 1 column 1: a value is expected here"),
        (b"{", "config.json#: not valid JSON: line 1 column 2: expecting property name"),
        (b"[]", "config.json#: must be an object, not an array"),
        (b"null", "config.json#: must be an object, not null"),
        (b"{} {}", "config.json#: not valid JSON: line 1 column 4: extra data"),
        (b'{"ociVersion": "\xff"}', "config.json#: not valid JSON: line 1 column 17: not UTF-8"),
        (b'{"a":' * 990 + b"1" + b"}" * 990, "config.json#"),
        (b'{"a":' * 100_000, "config.json#: not valid JSON: nested too deeply"),
    ],
    ids=range(8),
)
def test_documents_that_are_none(data: bytes, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse(data, "/b")
    assert str(caught.value).startswith(text)


def test_deep_members_that_nobody_reads() -> None:
    """Deeper than Python goes, in an unknown member: an error or nothing, never a traceback."""
    for depth in (10, 500, 900, 960, 980, 990, 1000, 2000):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        data = json.dumps(MINIMAL).encode()[:-1] + b', "x": ' + deep + b"}"
        _, problems, _ = load.examine(data)
        assert [str(problem) for problem in problems] in (
            [],
            ["config.json#: not valid JSON: nested too deeply"],
        )


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OcirtError) as caught:
        load.load(str(tmp_path))
    assert str(caught.value) == f"{tmp_path}/config.json: no such file or directory"
    assert caught.value.hint == "ocirt spec makes one"


def test_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(OcirtError, match="config.json: is a directory$"):
        load.load(str(tmp_path))


def test_too_large(tmp_path: Path) -> None:
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(OcirtError, match="config.json: over 16 MiB$"):
        load.load(str(tmp_path))


# ---- exec --process


def test_process_document() -> None:
    data = b'{"args": ["sh"], "cwd": "/", "env": null}'
    assert load.load_process(data, "p.json") == ({"args": ["sh"], "cwd": "/"}, [])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"[", "p.json#: not valid JSON: line 1 column 2: a value is expected here"),
        (b"[]", "p.json#: must be an object, not an array"),
        (b'{"args": ["sh"]}', "p.json#/cwd: is required"),
        (b'{"args": [1], "cwd": "/"}', "p.json#/args/0: must be a string, not an integer"),
        (b'{"args": ["sh"], "cwd": "x"}', "p.json#/cwd: must be an absolute path, not 'x'"),
        (b'{"cwd": "/"}', "p.json#/args: is required"),
        (b'{"args": ["a\\u0000"], "cwd": "/"}', "p.json#/args/0: must not contain a NUL byte"),
        (
            b'{"args": ["a"], "cwd": "/", "user": {"uid": 2147483648}}',
            "p.json#/user/uid: must be at most 2147483647, not 2147483648",
        ),
    ],
)
def test_process_document_that_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.load_process(data, "p.json")
    assert [str(problem) for problem in caught.value.problems] == [text]


def test_process_document_with_a_warning() -> None:
    data = b'{"args": ["sh"], "cwd": "/", "capabilities": {"bounding": ["X"]}}'
    _, problems, warnings = load.examine_process(data, "p.json")
    assert problems == []
    assert [str(w) for w in warnings] == [
        "p.json#/capabilities/bounding/0: unknown capability 'X', ignored"
    ]


# ---- unknown fields


def test_unknown_fields_with_what_was_meant() -> None:
    document = {
        "Root": {},
        "process": {"arg": 1, "noNewPriviledges": True, "user": {"UID": 1}},
        "linux": {
            "namespaces": [{"type": "pid"}, {"typ": "pid"}],
            "resources": {"rdma": {"x": {"y": 1}}},
        },
        "annotations": {"anything": "x"},
        "windows": {"credentialSpec": {"free": 1}},
        "mounts": 5,
        "a/b": 1,
    }
    found = {(w.at, w.hint) for w in unknown_fields(document)}
    assert found == {
        ("/Root", "did you mean root?"),
        ("/process/arg", "did you mean args?"),
        ("/process/noNewPriviledges", "did you mean noNewPrivileges?"),
        ("/process/user/UID", "did you mean uid?"),
        ("/linux/namespaces/1/typ", "did you mean type?"),
        ("/linux/resources/rdma/x/y", ""),
        ("/a~1b", ""),
    }


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("slvae", ["slave", "share"], "slave"),
        ("readonly", ["readOnly"], "readOnly"),
        ("xyz", ["abc"], ""),
        ("", ["abc"], ""),
        ("x" * 1000, ["x" * 999], ""),
        ("abcdef", ["abcxyf", "abcdxf"], "abcdxf"),
    ],
)
def test_closest_word(word: str, known: list[str], expected: str) -> None:
    assert closest(word, known) == expected


def test_names_are_those_that_the_host_has_numbers_for() -> None:
    assert names.CAPABILITIES == set(constants.CAPABILITIES)
    assert names.RLIMITS == set(constants.RLIMITS)


def test_config_is_below_everything_else() -> None:
    """DESIGN.md: arrows point one way."""
    for path in (ROOT / "ocirt" / "config").glob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and words[1].startswith("ocirt"):
                assert words[1].startswith("ocirt.config") or words[1] in (
                    "ocirt.errors",
                    "ocirt.json_text",
                ), f"{path.name}: {line}"


def test_a_valid_document_needs_no_slow_import(tmp_path: Path) -> None:
    document = MINIMAL | {
        "mounts": [{"destination": "/p", "type": "proc"}],
        "hooks": {"poststop": [{"path": "/bin/true"}]},
        "linux": {"namespaces": [{"type": "mount"}], "devices": [{"path": "/dev/p", "type": "p"}]},
    }
    document["process"] = MINIMAL["process"] | {
        "capabilities": {"bounding": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}],
        "execCPUAffinity": {"final": "0-1"},
    }
    write(tmp_path, document)
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from ocirt.config.load import load
assert load({str(tmp_path)!r}).warnings == []
slow = "typing json re argparse dataclasses subprocess logging socket enum contextlib functools"
loaded = set(f"{{slow}} pathlib collections difflib ocirt.config.words".split()) & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize(
    ("version", "limit", "kept"),
    [
        ("1.0.2-dev", 0, False),
        ("1.2.1", 0, False),
        ("1.2.1", 5, True),
        ("1.3.0", 0, True),
        ("1.10.0", 0, True),
    ],
)
def test_no_pids_of_older_versions(version: str, limit: int, kept: bool) -> None:
    document = {**MINIMAL, "ociVersion": version}
    document["linux"] = {"resources": {"pids": {"limit": limit}}}
    config = load.parse(json.dumps(document).encode(), "/b")
    assert ("pids" in config.document["linux"]["resources"]) is kept
