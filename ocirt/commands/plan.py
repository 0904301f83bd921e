"""ocirt plan"""

from __future__ import annotations

import os

from ocirt import log
from ocirt.commands.output import put
from ocirt.config.load import load
from ocirt.plan.container import Request, compile_create
from ocirt.plan.show import to_document, to_text
from ocirt.plan.verify import verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroup.mounts import CgroupMount
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Prints the program; opens nothing of the host but the bundle."""
    config = load(os.path.abspath(options.arguments[0] if options.arguments else "."))
    for warning in config.warnings:
        log.warning(str(warning))
    document = config.document

    def cgroup() -> list[CgroupMount]:
        """Where this host's hierarchies are is read from /proc alone."""
        from ocirt.cgroup.layout import detect
        from ocirt.cgroup.manager import plan as plan_cgroup
        from ocirt.cgroup.mounts import cgroup_mounts

        layout = detect()
        linux = document.get("linux") or {}
        globals = options.globals
        driver = "systemd" if globals.systemd_cgroup else globals.cgroup_manager
        manager = plan_cgroup(driver, layout, document, "ID")
        kinds = [n["type"] for n in linux.get("namespaces") or []]
        return cgroup_mounts(layout, manager, "cgroup" in kinds)

    plan = compile_create(Request(document, config.bundle, "ID", cgroup))
    verify(plan)
    if options.format == "json":
        from ocirt.json_text import dumps

        return put(dumps(to_document(plan, options.show_env), 2) + "\n")
    return put(to_text(plan, options.show_env))
