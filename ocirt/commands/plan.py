"""ocirt plan"""

from __future__ import annotations

import os

from ocirt import log
from ocirt.commands.create import lacks_rights
from ocirt.commands.output import put
from ocirt.config.load import load
from ocirt.errors import OcirtError
from ocirt.host.rootless import is_ordinary, is_rootless
from ocirt.plan.container import Request, compile_create
from ocirt.plan.host_work import SOURCES
from ocirt.plan.program import SYNC
from ocirt.plan.show import to_document, to_text
from ocirt.plan.verify import verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.layout import Layout
    from ocirt.cgroup.manager import Manager
    from ocirt.cgroup.mounts import CgroupMount
    from ocirt.cli import Options
    from ocirt.plan.program import Plan
    from ocirt.seccomp.filter import Filter


def run(options: Options) -> int:
    """Prints the program; opens nothing of the host but the bundle."""
    config = load(os.path.abspath(options.arguments[0] if options.arguments else "."))
    for warning in config.warnings:
        log.warning(str(warning))
    document = config.document
    layout, manager = _cgroup(options, document)

    def mounts() -> list[CgroupMount]:
        from ocirt.cgroup.mounts import cgroup_mounts

        kinds = {n["type"] for n in (document.get("linux") or {}).get("namespaces") or []}
        return cgroup_mounts(layout, manager, kinds)

    filter = _filter(document)
    plan = compile_create(
        Request(
            document,
            config.bundle,
            mounts,
            keyring="_ses.ID",
            filter=filter,
            rootless=is_rootless(),
            ordinary=is_ordinary(),
        )
    )
    verify(plan)
    for warning in plan.warnings:
        log.warning(str(warning))
    sources = _sources(plan)
    limits = _limits(document, manager)
    if options.format == "json":
        from ocirt.json_text import dumps

        program = to_document(plan, options.show_env)
        if sources:
            program["copies"] = to_document(sources, options.show_env)
        program["limits"] = [{"at": at, "text": text} for at, text in limits]
        return put(dumps(program, 2) + "\n")
    lines = "".join(f"       {text}    # {at}\n" for at, text in limits)
    text = to_text(plan, options.show_env)
    if sources:
        text += f"copies of mounts, by a second machine:\n{to_text(sources, options.show_env)}"
    return put(text + f"limits that the host sets:\n{lines}")


def _sources(plan: Plan) -> Plan | None:
    """The program of the SYNC of that name, if the plan has one."""
    if all(i.op is not SYNC or i.note != SOURCES for i in plan.instructions):
        return None
    from ocirt.plan.sources import compile_sources

    return compile_sources(plan.pins)


def _cgroup(options: Options, document: dict[str, Any]) -> tuple[Layout, Manager]:
    """Where this host's hierarchies are is read from /proc alone."""
    from ocirt.cgroup.layout import detect
    from ocirt.cgroup.manager import plan as plan_cgroup

    layout, globals = detect(), options.globals
    driver = "systemd" if globals.systemd_cgroup else globals.cgroup_manager
    rootless = lacks_rights(globals.rootless)
    return layout, plan_cgroup(driver, layout, document, "ID", rootless=rootless)


def _filter(document: dict[str, Any]) -> Filter | None:
    """Where it can't be made here, that is said: the rest can still be shown."""
    profile = (document.get("linux") or {}).get("seccomp")
    if not profile:
        return None
    from ocirt.seccomp.filter import make_filter

    try:
        return make_filter(profile)
    except OcirtError as error:
        log.warning(f"{error}; this plan is without the filter")
        return None


def _limits(document: dict[str, Any], manager: Manager) -> list[tuple[str, str]]:
    """(JSON pointer, text) of each. Raises OcirtError for what this host can't set."""
    from ocirt.cgroup.device_rules import normalise
    from ocirt.cgroup.resources import compile_writes

    resources = (document.get("linux") or {}).get("resources") or {}
    writes = compile_writes(manager, resources, "/linux/resources")
    found = [(write.at, f"{write.file} {write.text}") for write in writes]
    rules = normalise(resources.get("devices") or [])
    default = "allow" if rules.default_allow else "deny"
    found.append(("/linux/resources/devices", f"devices: {default} what is not named here"))
    return found + [(rule.at, f"devices: {rule}") for rule in rules.rules]
