"""linux.seccomp to a Filter: the cache, flags, and what a host lacks (its integration tests spoil
the files of the cache; what the program decides is tests/property's)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.errors import OcirtError
from ocirt.seccomp import cache
from ocirt.seccomp.filter import (
    FLAG_NEW_LISTENER,
    FLAG_SPEC_ALLOW,
    FLAGS,
    Filter,
    make_filter,
)

LIBRARY = os.path.realpath(__file__)
KEY = cache.key_of(["a"])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = str(tmp_path / "filters")
    assert cache.read(folder, KEY) is None
    cache.write(folder, KEY, LIBRARY, b"program\n\0")
    assert cache.read(folder, KEY) == b"program\n\0"
    assert os.listdir(folder) == [KEY]
    cache.write(folder, KEY, LIBRARY, b"another")
    assert cache.read(folder, KEY) == b"another"


def test_key_is_of_the_content() -> None:
    keys = {cache.key_of(each) for each in ([1], ["1"], [{"a": 1}], [{"a": None}], [], ["\ud800"])}
    assert len(keys) == 6
    assert cache.key_of(["a"]) == KEY


def test_another_library_in_its_place(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.write_bytes(b"1")
    cache.write(str(tmp_path / "filters"), KEY, str(library), b"program")
    assert cache.read(str(tmp_path / "filters"), KEY) == b"program"
    (tmp_path / "new").write_bytes(b"2")
    (tmp_path / "new").rename(library)
    assert cache.read(str(tmp_path / "filters"), KEY) is None
    library.unlink()
    assert cache.read(str(tmp_path / "filters"), KEY) is None


def test_a_file_under_another_name(tmp_path: Path) -> None:
    folder, other = tmp_path / "filters", cache.key_of(["b"])
    cache.write(str(folder), KEY, LIBRARY, b"program")
    (folder / KEY).rename(folder / other)
    assert cache.read(str(folder), other) is None


def test_number_is_bounded(tmp_path: Path) -> None:
    """The oldest go, whatever made them."""
    folder = tmp_path / "filters"
    folder.mkdir(mode=0o700)
    (folder / "cut short.1").touch()
    os.utime(folder / "cut short.1", (0, 0))
    for number in range(100):
        cache.write(str(folder), cache.key_of([number]), LIBRARY, b"program")
    assert len(os.listdir(folder)) == 64
    assert not (folder / "cut short.1").exists()
    assert cache.read(str(folder), cache.key_of([99])) == b"program"
    assert cache.read(str(folder), cache.key_of([0])) is None


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "filters"
    folder.mkdir()
    folder.chmod(mode)
    cache.write(str(folder), KEY, LIBRARY, b"program")
    assert os.listdir(folder) == []


def test_a_host_without_room_is_no_error(tmp_path: Path) -> None:
    cache.write(str(tmp_path / "no" / "such"), KEY, LIBRARY, b"program")
    (tmp_path / "file").touch()
    cache.write(str(tmp_path / "file"), KEY, LIBRARY, b"program")
    cache.write(str(tmp_path / "filters"), KEY, "", b"program")
    assert cache.read(str(tmp_path / "filters"), KEY) is None


# ---- flags


def made(**members: object) -> Filter:
    return make_filter({"defaultAction": "SCMP_ACT_ALLOW", **members})


def test_flags() -> None:
    assert made().flags == FLAG_SPEC_ALLOW  # as the peers have it
    assert made(flags=[]).flags == 0
    assert made(flags=["SECCOMP_FILTER_FLAG_TSYNC"]).flags == 0
    assert made(flags=["SECCOMP_FILTER_FLAG_LOG"]).flags == FLAGS["SECCOMP_FILTER_FLAG_LOG"]
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    assert made(flags=[], syscalls=rules).flags == FLAG_NEW_LISTENER
    assert not made().flags & FLAG_NEW_LISTENER and made(syscalls=rules).flags & FLAG_NEW_LISTENER


def test_wait_killable_recv_is_of_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocirt.seccomp.filter.seccomp_has_flags", lambda flags: True)
    name = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    assert made(flags=[name]).flags == 0
    assert made(flags=[name], syscalls=rules).flags == FLAG_NEW_LISTENER | FLAGS[name]


# ---- what this host lacks


def refused(
    monkeypatch: pytest.MonkeyPatch, name: str, **members: object
) -> tuple[str | None, str]:
    monkeypatch.setattr(name, lambda number: number == 0)
    with pytest.raises(OcirtError) as caught:
        made(**members)
    return caught.value.at, caught.value.message


def test_what_the_kernel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]
    at = "/linux/seccomp/flags/0"
    text = f"this kernel has no {names[0]}"
    assert refused(monkeypatch, "ocirt.seccomp.filter.seccomp_has_flags", flags=names) == (at, text)


def test_an_action_that_the_kernel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_LOG"}]
    found = refused(
        monkeypatch,
        "ocirt.seccomp.compile.seccomp_has_action",
        defaultAction="SCMP_ACT_KILL",
        syscalls=rules,
    )
    assert found == ("/linux/seccomp/syscalls/0/action", "this kernel has no SCMP_ACT_LOG")


def test_a_kernel_without_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocirt.seccomp.filter.seccomp_has_flags", lambda flags: False)
    with pytest.raises(OcirtError, match="this kernel has no seccomp filters") as caught:
        made()
    assert caught.value.at == "/linux/seccomp"


ONE = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}


@pytest.mark.parametrize(
    ("members", "at", "text"),
    [
        (
            {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_S390X"]},
            "/architectures/1",
            "can't be in one filter with this host's architecture: EDOM",
        ),
        (
            {
                "syscalls": [
                    {"names": ["socket"], "action": "SCMP_ACT_TRAP", "args": [ONE]},
                    {"names": ["read", "socket"], "action": "SCMP_ACT_KILL", "args": [ONE]},
                ]
            },
            "/syscalls/1/names/1",
            "socket: an earlier rule has another action for the same calls",
        ),
    ],
    ids=["byte order", "two actions"],
)
def test_what_libseccomp_refuses(members: dict[str, object], at: str, text: str) -> None:
    with pytest.raises(OcirtError, match=text) as caught:
        made(**members)
    assert caught.value.at == f"/linux/seccomp{at}"


def test_an_architecture_that_libseccomp_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocirt.seccomp.library.Library.architecture", lambda self, name: 0)
    with pytest.raises(OcirtError, match="does not know SCMP_ARCH_SH") as caught:
        made(architectures=["SCMP_ARCH_SH"])
    assert caught.value.at == "/linux/seccomp/architectures/0"
