"""Annotations that ocirt acts on: what engines set, and what their users have them set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

KEEP_GROUPS = "run.oci.keep_original_groups"
GROUPS = [100_000, 2_000_000]


def with_groups() -> None:
    os.setgroups(GROUPS)


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize(("value", "kept"), [("1", True), ("0", False), (None, False)])
def test_keep_original_groups(
    value: str | None, kept: bool, user: bool, ocirt: Any, bundle: Any
) -> None:
    """podman run --group-add keep-groups: the caller's groups, which inside of a user namespace
    have no number."""
    bundle.document["process"]["user"]["additionalGids"] = [5]
    if value is not None:
        bundle.document["annotations"] = {KEEP_GROUPS: value}
    if user:
        mappings = [{"containerID": 0, "hostID": 200_000, "size": 65_536}]
        bundle.document["linux"].update(uidMappings=mappings, gidMappings=mappings)
        bundle.document["linux"]["namespaces"].append({"type": "user"})
        for path in (bundle.path / "rootfs", *(bundle.path / "rootfs").rglob("*")):
            os.lchown(path, 200_000, 200_000)
    show = "grep ^Groups: /proc/self/status"
    bundle.shell(f"{show}; exec sleep 60")
    words = ("run", "--detach", "--bundle", bundle.write(), bundle.id)
    ocirt(*words, check=True, preexec_fn=with_groups)
    own = [200_005] if user else [5]
    wanted = GROUPS if kept else own
    pid = ocirt.state(bundle.id)["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("Groups:"))
    assert line.split()[1:] == [str(gid) for gid in wanted]

    done = ocirt("exec", bundle.id, "sh", "-c", show, preexec_fn=with_groups)
    inside = ["65534", "65534"] if user else [str(gid) for gid in GROUPS]
    assert done.stdout.split()[1:] == (inside if kept else ["5"]), done.stderr


HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def test_hooks_write_to_files(ocirt: Any, bundle: Any, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    err.write_text("before\n")
    bundle.document["annotations"] = {
        "run.oci.hooks.stdout": str(out),
        "run.oci.hooks.stderr": str(err),
    }
    bundle.document["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind}; echo err {kind} >&2"]}]
        for kind in HOOKS
    }
    done = bundle.run(ocirt)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(out.read_text().split()) == sorted(HOOKS)
    wanted = ["before", *(f"err {kind}" for kind in HOOKS)]
    assert sorted(err.read_text().splitlines()) == sorted(wanted)
    assert out.stat().st_mode & 0o777 == 0o600


def test_hooks_that_can_write_nowhere(
    ocirt: Any, bundle: Any, tmp_path: Path, leftovers: Any
) -> None:
    path = tmp_path / "missing" / "out"
    bundle.document["annotations"] = {"run.oci.hooks.stdout": str(path)}
    bundle.document["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    done = bundle.run(ocirt)
    assert done.returncode == 1
    text = f"config.json#/annotations/run.oci.hooks.stdout: {path}: No such file or directory"
    assert text in done.stderr
    assert ocirt.ids() == []
    assert leftovers(bundle) == []


def test_hooks_write_to_a_fifo(ocirt: Any, bundle: Any, tmp_path: Path, leftovers: Any) -> None:
    """If somebody reads it: ocirt does not wait for that, with the container locked."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    bundle.document["annotations"] = {"run.oci.hooks.stdout": str(path)}
    # More than the FIFO takes at once: the hook waits for the reader, as for any other.
    script = "dd if=/dev/zero bs=100000 count=1 2> /dev/null && echo end"
    bundle.document["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]
    }
    done = bundle.run(ocirt)
    assert done.returncode == 1
    assert f"/annotations/run.oci.hooks.stdout: {path}: No such device or address" in done.stderr
    assert ocirt.ids() == []
    assert leftovers(bundle) == []
    with open(tmp_path / "got", "wb") as got:
        slow = ["sh", "-c", f"exec 3< {path}; sleep 0.3; cat <&3"]
        with subprocess.Popen(slow, stdout=got):
            fd = os.open(path, os.O_WRONLY)  # until it reads
            done = bundle.run(ocirt)
            os.close(fd)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "got").read_bytes() == bytes(100000) + b"end\n"


def test_a_failing_hook_says_what_it_wrote_elsewhere(
    ocirt: Any, bundle: Any, tmp_path: Path
) -> None:
    """To the stream without a file, that is."""
    bundle.document["annotations"] = {"run.oci.hooks.stdout": str(tmp_path / "out")}
    script = "echo out; echo err >&2; exit 3"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    bundle.document["hooks"] = {"createRuntime": [hook]}
    assert ": /bin/sh: exit status 3: err\n" in bundle.run(ocirt).stderr
    assert (tmp_path / "out").read_text() == "out\n"


def test_those_of_others(ocirt: Any, bundle: Any) -> None:
    """They are the caller's own, and in the state."""
    bundle.document["annotations"] = own = {"run.oci.handler": "krun", "org.example": "x"}
    ocirt("create", "--bundle", bundle.write(), bundle.id, check=True)
    assert ocirt.state(bundle.id)["annotations"] == own
