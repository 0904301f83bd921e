"""Checkpoints that have more than the config.json that they are restored with (CVE-2026-92574,
CVE-2024-8676), and names that CRIU takes apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from .checkpoints import FILTER, Saved, bind, refused, tmpfs


def test_more_capabilities(saved: Saved) -> None:
    process = saved.bundle.document["process"]
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind].append("CAP_SYS_CHROOT")
    saved.run()
    assert saved.checkpoint() == ""
    for kind in ("bounding", "effective", "permitted"):
        process["capabilities"][kind].remove("CAP_SYS_CHROOT")
    said = refused(saved, "/process/capabilities/bounding")
    assert "has CAP_SYS_CHROOT in its bounding set" in said


def test_new_privileges(saved: Saved) -> None:
    saved.bundle.document["process"]["noNewPrivileges"] = False
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["process"]["noNewPrivileges"] = True
    refused(saved, "/process/noNewPrivileges")


def test_another_user(saved: Saved) -> None:
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["process"]["user"] = {"uid": 1000, "gid": 1000}
    refused(saved, "/process/user/uid")


def test_more_groups(saved: Saved) -> None:
    process = saved.bundle.document["process"]
    process["user"] = {"uid": 0, "gid": 0, "additionalGids": [6, 10]}
    saved.run()
    assert saved.checkpoint() == ""
    process["user"]["additionalGids"] = [10]
    assert "is in the groups [6]" in refused(saved, "/process/user/additionalGids")


def test_higher_limits(saved: Saved) -> None:
    process = saved.bundle.document["process"]
    limit = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 1000}
    process["rlimits"], process["oomScoreAdj"] = [limit], 100
    saved.run()
    assert saved.checkpoint() == ""
    limit["hard"] = 999
    assert "has RLIMIT_NOFILE 1000" in refused(saved, "/process/rlimits/0/hard")
    limit["hard"], process["oomScoreAdj"] = 1000, 101
    assert "has an oom_score_adj of 100" in refused(saved, "/process/oomScoreAdj")
    process["oomScoreAdj"] = 99
    assert saved.restore() == ""


def test_no_filter(saved: Saved) -> None:
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["linux"]["seccomp"] = FILTER
    refused(saved, "/linux/seccomp")


def test_another_filter(saved: Saved) -> None:
    linux = saved.bundle.document["linux"]
    linux["seccomp"] = FILTER
    saved.run()
    assert saved.checkpoint() == ""
    linux["seccomp"] = {**FILTER, "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}]}
    assert "another seccomp filter" in refused(saved, "/linux/seccomp")
    linux["seccomp"] = FILTER
    assert saved.restore() == ""
    pid = saved.ocirt.state(saved.id)["pid"]
    assert "Seccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


def test_a_mount_of_the_host(saved: Saved) -> None:
    mounts = saved.bundle.document["mounts"]
    data = saved.folder / "data"
    data.mkdir()
    mounts.append(bind(data, "/data"))
    saved.run()
    assert saved.checkpoint() == ""
    mounts.pop()
    said = refused(saved, "/mounts")
    assert "has a mount of the host at /data, the config has none" in said


def test_a_mount_of_its_own(saved: Saved) -> None:
    mounts = saved.bundle.document["mounts"]
    mounts.append({"destination": "/proc2", "type": "proc", "source": "proc"})
    saved.run()
    assert saved.checkpoint() == ""
    mounts.pop()
    assert "proc is mounted on /proc2" in refused(saved, "/mounts")


@pytest.mark.parametrize("option", ["ro", "nosuid", "nodev", "noexec"])
def test_a_mount_with_more_rights(saved: Saved, option: str) -> None:
    mounts = saved.bundle.document["mounts"]
    mounts.append(tmpfs("/tmp"))
    saved.run()
    assert saved.checkpoint() == ""
    mounts[-1] = tmpfs("/tmp", option)
    said = refused(saved, f"/mounts/{len(mounts) - 1}/options")
    assert f"/tmp is mounted without {option}" in said


@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
def test_paths(saved: Saved, key: str) -> None:
    linux = saved.bundle.document["linux"]
    path, linux[key] = "/proc/sys/kernel", [p for p in linux[key] if p != "/proc/sys"]
    linux["readonlyPaths"] = [p for p in linux["readonlyPaths"] if p != "/proc/sys"]
    saved.run()
    assert saved.checkpoint() == ""
    linux[key] = [*linux[key], path]
    refused(saved, f"/linux/{key}/{len(linux[key]) - 1}")


def test_a_writable_root(saved: Saved) -> None:
    saved.bundle.document["root"]["readonly"] = False
    saved.run()
    assert saved.checkpoint() == ""
    saved.bundle.document["root"]["readonly"] = True
    refused(saved, "/root/readonly")


def test_the_namespace_of_the_host(saved: Saved) -> None:
    linux = saved.bundle.document["linux"]
    namespaces = linux["namespaces"]
    linux["namespaces"] = [n for n in namespaces if n["type"] != "ipc"]
    saved.bundle.document["mounts"] = [
        m for m in saved.bundle.document["mounts"] if m["type"] != "mqueue"
    ]
    saved.run()
    assert saved.checkpoint() == ""
    linux["namespaces"] = namespaces
    index = [n["type"] for n in namespaces].index("ipc")
    refused(saved, f"/linux/namespaces/{index}")


def test_names_of_mounts(saved: Saved) -> None:
    """CVE-2026-119101, CVE-2026-115520: a destination whose name has a ``]:``."""
    canary = saved.folder / "canary"
    canary.mkdir()
    rootfs = saved.bundle.path / "rootfs"
    data = saved.folder / "data"
    data.mkdir()
    (rootfs / "data").mkdir()
    saved.bundle.document["mounts"].append(bind(data, "/data"))
    saved.run()
    assert saved.checkpoint("--leave-running") == ""
    saved.ocirt("delete", "--force", saved.id, check=True)
    # The image's link leads to a name that CRIU would read as another mount.
    evil = f"data]:{canary}"
    (rootfs / "data").rmdir()
    (rootfs / evil).mkdir(parents=True)
    (rootfs / "data").symlink_to(evil)
    assert "its name has a ]" in saved.restore()
    assert saved.ocirt.ids() == []
    saved.run()
    assert "its name has a ]" in saved.checkpoint()
    assert saved.say("a") == "1 a"
