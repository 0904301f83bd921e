"""Opens the host objects that a plan starts from, and verifies what was opened.

From here on the plan knows them as descriptors: no host path is resolved a second time.
"""

from __future__ import annotations

import errno
import os
import stat

from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.host.constants import (
    DEV_NULL,
    NAMESPACE_FILES,
    NAMESPACE_FLAGS,
    NSFS_MAGIC,
)
from ocirt.host.detached import copy
from ocirt.host.rootless import in_user_namespace, is_ordinary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.plan.program import Pin


def open_pin(pin: Pin) -> int:
    """A descriptor of what ``pin`` names. Raises KernelError at the pin's place.

    rootfs     a copy of the mounts at a folder, attached nowhere; for an ordinary user, who can't
               copy them here, the folder itself; so with tree, null and device
    tree       the same of a bind mount's source: a folder or a file
    folder     the folder itself
    namespace  a namespace file of the type ``pin.detail``
    null       a mount of /dev/null alone
    device     a mount of a device node alone: the one that ``pin.detail`` says, "c 1:3"
    """
    what = {"rootfs": "root file system", "tree": "bind source", "folder": "root file system"}
    try:
        return _OPENERS[pin.kind](pin)
    except OSError as error:
        name = what.get(pin.kind, pin.kind)
        text = f"{name} {pin.path}: {error.strerror}"
        hint = ""
        if error.errno == errno.EPERM and in_user_namespace():
            hint = "ocirt needs a mount namespace that belongs to its user namespace"
        raise KernelError(text, at=pin.at, errno=error.errno or 0, hint=hint) from None


def _clone(fd: int, recursive: bool) -> int:
    if is_ordinary():
        return fd
    try:
        return copy(fd, recursive)
    finally:
        os.close(fd)


def _rootfs(pin: Pin) -> int:
    return _clone(os.open(pin.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), True)


def _tree(pin: Pin) -> int:
    return _clone(os.open(pin.path, os.O_PATH | os.O_CLOEXEC), pin.recursive)


def _folder(pin: Pin) -> int:
    return os.open(pin.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _namespace(pin: Pin) -> int:
    # O_NONBLOCK: the path may be a FIFO.
    fd = os.open(pin.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flag = NAMESPACE_FLAGS[pin.detail]
        if kernel.fstatfs_type(fd) != NSFS_MAGIC or kernel.namespace_type(fd) != flag:
            text = f"{pin.path} is no {pin.detail} namespace"
            raise KernelError(text, at=pin.at)
        if pin.detail == "mount":
            own = os.stat(f"/proc/self/ns/{NAMESPACE_FILES['mount']}")
            if os.fstat(fd).st_ino == own.st_ino:
                # Its "/" would be replaced under everybody's feet.
                raise KernelError(f"{pin.path} is the mount namespace of the host", at=pin.at)
        if pin.detail == "user" and os.fstat(fd).st_ino == os.stat("/proc/self/ns/user").st_ino:
            raise KernelError(f"{pin.path} is the user namespace of the host", at=pin.at)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _null(pin: Pin) -> int:
    fd = os.open(pin.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(*DEV_NULL):
        os.close(fd)
        raise KernelError(f"{pin.path} is not the null device", at=pin.at)
    return _clone(fd, False)


def _device(pin: Pin) -> int:
    kind, _, numbers = pin.detail.partition(" ")
    major, minor = map(int, numbers.split(":"))
    fd = os.open(pin.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    right = stat.S_ISBLK if kind == "b" else stat.S_ISCHR
    if not right(status.st_mode) or status.st_rdev != os.makedev(major, minor):
        os.close(fd)
        text = f"{pin.path} of the host is not the device {pin.detail}"
        hint = "in a user namespace devices are those of the host"
        raise KernelError(text, at=pin.at, hint=hint)
    return _clone(fd, False)


_OPENERS = {
    "device": _device,
    "rootfs": _rootfs,
    "tree": _tree,
    "folder": _folder,
    "namespace": _namespace,
    "null": _null,
}
