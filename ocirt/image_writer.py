"""Makes images (``ocirt.image``), of what the import system loads for a verb.

Code in an image lacks what only readers and checkers need: docstrings and annotations. They are
a fifth of it.
"""

from __future__ import annotations

import ast
import marshal
import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)

from ocirt.image import VERBS, file_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import TypeVar

    from ocirt.image import Module, Source

    Body = TypeVar("Body", ast.Module, ast.ClassDef, ast.FunctionDef)

# And the module that imports it, in the order to load them; some are part of some interpreters.
_SHARED_OBJECTS = (
    ("_cffi_backend", "ocirt.host.kernel"),
    ("ocirt._shim", "ocirt.host.kernel"),
    ("_json", "ocirt.json_text"),
    ("_blake2", "ocirt.seccomp.cache"),
)


def write(folder: str, verb: str) -> None:
    """Makes the verb's image, in a process that has nothing else to do: it imports all again.
    Where that can't be done there is none, and no error. ``folder``: of the package."""
    path = f"{folder}/{file_name(verb)}"
    new = f"{path}.{os.getpid()}"
    if not os.access(os.path.dirname(path), os.W_OK):
        return
    try:
        image, *entries = _entries(folder, verb)
        sources, modules = zip(*entries)
        data = marshal.dumps((image[1][3], sources, modules))
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
    """Of ``ocirt.image``, the package, the shared objects, and all others of the verb as the import
    system is done with them."""
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
    done.sort(key=lambda loader: ("ocirt.image", "ocirt", loader.name).index(loader.name))
    image, package, *others = (_entry(loader, folder) for loader in done)
    needed = {loader.name for loader in done}
    return [image, package, *_shared_objects(folder, needed), *others]


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "ocirt"


def _entry(loader: SourceFileLoader, folder: str) -> tuple[Source, Module]:
    source = _source(loader.path, folder)
    tree = _Strip().visit(ast.parse(loader.get_data(loader.path)))
    code = compile(tree, loader.path, "exec", dont_inherit=True)
    return source, (loader.name, source[0], loader.is_package(loader.name), code)


def _shared_objects(folder: str, needed: set[str]) -> list[tuple[Source, Module]]:
    """Those of the modules ``needed``."""
    found: list[tuple[Source, Module]] = []
    for name, user in _SHARED_OBJECTS:
        if user not in needed:
            continue
        __import__(name)
        path = getattr(sys.modules[name], "__file__", "")
        if path:
            source = _source(path, folder)
            found.append((source, (name, source[0], False, None)))
    return found


def _source(path: str, folder: str) -> Source:
    """To be asked before it is read: of a source that changes now, the image is not used."""
    found = os.stat(path)
    inner = os.path.relpath(path, folder)
    return path if inner.startswith("..") else inner, found.st_mtime_ns, found.st_size


class _Strip(ast.NodeTransformer):
    """Takes docstrings and annotations out, and the import that is about annotations."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._strip(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._strip(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._strip(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        assign = ast.Assign(targets=[node.target], value=self.visit(node.value))
        return ast.copy_location(assign, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def _strip(self, node: Body) -> Body:
        if ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
        self.generic_visit(node)
        return node
