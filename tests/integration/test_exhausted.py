"""create where the host has run out of something: one clear error, and nothing is left."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.layout import detect

from .faults import Faults, leftovers


@pytest.fixture
def plain(bundle: Any) -> Any:
    """A bundle that asks for no limits of its own."""
    del bundle.document["process"]["rlimits"]
    bundle.document["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    bundle.write()
    return bundle


def create(ocirt: Any, faulty: Faults, bundle: Any, **options: Any) -> str:
    """What a create that fails says; "" if it does not, and then the container is deleted."""
    pid_file = bundle.path / "pid"
    words = ("--bundle", str(bundle.path), "--pid-file", str(pid_file), bundle.id)
    done = ocirt("create", *words, **options)
    if done.returncode == 0:
        ocirt("delete", bundle.id, check=True)
        pid_file.unlink()
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("ocirt: ")
        lines = done.stderr.splitlines()
        assert len([line for line in lines if "  hint: " not in line]) == 1, lines
        assert "internal error" not in done.stderr
        assert not pid_file.exists()
    assert leftovers(bundle, faulty) == []
    return str(done.stderr)


@pytest.fixture
def small_root(ocirt: Any) -> Iterator[Path]:
    ocirt.root.mkdir()
    yield ocirt.root
    subprocess.run(["umount", ocirt.root], check=True)


def test_a_full_state_folder(ocirt: Any, faulty: Faults, plain: Any, small_root: Path) -> None:
    """A page more at each try, until there is room for all of the files."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", small_root], check=True)
    said = [create(ocirt, faulty, plain)]
    pages = 1
    while said[-1]:
        assert os.listdir(small_root) == []
        pages += 1
        subprocess.run(["mount", "-o", f"remount,size={pages * 4}k", small_root], check=True)
        said.append(create(ocirt, faulty, plain))
    assert pages < 20
    assert all("No space left on device" in text for text in said[:-1])
    assert len(said) > 2


def test_no_inodes(ocirt: Any, faulty: Faults, plain: Any, small_root: Path) -> None:
    """A file more at each try: the container's folder is the first."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", small_root], check=True)
    said = [create(ocirt, faulty, plain)]
    while said[-1]:
        assert os.listdir(small_root) == []
        count = len(said) + 1
        subprocess.run(["mount", "-o", f"remount,nr_inodes={count}", small_root], check=True)
        said.append(create(ocirt, faulty, plain))
    assert all("No space left on device" in text for text in said[:-1])
    assert len(said) > 4


def limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def test_too_few_descriptors(ocirt: Any, faulty: Faults, plain: Any) -> None:
    """From what the interpreter needs to start, until it works."""
    for count in range(5, 100):
        said = create(
            ocirt, faulty, plain, preexec_fn=lambda n=count: limit(resource.RLIMIT_NOFILE, n)
        )
        if not said:
            break
        assert "Too many open files" in said or "EMFILE" in said, (count, said)
    assert 10 < count < 99


@pytest.mark.parametrize("size", [500, 2000, 8000, 1 << 20])
def test_files_may_not_grow(ocirt: Any, faulty: Faults, plain: Any, size: int) -> None:
    """Above what is said on stderr, which is a file too."""
    said = create(ocirt, faulty, plain, preexec_fn=lambda: limit(resource.RLIMIT_FSIZE, size))
    assert "File too large" in said or "EFBIG" in said or size >= 8000, said
    assert not said or size < 1 << 20


@pytest.fixture
def small_cgroup(plain: Any) -> Iterator[Path]:
    """A cgroup that limits the number of processes."""
    layout = detect()
    hierarchy = next((h for h in layout.hierarchies if h.v2 or "pids" in h.controllers), None)
    if layout.pure_v2 or hierarchy is None:
        folder = Path("/sys/fs/cgroup") / f"small-{plain.id}"
    else:
        hierarchy = next(h for h in layout.hierarchies if "pids" in h.controllers)
        folder = Path(hierarchy.point) / f"small-{plain.id}"
    folder.mkdir()
    if not (folder / "pids.max").exists():
        folder.rmdir()
        pytest.skip("no pids controller")
    yield folder
    folder.rmdir()


def test_too_few_processes(ocirt: Any, faulty: Faults, plain: Any, small_cgroup: Path) -> None:
    """The machine, then its sibling in the new pid namespace, then a hook."""
    tries = []
    for count in range(1, 10):
        (small_cgroup / "pids.max").write_text(str(count))
        said = create(
            ocirt,
            faulty,
            plain,
            preexec_fn=lambda: (small_cgroup / "cgroup.procs").write_text("0"),
        )
        tries.append(said)
        if not said:
            break
    assert tries[-1] == ""
    assert len(tries) > 1
    assert all("Resource temporarily unavailable" in t or "EAGAIN" in t for t in tries[:-1]), tries
