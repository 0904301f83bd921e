"""linux.resources in, writes to files of cgroup v2 out."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.cgroup.limits_v2 import GROUPS, cpu_weight, io_weight, unified
from ocirt.errors import OcirtError

BASE = "/linux/resources"
DEVICE = {"major": 8, "minor": 16}
NO_THROTTLE = "rbps=max wbps=max riops=max wiops=max"


def writes(resources: dict[str, Any], files: dict[str, str]) -> list[tuple[str, str, str]]:
    """(file, text, pointer below BASE) of every write, in their order."""
    found = []
    for controller, compiler in GROUPS.values():
        for write in compiler(resources, BASE, lambda name: files.get(name, "")):
            assert write.controller == controller
            assert write.at.startswith(f"{BASE}/")
            found.append((write.file, write.text, write.at[len(BASE) + 1 :]))
    return found


ROWS: list[tuple[dict[str, Any], dict[str, str], list[tuple[str, str, str]]]] = [
    ({}, {}, []),
    # ---- pids
    ({"pids": {}}, {}, []),
    ({"pids": {"limit": 20}}, {}, [("pids.max", "20", "pids/limit")]),
    ({"pids": {"limit": 0}}, {}, [("pids.max", "1", "pids/limit")]),
    ({"pids": {"limit": -1}}, {}, [("pids.max", "max", "pids/limit")]),
    # ---- memory
    ({"memory": {}}, {}, []),
    ({"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0}}, {}, []),
    ({"memory": {"useHierarchy": True, "disableOOMKiller": False, "kernel": -1}}, {}, []),
    ({"memory": {"limit": 4096}}, {}, [("memory.max", "4096", "memory/limit")]),
    ({"memory": {"reservation": 4096}}, {}, [("memory.low", "4096", "memory/reservation")]),
    ({"memory": {"reservation": -1}}, {}, [("memory.low", "max", "memory/reservation")]),
    (
        {"memory": {"limit": -1}},
        {},
        [("memory.swap.max", "max", "memory/limit"), ("memory.max", "max", "memory/limit")],
    ),
    (  # swap counts both
        {"memory": {"limit": 3000, "swap": 5000}},
        {},
        [("memory.swap.max", "2000", "memory/swap"), ("memory.max", "3000", "memory/limit")],
    ),
    (
        {"memory": {"limit": 3000, "swap": 3000}},
        {},
        [("memory.swap.max", "0", "memory/swap"), ("memory.max", "3000", "memory/limit")],
    ),
    (
        {"memory": {"limit": 3000, "swap": -1}},
        {},
        [("memory.swap.max", "max", "memory/swap"), ("memory.max", "3000", "memory/limit")],
    ),
    (  # nothing to take from: runc has the sum as it is
        {"memory": {"limit": -1, "swap": 300}},
        {},
        [("memory.swap.max", "300", "memory/swap"), ("memory.max", "max", "memory/limit")],
    ),
    ({"memory": {"swap": -1}}, {}, [("memory.swap.max", "max", "memory/swap")]),
    # ---- memory, with what an earlier update has set
    (  # the sum stays
        {"memory": {"limit": 4000}},
        {"memory.max": "3000\n", "memory.swap.max": "2000\n"},
        [("memory.swap.max", "1000", "memory/limit"), ("memory.max", "4000", "memory/limit")],
    ),
    (  # there was no sum
        {"memory": {"limit": 4000}},
        {"memory.max": "3000\n", "memory.swap.max": "max\n"},
        [("memory.max", "4000", "memory/limit")],
    ),
    (
        {"memory": {"limit": 4000}},
        {"memory.max": "max\n", "memory.swap.max": "5000\n"},
        [("memory.max", "4000", "memory/limit")],
    ),
    (
        {"memory": {"swap": 7000}},
        {"memory.max": "3000\n", "memory.swap.max": "0\n"},
        [("memory.swap.max", "4000", "memory/swap")],
    ),
    (  # both are given: what was there is of no interest
        {"memory": {"limit": 10, "swap": 15}},
        {"memory.max": "3000\n", "memory.swap.max": "2000\n"},
        [("memory.swap.max", "5", "memory/swap"), ("memory.max", "10", "memory/limit")],
    ),
    (
        {"memory": {"limit": 5001, "checkBeforeUpdate": True}},
        {"memory.current": "5000\n"},
        [("memory.max", "5001", "memory/limit")],
    ),
    (  # without swap accounting
        {"memory": {"limit": 5001, "swap": 5001, "checkBeforeUpdate": True}},
        {"memory.current": "5000\n"},
        [("memory.swap.max", "0", "memory/swap"), ("memory.max", "5001", "memory/limit")],
    ),
    (
        {"memory": {"limit": -1, "checkBeforeUpdate": True}},
        {"memory.current": "5000\n"},
        [("memory.swap.max", "max", "memory/limit"), ("memory.max", "max", "memory/limit")],
    ),
    # ---- cpu
    ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": " "}}, {}, []),
    ({"cpu": {"realtimeRuntime": -1, "realtimePeriod": 0}}, {}, []),
    ({"cpu": {"shares": 1024}}, {}, [("cpu.weight", "100", "cpu/shares")]),
    ({"cpu": {"idle": 1}}, {}, [("cpu.idle", "1", "cpu/idle")]),
    ({"cpu": {"idle": 1, "shares": 500}}, {}, [("cpu.idle", "1", "cpu/idle")]),
    (
        {"cpu": {"idle": 0, "shares": 2}},
        {},
        [("cpu.weight", "1", "cpu/shares"), ("cpu.idle", "0", "cpu/idle")],
    ),
    ({"cpu": {"burst": 0}}, {}, [("cpu.max.burst", "0", "cpu/burst")]),
    ({"cpu": {"burst": 700}}, {}, [("cpu.max.burst", "700", "cpu/burst")]),
    ({"cpu": {"cpus": "0-1"}}, {}, [("cpuset.cpus", "0-1", "cpu/cpus")]),
    ({"cpu": {"mems": " 0,2\n"}}, {}, [("cpuset.mems", "0,2", "cpu/mems")]),
    # ---- quota and period, with what the file has
    ({"cpu": {"quota": 5000}}, {}, [("cpu.max", "5000 100000", "cpu/quota")]),
    ({"cpu": {"quota": -1}}, {}, [("cpu.max", "max 100000", "cpu/quota")]),
    ({"cpu": {"period": 7000}}, {}, [("cpu.max", "max 7000", "cpu/period")]),
    ({"cpu": {"quota": 5000, "period": 7000}}, {}, [("cpu.max", "5000 7000", "cpu/quota")]),
    (
        {"cpu": {"quota": 5000}},
        {"cpu.max": "max 30000\n"},
        [("cpu.max", "5000 30000", "cpu/quota")],
    ),
    (
        {"cpu": {"period": 7000}},
        {"cpu.max": "4000 30000\n"},
        [("cpu.max", "4000 7000", "cpu/period")],
    ),
    (
        {"cpu": {"quota": -1}},
        {"cpu.max": "4000 30000\n"},
        [("cpu.max", "max 30000", "cpu/quota")],
    ),
    (
        {"cpu": {"quota": 1, "period": 2000}},
        {"cpu.max": "4000 30000\n"},
        [("cpu.max", "1 2000", "cpu/quota")],
    ),
    # Which of the two no kernel takes
    ({"cpu": {"quota": 5000, "period": 999}}, {}, [("cpu.max", "5000 999", "cpu/period")]),
    ({"cpu": {"quota": 5000, "period": 1000001}}, {}, [("cpu.max", "5000 1000001", "cpu/period")]),
    # ---- blockIO
    ({"blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": []}}, {}, []),
    ({"blockIO": {"weight": 10}}, {}, [("io.weight", "1", "blockIO/weight")]),
    ({"blockIO": {"weight": 1000}}, {}, [("io.weight", "10000", "blockIO/weight")]),
    (
        {"blockIO": {"weight": 500}},
        {"io.weight": "default 100\n"},
        [("io.weight", "4950", "blockIO/weight")],
    ),
    (
        {"blockIO": {"weight": 500}},
        {"io.bfq.weight": "default 100\n", "io.weight": "default 100\n"},
        [("io.bfq.weight", "500", "blockIO/weight")],
    ),
    (
        {"blockIO": {"weightDevice": [{**DEVICE, "weight": 500}]}},
        {},
        [("io.weight", "8:16 4950", "blockIO/weightDevice/0/weight")],
    ),
    (
        {"blockIO": {"weightDevice": [{**DEVICE, "weight": 500}]}},
        {"io.bfq.weight": "default 100\n"},
        [("io.bfq.weight", "8:16 500", "blockIO/weightDevice/0/weight")],
    ),
    (
        {
            "blockIO": {
                "throttleReadBpsDevice": [{**DEVICE, "rate": 1}, {**DEVICE, "rate": 0}],
                "throttleWriteBpsDevice": [{**DEVICE, "rate": 2}],
                "throttleReadIOPSDevice": [{**DEVICE, "rate": 3}],
                "throttleWriteIOPSDevice": [{**DEVICE, "rate": 18446744073709551615}],
            }
        },
        {},
        [
            ("io.max", "8:16 rbps=1", "blockIO/throttleReadBpsDevice/0"),
            ("io.max", "8:16 rbps=max", "blockIO/throttleReadBpsDevice/1"),
            ("io.max", "8:16 wbps=2", "blockIO/throttleWriteBpsDevice/0"),
            ("io.max", "8:16 riops=3", "blockIO/throttleReadIOPSDevice/0"),
            ("io.max", "8:16 wiops=18446744073709551615", "blockIO/throttleWriteIOPSDevice/0"),
        ],
    ),
    # ---- hugepageLimits, network, rdma
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 9}]},
        {},
        [
            ("hugetlb.2MB.max", "0", "hugepageLimits/0"),
            ("hugetlb.2MB.rsvd.max", "0", "hugepageLimits/0"),
            ("hugetlb.1GB.max", "9", "hugepageLimits/1"),
            ("hugetlb.1GB.rsvd.max", "9", "hugepageLimits/1"),
        ],
    ),
    ({"network": {"classID": 0, "priorities": []}}, {}, []),
    (
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "a~b": {"hcaObjects": 0}}},
        {},
        [
            ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "rdma/mlx5_1"),
            ("rdma.max", "a~b hca_object=0", "rdma/a~0b"),
        ],
    ),
]


@pytest.mark.parametrize(("resources", "files", "expected"), ROWS, ids=str)
def test_writes(
    resources: dict[str, Any], files: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    assert writes(resources, files) == expected


NOTHING_LIKE_IT = "cgroup v2 has nothing like it"


@pytest.mark.parametrize(
    ("resources", "files", "at", "message"),
    [
        ({"memory": {"kernel": 1}}, {}, "memory/kernel", NOTHING_LIKE_IT),
        ({"memory": {"kernelTCP": 1}}, {}, "memory/kernelTCP", NOTHING_LIKE_IT),
        ({"memory": {"swappiness": 0}}, {}, "memory/swappiness", NOTHING_LIKE_IT),
        ({"memory": {"disableOOMKiller": True}}, {}, "memory/disableOOMKiller", NOTHING_LIKE_IT),
        ({"memory": {"useHierarchy": False}}, {}, "memory/useHierarchy", NOTHING_LIKE_IT),
        (
            {"memory": {"swap": 5}},
            {"memory.max": "max\n"},
            "memory/swap",
            "a limit of swap needs one of memory",
        ),
        (
            {"memory": {"swap": 5}},
            {"memory.max": "6\n"},
            "memory/swap",
            "memory and swap together, 5, are less than the memory, 6",
        ),
        (
            {"memory": {"limit": 5001}},
            {"memory.max": "3000\n", "memory.swap.max": "2000\n"},
            "memory/limit",
            "more than memory and swap together, 5000, which are limited already",
        ),
        (
            {"memory": {"limit": 5000, "checkBeforeUpdate": True}},
            {"memory.current": "5000\n"},
            "memory/limit",
            "rejecting memory limit 5000: 5000 bytes are used already",
        ),
        (
            {"memory": {"limit": 5001, "swap": 5002, "checkBeforeUpdate": True}},
            {"memory.current": "5000\n", "memory.swap.current": "10\n"},
            "memory/swap",
            "rejecting memory+swap limit 5002: 5010 bytes are used already",
        ),
        ({"cpu": {"realtimeRuntime": 1}}, {}, "cpu/realtimeRuntime", NOTHING_LIKE_IT),
        ({"cpu": {"realtimePeriod": 1}}, {}, "cpu/realtimePeriod", NOTHING_LIKE_IT),
        ({"blockIO": {"leafWeight": 10}}, {}, "blockIO/leafWeight", NOTHING_LIKE_IT),
        (
            {"blockIO": {"weightDevice": [{**DEVICE, "weight": 10}, {**DEVICE, "leafWeight": 9}]}},
            {},
            "blockIO/weightDevice/1/leafWeight",
            NOTHING_LIKE_IT,
        ),
        ({"network": {"classID": 1}}, {}, "network/classID", NOTHING_LIKE_IT),
        (
            {"network": {"priorities": [{"name": "lo", "priority": 0}]}},
            {},
            "network/priorities",
            NOTHING_LIKE_IT,
        ),
    ],
    ids=str,
)
def test_refused(resources: dict[str, Any], files: dict[str, str], at: str, message: str) -> None:
    with pytest.raises(OcirtError) as caught:
        writes(resources, files)
    assert (caught.value.at, caught.value.message) == (f"{BASE}/{at}", message)


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (1024, 100), (262143, 10000), (262144, 10000), (262145, 10000)],
)
def test_cpu_weight_at_the_points_that_runc_tests(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_cpu_weight_never_falls() -> None:
    weights = [cpu_weight(shares) for shares in range(1, 262146, 7)]
    assert weights == sorted(weights)
    assert (weights[0], weights[-1]) == (1, 10000)


@pytest.mark.parametrize(("weight", "expected"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, expected: int) -> None:
    assert io_weight(weight) == expected


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("memory.high", "5", [("5", "", "")]),
        ("memory.high", "", [("", "", "")]),
        ("cpu.max", "5 10", [("5 10", "", "")]),
        ("io.weight", "default 7", [("default 7", "default", "default")]),
        ("io.weight", "7", [("7", "default", "default")]),
        ("io.weight", "8:0 7", [("8:0 7", "8:0", "default")]),
        ("io.bfq.weight", "8:0 7", [("8:0 7", "8:0", "default")]),
        ("io.latency", "8:0 target=7", [("8:0 target=7", "8:0", "target=0")]),
        (
            "io.max",
            "8:0 rbps=1\n8:16 wiops=max\n",
            [("8:0 rbps=1", "8:0", NO_THROTTLE), ("8:16 wiops=max", "8:16", NO_THROTTLE)],
        ),
        ("misc.max", "res_a 3", [("res_a 3", "res_a", "max")]),
        (
            "rdma.max",
            "mlx4_0 hca_handle=2",
            [("mlx4_0 hca_handle=2", "mlx4_0", "hca_handle=max hca_object=max")],
        ),
        (
            "dmem.max",
            "drm/0000:03:00.0/vram0 7",
            [("drm/0000:03:00.0/vram0 7", "drm/0000:03:00.0/vram0", "max")],
        ),
        ("dmem.low", "a/b 7", [("a/b 7", "a/b", "0")]),
    ],
)
def test_unified(key: str, text: str, expected: list[tuple[str, str, str]]) -> None:
    """(text, key of the line, what stands there when it isn't set) of each line."""
    found = unified({"unified": {key: text}}, BASE, lambda name: "")
    assert [(write.text, write.key, write.unset) for write in found] == expected
    assert {write.at for write in found} == {f"{BASE}/unified/{key}"}
    assert {write.file for write in found} == {key}
    assert {write.controller for write in found} == {key.split(".")[0]}
