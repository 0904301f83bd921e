"""The program of ``create``: the whole config.json, in the order that the kernel needs."""

from __future__ import annotations

from ocirt.config.annotation_rules import keeps_groups, mount_label_option
from ocirt.errors import OcirtError
from ocirt.host.constants import MOUNT_ATTR_RDONLY
from ocirt.plan import paths, process
from ocirt.plan.devices import compile_devices
from ocirt.plan.groups import rule
from ocirt.plan.host_work import (
    HOOKS,
    NET_DEVICES,
    READY,
    SOURCES,
    TAG_HOST_ROOT,
    send_mount_namespace,
)
from ocirt.plan.mounts import MountContext, compile_mounts, default_propagation
from ocirt.plan.namespaces import Namespaces, compile_namespaces
from ocirt.plan.ops import NO_SLOT
from ocirt.plan.paths import MountLabel
from ocirt.plan.program import Plan
from ocirt.plan.root import (
    attach_root,
    change_root,
    make_root_readonly,
    mount_root,
    needs_mounts,
    propagate,
    root_path,
    switch_root,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.cgroup.mounts import CgroupMount
    from ocirt.seccomp.filter import Filter

HOOK_KINDS = ("prestart", "createRuntime", "createContainer")


class Request:
    """What a create is asked for.

    ``document``: a config.json that was found valid; ``bundle``: its absolute folder;
    ``cgroup``: gives the parts of a mount of type cgroup (called only if there is one);
    ``first_fd``: descriptors from this number on are not the container's;
    ``keyring``: what its session keyring is called, "" with --no-new-keyring; ``pivot``: false with
    --no-pivot;
    ``filter``: of system calls, made of linux.seccomp;
    ``rootless``: ocirt lacks the rights of the host's root; ``ordinary``: it has none at all;
    ``covered``: of ``switch_root``.
    """

    __slots__ = (
        "bundle",
        "cgroup",
        "covered",
        "document",
        "filter",
        "first_fd",
        "groups",
        "keyring",
        "ordinary",
        "pivot",
        "rootless",
    )

    def __init__(
        self,
        document: dict[str, Any],
        bundle: str,
        cgroup: Callable[[], list[CgroupMount]],
        first_fd: int = 3,
        keyring: str = "",
        pivot: bool = True,
        filter: Filter | None = None,
        rootless: bool = False,
        ordinary: bool = False,
        covered: list[str] | None = None,
    ) -> None:
        self.covered = covered or []
        self.document = document
        self.bundle = bundle
        self.cgroup = cgroup
        self.first_fd = first_fd
        self.keyring = keyring
        self.pivot = pivot
        self.filter = filter
        self.rootless = rootless
        self.ordinary = ordinary
        self.groups = rule(keeps_groups(document), rootless)


def compile_create(request: Request) -> Plan:
    """The plan; raises OcirtError for what can't be done."""
    plan = Plan()
    document = request.document
    linux = document.get("linux") or {}
    namespaces = Namespaces(linux)
    plan.mapped = request.rootless or namespaces.has("user")
    if request.ordinary and not namespaces.has("user"):
        text = "who is not root needs a user namespace for a container"
        hint = "ocirt spec --rootless writes a config.json with one"
        raise OcirtError(text, at="/linux/namespaces", hint=hint)
    wanted = document["process"]
    compile_namespaces(plan, namespaces, linux, wanted, request.groups, request.ordinary)
    if linux.get("netDevices"):
        plan.sync(NET_DEVICES, "/linux/netDevices")
    if request.keyring:
        process.join_keyring(plan, request.keyring, document["process"], "/process")
    process.open_procfs_for_labels(plan, document["process"], "/process")
    if namespaces.has("user") and linux.get("sysctl"):
        # Only as long as a whole procfs can be seen may a user namespace have another one.
        paths.open_procfs(plan, "/linux/sysctl")
    if namespaces.has("mount") or needs_mounts(document):
        _file_system(plan, request, linux, namespaces)
    else:
        _hooks(plan, document)
        root = change_root(plan, document, request.bundle)
        process.make_cwd(plan, document["process"], root)
        compile_names(plan, document)
        paths.compile_sysctl(plan, linux)
    _process(plan, request, linux)
    return plan


def _file_system(
    plan: Plan, request: Request, linux: dict[str, Any], namespaces: Namespaces
) -> None:
    document = request.document
    mounts = document.get("mounts") or []
    label = MountLabel(linux.get("mountLabel") or "", mount_label_option(document))
    if namespaces.has("user") and ("mount" in namespaces.new or request.ordinary):
        if request.ordinary and "user" in namespaces.joined:
            send_mount_namespace(plan)
        plan.sync(SOURCES, "/linux/namespaces")
    if namespaces.has("mount"):
        root = attach_root(plan, document, request.bundle, request.pivot)
    else:
        root = mount_root(plan, document, request.bundle)
    cgroup = request.cgroup() if any(m.get("type") == "cgroup" for m in mounts) else []
    propagation = default_propagation(linux.get("rootfsPropagation") or "")
    context = MountContext(
        root,
        root_path(document, request.bundle),
        request.bundle,
        propagation,
        linux,
        cgroup,
        label,
    )
    compile_mounts(plan, mounts, context)
    compile_devices(plan, document, root, request.rootless)
    process.make_cwd(plan, document["process"], root)
    _hooks(plan, document)
    if namespaces.has("mount"):
        switch_root(plan, root, request.pivot, request.covered)
    else:
        plan.add("CHROOT", root, at="/root/path", note="root")
    if document["process"].get("terminal"):
        process.compile_terminal(plan, root, "/process", console=True)
    make_root_readonly(plan, document, root)
    for slot, at, note in context.readonly:
        plan.add("SETATTR", slot, MOUNT_ATTR_RDONLY, 0, 0, 0, NO_SLOT, at=at, note=note)
        plan.add("CLOSE", slot, at=at)
    compile_names(plan, document)
    paths.compile_sysctl(plan, linux)
    paths.compile_readonly(plan, linux, root)
    paths.compile_masked(plan, linux, root, label)
    propagate(plan, document, root)


def _hooks(plan: Plan, document: dict[str, Any]) -> None:
    hooks = document.get("hooks") or {}
    if not any(hooks.get(kind) for kind in HOOK_KINDS):
        return
    if hooks.get("createContainer"):
        host = plan.slot("host root")
        if not any(i.op.name == "OPEN_ROOT" for i in plan.instructions):
            plan.add("OPEN_ROOT", host, at="/hooks/createContainer", note="hooks")
        plan.add("SEND", host, TAG_HOST_ROOT, at="/hooks/createContainer", note="hooks")
    plan.sync(HOOKS, "/hooks")


def compile_names(plan: Plan, document: dict[str, Any]) -> None:
    """hostname and domainname; the rules have seen to the uts namespace."""
    if document.get("hostname"):
        plan.add("HOSTNAME", document["hostname"], at="/hostname", note="host name")
    if document.get("domainname"):
        plan.add("DOMAINNAME", document["domainname"], at="/domainname", note="domain name")


def _process(plan: Plan, request: Request, linux: dict[str, Any]) -> None:
    wanted = request.document["process"]
    process.compile_personality(plan, linux)
    process.compile_memory_policy(plan, linux)
    process.compile_settings(plan, wanted, "/process")
    start = plan.pin("start", "fifo", "start", "")
    report = plan.pin("report", "fifo", "report", "")
    plan.sync(READY, "/process")
    process.compile_labels(plan, wanted, "/process")
    # Before the filter, which may forbid it.
    plan.add("MORTAL", at="", note="start")
    # From here on nothing of the host is open.
    plan.add("KEEP", start, report, NO_SLOT, NO_SLOT, at="", note="start")
    park = (start, report)
    groups = request.groups
    process.compile_program(
        plan, wanted, "/process", request.first_fd, park, request.filter, groups
    )
