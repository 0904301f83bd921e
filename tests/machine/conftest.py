"""Both machines, made from the sources: the real one, and one with the sanitizers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .driver import Machine

ROOT = Path(__file__).parent.parent.parent
Start = Callable[..., Machine]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of both machines."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import build_machine
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("machine")
    build_machine.build_machine(str(folder / "normal"), ["gcc", "-Werror"])
    build_machine.build_hosted(str(folder / "sanitized"), ["gcc", "-Werror"])
    return {name: folder / name for name in ("normal", "sanitized")}


@pytest.fixture(params=["normal", "sanitized"])
def build(request: pytest.FixtureRequest, builds: dict[str, Path]) -> Path:
    """The file of a machine."""
    return builds[request.param]


@pytest.fixture
def start(build: Path) -> Iterator[Start]:
    """start(flags, first_fd=3, stdin=FD, stdout=FD): a machine that ends with the test."""
    exe = os.open(build, os.O_RDONLY | os.O_CLOEXEC)
    with ExitStack() as stack:
        stack.callback(os.close, exe)
        yield lambda *args, **options: stack.enter_context(Machine(exe, *args, **options))
