"""ocirt features"""

from __future__ import annotations

from ocirt import SPEC_VERSION, __version__
from ocirt.host.constants import CAPABILITIES
from ocirt.json_text import dumps
from ocirt.plan.mount_options import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cli import Options

_HOOKS = "prestart createRuntime createContainer startContainer poststart poststop"
_NAMESPACES = "cgroup ipc mount network pid time uts"


def run(options: Options) -> int:
    """Prints the document of features.md."""
    print(dumps(features(), 2))
    return 0


def features() -> dict[str, Any]:
    """What this release does; nothing that it refuses."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": _HOOKS.split(),
        "mountOptions": NAMES,
        "linux": {
            "namespaces": _NAMESPACES.split(),
            "capabilities": list(CAPABILITIES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": False,
            },
            "seccomp": {"enabled": False},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "memoryPolicy": {},
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": False},
        },
        "annotations": {"io.ocirt.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }
