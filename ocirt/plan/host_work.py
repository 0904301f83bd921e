"""What the host does between the segments of a program: SYNC names and SEND tags.

``ocirt.runtime`` does this work; this page is what both sides agree on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.plan.program import Plan

# SYNC names
ID_MAPS = "write the id maps of the user namespace"
SOURCES = "copy the mounts anew, inside the new mount namespace"
TIME_OFFSETS = "write the offsets of the time namespace"
NET_DEVICES = "move the network devices into the network namespace"
ID_MAP = "give the mount its id map"
COPY_UP = "copy the folder's files into the new tmpfs"
ROOT_MOUNT = "write down the mounts that the host is about to get"
HOOKS = "run the hooks prestart, createRuntime and createContainer"
READY = "set limits, save the state, write the pid file"

# SEND tags
TAG_MASTER = 1  # the terminal's master side
TAG_HOST_ROOT = 2  # the root that createContainer hooks find their programs in
TAG_COPY_FROM = 3
TAG_COPY_TO = 4
TAG_MOUNTS = 5  # the machine's mount namespace
TAG_ROOT = 6  # the root file system, attached nowhere yet
TAG_UNDER = 7  # what it will be attached to
TAG_SOURCE = 16  # and above: the copy of the pin with this index
TAG_INSIDE = 1 << 16  # and above: the mount that Plan.inside describes at this index


def copy_up(plan: Plan, source: int, mount: int, at: str) -> None:
    """tmpcopyup: the new tmpfs ``mount`` starts with what the image has at ``source``."""
    note = "tmpcopyup"
    plan.add("SEND", source, TAG_COPY_FROM, at=at, note=note)
    plan.add("SEND", mount, TAG_COPY_TO, at=at, note=note)
    plan.sync(COPY_UP, at)


def send_mount_namespace(plan: Plan) -> None:
    """To an ordinary user, who may not open it by the machine's pid: nobody who is in the user
    namespace that is joined may look at the machine, and so its owner may not either."""
    at, note = "/linux/namespaces", "mount namespace"
    root, found = plan.slot("host root"), plan.slot("mount namespace")
    plan.add("OPEN_ROOT", root, at=at, note=note)
    plan.add("OPEN", root, "proc/self/ns/mnt", 0, 0, found, at=at, note=note)
    plan.add("SEND", found, TAG_MOUNTS, at=at, note=note)
    plan.add("CLOSE", found, at=at)
