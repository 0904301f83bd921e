"""Annotations that ask the runtime for something: those of crun(1), "Extensions to OCI", that
engines and their users set. All others are the caller's own.

org.systemd.property.* is in ocirt/cgroup/systemd_annotations.py.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.config.report import Report

# podman run --group-add keep-groups
KEEP_GROUPS = "run.oci.keep_original_groups"
# podman run --security-opt label=nested
MOUNT_CONTEXT = "run.oci.mount_context_type"
# What OCI hooks write, which podman run --annotation is used for
HOOKS_STDOUT = "run.oci.hooks.stdout"
HOOKS_STDERR = "run.oci.hooks.stderr"
# Each of them lets a container have more than the rest of its config says, or writes to a file
# of the host (features.md, "Unsafe annotations in config.json").
UNSAFE = (HOOKS_STDERR, HOOKS_STDOUT, KEEP_GROUPS, MOUNT_CONTEXT)

# The mount options of SELinux (mount(8)).
CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")


def keeps_groups(document: dict[str, Any]) -> bool:
    """Do its processes keep the supplementary groups of ocirt's caller?"""
    return _of(document).get(KEEP_GROUPS, "0") != "0"


def mount_label_option(document: dict[str, Any]) -> str:
    """The mount option that linux.mountLabel is given by."""
    option: str = _of(document).get(MOUNT_CONTEXT, "context")
    return option


def _of(document: dict[str, Any]) -> dict[str, str]:
    return document.get("annotations") or {}


def check(document: dict[str, Any], base: str, report: Report) -> None:
    """The rule for them."""
    annotations = _of(document)
    option = annotations.get(MOUNT_CONTEXT, "context")
    if option not in CONTEXTS:
        from ocirt.config.schema import shown

        report.wrong(
            f"/annotations/{MOUNT_CONTEXT}", f"{shown(option)} is none of {', '.join(CONTEXTS)}"
        )
    for name in (HOOKS_STDOUT, HOOKS_STDERR):
        if name in annotations:
            from ocirt.config.report import absolute, check_texts

            absolute(report, f"/annotations/{name}", annotations[name])
            check_texts(annotations[name], f"/annotations/{name}", report)
