"""Images: the modules of one verb in one file, so that Python need not look for each of them.

Python's import system finds, opens, checks and locks every module by itself, which for the sixty of
a create takes longer than to execute them. An image has their code, in an order in which it can be
executed; it lies in ``__pycache__``, beside the code of each module. It is not used when a source
has changed, and made by the first call that needs it and may write there (``ocirt.image_writer``).
The bootstrap in csrc/launcher.c reads it.
"""

from __future__ import annotations

import _imp
import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    # (path, below the folder of the package if it is relative; time of change in ns, size)
    Source = tuple[str, int, int]
    # (name, path, is it a package, code); None: of a shared object
    Module = tuple[str, str, bool, CodeType | None]

# The verbs that have one, with what their functions import in nearly every call of an engine.
_CONFIG = (
    *("config.schema", "config.schema_tables", "config.rules", "config.linux_rules"),
    *("config.process_rules", "config.resource_rules", "config.seccomp_rules"),
    "config.unsupported",
)
VERBS = {
    "create": (*_CONFIG, "cgroup.mounts", "host.users", "seccomp.filter"),
    "run": (*_CONFIG, "cgroup.mounts", "host.users", "runtime.foreground", "seccomp.filter"),
    "exec": (
        *("config.schema", "config.schema_tables", "config.process_rules", "host.users"),
        "seccomp.filter",
    ),
    "update": (
        *("config.load", "config.schema", "config.schema_tables", "config.resource_rules"),
        *("cgroup.resources",),
    ),
}


def file_name(verb: str) -> str:
    """Of its image. Another release of Python may have another form of code."""
    return f"ocirt/__pycache__/{verb}.{sys.implementation.cache_tag}-{sys.hexversion:x}.image"


def load(folder: str, sources: list[Source], modules: list[Module]) -> bool:
    """Imports the modules of an image, unless one has changed. ``folder``: of the package."""
    for path, mtime, size in sources:
        try:
            found = posix.stat(path if path[0] == "/" else f"{folder}/{path}")
        except OSError:
            return False
        if (found.st_mtime_ns, found.st_size) != (mtime, size):
            return False
    new = type(sys)
    for name, path, package, code in modules:
        parent, _, child = name.rpartition(".")
        file = path if path[0] == "/" else f"{folder}/{path}"
        if code is None:
            module = sys.modules[name] = _imp.create_dynamic(ModuleSpec(name, None, origin=file))
            _imp.exec_dynamic(module)
        else:
            module = sys.modules[name] = new(name)
            names = module.__dict__
            names["__file__"] = file
            names["__package__"] = name if package else parent
            if package:
                names["__path__"] = [file.rpartition("/")[0]]
            exec(code, names)
        if parent:
            setattr(sys.modules[parent], child, module)
    return True
