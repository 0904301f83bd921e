"""Whatever passes the schema and the rules is refused at its place, or becomes lines for files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ocirt.cgroup import limits_v1, limits_v2
from ocirt.cgroup.manager import Manager
from ocirt.cgroup.resources import compile_writes
from ocirt.config.load import check_resources
from ocirt.errors import ConfigError, OcirtError

BASE = "/linux/resources"
INT64 = st.sampled_from([-1, 0, 1, 2, 4096, (1 << 63) - 1]) | st.integers(-1, (1 << 63) - 1)
UINT64 = st.sampled_from([0, 1, 2, 1024, (1 << 64) - 1]) | st.integers(0, (1 << 64) - 1)
NUMBER = st.integers(0, 300)
WEIGHT = st.just(0) | st.integers(10, 1000)
CPUS = st.sampled_from(["", " ", "0", "0-3,7", "0-6:2", " 1 , 2\n"])
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


def some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members)


def throttles() -> st.SearchStrategy[list[dict[str, Any]]]:
    device = {"major": NUMBER, "minor": NUMBER, "rate": UINT64}
    return st.lists(st.fixed_dictionaries(device), max_size=2)


RESOURCES = some(
    memory=some(
        limit=INT64,
        swap=INT64,
        reservation=INT64,
        kernel=INT64,
        kernelTCP=INT64,
        swappiness=st.integers(0, 100),
        disableOOMKiller=st.booleans(),
        useHierarchy=st.booleans(),
        checkBeforeUpdate=st.booleans(),
    ),
    cpu=some(
        shares=st.integers(0, 262144),
        quota=INT64,
        period=UINT64,
        burst=UINT64,
        realtimeRuntime=INT64,
        realtimePeriod=UINT64,
        idle=st.integers(0, 1),
        cpus=CPUS,
        mems=CPUS,
    ),
    pids=st.fixed_dictionaries({"limit": INT64}),
    blockIO=some(
        weight=WEIGHT,
        leafWeight=WEIGHT,
        weightDevice=st.lists(
            st.fixed_dictionaries(
                {"major": NUMBER, "minor": NUMBER},
                optional={"weight": WEIGHT, "leafWeight": WEIGHT},
            ),
            max_size=2,
        ),
        throttleReadBpsDevice=throttles(),
        throttleWriteBpsDevice=throttles(),
        throttleReadIOPSDevice=throttles(),
        throttleWriteIOPSDevice=throttles(),
    ),
    hugepageLimits=st.lists(
        st.fixed_dictionaries({"pageSize": st.sampled_from(["2MB", "1GB"]), "limit": UINT64}),
        max_size=2,
    ),
    network=some(
        classID=st.integers(0, (1 << 32) - 1),
        priorities=st.lists(
            st.fixed_dictionaries({"name": NAMES, "priority": st.integers(0, (1 << 32) - 1)}),
            max_size=2,
        ),
    ),
    rdma=st.dictionaries(
        NAMES,
        some(
            hcaHandles=st.integers(0, (1 << 32) - 1),
            hcaObjects=st.integers(0, (1 << 32) - 1),
        ),
        max_size=2,
    ),
    unified=st.dictionaries(
        NAMES | st.sampled_from(["memory.high", "io.max", "cgroup.max.depth"]), NAMES, max_size=2
    ),
)
LIMIT = st.integers(0, 1 << 62).map(str) | st.just("max")
FILES = st.fixed_dictionaries(
    {},
    optional={
        "memory.max": LIMIT,
        "memory.swap.max": LIMIT,
        "memory.current": st.integers(0, 1 << 62).map(str),
        "memory.swap.current": st.integers(0, 1 << 62).map(str),
        "cpu.max": st.sampled_from(["max 100000", "5000 10000"]),
        "io.bfq.weight": st.just("default 100"),
        "blkio.weight": st.just("500"),
    },
)


def exists(document: Any, at: str) -> bool:
    """Has the document such a place, below the base?"""
    assert at.startswith(f"{BASE}/")
    for part in at[len(BASE) + 1 :].split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        try:
            document = document[int(part)] if isinstance(document, list) else document[part]
        except (KeyError, IndexError):
            return False
    return True


def valid(resources: dict[str, Any]) -> bool:
    try:
        check_resources(resources, "x")
    except ConfigError:
        return False
    return True


@given(RESOURCES.filter(valid), FILES)
def test_writes_or_a_place(resources: dict[str, Any], files: dict[str, str]) -> None:
    def read(name: str) -> str:
        return files.get(name, "")

    compilers = [*limits_v1.GROUPS.values(), *limits_v2.GROUPS.values()]
    for controller, compiler in [*compilers, ("", limits_v2.unified)]:
        try:
            writes = compiler(resources, BASE, read)
        except OcirtError as error:
            assert exists(resources, error.at or "")
            continue
        for write in writes:
            assert exists(resources, write.at)
            assert write.controller == (controller or write.file.partition(".")[0])
            assert "/" not in write.file
            assert len(write.text.splitlines()) <= 1
            assert write.text or compiler is limits_v2.unified
            if write.key and write.key != "default":
                assert write.text.startswith(f"{write.key} ")
                assert write.unset


@given(RESOURCES.filter(valid), st.booleans(), st.booleans())
def test_of_a_host_without_controllers(
    resources: dict[str, Any], pure: bool, unified: bool
) -> None:
    """Each write has no folder there, or one that is not there."""
    folder = str(Path(__file__).parent / "none") if pure or unified else ""
    try:
        writes = compile_writes(Manager({}, {}, folder, pure), resources, BASE)
    except OcirtError as error:
        assert exists(resources, error.at or "")
        return
    assert {write.folder for write in writes} <= {folder, ""}
