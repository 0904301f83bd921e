"""linux.resources in, writes to files of cgroup v1 out."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.cgroup import limits_v2
from ocirt.cgroup.limits_v1 import GROUPS, block_io, net_prio
from ocirt.errors import OcirtError

BASE = "/linux/resources"
DEVICE = {"major": 8, "minor": 16}
CFQ = {"blkio.weight": "500\n"}


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
    ({"pids": {"limit": 20}}, {}, [("pids.max", "20", "pids/limit")]),
    ({"pids": {"limit": 0}}, {}, [("pids.max", "1", "pids/limit")]),
    ({"pids": {"limit": -1}}, {}, [("pids.max", "max", "pids/limit")]),
    # ---- memory
    ({"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0}}, {}, []),
    ({"memory": {"checkBeforeUpdate": True}}, {}, []),
    ({"memory": {"limit": 4096}}, {}, [("memory.limit_in_bytes", "4096", "memory/limit")]),
    ({"memory": {"swap": 4096}}, {}, [("memory.memsw.limit_in_bytes", "4096", "memory/swap")]),
    (
        {"memory": {"limit": -1}},
        {},
        [
            ("memory.limit_in_bytes", "-1", "memory/limit"),
            ("memory.memsw.limit_in_bytes", "-1", "memory/limit"),
        ],
    ),
    (
        {"memory": {"limit": -1, "swap": 300}},
        {},
        [
            ("memory.limit_in_bytes", "-1", "memory/limit"),
            ("memory.memsw.limit_in_bytes", "300", "memory/swap"),
        ],
    ),
    (
        {"memory": {"limit": 3000, "swap": 5000, "reservation": 1000}},
        {},
        [
            ("memory.limit_in_bytes", "3000", "memory/limit"),
            ("memory.memsw.limit_in_bytes", "5000", "memory/swap"),
            ("memory.soft_limit_in_bytes", "1000", "memory/reservation"),
        ],
    ),
    (
        {"memory": {"kernel": 10, "kernelTCP": 20, "reservation": -1}},
        {},
        [
            ("memory.kmem.limit_in_bytes", "10", "memory/kernel"),
            ("memory.kmem.tcp.limit_in_bytes", "20", "memory/kernelTCP"),
            ("memory.soft_limit_in_bytes", "-1", "memory/reservation"),
        ],
    ),
    (
        {"memory": {"swappiness": 0, "disableOOMKiller": True, "useHierarchy": True}},
        {},
        [
            ("memory.use_hierarchy", "1", "memory/useHierarchy"),
            ("memory.swappiness", "0", "memory/swappiness"),
            ("memory.oom_control", "1", "memory/disableOOMKiller"),
        ],
    ),
    (
        {"memory": {"disableOOMKiller": False, "useHierarchy": False}},
        {},
        [
            ("memory.use_hierarchy", "0", "memory/useHierarchy"),
            ("memory.oom_control", "0", "memory/disableOOMKiller"),
        ],
    ),
    # ---- cpu
    ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": " "}}, {}, []),
    ({"cpu": {"realtimeRuntime": 0, "realtimePeriod": 0}}, {}, []),
    ({"cpu": {"shares": 2}}, {}, [("cpu.shares", "2", "cpu/shares")]),
    ({"cpu": {"shares": 262144}}, {}, [("cpu.shares", "262144", "cpu/shares")]),
    ({"cpu": {"idle": 1, "shares": 500}}, {}, [("cpu.idle", "1", "cpu/idle")]),
    (
        {"cpu": {"idle": 0, "shares": 500}},
        {},
        [("cpu.shares", "500", "cpu/shares"), ("cpu.idle", "0", "cpu/idle")],
    ),
    (
        {"cpu": {"quota": 5000, "period": 7000, "burst": 6000}},
        {"cpu.cfs_period_us": "100000\n"},
        [
            ("cpu.cfs_period_us", "7000", "cpu/period"),
            ("cpu.cfs_quota_us", "5000", "cpu/quota"),
            ("cpu.cfs_burst_us", "6000", "cpu/burst"),
        ],
    ),
    ({"cpu": {"quota": -1}}, {}, [("cpu.cfs_quota_us", "-1", "cpu/quota")]),
    ({"cpu": {"burst": 0}}, {}, [("cpu.cfs_burst_us", "0", "cpu/burst")]),
    (
        {"cpu": {"realtimeRuntime": 5000, "realtimePeriod": 7000}},
        {},
        [
            ("cpu.rt_period_us", "7000", "cpu/realtimePeriod"),
            ("cpu.rt_runtime_us", "5000", "cpu/realtimeRuntime"),
        ],
    ),
    (
        {"cpu": {"realtimeRuntime": -1}},
        {},
        [("cpu.rt_runtime_us", "-1", "cpu/realtimeRuntime")],
    ),
    (
        {"cpu": {"cpus": "0-1", "mems": " 0\n"}},
        {"cpuset.cpus": "0-3\n", "cpuset.mems": "0\n"},
        [("cpuset.cpus", "0-1", "cpu/cpus"), ("cpuset.mems", "0", "cpu/mems")],
    ),
    (  # mounted noprefix
        {"cpu": {"cpus": "0-1", "mems": "0"}},
        {"cpus": "0-3\n", "mems": "0\n"},
        [("cpus", "0-1", "cpu/cpus"), ("mems", "0", "cpu/mems")],
    ),
    # ---- blockIO
    ({"blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": []}}, {}, []),
    ({"blockIO": {"weight": 500}}, {}, [("blkio.bfq.weight", "500", "blockIO/weight")]),
    (
        {"blockIO": {"weight": 500, "leafWeight": 300}},
        CFQ,
        [
            ("blkio.weight", "500", "blockIO/weight"),
            ("blkio.leaf_weight", "300", "blockIO/leafWeight"),
        ],
    ),
    (
        {
            "blockIO": {
                "weightDevice": [
                    {**DEVICE, "weight": 500, "leafWeight": 300},
                    {**DEVICE, "leafWeight": 20, "weight": 0},
                ]
            }
        },
        CFQ,
        [
            ("blkio.weight_device", "8:16 500", "blockIO/weightDevice/0/weight"),
            ("blkio.leaf_weight_device", "8:16 300", "blockIO/weightDevice/0/leafWeight"),
            ("blkio.leaf_weight_device", "8:16 20", "blockIO/weightDevice/1/leafWeight"),
        ],
    ),
    (
        {"blockIO": {"weightDevice": [{**DEVICE, "weight": 500}]}},
        {"blkio.bfq.weight": "100\n"},
        [("blkio.bfq.weight_device", "8:16 500", "blockIO/weightDevice/0/weight")],
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
            ("blkio.throttle.read_bps_device", "8:16 1", "blockIO/throttleReadBpsDevice/0"),
            ("blkio.throttle.read_bps_device", "8:16 0", "blockIO/throttleReadBpsDevice/1"),
            ("blkio.throttle.write_bps_device", "8:16 2", "blockIO/throttleWriteBpsDevice/0"),
            ("blkio.throttle.read_iops_device", "8:16 3", "blockIO/throttleReadIOPSDevice/0"),
            (
                "blkio.throttle.write_iops_device",
                "8:16 18446744073709551615",
                "blockIO/throttleWriteIOPSDevice/0",
            ),
        ],
    ),
    # ---- hugepageLimits, network, rdma
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
        {},
        [
            ("hugetlb.2MB.limit_in_bytes", "0", "hugepageLimits/0"),
            ("hugetlb.2MB.rsvd.limit_in_bytes", "0", "hugepageLimits/0"),
        ],
    ),
    ({"network": {"classID": 0, "priorities": []}}, {}, []),
    (
        {
            "network": {
                "classID": 0x100001,
                "priorities": [{"name": "lo", "priority": 0}, {"name": "eth0", "priority": 9}],
            }
        },
        {},
        [
            ("net_cls.classid", "1048577", "network/classID"),
            ("net_prio.ifpriomap", "lo 0", "network/priorities/0"),
            ("net_prio.ifpriomap", "eth0 9", "network/priorities/1"),
        ],
    ),
    (
        {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}},
        {},
        [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "rdma/mlx5_1")],
    ),
]


@pytest.mark.parametrize(("resources", "files", "expected"), ROWS, ids=str)
def test_writes(
    resources: dict[str, Any], files: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    assert writes(resources, files) == expected


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_that_the_kernel_would_change(shares: int) -> None:
    with pytest.raises(OcirtError) as caught:
        writes({"cpu": {"shares": shares}}, {})
    assert caught.value.at == f"{BASE}/cpu/shares"
    assert caught.value.message == f"must be from 2 to 262144, not {shares}"


def test_every_group_of_version_2_has_its_counterpart() -> None:
    assert limits_v2.GROUPS.keys() <= GROUPS.keys()


@pytest.mark.parametrize(("files", "unset"), [(CFQ, "0"), ({}, "default")])
def test_what_a_weight_of_no_device_is(files: dict[str, str], unset: str) -> None:
    """BFQ refuses 0 (bfq-cgroup.c)."""
    resources = {"blockIO": {"weightDevice": [{**DEVICE, "weight": 500}]}}
    [write] = block_io(resources, BASE, lambda name: files.get(name, ""))
    assert (write.key, write.unset) == ("8:16", unset)


def test_what_limits_nothing_may_lack_its_file() -> None:
    resources = {
        "pids": {"limit": -1},
        "memory": {"limit": -1, "kernel": -1, "useHierarchy": True, "disableOOMKiller": False},
        "cpu": {"shares": 1024, "quota": -1, "burst": 0, "idle": 0, "realtimeRuntime": -1},
    }
    for _controller, compiler in GROUPS.values():
        assert all(write.optional for write in compiler(resources, BASE, lambda name: ""))


def test_lines_of_interfaces() -> None:
    resources = {"network": {"priorities": [{"name": "eth0", "priority": 9}]}}
    [write] = net_prio(resources, BASE, lambda name: "")
    assert (write.key, write.unset) == ("eth0", "0")
