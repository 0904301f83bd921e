"""What the command line of create and run says."""

from __future__ import annotations

import os


class CreateOptions:
    """``config``: the file to read instead of the bundle's config.json; ``keep_console``: the
    caller keeps the terminal's master side (run in the foreground); ``cgroup_driver``: cgroupfs,
    systemd or disabled; ``systemd_annotations``: annotations org.systemd.property.* are allowed;
    ``rootless``: cgroups are those that the host delegates.
    """

    __slots__ = (
        "bundle",
        "cgroup_driver",
        "config",
        "console_socket",
        "keep_console",
        "keyring",
        "pid_file",
        "pidfd_socket",
        "pivot",
        "preserve_fds",
        "rootless",
        "systemd_annotations",
    )

    def __init__(self, bundle: str) -> None:
        self.bundle = os.path.abspath(bundle)
        self.config = ""
        self.console_socket = ""
        self.pidfd_socket = ""
        self.pid_file = ""
        self.pivot = True
        self.keyring = True
        self.preserve_fds = 0
        self.keep_console = False
        self.cgroup_driver = "cgroupfs"
        self.systemd_annotations = True
        self.rootless = False
