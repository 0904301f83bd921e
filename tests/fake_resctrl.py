"""A folder that behaves like a resctrl file system, for a host that has none.

The calls of ocirt.cgroup.intel_rdt that reach the folder are answered as the kernel's resctrl.rst
(and fs/resctrl/rdtgroup.c, ctrlmondata.c) say: a new folder has files, one that is removed gives
its processes back, a line of schemata is taken or refused as a whole.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup import intel_rdt, limits

FULL = {"L3": {"0": "fffff", "1": "fffff"}, "MB": {"0": "100", "1": "100"}}
GRANULARITY, LEAST = 10, 10
INFO: dict[str, dict[str, object]] = {
    "L3": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 4},
    "MB": {
        "bandwidth_gran": GRANULARITY,
        "delay_linear": 1,
        "min_bandwidth": LEAST,
        "num_closids": 4,
    },
    "L3_MON": {"mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes"},
}


class FakeResctrl:
    """``calls``: what was asked of it; ``on_call`` sees each before it is done. ``classes`` and
    ``monitors``: how many more groups there may be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[str] = []
        self.on_call: Callable[[str], None] = lambda call: None
        self.busy = False
        self.classes = 3
        self.monitors = 3
        root.mkdir()
        for name, files in INFO.items():
            (root / "info" / name).mkdir(parents=True)
            for file, text in files.items():
                (root / "info" / name / file).write_text(f"{text}\n")
        self.say("ok")
        self.fill(root)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Has ocirt see it, in this process."""
        mkdir, rmdir, write_file = os.mkdir, os.rmdir, limits.write_file

        def fake_mkdir(path: Any, mode: int = 0o777, **more: Any) -> None:
            self.mkdir(path) if self.has(path) else mkdir(path, mode, **more)

        def fake_rmdir(path: Any, **more: Any) -> None:
            self.rmdir(path) if self.has(path) else rmdir(path, **more)

        def fake_write(path: str, text: str) -> None:
            self.write(path, text) if self.has(path) else write_file(path, text)

        patch.setattr(os, "mkdir", fake_mkdir)
        patch.setattr(os, "rmdir", fake_rmdir)
        patch.setattr(intel_rdt, "write_file", fake_write)
        patch.setattr(intel_rdt, "find_root", lambda: str(self.root))

    def has(self, path: Any) -> bool:
        return not self.busy and isinstance(path, str) and path.startswith(f"{self.root}/")

    @contextmanager
    def real(self) -> Iterator[None]:
        """Folders are made and removed as on any file system."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    # ---- for tests

    def make(self, name: str, schemata: str = "") -> Path:
        """A class that was there before."""
        folder = self.root / name
        with self.real():
            folder.mkdir()
            self.fill(folder)
        if schemata:
            (folder / "schemata").write_text(schemata)
        return folder

    def groups(self) -> list[str]:
        """All folders of classes and monitoring groups below the top."""
        found = [f.parent.relative_to(self.root).as_posix() for f in self.root.rglob("tasks")]
        return sorted(name for name in found if name != ".")

    def tasks(self, group: str = "") -> list[int]:
        return [int(pid) for pid in (self.root / group / "tasks").read_text().split()]

    def schemata(self, group: str = "") -> list[str]:
        text = (self.root / group / "schemata").read_text()
        return [line.strip() for line in text.splitlines()]

    # ---- the kernel's part

    def say(self, text: str) -> None:
        (self.root / "info/last_cmd_status").write_text(f"{text}\n")

    def refuse(self, number: int, text: str) -> OSError:
        self.say(text)
        return OSError(number, os.strerror(number))

    def fill(self, folder: Path, monitor: bool = False) -> None:
        (folder / "tasks").write_text("")
        if not monitor:
            (folder / "mon_groups").mkdir()
            lines = (";".join(f"{d}={v}" for d, v in FULL[name].items()) for name in FULL)
            (folder / "schemata").write_text(
                "".join(f"{name:>6}:{line}\n" for name, line in zip(FULL, lines, strict=True))
            )
        for number in (0, 1):
            data = folder / f"mon_data/mon_L3_{number:02}"
            data.mkdir(parents=True)
            for name in ("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"):
                (data / name).write_text(f"{(number + 1) * len(name)}\n")

    def called(self, call: str) -> None:
        self.calls.append(call)
        self.on_call(call)
        self.say("ok")

    def mkdir(self, path: str) -> None:
        self.called(f"mkdir {os.path.relpath(path, self.root)}")
        folder = Path(path)
        monitor = folder.parent.name == "mon_groups"
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if "\n" in path:
            raise self.refuse(errno.EINVAL, "")
        if monitor and not self.monitors:
            raise self.refuse(errno.ENOSPC, "Out of RMIDs")
        if not monitor and folder.parent != self.root:
            raise self.refuse(errno.EPERM, "")
        if not monitor and not self.classes:
            raise self.refuse(errno.ENOSPC, "Out of CLOSIDs")
        with self.real():
            folder.mkdir()
            self.fill(folder, monitor)
        if monitor:
            self.monitors -= 1
        else:
            self.classes -= 1

    def rmdir(self, path: str) -> None:
        self.called(f"rmdir {os.path.relpath(path, self.root)}")
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not (folder / "tasks").is_file():
            raise self.refuse(errno.EPERM, "")
        if folder.parent == self.root:
            for pid in self.tasks(folder.name):
                self.move(pid, self.root / "tasks")
        with self.real():
            shutil.rmtree(folder)

    def write(self, path: str, text: str) -> None:
        self.called(f"write {text.strip()} to {os.path.relpath(path, self.root)}")
        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if file.name == "tasks":
            self.move(int(text), file)
        else:
            self.set(file, text)

    def move(self, pid: int, file: Path) -> None:
        group = file.parent
        if group.parent.name == "mon_groups":
            if not self.holds(pid, group.parent.parent):
                raise self.refuse(errno.EINVAL, "Can't move task to different control group")
        else:
            for other in (self.root, *(f.parent for f in self.root.glob("*/tasks"))):
                self.leave(pid, other)
        monitors = group.parent if group.parent.name == "mon_groups" else group / "mon_groups"
        for other in monitors.iterdir():
            self.leave(pid, other)
        with file.open("a") as tasks:
            if not self.holds(pid, group):
                tasks.write(f"{pid}\n")

    def holds(self, pid: int, group: Path) -> bool:
        return str(pid) in (group / "tasks").read_text().split()

    def leave(self, pid: int, group: Path) -> None:
        left = [p for p in (group / "tasks").read_text().split() if p != str(pid)]
        (group / "tasks").write_text("".join(f"{p}\n" for p in left))

    def set(self, file: Path, text: str) -> None:
        """One write of some lines: all of them, or none."""
        if not text.endswith("\n"):
            raise self.refuse(errno.EINVAL, "")
        table: dict[str, dict[int, str]] = {}
        for line in file.read_text().splitlines():
            name, _, rest = line.strip().partition(":")
            table[name] = {int(p.split("=")[0]): p.split("=")[1] for p in rest.split(";")}
        seen = set()
        for line in text[:-1].split("\n"):
            name, colon, rest = line.partition(":")
            name = name.strip()
            if not colon or not rest:
                raise self.refuse(errno.EINVAL, f"Missing '{name}' value")
            if name not in table:
                raise self.refuse(errno.EINVAL, f"Unknown or unsupported resource name '{name}'")
            for part in rest.split(";"):
                domain, equals, value = part.strip().partition("=")
                if not equals or not domain.isdecimal():
                    raise self.refuse(errno.EINVAL, "Missing '=' or non-numeric domain")
                if int(domain) not in table[name]:
                    raise self.refuse(errno.EINVAL, "Unknown domain")
                if (name, int(domain)) in seen:
                    raise self.refuse(errno.EINVAL, f"Duplicate domain {domain}")
                seen.add((name, int(domain)))
                table[name][int(domain)] = self.value(name, value.strip())
        file.write_text(
            "".join(
                f"{name:>6}:{';'.join(f'{d}={v}' for d, v in domains.items())}\n"
                for name, domains in table.items()
            )
        )

    def value(self, name: str, text: str) -> str:
        try:
            number = int(text, 10 if name == "MB" else 16)
        except ValueError:
            raise self.refuse(errno.EINVAL, f"Non-number {text}") from None
        if name == "MB":
            if not LEAST <= number <= 100:
                raise self.refuse(errno.EINVAL, f"MB value {number} out of range [{LEAST},100]")
            return str(-(-number // GRANULARITY) * GRANULARITY)
        low = number & -number if number else 0
        if not number or number > 0xFFFFF or (number + low) & number:
            raise self.refuse(errno.EINVAL, f"The mask {text} has non-consecutive 1-bits")
        return f"{number:x}"
