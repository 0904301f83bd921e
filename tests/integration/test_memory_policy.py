"""linux.memoryPolicy: what the kernel says of it, seen from inside; and its refusals."""

from __future__ import annotations

import os
from typing import Any

import pytest

NUMA = os.path.exists("/proc/self/numa_maps")
POLICY = "head -n 1 /proc/self/numa_maps"

needs_numa = pytest.mark.skipif(not NUMA, reason="this kernel has no NUMA")


@needs_numa
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_DEFAULT"}, "default"),
        ({"mode": "MPOL_LOCAL", "nodes": ""}, "local"),
        ({"mode": "MPOL_PREFERRED"}, "local"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer (many):0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}, "interleave:0"),
        (
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
            "bind=static:0",
        ),
        (
            {"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]},
            "prefer=relative:0",
        ),
    ],
    ids=lambda value: value["mode"] if isinstance(value, dict) else value,
)
def test_seen_from_inside(policy: dict[str, Any], shown: str, ocirt: Any, bundle: Any) -> None:
    bundle.document["linux"]["memoryPolicy"] = policy
    done = bundle.shell(POLICY).run(ocirt)
    assert done.returncode == 0, done.stderr
    address, *words = done.stdout.split()
    assert " ".join(words).startswith(shown)


@needs_numa
def test_exec_has_it_too(ocirt: Any, bundle: Any) -> None:
    bundle.document["linux"]["memoryPolicy"] = {"mode": "MPOL_INTERLEAVE", "nodes": "0"}
    bundle.shell("exec sleep 1000").run(ocirt, "--detach")
    done = ocirt("exec", bundle.id, "sh", "-c", POLICY, check=True)
    assert done.stdout.split()[1] == "interleave:0"


def test_nodes_that_the_host_lacks(ocirt: Any, bundle: Any, leftovers: Any) -> None:
    bundle.document["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1023"}
    done = ocirt("create", "--bundle", bundle.write(), bundle.id)
    assert done.returncode == 1
    why = "EINVAL (Invalid argument)" if NUMA else "ENOSYS (Function not implemented)"
    assert f"config.json#/linux/memoryPolicy: memory policy: set_mempolicy: {why}" in done.stderr
    assert "the cgroup's cpuset" in done.stderr
    assert ocirt.ids() == [] and leftovers(bundle) == []
