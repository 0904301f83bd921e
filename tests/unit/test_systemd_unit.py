"""What systemd is told: names, paths, properties, annotations; and how they are asked for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup import systemd_bus
from ocirt.cgroup.device_rules import normalise
from ocirt.cgroup.limits import Write
from ocirt.cgroup.systemd_annotations import annotated, parse_variant
from ocirt.cgroup.systemd_bus import escape
from ocirt.cgroup.systemd_properties import (
    EVERY_DEVICE,
    INFINITY,
    of_file,
    of_rules,
    oom_policy,
    round_quotas,
    rounded,
)
from ocirt.cgroup.systemd_unit import Unit, expand, parse, start_properties
from ocirt.errors import KernelError, OcirtError

AT = "/linux/cgroupsPath"
NEW = 257


# ---- names and paths


@pytest.mark.parametrize(
    "path, rootless, slice, name",
    [
        ("", False, "system.slice", "ocirt-id.scope"),
        ("", True, "user.slice", "ocirt-id.scope"),
        ("::", False, None, None),
        ("::c", False, "system.slice", "c.scope"),
        ("::c", True, "user.slice", "c.scope"),
        ("machine.slice:libpod:0f", False, "machine.slice", "libpod-0f.scope"),
        ("user-1.slice:docker:0f", True, "user-1.slice", "docker-0f.scope"),
        ("-.slice:a:b", False, "-.slice", "a-b.scope"),
        ("a.slice:prefix:a-b.slice", False, "a.slice", "a-b.slice"),
        ("kube-pod0_1.slice:cri-containerd:0f", False, "kube-pod0_1.slice", None),
        ("/a/b", False, None, None),
        ("a:b", False, None, None),
        ("a.slice:b:c:d", False, None, None),
        ("a:b:c", False, None, None),
        ("a.slice/b.slice:c:d", False, None, None),
        ("a.slice:b:c/d", False, None, None),
        ("a.slice:..:/", False, None, None),
        ("a.slice:b:c d", False, None, None),
        ("a.slice:b:\u00e9", False, None, None),
        ("a.slice:b:-.slice", False, None, None),
        ("a.slice:b:-a.slice", False, None, None),
        ("a.slice:b:" + "c" * 250, False, None, None),
    ],
)
def test_parse(path: str, rootless: bool, slice: str | None, name: str | None) -> None:
    if slice is None:
        with pytest.raises(OcirtError) as caught:
            parse(path, "id", rootless)
        assert caught.value.at == AT
    else:
        unit = parse(path, "id", rootless)
        assert unit.slice == slice
        assert unit.name == (name or "cri-containerd-0f.scope")


def test_an_id_that_is_no_unit() -> None:
    with pytest.raises(OcirtError, match=r"'ocirt-a\+b.scope' is no name"):
        parse("", "a+b", False)


@pytest.mark.parametrize(
    "slice, path",
    [
        ("-.slice", "/"),
        ("a.slice", "/a.slice"),
        ("a-b.slice", "/a.slice/a-b.slice"),
        ("test-a-b.slice", "/test.slice/test-a.slice/test-a-b.slice"),
        ("a.b.slice", "/a.b.slice"),
        ("", None),
        (".slice", None),
        ("slice", None),
        ("-", None),
        ("a", None),
        ("a.scope", None),
        ("a--b.slice", None),
        ("-a.slice", None),
        ("a-.slice", None),
        ("--.slice", None),
        ("a/b.slice", None),
        ("a.slice/", None),
        ("a b.slice", None),
    ],
)
def test_expand(slice: str, path: str | None) -> None:
    if path is None:
        with pytest.raises(OcirtError) as caught:
            expand(slice)
        assert caught.value.at == AT
    else:
        assert expand(slice) == path


@pytest.mark.parametrize(
    "name, slice, manager, path",
    [
        ("a.scope", "system.slice", "/", "/system.slice/a.scope"),
        ("a.scope", "b-c.slice", "", "/b.slice/b-c.slice/a.scope"),
        ("a.scope", "-.slice", "/", "/a.scope"),
        # systemd does not ask where a slice should be
        ("b-c.slice", "system.slice", "/", "/b.slice/b-c.slice"),
        (
            "a.scope",
            "user.slice",
            "/u.slice/u@1.service",
            "/u.slice/u@1.service/user.slice/a.scope",
        ),
    ],
)
def test_cgroup(name: str, slice: str, manager: str, path: str) -> None:
    assert Unit(name, slice).cgroup(manager) == path


# ---- limits


def properties(file: str, files: dict[str, str], number: int = NEW) -> list[Any]:
    return of_file(file, lambda name: files.get(name, ""), lambda: number)


@pytest.mark.parametrize(
    "file, text, expected",
    [
        ("memory.max", "max\n", ("MemoryMax", "t", INFINITY)),
        ("memory.max", "4096\n", ("MemoryMax", "t", 4096)),
        ("memory.max", "0\n", ("MemoryMax", "t", 0)),
        ("memory.high", "1\n", ("MemoryHigh", "t", 1)),
        ("memory.low", "1\n", ("MemoryLow", "t", 1)),
        ("memory.min", "1\n", ("MemoryMin", "t", 1)),
        ("memory.swap.max", "0\n", ("MemorySwapMax", "t", 0)),
        ("memory.zswap.max", "max\n", ("MemoryZSwapMax", "t", INFINITY)),
        ("memory.limit_in_bytes", "9223372036854771712\n", ("MemoryLimit", "t", INFINITY)),
        ("memory.limit_in_bytes", "9223372036854710272\n", ("MemoryLimit", "t", INFINITY)),
        ("memory.limit_in_bytes", "8192\n", ("MemoryLimit", "t", 8192)),
        ("cpu.shares", "512\n", ("CPUShares", "t", 512)),
        ("cpu.weight", "59\n", ("CPUWeight", "t", 59)),
        ("pids.max", "max\n", ("TasksMax", "t", INFINITY)),
        ("pids.max", "7\n", ("TasksMax", "t", 7)),
        ("pids.max", "0\n", ("TasksMax", "t", 1)),  # systemd knows no 0
        ("cpuset.cpus", "0\n", ("AllowedCPUs", "ay", b"\x01")),
        ("cpuset.cpus", "1,3-5\n", ("AllowedCPUs", "ay", b"\x3a")),
        ("cpuset.cpus", "0,8\n", ("AllowedCPUs", "ay", b"\x01\x01")),
        ("cpuset.mems", "0-15\n", ("AllowedMemoryNodes", "ay", b"\xff\xff")),
        ("cpuset.mems", "16\n", ("AllowedMemoryNodes", "ay", b"\0\0\x01")),
        ("cpuset.mems", "\n", ("AllowedMemoryNodes", "ay", b"")),
        ("blkio.bfq.weight", "300\n", ("BlockIOWeight", "t", 300)),
    ],
)
def test_property_of_a_file(file: str, text: str, expected: Any) -> None:
    assert properties(file, {file: text}) == [expected]


@pytest.mark.parametrize(
    "file",
    ["memory.max", "cpu.max", "cpu.weight", "cpu.idle", "cpu.cfs_quota_us", "blkio.weight"],
)
def test_nothing_of_a_file_that_is_missing(file: str) -> None:
    assert properties(file, {}) == []


@pytest.mark.parametrize("file", ["hugetlb.2MB.max", "rdma.max", "memory.oom.group"])
def test_files_that_systemd_does_not_know(file: str) -> None:
    assert properties(file, {file: "0"}) == []


@pytest.mark.parametrize(
    "idle, number, expected",
    [
        ("0", NEW, [("CPUWeight", "t", 59)]),
        ("", NEW, [("CPUWeight", "t", 59)]),  # a kernel without it
        ("1", 252, [("CPUWeight", "t", 0)]),
        ("1", 251, []),
    ],
)
def test_idle(idle: str, number: int, expected: list[Any]) -> None:
    """Whichever of the two files was written: the other one may have been there before."""
    for file in ("cpu.weight", "cpu.idle"):
        files = {"cpu.weight": "59\n", "cpu.idle": f"{idle}\n"}
        assert properties(file, files, number) == expected


def test_zswap_of_an_older_systemd() -> None:
    assert properties("memory.zswap.max", {"memory.zswap.max": "5"}, 252) == []


@pytest.mark.parametrize(
    "quota, period, per_second",
    [
        (100000, 100000, 1000000),
        (50000, 100000, 500000),
        (5000, 100000, 50000),
        (2000, 100000, 20000),
        (64350, 65000, 990000),
        (10000, 1000000, 10000),
        (-1, 50000, INFINITY),
    ],
)
def test_quota(quota: int, period: int, per_second: int) -> None:
    expected = [("CPUQuotaPeriodUSec", "t", period), ("CPUQuotaPerSecUSec", "t", per_second)]
    word = "max" if quota < 0 else str(quota)
    assert properties("cpu.max", {"cpu.max": f"{word} {period}\n"}) == expected
    version_1 = {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": f"{period}\n"}
    for file in version_1:
        assert properties(file, version_1) == expected


@pytest.mark.parametrize(
    "quota, period, expected",
    [
        (100000, 100000, 100000),
        (50000, 100000, 50000),
        (1234, 100000, 2000),
        (64000, 65000, 64350),
        (1000, 1000000, 10000),
        (33333, 100000, 34000),
        (5, 0, 5),
    ],
)
def test_rounded(quota: int, period: int, expected: int) -> None:
    assert rounded(quota, period) == expected
    assert rounded(expected, period) == expected


@pytest.mark.parametrize(
    "written, files, texts",
    [
        ({"cpu.max": "1234 100000"}, {}, ["2000 100000"]),
        ({"cpu.max": "1234"}, {"cpu.max": "max 100000\n"}, ["2000 100000"]),
        ({"cpu.max": "max 100000"}, {}, ["max 100000"]),
        ({"cpu.max": "rubbish"}, {"cpu.max": "max 100000\n"}, ["rubbish"]),
        ({"cpu.cfs_quota_us": "1234", "cpu.cfs_period_us": "100000"}, {}, ["2000", "100000"]),
        ({"cpu.cfs_quota_us": "1234"}, {"cpu.cfs_period_us": "100000\n"}, ["2000"]),
        ({"cpu.cfs_quota_us": "-1"}, {"cpu.cfs_period_us": "100000\n"}, ["-1"]),
        ({"memory.max": "1234"}, {}, ["1234"]),
    ],
)
def test_quotas_are_rounded_as_systemd_would(
    written: dict[str, str], files: dict[str, str], texts: list[str]
) -> None:
    writes = [Write("/at", "", file, text) for file, text in written.items()]
    round_quotas(writes, lambda name: files.get(name, ""))
    assert [write.text for write in writes] == texts


def test_bfq_weights() -> None:
    """What systemd writes to io.bfq.weight (BFQ_WEIGHT in its cgroup.c) is what was there."""
    for weight in range(1, 1001):
        given = properties("io.bfq.weight", {"io.bfq.weight": f"default {weight}"})[0][2]
        back = given if given <= 100 else 100 + (given - 100) * (1000 - 100) // (10000 - 100)
        assert back == weight
    assert given == 10000


def test_devices_of_io() -> None:
    """A list is emptied first: systemd adds to it."""
    text = "8:0 rbps=max wbps=1024 riops=max wiops=7\n8:16 rbps=9 wbps=2 riops=max wiops=max\n"
    found = properties("io.max", {"io.max": text})
    assert found == [
        ("IOReadBandwidthMax", "a(st)", []),
        ("IOReadBandwidthMax", "a(st)", [("/dev/block/8:16", 9)]),
        ("IOWriteBandwidthMax", "a(st)", []),
        ("IOWriteBandwidthMax", "a(st)", [("/dev/block/8:0", 1024), ("/dev/block/8:16", 2)]),
        ("IOReadIOPSMax", "a(st)", []),
        ("IOWriteIOPSMax", "a(st)", []),
        ("IOWriteIOPSMax", "a(st)", [("/dev/block/8:0", 7)]),
    ]
    weights = properties("io.bfq.weight", {"io.bfq.weight": "50\n"})
    assert weights == [("IOWeight", "t", 50), ("IODeviceWeight", "a(st)", [])]
    weights = properties("io.weight", {"io.weight": "default 100\n8:0 50\n"})
    assert weights == [
        ("IOWeight", "t", 100),
        ("IODeviceWeight", "a(st)", []),
        ("IODeviceWeight", "a(st)", [("/dev/block/8:0", 50)]),
    ]


@pytest.mark.parametrize(
    "group, number, policy",
    [("1", 253, "kill"), ("0\n", 253, "continue"), ("1", 252, ""), ("2", 253, "")],
)
def test_oom_policy(group: str, number: int, policy: str) -> None:
    expected = [("OOMPolicy", "s", policy)] if policy else []
    assert oom_policy(group, lambda: number) == expected


# ---- devices

DENY = {"allow": False, "access": "rwm"}
ALL = {"allow": True, "access": "rwm"}
DEFAULT = ["char-* m", "block-* m"]
DEFAULT += [f"/dev/char/{numbers} rwm" for numbers in ("1:3", "1:8", "1:7", "5:0", "1:5", "1:9")]
DEFAULT += ["char-136 rwm", "/dev/char/5:2 rwm", "/dev/char/10:200 rwm"]
CLEAR: Any = ("DeviceAllow", "a(ss)", [])
STRICT = ("DevicePolicy", "s", "strict")
AUTO = ("DevicePolicy", "s", "auto")


def rule(allow: bool, type: str, major: int | None, minor: int | None, access: str) -> Any:
    found = {"allow": allow, "type": type, "major": major, "minor": minor, "access": access}
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize(
    "rules, entries",
    [
        ([], []),
        ([DENY], []),
        ([ALL, DENY], []),
        ([DENY, rule(True, "c", 1, 11, "wr")], ["/dev/char/1:11 rw"]),
        ([DENY, rule(True, "b", 8, 0, "r"), rule(True, "b", 8, 0, "w")], ["/dev/block/8:0 rw"]),
        ([DENY, rule(True, "c", 10, -1, "rwm")], ["char-10 rwm"]),
        ([DENY, rule(True, "a", 5, 1, "r")], ["/dev/block/5:1 r", "/dev/char/5:1 r"]),
        ([rule(True, "c", 7, 3, "rwm"), rule(False, "c", 7, 3, "w")], ["/dev/char/7:3 rm"]),
    ],
)
def test_devices(rules: list[Any], entries: list[str]) -> None:
    """Beside what every container may use."""
    for v2 in (True, False):
        clear, policy, (name, signature, found) = of_rules(normalise(rules), v2)
        assert (clear, policy, name, signature) == (CLEAR, STRICT, "DeviceAllow", "a(ss)")
        assert [" ".join(entry) for entry in found] == entries + DEFAULT


@pytest.mark.parametrize(
    "rules, v1",
    [
        ([ALL], EVERY_DEVICE),
        ([DENY, ALL, rule(True, "c", 1, 3, "r")], EVERY_DEVICE),
        ([ALL, rule(False, "c", 7, 3, "rwm")], (STRICT,)),  # all but one
        ([rule(True, "c", 7, None, "r"), rule(False, "c", 7, 3, "r")], (STRICT,)),  # a hole
        ([rule(True, "c", None, 3, "r")], (STRICT,)),  # no name for *:3
    ],
)
def test_devices_that_are_no_list(rules: list[Any], v1: Any) -> None:
    assert of_rules(normalise(rules), True) == [CLEAR, AUTO]
    assert of_rules(normalise(rules), False) == [CLEAR, *v1]


# ---- the start


def test_properties_of_a_scope() -> None:
    unit = Unit("a-b.scope", "machine.slice")
    assert start_properties(unit, [7, 8], True) == [
        ("Description", "s", "ocirt container a-b.scope"),
        ("Slice", "s", "machine.slice"),
        ("Delegate", "b", True),
        ("PIDs", "au", [7, 8]),
        ("MemoryAccounting", "b", True),
        ("CPUAccounting", "b", True),
        ("IOAccounting", "b", True),
        ("TasksAccounting", "b", True),
        ("DefaultDependencies", "b", False),
        ("CollectMode", "s", "inactive-or-failed"),
    ]
    names = [name for name, _, _ in start_properties(unit, [7], False)]
    assert "BlockIOAccounting" in names and "IOAccounting" not in names


def test_properties_of_a_slice() -> None:
    found = start_properties(Unit("a-b.slice", "a.slice"), [7], True)
    assert ("Wants", "as", ["a.slice"]) in found
    assert not {"Slice", "Delegate", "PIDs"} & {name for name, _, _ in found}


# ---- annotations


@pytest.mark.parametrize(
    "text, signature, value",
    [
        ("true", "b", True),
        (" false ", "b", False),
        ("boolean true", "b", True),
        ("'text'", "s", "text"),
        ('"it\'s"', "s", "it's"),
        (r"'a\'b\n\\\u00e9\U0001F600\q'", "s", "a'b\n\\\u00e9\U0001f600q"),
        ("''", "s", ""),
        ("objectpath '/a'", "o", "/a"),
        ("5", "i", 5),
        ("-5", "i", -5),
        ("+5", "i", 5),
        ("0x1F", "i", 31),
        ("010", "i", 8),
        ("0", "i", 0),
        ("uint64 18446744073709551615", "t", (1 << 64) - 1),
        ("int64 -9223372036854775808", "x", -(1 << 63)),
        ("uint32 7", "u", 7),
        ("int16 -7", "n", -7),
        ("uint16 7", "q", 7),
        ("byte 0xff", "y", 255),
        ("@u 7", "u", 7),
        ("1.5", "d", 1.5),
        ("double 2", "d", 2.0),
        ("-1e3", "d", -1000.0),
        ("['a', \"b\"]", "as", ["a", "b"]),
        ("[ uint32 1 , 2 ]", "au", [1, 2]),
        ("[1,2,]", "ai", [1, 2]),
        ("[true, false]", "ab", [True, False]),
        ("@as []", "as", []),
        ("@au [1, 2]", "au", [1, 2]),
        ("@ay [1, 0x02]", "ay", b"\x01\x02"),
        ("[byte 1]", "ay", b"\x01"),
    ],
)
def test_variant(text: str, signature: str, value: Any) -> None:
    found = parse_variant(text)
    assert found == (signature, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "text",
        "'open",
        "'open\\",
        "'a' 'b'",
        "'\\u12'",
        "'\\U99999999'",
        "[",
        "[1",
        "[1 2]",
        "]",
        "[]",
        "[1, 'a']",
        "['a', 1]",
        "[[1]]",
        "@aas [['a']]",
        "uint32",
        "uint32 -1",
        "uint32 uint32 1",
        "uint32 'a'",
        "uint32 [1]",
        "uint32 true",
        "uint32 1.5",
        "byte 256",
        "2147483648",
        "1_0",
        "1_0.5",
        "--1",
        "08",
        "@",
        "@v <1>",
        "@au",
        "@as 'a'",
        "('a', 1)",
        "<1>",
        "{'a': 1}",
        "b'bytes'",
        "string 5",
        "nothing",
        "true false",
    ],
)
def test_variant_that_is_none(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse_variant(text)
    with pytest.raises(OcirtError) as caught:
        annotated({"org.systemd.property.Name": text}, True)
    assert caught.value.at == "/annotations/org.systemd.property.Name"


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("TimeoutStopSec", "5", ("TimeoutStopUSec", "t", 5_000_000)),
        ("TimeoutStopSec", "0.5", ("TimeoutStopUSec", "t", 500_000)),
        ("TimeoutStopSec", "uint64 5", ("TimeoutStopUSec", "t", 5_000_000)),
        ("TimeoutStopUSec", "uint64 5", ("TimeoutStopUSec", "t", 5)),
        ("RSec", "5", ("RSec", "i", 5)),
        ("Sec", "5", ("Sec", "i", 5)),
        ("TimeoutStopSec", "'5'", None),
        ("TimeoutStopSec", "true", None),
        ("TimeoutStopSec", "-1", None),
        ("TimeoutStopSec", "uint64 18446744073709551615", None),
        ("TimeoutStopSec", "1e999", None),
        ("TimeoutStopSec", "[1]", None),
        ("ab", "5", None),
        ("a.b", "5", None),
        ("a5b", "5", None),
        ("\u00e9tat", "5", None),
        ("", "5", None),
    ],
)
def test_annotation(name: str, text: str, expected: Any) -> None:
    annotations = {f"org.systemd.property.{name}": text, "org.systemd.propertyX": "none"}
    if expected:
        assert annotated(annotations, True) == [
            (f"/annotations/org.systemd.property.{name}", expected)
        ]
    else:
        with pytest.raises(OcirtError) as caught:
            annotated(annotations, True)
        assert caught.value.at == f"/annotations/org.systemd.property.{name}"
    with pytest.raises(OcirtError):
        annotated(annotations, False)
    assert annotated({"other": "x"}, False) == []


# ---- the bus, where there is none


def test_escape() -> None:
    assert escape("a-1.scope") == "a_2d1_2escope"
    assert escape("1a") == "_31a"
    assert escape("\u00e9") == "_c3_a9"
    assert escape("") == "_"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_bus, "LIBRARY", "libnothing.so.7")
    with pytest.raises(
        OcirtError, match=r"^load libnothing.so.7 for the systemd driver: "
    ) as caught:
        systemd_bus.connect(False)
    assert "--systemd-cgroup" in caught.value.hint


@pytest.fixture
def silent_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket where nobody speaks."""
    address = str(tmp_path / "socket")
    monkeypatch.setattr(systemd_bus, "_addresses", lambda user: [("test", f"unix:path={address}")])
    monkeypatch.setattr(systemd_bus, "TIMEOUT", 0.2)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        yield server


def test_no_answer(silent_manager: socket.socket) -> None:
    with pytest.raises(KernelError, match=r"test: systemd: connect: no answer within 0.2 seconds"):
        systemd_bus.connect(False)


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"unix:path={tmp_path}/nothing"
    monkeypatch.setattr(systemd_bus, "_addresses", lambda user: [("test", address)])
    with pytest.raises(KernelError, match=r"can't be reached: test: .*ENOENT") as caught:
        systemd_bus.connect(False)
    assert "is systemd running?" in caught.value.hint
