"""What ocirt reads of a container's files, with the rights and the devices of the host: files alone. To
open a device or a FIFO has an effect (a watchdog starts, a tape winds back), whatever is read."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.host.users import home_of
from ocirt.runtime import copy_up

IN_OPEN = 0x20


@contextmanager
def unopened(fifo: Path) -> Iterator[None]:
    """Nobody opens it meanwhile (inotify(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        assert libc.inotify_add_watch(events, os.fsencode(fifo), IN_OPEN) > 0
        yield
        with pytest.raises(BlockingIOError):
            os.read(events, 4096)
    finally:
        os.close(events)


@contextmanager
def folder(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_PATH)
    try:
        yield fd
    finally:
        os.close(fd)


def test_home(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/users").write_text("u:x:7:7::/home/u:/bin/sh\n")
    (tmp_path / "etc/passwd").symlink_to("/etc/users")
    with folder(tmp_path) as root:
        assert home_of(7, root) == "/home/u"
        assert home_of(8, root) == "/"


def test_passwd_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    passwd = tmp_path / "etc/passwd"
    with folder(tmp_path) as root:
        assert home_of(7, root) == "/"
        os.mkfifo(passwd)
        with unopened(passwd):
            assert home_of(7, root) == "/"
        passwd.unlink()
        passwd.mkdir()
        assert home_of(7, root) == "/"


def test_a_device(tmp_path: Path) -> None:
    with folder(Path("/dev")) as root, pytest.raises(OSError) as info:
        kernel.open_regular(root, "null", 0)
    assert info.value.errno == errno.EINVAL


def test_copy_of_a_file_that_is_another_one_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who shares the folder has put a FIFO in its place."""
    source, target, fifo = tmp_path / "source", tmp_path / "target", tmp_path / "fifo"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("x")
    os.mkfifo(fifo)
    look = os.stat

    def swap(path: str, **options: int) -> os.stat_result:
        found = look(path, **options)  # type: ignore[arg-type]
        if path == "file":
            os.link(fifo, source / "new")
            os.rename(source / "new", source / "file")
        return found

    with folder(source) as theirs, folder(target) as ours, unopened(fifo):
        monkeypatch.setattr(copy_up.os, "stat", swap)  # type: ignore[attr-defined]
        with pytest.raises(KernelError, match="copy file: Invalid argument"):
            copy_up.copy_up(theirs, ours, "/mounts/0")
        monkeypatch.undo()
