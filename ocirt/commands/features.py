"""``features`` (CONTRACT.md row 29; features.md): what this runtime can do, whatever the host
can. Nothing goes to stderr."""

from __future__ import annotations

from ocirt import SPEC_VERSION, __version__
from ocirt.commands.output import put_json
from ocirt.commands.version import commit
from ocirt.config.annotation_rules import UNSAFE
from ocirt.config.rules import HOOKS
from ocirt.errors import OcirtError
from ocirt.host.constants import (
    CAPABILITIES,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    NAMESPACE_FLAGS,
)
from ocirt.host.kernel import seccomp_has_flags
from ocirt.plan.mount_options import NAMES
from ocirt.seccomp.filter import FLAGS
from ocirt.seccomp.names import ACTIONS, ARCHITECTURES, OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options
    from ocirt.seccomp.library import Library


def run(options: Options) -> int:
    """The document, on stdout."""
    return put_json(features())


def features() -> dict[str, Any]:
    """The document. What is false comes with later issues and is refused until then."""
    library = _libseccomp()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": list(NAMES),
        "linux": {
            "namespaces": sorted(NAMESPACE_FLAGS),
            "capabilities": sorted(CAPABILITIES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": _seccomp(library),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
            "memoryPolicy": {
                "modes": sorted(MEMORY_POLICIES),
                "flags": sorted(MEMORY_POLICY_FLAGS),
            },
        },
        "annotations": {
            "io.ocirt.version": __version__,
            "io.ocirt.commit": commit(),
            "org.opencontainers.runc.checkpoint.enabled": str(_has_criu()).lower(),
            **({"io.github.seccomp.libseccomp.version": library.version} if library else {}),
        },
        # org.systemd.property.*: with the systemd driver they are properties of the unit, unless
        # --systemd-annotations=false (CVE-2024-3154). CRIU's settings can name programs to run.
        "potentiallyUnsafeConfigAnnotations": ["org.criu.config", "org.systemd.property.", *UNSAFE],
    }


def _has_criu() -> bool:
    """Can containers be checkpointed here?"""
    from ocirt.criu.process import find

    try:
        find()
    except OcirtError:
        return False
    return True


def _libseccomp() -> Library | None:
    """None where the host has none."""
    from ocirt.seccomp.library import Library

    try:
        return Library()
    except OcirtError:
        return None


def _seccomp(library: Library | None) -> dict[str, Any]:
    """Filters can be made where libseccomp is; what it knows, and which flags the kernel takes."""
    if library is None:
        return {"enabled": False}
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(name for name in ARCHITECTURES if library.architecture(name)),
        "knownFlags": list(FLAGS),
        "supportedFlags": [name for name, flag in FLAGS.items() if seccomp_has_flags(flag)],
    }
