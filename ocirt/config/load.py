"""config.json to a Config: read, validated against the schema and the rules, or refused with
everything that is wrong with it."""

from __future__ import annotations

import os
import stat

from ocirt.errors import ConfigError, OcirtError
from ocirt.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZE_MAX = 16 << 20


class Config:
    """A valid config.json.

    ``document``: its value, without members that are null (callers written in Go emit them
    for what is absent); ``raw``: its bytes; ``warnings``: what is passed over;
    ``bundle``: the absolute path of its folder.
    """

    __slots__ = ("bundle", "document", "raw", "warnings")

    def __init__(
        self, document: dict[str, Any], raw: bytes, bundle: str, warnings: list[OcirtError]
    ) -> None:
        self.document = document
        self.raw = raw
        self.bundle = bundle
        self.warnings = warnings


def load(bundle: str, path: str = "") -> Config:
    """The config.json of a bundle, or the file ``path`` in its place. Raises OcirtError, ConfigError
    for its content."""
    bundle = os.path.abspath(bundle)
    return parse(read(bundle, path), bundle)


def read(bundle: str, path: str = "") -> bytes:
    """The bytes of that file. Raises OcirtError."""
    path = path or os.path.join(bundle, "config.json")
    try:
        # Not to wait for ever where it is a FIFO.
        with open(
            path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)
        ) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OcirtError(f"{path}: not a regular file")
            data = file.read(_SIZE_MAX + 1)
    except OSError as error:
        hint = "ocirt spec makes one" if bundle and isinstance(error, FileNotFoundError) else ""
        text = f"{path}: {(error.strerror or '').lower()}"
        raise OcirtError(text, errno=error.errno or 0, hint=hint) from None
    if len(data) > _SIZE_MAX:
        raise OcirtError(f"{path}: over {_SIZE_MAX >> 20} MiB")
    return data


def parse(data: bytes, bundle: str) -> Config:
    """The Config of a document. Raises ConfigError with every problem."""
    document, problems, warnings = examine(data)
    if problems:
        raise ConfigError(problems)
    _as_its_version_means_it(document)
    return Config(document, data, bundle, warnings)


def _as_its_version_means_it(document: dict[str, Any]) -> None:
    """Since runtime-spec 1.3 a pids.limit of 0 is a limit. Before, and so to Podman 4, which
    writes it for --pids-limit -1 as well, it was "not set"."""
    major, minor = document["ociVersion"].split(".")[:2]
    resources = (document.get("linux") or {}).get("resources") or {}
    if (int(major), int(minor)) < (1, 3) and (resources.get("pids") or {}).get("limit") == 0:
        del resources["pids"]


def examine(data: bytes) -> tuple[dict[str, Any], list[OcirtError], list[OcirtError]]:
    """(document, problems, warnings) of a config.json's bytes. The document is as it was
    written, without nulls; {} if it is no JSON object."""
    from ocirt.config import rules, schema, unsupported

    try:
        document = _read_json(data, "config.json")
    except OcirtError as error:
        return {}, [error], []
    problems = schema.validate(document)
    warnings: list[OcirtError] = []
    if not isinstance(document, dict):
        return {}, problems, warnings
    rules.check(document, problems, warnings)
    unsupported.check(document, problems, warnings)
    return document, problems, warnings


def load_process(data: bytes, name: str) -> tuple[dict[str, Any], list[OcirtError]]:
    """(process, warnings) of a process object in a document of its own (exec --process). Raises
    ConfigError; its pointers start at the process."""
    process, problems, warnings = examine_process(data, name)
    if problems:
        raise ConfigError(problems)
    return process, warnings


def load_resources(data: bytes, name: str) -> dict[str, Any]:
    """A LinuxResources object in a document of its own (update --resources). Raises OcirtError;
    its pointers start at that object."""
    resources = _read_json(data, name)
    check_resources(resources, name)
    assert isinstance(resources, dict)
    return resources


def load_mounts(
    data: bytes, name: str, document: dict[str, Any] | None
) -> tuple[list[dict[str, Any]], list[OcirtError]]:
    """(mounts, warnings) of an array in a document of its own (mounts add|remove). ``document``: the
    config.json that they are to be part of, None where their destinations alone count. Raises
    OcirtError; its pointers start at the array."""
    from ocirt.config import rules, schema
    from ocirt.config.report import Report, check_texts

    rest = {"ociVersion": "1.0.0"} if document is None else without_nulls(document)
    whole = {**rest, "mounts": _read_json(data, name)}
    problems: list[OcirtError] = schema.validate(whole)
    warnings: list[OcirtError] = []
    if document is not None and not problems:
        rules.check(whole, problems, warnings)
    elif not problems:
        check_texts(whole["mounts"], "/mounts", Report(problems, warnings))
    warnings = [warning for warning in warnings if (warning.at or "").startswith("/mounts")]
    for found in (*problems, *warnings):
        found.at, found.document = (found.at or "").removeprefix("/mounts"), name
    if problems:
        raise ConfigError(problems)
    return whole["mounts"], warnings


def check_resources(resources: Any, name: str) -> None:
    """Raises ConfigError with all that is wrong with a LinuxResources object; ``name`` is what
    errors call its document."""
    from ocirt.config import resource_rules, schema
    from ocirt.config.report import Report, check_texts

    problems = schema.validate_resources(resources)
    if isinstance(resources, dict):
        report = Report(problems, [])
        report.apply(resource_rules.RULES, resources, "")
        check_texts(resources, "", report)
    for problem in problems:
        problem.document = name
    if problems:
        raise ConfigError(problems)


def examine_process(
    data: bytes, name: str
) -> tuple[dict[str, Any], list[OcirtError], list[OcirtError]]:
    """(process, problems, warnings) of such a document; ``name`` is what errors call it."""
    from ocirt.config import process_rules, schema
    from ocirt.config.report import Report, check_texts

    try:
        process = _read_json(data, name)
    except OcirtError as error:
        return {}, [error], []
    problems = schema.validate_process(process)
    warnings: list[OcirtError] = []
    if isinstance(process, dict):
        process_rules.check(process, "", problems, warnings)
        check_texts(process, "", Report(problems, warnings))
    else:
        process = {}
    for found in (*problems, *warnings):
        found.document = name
    return process, problems, warnings


def _read_json(data: bytes, name: str) -> Any:
    value = loads(data, name)
    try:
        return without_nulls(value)
    except RecursionError:  # the reader can go deeper than Python
        text = "not valid JSON: nested too deeply"
        raise OcirtError(text, at="", document=name) from None


def without_nulls(value: Any) -> Any:
    """The same document without object members that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
