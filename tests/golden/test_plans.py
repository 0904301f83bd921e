"""config.json in, printed plan out: what changes in a plan is seen in a diff.

``python3 tests/golden/test_plans.py`` writes the files of plans/ anew; read the diff then.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.layout import Hierarchy, Layout
from ocirt.cgroup.manager import plan_paths
from ocirt.cgroup.mounts import CgroupMount, cgroup_mounts
from ocirt.commands.spec import default_config, make_rootless
from ocirt.plan.container import Request, compile_create
from ocirt.plan.exec import compile_join_exec
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.program import Plan
from ocirt.plan.show import to_document, to_text
from ocirt.plan.sources import compile_sources
from ocirt.plan.verify import verify
from ocirt.seccomp.filter import Filter

PLANS = Path(__file__).parent / "plans"
V2 = Layout([Hierarchy("", [], True, "/sys/fs/cgroup", "/", "/own")])
V1 = Layout(
    [
        Hierarchy("cpu,cpuacct", ["cpu", "cpuacct"], False, "/sys/fs/cgroup/cpu,cpuacct", "/", "/"),
        Hierarchy("systemd", ["none", "name=systemd"], False, "/sys/fs/cgroup/systemd", "/", "/"),
    ]
)


def config() -> dict[str, Any]:
    """The default, the same on every host."""
    document = copy.deepcopy(default_config())
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    document["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    return document


def create(
    document: dict[str, Any],
    layout: Layout = V2,
    pivot: bool = True,
    ordinary: bool = False,
    covered: list[str] | None = None,
) -> Plan:
    def cgroup() -> list[CgroupMount]:
        kinds = {n["type"] for n in document["linux"]["namespaces"]}
        return cgroup_mounts(layout, plan_paths(layout, "/c", "id"), kinds)

    return compile_create(
        Request(
            document,
            "/bundle",
            cgroup,
            keyring="_ses.id",
            pivot=pivot,
            rootless=ordinary,
            ordinary=ordinary,
            covered=covered,
        )
    )


def default() -> Plan:
    return create(config())


def cgroup_v1() -> Plan:
    return create(config(), V1)


def cgroup_v1_of_the_host() -> Plan:
    document = config()
    document["linux"]["namespaces"].pop()
    return create(document, V1)


def binds() -> Plan:
    document = config()
    document["process"]["terminal"] = False
    rows = (
        ("/data", "data", ["rbind", "ro", "rprivate"]),
        ("/all", "/srv", ["rbind", "rro", "rnosuid"]),
        ("/file", "/etc/hosts", ["bind", "noatime"]),
    )
    document["mounts"] += [
        {"destination": d, "type": "bind", "source": s, "options": o} for d, s, o in rows
    ]
    document["mounts"].append(
        {"destination": "/up", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}
    )
    return create(document)


def user_and_names() -> Plan:
    document = config()
    document["domainname"] = "example.org"
    process = document["process"]
    process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o77}
    process["capabilities"]["inheritable"] = process["capabilities"]["ambient"] = ["CAP_KILL"]
    process.update(cwd="/home/user", args=["/bin/app", "x"], terminal=False)
    process.update(apparmorProfile="profile", selinuxLabel="a:b:c:s0")
    document["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/x": "2"}
    document["linux"]["personality"] = {"domain": "LINUX32"}
    policy = {"mode": "MPOL_BIND", "nodes": "0-1,64", "flags": ["MPOL_F_STATIC_NODES"]}
    document["linux"]["memoryPolicy"] = policy
    return create(document)


def namespaces() -> Plan:
    document = config()
    document["linux"]["namespaces"] = [
        {"type": "mount"},
        {"type": "time"},
        {"type": "pid"},
        {"type": "network", "path": "/run/netns/a"},
    ]
    document["linux"]["timeOffsets"] = {"boottime": {"secs": 10}}
    document["linux"]["netDevices"] = {"eth0": {"name": "net%d"}}
    document["linux"]["rootfsPropagation"] = "rshared"
    del document["hostname"]
    return create(document, pivot=False, covered=["/proc", "/sys"])


def hooks_and_devices() -> Plan:
    document = config()
    document["hooks"] = {"createContainer": [{"path": "/h"}], "prestart": [{"path": "/p"}]}
    document["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600},
        {"path": "/dev/dir/pipe", "type": "p", "uid": 5, "gid": 6},
    ]
    return create(document)


def no_mount_namespace() -> Plan:
    document = config()
    document["linux"] = {"namespaces": [{"type": "pid"}]}
    document["root"]["readonly"] = False
    document["process"]["terminal"] = False
    del document["mounts"], document["hostname"]
    return create(document)


def mounts_of_the_host() -> Plan:
    """A container without a mount namespace that has mounts."""
    document = config()
    linux = document["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "mount"]
    document["hooks"] = {"createRuntime": [{"path": "/h"}]}
    document["mounts"].append({"destination": "/x", "source": "/srv", "options": ["rbind"]})
    return create(document)


def in_user_namespace(**namespace: str) -> dict[str, Any]:
    document = config()
    linux = document["linux"]
    linux["namespaces"] += [{"type": "user", **namespace}, {"type": "time"}]
    if not namespace:
        row = {"containerID": 0, "hostID": 100000, "size": 65536}
        linux["uidMappings"] = linux["gidMappings"] = [row]
    document["process"]["terminal"] = False
    return document


def user_namespace() -> Plan:
    document = in_user_namespace()
    document["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    document["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 5},
        {"path": "/dev/pipe", "type": "p"},
    ]
    return create(document)


def user_namespace_without_root() -> Plan:
    document = in_user_namespace()
    document["linux"]["uidMappings"] = [{"containerID": 7, "hostID": 1007, "size": 1}]
    document["process"]["user"] = {"uid": 7, "gid": 0}
    document["linux"]["namespaces"] = [
        n for n in document["linux"]["namespaces"] if n["type"] != "cgroup"
    ]
    return create(document)


def user_namespace_joined() -> Plan:
    document = in_user_namespace(path="/run/userns")
    document["linux"]["namespaces"][1]["path"] = "/run/netns"
    rows = ["rbind", "idmap"], ["bind", "ridmap=uids=0-5-1#1-7-1;gids=0-6-2"]
    document["mounts"] += [
        {"destination": f"/{index}", "source": "/srv", "options": options}
        for index, options in enumerate(rows)
    ]
    return create(document)


def id_mapped() -> Plan:
    document = config()
    row = {"containerID": 0, "hostID": 5000, "size": 10}
    mount = {"destination": "/a", "type": "bind", "source": "/srv", "options": ["rbind", "ridmap"]}
    document["mounts"].append(mount | {"uidMappings": [row], "gidMappings": [row]})
    return create(document)


def id_mapped_inside() -> Plan:
    """The source is what an earlier mount has put in the container."""
    document = in_user_namespace()
    row = {"containerID": 0, "hostID": 5000, "size": 10}
    rows: list[dict[str, Any]] = [
        {"destination": "/a", "source": "/srv", "options": ["rbind"]},
        {"destination": "/b", "source": "rootfs/a/x", "options": ["rbind", "ridmap", "ro"]},
        {"destination": "/bundle/rootfs/c", "source": "/bundle/rootfs/a", "options": ["bind"]}
        | {"uidMappings": [row], "gidMappings": [row]},
    ]
    document["mounts"] += rows
    return create(document)


def labels() -> Plan:
    """SELinux: of the process, its keyring, and the file systems made for it, all but those whose
    labels are the policy's."""
    document = config()
    document["process"].update(terminal=False, selinuxLabel="a:b:process:s0:c1,c2")
    document["linux"]["mountLabel"] = "a:b:file:s0:c1,c2"
    options = ["size=1m", "rootcontext=a:b:own:s0"]
    document["mounts"].append({"destination": "/own", "type": "tmpfs", "options": options})
    return create(document, V1)


def label_of_another_kind() -> Plan:
    """podman --security-opt label=nested, and --group-add keep-groups."""
    document = in_user_namespace()
    document["mounts"] = [{"destination": "/tmp", "type": "tmpfs"}]
    document["linux"]["mountLabel"] = "a:b:file:s0"
    document["annotations"] = {
        "run.oci.mount_context_type": "rootcontext",
        "run.oci.keep_original_groups": "1",
    }
    return create(document)


def sources() -> Plan:
    return compile_sources(user_namespace_joined().pins)


def of_an_ordinary_user() -> Plan:
    """Its machine is born in the user namespace."""
    document = config()
    make_rootless(document)
    return create(document, ordinary=True)


def of_an_ordinary_user_joined() -> Plan:
    """Its machine is not; and it sends its mount namespace."""
    document = config()
    make_rootless(document)
    linux = document["linux"]
    linux["namespaces"][-1]["path"] = "/run/userns"
    linux["namespaces"][0]["path"] = "/run/pidns"
    del linux["uidMappings"], linux["gidMappings"]
    return create(document, ordinary=True)


def exec_in(document: dict[str, Any], first_fd: int = 3, filter: Filter | None = None) -> Plan:
    return compile_join_exec(
        document["process"],
        document["linux"],
        Namespaces(document["linux"]),
        first_fd=first_fd,
        keyring="_ses.id",
        base="/process",
        filter=filter,
    )


def exec_in_user_namespace() -> Plan:
    document = in_user_namespace()
    document["process"]["user"] = {"uid": 1000, "gid": 1000}
    return exec_in(document)


def filter_without_no_new_privs() -> Plan:
    """CAP_SYS_ADMIN is kept until the filter is loaded."""
    document = config()
    document["process"]["noNewPrivileges"] = False
    filter = Filter(bytes(16), 12, "seccomp filter, default SCMP_ACT_ERRNO 1")
    return compile_create(Request(document, "/bundle", list, keyring="_ses.id", filter=filter))


def exec_with_filter() -> Plan:
    document = config()
    document["process"]["terminal"] = False
    filter = Filter(bytes(8), 0, "seccomp filter, default SCMP_ACT_ALLOW")
    return exec_in(document, first_fd=5, filter=filter)


def exec_with_terminal() -> Plan:
    document = config()
    document["linux"]["memoryPolicy"] = {"mode": "MPOL_LOCAL"}
    return exec_in(document)


MAKERS: list[Callable[[], Plan]] = [
    default,
    cgroup_v1,
    cgroup_v1_of_the_host,
    binds,
    user_and_names,
    namespaces,
    hooks_and_devices,
    no_mount_namespace,
    mounts_of_the_host,
    exec_with_terminal,
    user_namespace,
    user_namespace_without_root,
    user_namespace_joined,
    id_mapped,
    id_mapped_inside,
    labels,
    label_of_another_kind,
    sources,
    of_an_ordinary_user,
    of_an_ordinary_user_joined,
    exec_in_user_namespace,
    exec_with_filter,
    filter_without_no_new_privs,
]


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: str(maker.__name__))
def test_plan(maker: Callable[[], Plan]) -> None:
    plan = maker()
    verify(plan)
    assert to_text(plan, show_env=False) == (PLANS / f"{maker.__name__}.txt").read_text()


def test_every_file_has_its_test() -> None:
    assert {path.stem for path in PLANS.iterdir()} == {maker.__name__ for maker in MAKERS}


def test_values_of_the_environment_are_secret() -> None:
    document = config()
    document["process"]["env"] = ["TOKEN=hidden"]
    plan = create(document)
    assert "hidden" not in to_text(plan, show_env=False)
    assert "TOKEN=..." in to_text(plan, show_env=False)
    assert "TOKEN=hidden" in to_text(plan, show_env=True)


def test_data_that_is_no_text() -> None:
    rows = {row["op"]: row for row in to_document(user_and_names(), False)["operations"]}
    assert rows["GROUPS"]["groups"] == "0500000006000000"
    assert rows["MEMORY_POLICY"]["nodes"] == "0300000000000000" + "0100000000000000"


if __name__ == "__main__":
    for make in MAKERS:
        (PLANS / f"{make.__name__}.txt").write_text(to_text(make(), show_env=False))
    sys.exit(0)
