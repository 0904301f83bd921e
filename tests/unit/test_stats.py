"""ocirt.cgroup.stats on folders that hold what kernels have in theirs; and ``ps``, durations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup import oom, stat_files
from ocirt.cgroup.manager import Manager
from ocirt.cgroup.stats import read_stats
from ocirt.cgroup.stats_v1 import numbers
from ocirt.commands.events import duration
from ocirt.commands.ps import host_ps, select
from ocirt.errors import KernelError, OcirtError, UsageError

MAX = (1 << 64) - 1
UNLIMITED = 9223372036854771712  # of v1

V1 = {
    "cpu,cpuacct": {
        "cpuacct.usage": "14705186\n",
        "cpuacct.usage_percpu": "13793788 911398 \n",
        "cpuacct.usage_all": "cpu user system\n0 12000000 7\n1 0 3\n",
        "cpuacct.stat": "user 1\nsystem 2\n",
        "cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 1234\nwait_sum 9\n",
    },
    "cpuset": {
        "cpuset.cpus": "0-2,5\n",
        "cpuset.mems": "0\n",
        "cpuset.cpu_exclusive": "0\n",
        "cpuset.sched_load_balance": "1\n",
        "cpuset.sched_relax_domain_level": "-1\n",
    },
    "memory": {
        "memory.stat": "cache 12288\nrss 57344\nodd\nbroken -5\n",
        "memory.usage_in_bytes": "557056\n",
        "memory.max_usage_in_bytes": "2252800\n",
        "memory.limit_in_bytes": f"{UNLIMITED}\n",
        "memory.failcnt": "3\n",
        # no memory.kmem.limit_in_bytes: Linux 5.16 removed it
        "memory.kmem.usage_in_bytes": "282624\n",
        "memory.kmem.max_usage_in_bytes": "606208\n",
        "memory.kmem.failcnt": "0\n",
        "memory.kmem.tcp.limit_in_bytes": f"{UNLIMITED}\n",
        "memory.kmem.tcp.usage_in_bytes": "0\n",
    },
    "pids": {"pids.current": "1\n", "pids.max": "max\n"},
    "blkio": {
        "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 0\n8:0 Total 1\nTotal 1\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\nTotal 4096\n",
        "blkio.throttle.io_serviced": "9:9 Read 77\n",
    },
    "hugetlb": {
        "hugetlb.2MB.usage_in_bytes": "4194304\n",
        "hugetlb.2MB.max_usage_in_bytes": "6291456\n",
        "hugetlb.2MB.failcnt": "1\n",
        "hugetlb.1GB.usage_in_bytes": "7\n",
        "hugetlb.1GB.rsvd.usage_in_bytes": "0\n",
        "hugetlb.1GB.rsvd.max_usage_in_bytes": "0\n",
        "hugetlb.1GB.rsvd.failcnt": "0\n",
    },
    "unified": {"cpu.pressure": "some avg10=9.00 avg60=0.00 avg300=0.00 total=1\n"},
}
V2 = {
    "cpu.stat": "usage_usec 100\nuser_usec 60\nsystem_usec 40\n"
    "nr_periods 5\nnr_throttled 2\nthrottled_usec 7\nnr_bursts 1\nburst_usec 3\n",
    "cpu.pressure": "some avg10=1.25 avg60=0.50 avg300=0.00 total=16500\n",
    "cpuset.cpus.effective": "0-1\n",
    "memory.stat": "anon 4096\nfile 8192\nkernel 12288\n",
    "memory.current": "20000\n",
    "memory.peak": "30000\n",
    "memory.max": "1048576\n",
    "memory.swap.current": "500\n",
    "memory.swap.peak": "600\n",
    "memory.swap.max": "0\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    "pids.current": "2\n",
    "pids.max": "64\n",
    "io.stat": "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0 cost.usage=3\n8:16 \n",
    "io.pressure": "",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.events": "max 4\n",
    "hugetlb.1GB.current": "5\n",
    "hugetlb.1GB.rsvd.current": "0\n",
    "hugetlb.1GB.events": "max 0\n",
}


def write(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder)


def stats_v1(path: Path, files: dict[str, dict[str, str]]) -> dict[str, Any]:
    folders = {name: write(path / name, texts) for name, texts in files.items()}
    return read_stats(Manager(folders, {}, folders.get("unified", ""), pure=False))


def stats_v2(path: Path, files: dict[str, str]) -> dict[str, Any]:
    folder = write(path / "cgroup", files)
    return read_stats(Manager({"": folder}, {}, folder, pure=True))


CPUSET = {
    "cpu_exclusive": 0,
    "mem_hardwall": 0,
    "mem_exclusive": 0,
    "memory_migrate": 0,
    "memory_spread_page": 0,
    "memory_spread_slab": 0,
    "memory_pressure": 0,
    "sched_load_balance": 0,
    "sched_relax_domain_level": 0,
}
NOTHING = {"cpu": {}, "cpuset": CPUSET, "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}}


def test_v1(tmp_path: Path) -> None:
    assert stats_v1(tmp_path, V1) == {
        "cpu": {
            "usage": {
                "total": 14705186,
                "percpu": [13793788, 911398],
                "percpu_kernel": [7, 3],
                "percpu_user": [12000000, 0],
                "kernel": 20_000_000,
                "user": 10_000_000,
            },
            "throttling": {"periods": 5, "throttledPeriods": 2, "throttledTime": 1234},
        },
        "cpuset": {
            **CPUSET,
            "sched_load_balance": 1,
            "sched_relax_domain_level": -1,
            "cpus": [0, 1, 2, 5],
            "mems": [0],
        },
        "memory": {
            "cache": 12288,
            "usage": {"limit": UNLIMITED, "usage": 557056, "max": 2252800, "failcnt": 3},
            "kernel": {"limit": 0, "usage": 282624, "max": 606208, "failcnt": 0},
            "kernelTCP": {"limit": UNLIMITED, "failcnt": 0},
            "raw": {"cache": 12288, "rss": 57344, "broken": 0},
        },
        "pids": {"current": 1},
        "blkio": {
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 1},
                {"major": 8, "op": "Write"},
                {"major": 8, "op": "Total", "value": 1},
            ],
            "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}],
        },
        "hugetlb": {
            "1GB": {"failcnt": 0},
            "2MB": {"usage": 4194304, "max": 6291456, "failcnt": 1},
        },
    }


def test_v1_of_an_older_io_scheduler(tmp_path: Path) -> None:
    line = "8:16 Read 5\n"
    files = {
        "blkio.sectors_recursive": "8:16 5\n",
        "blkio.io_service_time_recursive": line,
        "blkio.io_wait_time_recursive": line,
        "blkio.io_merged_recursive": line,
        "blkio.io_queued_recursive": line,
        "blkio.time_recursive": "8:16 5\n",
        "blkio.io_serviced_recursive": line,
        "blkio.io_service_bytes_recursive": line,
        "blkio.throttle.io_serviced": "8:16 Read 6\n",
    }
    blkio = stats_v1(tmp_path, {"blkio": files})["blkio"]
    plain = [{"major": 8, "minor": 16, "value": 5}]
    read = [{"major": 8, "minor": 16, "op": "Read", "value": 5}]
    assert blkio == {
        "ioServiceBytesRecursive": read,
        "ioServicedRecursive": read,
        "ioQueueRecursive": read,
        "ioServiceTimeRecursive": read,
        "ioWaitTimeRecursive": read,
        "ioMergedRecursive": read,
        "ioTimeRecursive": plain,
        "sectorsRecursive": plain,
    }


def test_v2(tmp_path: Path) -> None:
    nothing = {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0}
    assert stats_v2(tmp_path, V2) == {
        "cpu": {
            "usage": {"total": 100_000, "kernel": 40_000, "user": 60_000},
            "throttling": {"periods": 5, "throttledPeriods": 2, "throttledTime": 7000},
            "psi": {
                "some": {"avg10": 1.25, "avg60": 0.5, "avg300": 0.0, "total": 16500},
                "full": nothing,
            },
        },
        "cpuset": CPUSET,
        "memory": {
            "cache": 8192,
            "usage": {"limit": 1048576, "usage": 20000, "max": 30000, "failcnt": 0},
            "swap": {"limit": 1048576, "usage": 20500, "failcnt": 0},
            "raw": {"anon": 4096, "file": 8192, "kernel": 12288},
            "psi": {"some": nothing, "full": {**nothing, "total": 3}},
        },
        "pids": {"current": 2, "limit": 64},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "op": "Read", "value": 4096},
                {"major": 8, "op": "Write"},
            ],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 1},
                {"major": 8, "op": "Write"},
            ],
        },
        "hugetlb": {"1GB": {"failcnt": 0}, "2MB": {"usage": 2097152, "failcnt": 4}},
    }


@pytest.mark.parametrize("swap", ["max", "4096", "0", None])
def test_v2_without_a_limit(tmp_path: Path, swap: str | None) -> None:
    files = {"memory.current": "1\n", "memory.max": "max\n", "memory.stat": "file 0\n"}
    if swap:
        files.update({"memory.swap.max": f"{swap}\n", "memory.swap.current": "2\n"})
    memory = stats_v2(tmp_path, files)["memory"]
    assert memory["usage"] == {"limit": MAX, "usage": 1, "failcnt": 0}
    assert memory["swap"] == {"limit": MAX, "usage": 3 if swap else 1, "failcnt": 0}


def test_v2_pids_without_their_controller(tmp_path: Path) -> None:
    assert stats_v2(tmp_path, {"cgroup.procs": "7\n8\n"})["pids"] == {"current": 2}


def test_nothing_to_read(tmp_path: Path) -> None:
    assert stats_v1(tmp_path, {}) == NOTHING
    assert stats_v2(tmp_path, {}) == NOTHING
    folders = {name: str(tmp_path / "gone") for name in V1}
    assert read_stats(Manager(folders, {}, "", pure=False)) == NOTHING
    assert read_stats(Manager({}, {}, str(tmp_path / "gone"), pure=True)) == NOTHING


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "memory.max").mkdir()
    with pytest.raises(KernelError, match="memory.max: Is a directory"):
        stat_files.number(str(tmp_path), "memory.max")


@pytest.mark.parametrize(
    "text, expected",
    [("", []), ("0\n", [0]), ("0-3,7,9-10\n", [0, 1, 2, 3, 7, 9, 10]), ("3-1", []), ("x,2", [2])],
)
def test_lists_of_a_cpuset(text: str, expected: list[int]) -> None:
    assert numbers(text) == expected


def test_value_of_an_events_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 3\noom_kill 2\n")
    fd = os.open(path, os.O_RDONLY)
    assert [oom.value(fd, key) for key in ("oom_kill", "oom", "other")] == [2, 3, 0]
    os.close(fd)


@pytest.mark.parametrize("pure", [True, False])
def test_no_notifier_without_a_memory_cgroup(tmp_path: Path, pure: bool) -> None:
    with pytest.raises(KernelError, match="no memory cgroup"):
        oom.open_notifier(Manager({}, {}, "", pure))
    gone = str(tmp_path / "gone")
    with pytest.raises(KernelError, match="No such file"):
        oom.open_notifier(Manager({"memory": gone}, {}, gone, pure))


@pytest.mark.parametrize(
    "text, seconds",
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), (".5s", 0.5), ("2us", 2e-6)],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "0", "0s", "-1s", "s", "5x", "5s ", "1s,2s"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(UsageError, match="for flag --interval: not a duration"):
        duration(text)


def test_lines_of_ps() -> None:
    header = "USER   PID COMMAND\n"
    own, other = "root    12 sh -c 1\u2028x 13 y\n", "root   112 12\n"
    assert select(header + own + other + "\nroot\n", [12, 13]) == header + own
    assert select(header + own, []) == header
    for text in ("", "USER COMMAND\nroot PID\n"):
        with pytest.raises(OcirtError, match="couldn't find PID field"):
            select(text, [1])


def test_ps_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "ps"
    program.write_text("#!/bin/sh\necho no such option: $1 >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(OcirtError, match="ps --odd: exit status 3: no such option: --odd"):
        host_ps(["--odd"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OcirtError, match="ps: No such file or directory"):
        host_ps(["-ef"])
