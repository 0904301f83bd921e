"""What systemd is told: names, paths, properties, annotations; and how they are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.cgroup import systemd_bus
from ocirt.cgroup.systemd_annotations import annotated, parse_variant
from ocirt.cgroup.systemd_bus import escape
from ocirt.cgroup.systemd_unit import (
    DEFAULT_DEVICES,
    INFINITY,
    Unit,
    bit_mask,
    cpu_weight,
    expand,
    io_weight,
    parse,
    properties,
    resource_properties,
    round_quota,
)
from ocirt.errors import OcirtError

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


# ---- numbers


@pytest.mark.parametrize(
    "shares, weight",
    [(0, 0), (1, 1), (2, 1), (3, 2), (512, 60), (1024, 100), (2048, 170), (262144, 10000)],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight
    assert cpu_weight(10**9) == 10000


def test_cpu_weight_rises() -> None:
    weights = [cpu_weight(1 << n) for n in range(1, 19)]
    assert weights == sorted(set(weights))
    assert 1 <= min(weights) and max(weights) == 10000


def test_io_weight() -> None:
    """What systemd then writes to io.bfq.weight (BFQ_WEIGHT in its cgroup.c) is what was asked."""
    for asked in range(10, 1001):
        given = io_weight(asked)
        back = given if given <= 100 else 100 + (given - 100) * (1000 - 100) // (10000 - 100)
        assert back == asked
    assert io_weight(1000) == 10000


@pytest.mark.parametrize(
    "text, mask",
    [
        ("0", b"\x01"),
        ("1,3-5", b"\x3a"),
        (" 0 , ,8 ", b"\x01\x01"),
        ("0-15", b"\xff\xff"),
        ("16", b"\0\0\x01"),
        ("", None),
        (",", None),
        ("-", None),
        ("5-3", None),
        ("1-", None),
        ("-1", None),
        ("a", None),
        ("1-2-3", None),
        ("\u0661", None),
        ("0-4294967295", None),
        ("9" * 5000, None),
    ],
)
def test_bit_mask(text: str, mask: bytes | None) -> None:
    if mask is None:
        with pytest.raises(OcirtError) as caught:
            bit_mask(text, "/x")
        assert caught.value.at == "/x"
    else:
        assert bit_mask(text, "/x") == mask


@pytest.mark.parametrize(
    "quota, period, per_second, rounded",
    [
        (100000, 100000, 1000000, 100000),
        (50000, 100000, 500000, 50000),
        (0, 100000, INFINITY, 0),
        (-1, 100000, INFINITY, -1),
        (5000, 100000, 50000, 5000),
        (1234, 100000, 20000, 2000),
        (64000, 65000, 990000, 64350),
        (1000, 1000000, 10000, 10000),
        (50000, 0, 500000, 50000),
    ],
)
def test_quota(quota: int, period: int, per_second: int, rounded: int) -> None:
    found = resource_properties({"cpu": {"quota": quota, "period": period}}, True, NEW)
    expected: list[Any] = [("CPUQuotaPerSecUSec", "t", per_second)]
    if period:
        expected.insert(0, ("CPUQuotaPeriodUSec", "t", period))
        assert (
            resource_properties({"cpu": {"quota": quota, "period": period}}, True, 241)
            == (expected[1:])
        )
    assert found == expected
    assert round_quota(quota, period) == rounded


# ---- resources


@pytest.mark.parametrize(
    "resources, v2, v1",
    [
        ({}, [], []),
        ({"memory": {"limit": 0}, "cpu": {"shares": 0, "quota": 0}, "pids": {}}, [], []),
        ({"memory": None, "cpu": None, "pids": None, "blockIO": None, "unified": None}, [], []),
        ({"memory": {"limit": 9}}, [("MemoryMax", 9)], [("MemoryLimit", 9)]),
        (
            {"memory": {"limit": -1}},
            [("MemoryMax", INFINITY), ("MemorySwapMax", INFINITY)],
            [("MemoryLimit", INFINITY)],
        ),
        (
            {"memory": {"limit": 9, "swap": 12, "reservation": 5}},
            [("MemoryMax", 9), ("MemoryLow", 5), ("MemorySwapMax", 3)],
            [("MemoryLimit", 9)],
        ),
        (
            {"memory": {"limit": 9, "swap": 9}},
            [("MemoryMax", 9), ("MemorySwapMax", 0)],
            [("MemoryLimit", 9)],
        ),
        ({"memory": {"swap": -1}}, [("MemorySwapMax", INFINITY)], []),
        (
            {"memory": {"limit": -1, "swap": 7}},
            [("MemoryMax", INFINITY), ("MemorySwapMax", 7)],
            [("MemoryLimit", INFINITY)],
        ),
        ({"cpu": {"shares": 512}}, [("CPUWeight", 60)], [("CPUShares", 512)]),
        ({"cpu": {"shares": 512, "idle": 0}}, [("CPUWeight", 60)], [("CPUShares", 512)]),
        ({"cpu": {"shares": 512, "idle": 1}}, [("CPUWeight", 0)], [("CPUShares", 512)]),
        ({"pids": {"limit": 5}}, [("TasksMax", 5)], [("TasksMax", 5)]),
        ({"pids": {"limit": 0}}, [("TasksMax", 1)], [("TasksMax", 1)]),
        ({"pids": {"limit": -1}}, [("TasksMax", INFINITY)], [("TasksMax", INFINITY)]),
        ({"blockIO": {"weight": 200}}, [("IOWeight", 1200)], [("BlockIOWeight", 200)]),
        (
            {"unified": {"memory.max": "max", "memory.high": " 7\n", "memory.swap.max": "0"}},
            [("MemoryMax", INFINITY), ("MemoryHigh", 7), ("MemorySwapMax", 0)],
            [],
        ),
        (
            {"unified": {"memory.min": "1", "memory.low": "2"}},
            [("MemoryMin", 1), ("MemoryLow", 2)],
            [],
        ),
        ({"unified": {"pids.max": "0", "hugetlb.2MB.max": "x"}}, [("TasksMax", 1)], []),
        (
            {"unified": {"cpu.max": "max 50000"}},
            [("CPUQuotaPeriodUSec", 50000), ("CPUQuotaPerSecUSec", INFINITY)],
            [],
        ),
        (
            {"unified": {"cpu.max": "1234"}},
            [("CPUQuotaPeriodUSec", 100000), ("CPUQuotaPerSecUSec", 20000)],
            [],
        ),
        ({"unified": {"cpu.weight": "44", "cpu.idle": "0"}}, [("CPUWeight", 44)], []),
        ({"unified": {"cpu.weight": "44", "cpu.idle": "1"}}, [("CPUWeight", 0)], []),
    ],
)
def test_resources(resources: Any, v2: list[Any], v1: list[Any]) -> None:
    def numbers(version: bool) -> list[Any]:
        found = resource_properties(resources, version, NEW)
        assert all(signature == "t" for _, signature, _ in found)
        return [(name, value) for name, _, value in found]

    assert numbers(True) == v2
    assert numbers(False) == v1


@pytest.mark.parametrize(
    "resources, version, found",
    [
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, 244, ["AllowedCPUs", "AllowedMemoryNodes"]),
        ({"cpu": {"cpus": "0-1", "mems": "0"}}, 243, []),
        ({"unified": {"cpuset.cpus": "0", "cpuset.mems": "0"}}, 243, []),
        ({"unified": {"cpuset.mems": "0"}}, 244, ["AllowedMemoryNodes"]),
        ({"cpu": {"idle": 1, "shares": 2}}, 251, ["CPUWeight"]),
        ({"cpu": {"idle": 1}}, 251, []),
        ({"unified": {"cpu.idle": "1"}}, 251, []),
    ],
)
def test_versions(resources: Any, version: int, found: list[str]) -> None:
    assert [name for name, _, _ in resource_properties(resources, True, version)] == found


@pytest.mark.parametrize(
    "resources, at",
    [
        ({"memory": {"swap": 5}}, "memory/swap"),
        ({"memory": {"limit": 9, "swap": 5}}, "memory/swap"),
        ({"cpu": {"cpus": "x"}}, "cpu/cpus"),
        ({"cpu": {"mems": "3-1"}}, "cpu/mems"),
        ({"unified": {"cpuset.cpus": ""}}, "unified/cpuset.cpus"),
        ({"unified": {"memory.max": "lots"}}, "unified/memory.max"),
        ({"unified": {"pids.max": "-1"}}, "unified/pids.max"),
        ({"unified": {"memory.low": str(1 << 64)}}, "unified/memory.low"),
        ({"unified": {"cpu.max": ""}}, "unified/cpu.max"),
        ({"unified": {"cpu.max": "1 2 3"}}, "unified/cpu.max"),
        ({"unified": {"cpu.weight": "heavy"}}, "unified/cpu.weight"),
        ({"unified": {"../x.y": "1"}}, "unified/..~1x.y"),
        ({"unified": {"x": "1"}}, "unified/x"),
        ({"unified": {".x": "1"}}, "unified/.x"),
    ],
)
def test_bad_resources(resources: Any, at: str) -> None:
    with pytest.raises(OcirtError) as caught:
        resource_properties(resources, True, NEW)
    assert caught.value.at == f"/linux/resources/{at}"


# ---- devices

DENY = {"allow": False, "access": "rwm"}
ALL = {"allow": True, "access": "rwm"}
CLEAR = ("DeviceAllow", "a(ss)", [])
STRICT = ("DevicePolicy", "s", "strict")
AUTO = ("DevicePolicy", "s", "auto")


def rule(allow: bool, type: str, major: int | None, minor: int | None, access: str) -> Any:
    return {"allow": allow, "type": type, "major": major, "minor": minor, "access": access}


@pytest.mark.parametrize(
    "rules, entries",
    [
        ([], []),
        ([DENY], []),
        ([ALL, DENY], []),
        ([DENY, rule(True, "c", 1, 3, "wr")], ["/dev/char/1:3 rw"]),
        ([DENY, rule(True, "b", 8, 0, "r"), rule(True, "b", 8, 0, "m")], ["/dev/block/8:0 rm"]),
        ([DENY, rule(True, "u", 1, 3, "rwm")], ["/dev/char/1:3 rwm"]),
        ([DENY, rule(True, "c", 136, -1, "rwm")], ["char-136 rwm"]),
        ([DENY, rule(True, "c", None, None, "m")], ["char-* m"]),
        ([DENY, rule(True, "a", None, None, "m")], ["block-* m", "char-* m"]),
        ([DENY, rule(True, "a", 5, 1, "r")], ["/dev/block/5:1 r", "/dev/char/5:1 r"]),
        ([rule(True, "c", 1, 3, "rwm"), rule(False, "c", 1, 3, "wm")], ["/dev/char/1:3 r"]),
        ([rule(True, "c", 1, 3, "rwm"), rule(False, "c", 1, None, "rwm")], []),
        ([rule(True, "c", 1, 3, "r"), rule(False, "a", None, None, "rw")], []),
        ([rule(True, "c", 1, 3, "r"), rule(False, "b", 1, 3, "r")], ["/dev/char/1:3 r"]),
        # nothing that is allowed is forbidden in part
        ([rule(True, "c", 1, None, "r"), rule(False, "c", 1, 3, "w")], ["char-1 r"]),
    ],
)
def test_devices(rules: list[Any], entries: list[str]) -> None:
    words = [tuple(entry.split()) for entry in entries]
    for v2 in (True, False):
        found = resource_properties({}, v2, NEW, devices=rules)
        assert found == [CLEAR, STRICT, ("DeviceAllow", "a(ss)", words)]


@pytest.mark.parametrize(
    "rules, v1",
    [
        ([ALL], AUTO),
        ([DENY, ALL, rule(True, "c", 1, 3, "r")], AUTO),
        ([ALL, rule(False, "c", 1, 3, "rwm")], STRICT),  # all but one
        ([rule(True, "c", 1, None, "r"), rule(False, "c", 1, 3, "r")], STRICT),  # a hole
        ([rule(True, "c", None, 3, "r"), rule(False, "c", 1, None, "r")], STRICT),
        ([rule(True, "c", None, 3, "r")], STRICT),  # no name for *:3
    ],
)
def test_devices_that_are_no_list(rules: list[Any], v1: Any) -> None:
    assert resource_properties({}, True, NEW, devices=rules) == [CLEAR, AUTO]
    assert resource_properties({}, False, NEW, devices=rules) == [CLEAR, v1]


def test_default_devices() -> None:
    found = resource_properties({}, True, NEW, devices=[DENY, *DEFAULT_DEVICES])
    assert dict(found[2][2]) == {
        "block-*": "m",
        "char-*": "m",
        "char-136": "rwm",
        **{f"/dev/char/1:{n}": "rwm" for n in (3, 5, 7, 8, 9)},
        "/dev/char/5:0": "rwm",
        "/dev/char/5:2": "rwm",
        "/dev/char/10:200": "rwm",
    }
    old = resource_properties({}, False, 239, devices=DEFAULT_DEVICES)
    assert ("char-pts", "rwm") in old[2][2]
    assert resource_properties({}, False, 239, devices=[rule(True, "c", 7, -1, "r")])[1] == STRICT


# ---- the whole


def test_properties_of_a_scope() -> None:
    unit = Unit("a-b.scope", "machine.slice")
    resources = {"pids": {"limit": 3}}
    notes = {"org.systemd.property.CollectMode": "'inactive-or-failed'", "other": "x"}
    found = properties(unit, True, [7, 8], NEW, resources, notes)
    assert found == [
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
        ("TasksMax", "t", 3),
    ]
    names = [name for name, _, _ in properties(unit, False, [7], NEW)]
    assert "BlockIOAccounting" in names and "IOAccounting" not in names
    with pytest.raises(OcirtError) as caught:
        properties(unit, True, [7], NEW, resources, notes, allow_annotations=False)
    assert caught.value.at == "/annotations/org.systemd.property.CollectMode"


def test_properties_of_a_slice() -> None:
    found = properties(Unit("a-b.slice", "a.slice"), True, [7], NEW)
    assert ("Wants", "as", ["a.slice"]) in found
    assert not {"Slice", "Delegate", "PIDs"} & {name for name, _, _ in found}


@pytest.mark.parametrize(
    "group, version, policy",
    [("1", 253, "kill"), ("0", 253, "continue"), ("1", 252, None), ("2", 253, None)],
)
def test_oom_policy(group: str, version: int, policy: str | None) -> None:
    resources = {"unified": {"memory.oom.group": group}}
    unit = Unit("a.scope", "b.slice")
    found = properties(unit, True, [1], version, resources)
    assert [value for name, _, value in found if name == "OOMPolicy"] == [policy][
        : policy is not None
    ]
    v1 = properties(unit, False, [1], version, resources)
    assert "OOMPolicy" not in [name for name, _, _ in v1]


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
        assert annotated(annotations, True) == [expected]
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
