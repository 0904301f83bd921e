"""Every field of linux.resources on the real kernel: set, read, updated, read again. What
limits do is in test_limits_hold.py."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import V2, Limited

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers and cgroups need root")

MEGABYTE = 1 << 20


def size_of_pages(text: str) -> str:
    """What version 1 makes of a number of bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return str(int(text) // page * page)


class Field:
    """``steps``: (resources or flags of update, texts of the files of version 1, of version 2).
    The first is for create. Texts None: there is no such field in that version."""

    def __init__(
        self,
        name: str,
        *steps: tuple[Any, dict[str, str] | None, dict[str, str] | None],
    ) -> None:
        self.name = name
        self.steps = steps


def bytes_field(name: str, v1: str, v2: str | None, flag: str) -> Field:
    """One member of linux.resources.memory."""
    first, second, third = (str(n * MEGABYTE) for n in (64, 96, 128))
    return Field(
        f"memory.{name}",
        ({"memory": {name: int(first)}}, {v1: first}, {v2: first} if v2 else None),
        ([f"--{flag}", "96m"], {v1: second}, {v2: second} if v2 else None),
        ({"memory": {name: int(third)}}, {v1: third}, {v2: third} if v2 else None),
    )


NODE, CPUS = "0", sorted(os.sched_getaffinity(0))
FIELDS = [
    bytes_field("limit", "memory.limit_in_bytes", "memory.max", "memory"),
    bytes_field("reservation", "memory.soft_limit_in_bytes", "memory.low", "memory-reservation"),
    bytes_field("kernelTCP", "memory.kmem.tcp.limit_in_bytes", None, "kernel-memory-tcp"),
    Field(
        "memory.swap",
        (
            {"memory": {"limit": 64 * MEGABYTE, "swap": 80 * MEGABYTE}},
            {"memory.memsw.limit_in_bytes": str(80 * MEGABYTE)},
            {"memory.swap.max": str(16 * MEGABYTE)},
        ),
        (
            ["--memory-swap", "96m"],
            {"memory.memsw.limit_in_bytes": str(96 * MEGABYTE)},
            {"memory.swap.max": str(32 * MEGABYTE)},
        ),
        # Both go up, and down again: whichever the kernel wants first.
        (
            {"memory": {"limit": 200 * MEGABYTE, "swap": 300 * MEGABYTE}},
            {
                "memory.limit_in_bytes": str(200 * MEGABYTE),
                "memory.memsw.limit_in_bytes": str(300 * MEGABYTE),
            },
            {"memory.max": str(200 * MEGABYTE), "memory.swap.max": str(100 * MEGABYTE)},
        ),
        (
            ["--memory", "64m", "--memory-swap", "64m"],
            {
                "memory.limit_in_bytes": str(64 * MEGABYTE),
                "memory.memsw.limit_in_bytes": str(64 * MEGABYTE),
            },
            {"memory.max": str(64 * MEGABYTE), "memory.swap.max": "0"},
        ),
        (
            ["--memory", "-1"],
            {
                "memory.limit_in_bytes": size_of_pages(str((1 << 63) - 1)),
                "memory.memsw.limit_in_bytes": size_of_pages(str((1 << 63) - 1)),
            },
            {"memory.max": "max", "memory.swap.max": "max"},
        ),
    ),
    Field(
        "memory.swappiness",
        ({"memory": {"swappiness": 7}}, {"memory.swappiness": "7"}, None),
        ({"memory": {"swappiness": 0}}, {"memory.swappiness": "0"}, None),
    ),
    Field(
        "memory.useHierarchy",
        ({"memory": {"useHierarchy": True}}, {"memory.use_hierarchy": "1"}, {}),
        ({"memory": {"useHierarchy": True}}, {"memory.use_hierarchy": "1"}, {}),
    ),
    Field(
        "memory.checkBeforeUpdate",
        (
            {"memory": {"limit": 64 * MEGABYTE, "checkBeforeUpdate": True}},
            {"memory.limit_in_bytes": str(64 * MEGABYTE)},
            {"memory.max": str(64 * MEGABYTE)},
        ),
        (
            {"memory": {"limit": 96 * MEGABYTE, "checkBeforeUpdate": True}},
            {"memory.limit_in_bytes": str(96 * MEGABYTE)},
            {"memory.max": str(96 * MEGABYTE)},
        ),
    ),
    Field(
        "cpu.shares",
        ({"cpu": {"shares": 2048}}, {"cpu.shares": "2048"}, {"cpu.weight": "174"}),
        (["--cpu-share", "2"], {"cpu.shares": "2"}, {"cpu.weight": "1"}),
        ({"cpu": {"shares": 262144}}, {"cpu.shares": "262144"}, {"cpu.weight": "10000"}),
    ),
    Field(
        "cpu.quota+period",
        (
            {"cpu": {"quota": 30000, "period": 60000}},
            {"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "60000"},
            {"cpu.max": "30000 60000"},
        ),
        (
            ["--cpu-quota", "20000"],
            {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "60000"},
            {"cpu.max": "20000 60000"},
        ),
        (
            ["--cpu-period", "50000"],
            {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000"},
            {"cpu.max": "20000 50000"},
        ),
        (
            {"cpu": {"quota": -1}},
            {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "50000"},
            {"cpu.max": "max 50000"},
        ),
    ),
    Field(
        "cpu.burst",
        (
            {"cpu": {"quota": 30000, "burst": 10000}},
            {"cpu.cfs_burst_us": "10000"},
            {"cpu.max.burst": "10000"},
        ),
        (["--cpu-burst", "5000"], {"cpu.cfs_burst_us": "5000"}, {"cpu.max.burst": "5000"}),
        # The quota may not be less than the burst: in whatever order.
        (
            {"cpu": {"quota": 4000, "burst": 3000}},
            {"cpu.cfs_quota_us": "4000", "cpu.cfs_burst_us": "3000"},
            {"cpu.max": "4000 100000", "cpu.max.burst": "3000"},
        ),
        ({"cpu": {"burst": 0}}, {"cpu.cfs_burst_us": "0"}, {"cpu.max.burst": "0"}),
    ),
    Field(
        "cpu.idle",
        ({"cpu": {"idle": 1, "shares": 2048}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
        (["--cpu-idle", "0"], {"cpu.idle": "0"}, {"cpu.idle": "0"}),
        ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
        (
            {"cpu": {"idle": 0, "shares": 2048}},
            {"cpu.idle": "0", "cpu.shares": "2048"},
            {"cpu.idle": "0", "cpu.weight": "174"},
        ),
    ),
    Field(
        "cpu.realtime",
        (
            {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500000}},
            {"cpu.rt_runtime_us": "1000", "cpu.rt_period_us": "500000"},
            None,
        ),
        (["--cpu-rt-runtime", "2000"], {"cpu.rt_runtime_us": "2000"}, None),
        (["--cpu-rt-period", "400000"], {"cpu.rt_period_us": "400000"}, None),
        (
            {"cpu": {"realtimeRuntime": 3000, "realtimePeriod": 300000}},
            {"cpu.rt_runtime_us": "3000", "cpu.rt_period_us": "300000"},
            None,
        ),
    ),
    Field(
        "cpu.cpus",
        *[
            (how, {"cpuset.cpus": str(cpu)}, {"cpuset.cpus": str(cpu)})
            for how, cpu in (
                ({"cpu": {"cpus": f"{CPUS[-1]}"}}, CPUS[-1]),
                (["--cpuset-cpus", str(CPUS[0])], CPUS[0]),
                ({"cpu": {"cpus": f" {CPUS[-1]} "}}, CPUS[-1]),
            )
        ],
    ),
    Field(
        "cpu.mems",
        ({"cpu": {"mems": NODE}}, {"cpuset.mems": NODE}, {"cpuset.mems": NODE}),
        (["--cpuset-mems", NODE], {"cpuset.mems": NODE}, {"cpuset.mems": NODE}),
        ({"cpu": {"mems": f"{NODE}-{NODE}"}}, {"cpuset.mems": NODE}, {"cpuset.mems": NODE}),
    ),
    Field(
        "pids.limit",
        ({"pids": {"limit": 20}}, {"pids.max": "20"}, {"pids.max": "20"}),
        (["--pids-limit", "30"], {"pids.max": "30"}, {"pids.max": "30"}),
        (["--pids-limit", "-1"], {"pids.max": "max"}, {"pids.max": "max"}),
        ({"pids": {"limit": 40}}, {"pids.max": "40"}, {"pids.max": "40"}),
        ({"pids": {"limit": 0}}, {"pids.max": "1"}, {"pids.max": "1"}),
    ),
    Field(
        "hugepageLimits",
        *[
            (
                {"hugepageLimits": [{"pageSize": "2MB", "limit": n}]},
                {"hugetlb.2MB.limit_in_bytes": str(n), "hugetlb.2MB.rsvd.limit_in_bytes": str(n)},
                {"hugetlb.2MB.max": str(n), "hugetlb.2MB.rsvd.max": str(n)},
            )
            for n in (2 * MEGABYTE, 4 * MEGABYTE, 0)
        ],
    ),
]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_field(field: Field, limited: Limited, needs: Any) -> None:
    (resources, *firsts), *updates = field.steps
    if firsts[V2] is None:
        refused_by_version_2(limited, resources)
        return
    needs(*(file for files in firsts for file in files or {"cgroup.procs": ""}))
    limited.run(resources)
    limited.expect(*firsts)
    for how, *files in updates:
        if isinstance(how, list):
            limited.ocirt("update", *how, limited.id, check=True)
        else:
            updated = limited.update(how)
            assert (updated.returncode, updated.stderr) == (0, "")
        limited.expect(*files)
    assert updates


def refused_by_version_2(limited: Limited, resources: dict[str, Any]) -> None:
    created = limited.create(resources)
    [(group, members)] = resources.items()
    at = f"/{group}/{next(iter(members))}"
    assert created.returncode == 1
    assert f"config.json#/linux/resources{at}: cgroup v2 has nothing like it" in created.stderr
    limited.run({})
    updated = limited.update(resources)
    assert updated.returncode == 1
    assert f"resources#{at}: cgroup v2 has nothing like it" in updated.stderr


# ---- blockIO: what there is depends on the kernel's I/O schedulers


@pytest.fixture(scope="session")
def disk() -> str:
    """ "major:minor" of a block device, if possible of one that nobody uses."""
    if not list(Path("/sys/block").glob("loop*")):
        subprocess.run(["modprobe", "loop"], check=False, capture_output=True)
    found = sorted(Path("/sys/block").glob("loop*")) or sorted(Path("/sys/block").iterdir())
    if not found:
        pytest.skip("this host has no block device")
    return (found[-1] / "dev").read_text().strip()


def on(disk: str, **values: int) -> dict[str, int]:
    major, minor = (int(number) for number in disk.split(":"))
    return {"major": major, "minor": minor, **values}


THROTTLES = [
    ("ReadBps", "blkio.throttle.read_bps_device", "rbps"),
    ("WriteBps", "blkio.throttle.write_bps_device", "wbps"),
    ("ReadIOPS", "blkio.throttle.read_iops_device", "riops"),
    ("WriteIOPS", "blkio.throttle.write_iops_device", "wiops"),
]


@pytest.mark.parametrize(("kind", "file", "key"), THROTTLES)
def test_throttles(kind: str, file: str, key: str, limited: Limited, disk: str, needs: Any) -> None:
    needs(file, "io.max")
    member = f"throttle{kind}Device"

    def expect(rate: int) -> None:
        texts = dict.fromkeys(("rbps", "wbps", "riops", "wiops"), "max") | {key: str(rate)}
        line = " ".join(f"{name}={text}" for name, text in texts.items())
        limited.expect(
            {file: f"{disk} {rate}" if rate else ""},
            {"io.max": f"{disk} {line}" if rate else ""},
        )

    limited.run({"blockIO": {member: [on(disk, rate=1000000)]}})
    assert limited.read(file) or limited.read("io.max")
    expect(1000000)
    assert limited.update({"blockIO": {member: [on(disk, rate=2000)]}}).returncode == 0
    expect(2000)
    assert limited.update({"blockIO": {member: [on(disk, rate=0)]}}).returncode == 0
    assert "2000" not in limited.read(file) + limited.read("io.max")
    done = limited.update({"blockIO": {member: [{"major": 4095, "minor": 9, "rate": 5}]}})
    assert done.returncode == 1
    assert f"resources#/blockIO/{member}/0: write 4095:9 " in done.stderr
    assert "ENODEV" in done.stderr


@pytest.mark.parametrize("rate", [None, 1000])
def test_a_refused_update_leaves_the_lines_of_devices(
    rate: int | None, limited: Limited, disk: str, needs: Any
) -> None:
    """That of the disk as it was, or without limits if there was none."""
    needs("blkio.throttle.read_bps_device", "io.max")

    def throttle(value: int) -> dict[str, Any]:
        device = on(disk, rate=value)
        return {"throttleReadBpsDevice": [device], "throttleWriteBpsDevice": [device]}

    files = ("io.max", "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")
    limited.run({"blockIO": throttle(rate)} if rate else {})
    before = [limited.read(file) for file in files]
    assert any("1000" in text for text in before) == bool(rate)
    bad = {**throttle(2000), "throttleReadIOPSDevice": [{"major": 4095, "minor": 9, "rate": 5}]}
    done = limited.update({"blockIO": bad})
    assert done.returncode == 1
    assert "resources#/blockIO/throttleReadIOPSDevice/0: write 4095:9 " in done.stderr
    assert [limited.read(file) for file in files] == before


def test_weight(limited: Limited, needs: Any) -> None:
    """10 to 1000 are BFQ's numbers; io.weight has 1 to 10000."""
    needs("blkio.bfq.weight", "io.bfq.weight", "io.weight")
    limited.run({"blockIO": {"weight": 500}})

    def expect(weight: int, converted: int) -> None:
        bfq = {"io.bfq.weight": f"default {weight}"}
        has_bfq = limited.read("io.bfq.weight")
        v2 = bfq if has_bfq else {"io.weight": f"default {converted}"}
        limited.expect({"blkio.bfq.weight": str(weight)}, v2)

    expect(500, 4950)
    limited.ocirt("update", "--blkio-weight", "1000", limited.id, check=True)
    expect(1000, 10000)
    assert limited.update({"blockIO": {"weight": 10}}).returncode == 0
    expect(10, 1)


def test_weight_of_a_device(limited: Limited, disk: str, needs: Any) -> None:
    """A kernel takes one only where the device has a scheduler that knows weights."""
    needs("blkio.bfq.weight_device", "io.bfq.weight", "io.weight")
    limited.run({})
    done = limited.update({"blockIO": {"weightDevice": [on(disk, weight=500)]}})
    if done.returncode:
        assert "resources#/blockIO/weightDevice/0/weight: write " in done.stderr
        assert "ENOTSUP" in done.stderr
    else:
        texts = [limited.read(f"{name}.bfq.weight") for name in ("io", "blkio")]
        assert f"{disk} 500" in "".join(texts) or f"{disk} 4950" in limited.read("io.weight")


def test_leaf_weight(limited: Limited) -> None:
    """Went with the CFQ scheduler."""
    created = limited.create({"blockIO": {"leafWeight": 100}})
    assert created.returncode == 1
    text = "cgroup v2 has nothing like it" if V2 else "this kernel has no blkio.leaf_weight"
    assert f"config.json#/linux/resources/blockIO/leafWeight: {text}" in created.stderr


# ---- what is written or refused by other rules


@pytest.mark.skipif(V2, reason="version 2 has nothing like it")
def test_kernel_memory(limited: Limited, needs: Any) -> None:
    """Today's kernels take it and do nothing: that is said."""
    needs("memory.kmem.limit_in_bytes")
    created = limited.create({"memory": {"kernel": 64 * MEGABYTE}})
    if created.returncode:
        assert "config.json#/linux/resources/memory/kernel: write " in created.stderr
        assert "ENOTSUP" in created.stderr
        return
    for how, at in (([], "/linux/resources/memory"), (["--kernel-memory", "32m"], "/memory")):
        said = (
            limited.ocirt("update", *how, limited.id, check=True).stderr if how else created.stderr
        )
        is_set = limited.read("memory.kmem.limit_in_bytes") in (str(64 << 20), str(32 << 20))
        assert (f"warning: {at}/kernel: this kernel ignores it" in said) == (not is_set)


@pytest.mark.skipif(V2, reason="version 2 has nothing like it")
def test_no_hierarchy(limited: Limited, needs: Any) -> None:
    """Every kernel that ocirt runs on has one."""
    needs("memory.use_hierarchy")
    created = limited.create({"memory": {"useHierarchy": False}})
    assert created.returncode == 1
    assert "config.json#/linux/resources/memory/useHierarchy: write 0 to " in created.stderr
    assert "EINVAL" in created.stderr


MISSING = [
    ({"network": {"classID": 1048577}}, "network/classID", "net_cls", "net_cls.classid"),
    (
        {"network": {"priorities": [{"name": "lo", "priority": 5}]}},
        "network/priorities/0",
        "net_prio",
        "net_prio.ifpriomap",
    ),
    ({"rdma": {"mlx5_9": {"hcaHandles": 3}}}, "rdma/mlx5_9", "rdma", "rdma.max"),
]


@pytest.mark.parametrize(
    ("resources", "at", "controller", "file"), MISSING, ids=lambda v: str(v)[:9]
)
def test_controllers_that_few_hosts_have(
    resources: dict[str, Any],
    at: str,
    controller: str,
    file: str,
    limited: Limited,
    leftovers: Callable[[Any], list[str]],
    files_of_a_cgroup: frozenset[str],
) -> None:
    created = limited.create(resources)
    if file in files_of_a_cgroup and controller != "rdma":
        assert created.returncode == 0, created.stderr
        wanted = {"net_cls": "1048577", "net_prio": "lo 5"}[controller]
        assert wanted in limited.read(file)
        return
    assert created.returncode == 1
    text = "cgroup v2 has nothing like it"
    if file in files_of_a_cgroup:
        text = "write mlx5_9 hca_handle=3 to "
    elif not V2 or controller == "rdma":
        text = f"the cgroup controller {controller} is not available, {file} can't be set"
    at = at.removesuffix("/0") if V2 else at
    assert f"config.json#/linux/resources/{at}: {text}" in created.stderr
    assert leftovers(limited.bundle) == []


# ---- unified


def test_unified(limited: Limited, needs: Any) -> None:
    needs("cgroup.max.depth")
    limited.run({"unified": {"cgroup.max.depth": "5", "cgroup.max.descendants": "7"}})
    limited.expect({}, {"cgroup.max.depth": "5", "cgroup.max.descendants": "7"})
    assert limited.update({"unified": {"cgroup.max.depth": "6"}}).returncode == 0
    limited.expect({}, {"cgroup.max.depth": "6", "cgroup.max.descendants": "7"})


@pytest.mark.skipif(not V2, reason="controllers are version 1's")
def test_unified_with_a_controller(limited: Limited) -> None:
    """It is stronger than the field of version 1 for the same file."""
    unified = {"memory.high": "67108864", "pids.max": "33", "cpu.max": "20000 50000"}
    limited.run({"pids": {"limit": 20}, "unified": unified})
    limited.expect({}, unified)
    assert limited.update({"unified": {"memory.high": "max"}}).returncode == 0
    limited.expect({}, unified | {"memory.high": "max"})


@pytest.mark.skipif(V2, reason="version 2 has them")
def test_unified_is_refused_on_version_1(limited: Limited, needs: Any) -> None:
    needs("memory.limit_in_bytes")
    created = limited.create({"unified": {"memory.high": "max"}})
    text = "invalid configuration: needs cgroup v2, which has no controller memory on this host"
    assert created.returncode == 1
    assert f"config.json#/linux/resources/unified/memory.high: {text}" in created.stderr
