"""What the schema can't say about config.json: rules across fields (config.md, runc's
validator), and strings that the kernel would read otherwise than they look.

Those of process are in process_rules.py, those of linux in linux_rules.py.
"""

from __future__ import annotations

from ocirt.config import annotation_rules, linux_rules, process_rules
from ocirt.config.process_rules import check_environment
from ocirt.config.report import Report, absolute, check_texts
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def check(document: dict[str, Any], problems: list[OcirtError], warnings: list[OcirtError]) -> None:
    """Adds what is wrong, and what is passed over, to what the schema has found."""
    report = Report(problems, warnings)
    report.apply(_RULES, document, "")
    process = document.get("process")
    if isinstance(process, dict):
        process_rules.check(process, "/process", problems, warnings)
    report.apply(linux_rules.RULES, document, "")
    for key, value in document.items():
        if key != "annotations":  # they stay in Python
            check_texts(value, pointer(key), report)


def _version(document: dict[str, Any], base: str, report: Report) -> None:
    """Semantic versioning: a newer minor only adds, another major is another format."""
    version = document["ociVersion"]
    numbers = version.partition("-")[0].partition("+")[0].split(".")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
        from ocirt.config.schema import shown

        report.wrong("/ociVersion", f"{shown(version)} is no version", hint='such as "1.3.0"')
    elif numbers[0] != "1":
        report.wrong("/ociVersion", f"version {version} is not supported, only 1.x.y is")


def _required(document: dict[str, Any], base: str, report: Report) -> None:
    if "root" not in document:
        report.wrong("/root", "is required", hint='such as {"path": "rootfs"}')
    elif not document["root"]["path"]:
        report.wrong("/root/path", "must not be empty")


def _process(document: dict[str, Any], base: str, report: Report) -> None:
    if "process" not in document:
        report.wrong("/process", "is required")


def _mounts(document: dict[str, Any], base: str, report: Report) -> None:
    for index, mount in enumerate(document.get("mounts") or []):
        _mount(mount, f"/mounts/{index}", report)


def _mount(mount: dict[str, Any], at: str, report: Report) -> None:
    options, kind = mount.get("options") or [], mount.get("type") or ""
    destination = mount["destination"]
    if not destination:
        report.wrong(f"{at}/destination", "must not be empty")
    elif not destination.startswith("/"):
        report.warn(f"{at}/destination", f"{destination} is relative, taken as /{destination}")
    bind = kind == "bind" or "bind" in options or "rbind" in options
    if bind and not mount.get("source"):
        report.wrong(f"{at}/source", "is required for a bind mount")
    if not bind and not kind and "remount" not in options:
        hint = "is it a bind mount? Then options need bind or rbind" if mount.get("source") else ""
        report.wrong(f"{at}/type", "is required", hint)
    for position, option in enumerate(options):
        if option == "tmpcopyup" and (bind or kind != "tmpfs"):
            report.wrong(f"{at}/options/{position}", "tmpcopyup is for tmpfs alone")


def _hooks(document: dict[str, Any], base: str, report: Report) -> None:
    hooks = document.get("hooks") or {}
    for kind in HOOKS:
        for index, hook in enumerate(hooks.get(kind) or []):
            at = f"/hooks/{kind}/{index}"
            absolute(report, f"{at}/path", hook["path"])
            check_environment(hook.get("env") or [], f"{at}/env", report)


def _annotations(document: dict[str, Any], base: str, report: Report) -> None:
    if "" in (document.get("annotations") or {}):
        report.wrong("/annotations/", "the name of an annotation must not be empty")
    annotation_rules.check(document, base, report)


# Each with the members of the document that it reads.
_RULES = (
    (("ociVersion",), _version),
    (("root",), _required),
    (("process",), _process),
    (("mounts",), _mounts),
    (("hooks",), _hooks),
    (("annotations",), _annotations),
)
