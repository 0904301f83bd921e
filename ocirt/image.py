"""Images: the modules of one verb in one file, so that Python need not look for each of them.

Python's import system finds, opens, checks and locks every module by itself, which for the sixty of
a create takes longer than to execute them. An image has their code, in an order in which it can be
executed. It lies in ``__pycache__``, beside the code of each module, and is as good as that: it is
not used when a source has changed, and made by the first call that needs it and may write there.
The bootstrap in csrc/launcher.c reads it.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import SourceFileLoader
    from types import CodeType, ModuleType

    # (path below the folder of the package, time of change in ns, size)
    Source = tuple[str, int, int]
    # (name, path of the source, is it a package, code)
    Module = tuple[str, str, bool, CodeType]

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
            found = posix.stat(f"{folder}/{path}")
        except OSError:
            return False
        if (found.st_mtime_ns, found.st_size) != (mtime, size):
            return False
    new = type(sys)
    for name, path, package, code in modules:
        module = sys.modules[name] = new(name)
        parent, _, child = name.rpartition(".")
        names = module.__dict__
        names["__file__"] = file = f"{folder}/{path}"
        names["__package__"] = name if package else parent
        if package:
            names["__path__"] = [file.rpartition("/")[0]]
        exec(code, names)
        if parent:
            setattr(sys.modules[parent], child, module)
    return True


def write(folder: str, verb: str) -> None:
    """Makes the verb's image, in a process that has nothing else to do: it imports all again."""
    import marshal
    import os

    path = f"{folder}/{file_name(verb)}"
    new = f"{path}.{os.getpid()}"
    if not os.access(os.path.dirname(path), os.W_OK):
        return
    try:
        ours, *others = _entries(folder, verb)
        data = marshal.dumps((ours[1][3], [source for source, _ in others], [m for _, m in others]))
        # The umask is our caller's; nobody else may write code that we execute.
        with open(new, "xb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
            file.write(data)
        os.replace(new, path)
    except Exception:  # a full disk, or another release has been installed: it is not needed
        try:
            os.unlink(new)
        except OSError:
            pass


def _entries(folder: str, verb: str) -> list[tuple[Source, Module]]:
    """This one, and those of the verb as the import system is done with them."""
    from importlib.machinery import (
        EXTENSION_SUFFIXES,
        ExtensionFileLoader,
        FileFinder,
        SourceFileLoader,
    )

    done: list[SourceFileLoader] = []

    class Recorder(SourceFileLoader):
        def exec_module(self, module: ModuleType) -> None:
            super().exec_module(module)
            if _is_ours(self.name):
                done.append(self)

    for name, module in list(sys.modules.items()):
        # Not the shim, which can't be loaded twice.
        if _is_ours(name) and str(getattr(module, "__file__", "")).endswith(".py"):
            del sys.modules[name]
    loaders = (ExtensionFileLoader, EXTENSION_SUFFIXES), (Recorder, [".py"])
    sys.path_hooks.insert(0, FileFinder.path_hook(*loaders))
    sys.path_importer_cache.clear()
    for name in ("image", "__main__", f"commands.{verb}", *VERBS[verb]):
        __import__(f"ocirt.{name}")
    done.sort(key=lambda loader: loader.name != "ocirt.image")
    return [_entry(loader, folder) for loader in done]


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "ocirt"


def _entry(loader: SourceFileLoader, folder: str) -> tuple[Source, Module]:
    import os

    path = os.path.relpath(loader.path, folder)
    found = os.stat(loader.path)  # first: of a source that changes now, the image is not used
    code = loader.get_code(loader.name)
    assert code
    source = (path, found.st_mtime_ns, found.st_size)
    return source, (loader.name, path, loader.is_package(loader.name), code)
