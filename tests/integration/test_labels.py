"""process.apparmorProfile, process.selinuxLabel and linux.mountLabel, as the container has them
and as the host sees them.

AppArmor is active in the guests of conformance/vm (tools/test-vm).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LABEL = "system_u:system_r:container_t:s0:c1,c2"
# All is allowed but one file. attach_disconnected: a container's root is attached nowhere on the
# host. The exec rule keeps a program that is executed in the profile.
PROFILE = """
profile %s flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace, mount, umount, pivot_root, unix,
  /** ix,
  deny /etc/secret rw,
}
"""
SHOW = "cat /proc/self/attr/apparmor/current; cat /etc/secret"


def parser(flag: str, text: str) -> None:
    command = ["apparmor_parser", flag, "--skip-cache"]
    subprocess.run(command, input=text, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def profile() -> Iterator[str]:
    """The name of a profile that is loaded in the kernel."""
    if not os.path.exists("/sys/kernel/security/apparmor"):
        pytest.skip("AppArmor is not active in this kernel")
    if shutil.which("apparmor_parser") is None:
        pytest.skip("needs apparmor_parser (Debian package apparmor)")
    name = f"ocirt-test-{uuid.uuid4().hex[:12]}"
    parser("--replace", PROFILE % name)
    yield name
    parser("--remove", PROFILE % name)


@pytest.fixture
def secret(bundle: Any) -> Any:
    """A bundle with a file that the profile denies, and whose process can write nothing there."""
    (bundle.path / "rootfs/etc/secret").write_text("secret\n")
    return bundle


def confined(profile: str, done: subprocess.CompletedProcess[str]) -> bool:
    assert "secret\n" not in done.stdout
    assert "Permission denied" in done.stderr, done.stderr
    return done.stdout.split() == [profile, "(enforce)"]


# ---- AppArmor


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_apparmor(no_new_privs: bool, profile: str, ocirt: Any, secret: Any) -> None:
    secret.document["process"].update(apparmorProfile=profile, noNewPrivileges=no_new_privs)
    assert confined(profile, secret.shell(SHOW).run(ocirt))
    del secret.document["process"]["apparmorProfile"]
    assert secret.run(ocirt).stdout.split() == ["unconfined", "secret"]


@pytest.mark.parametrize("no_new_privs", [True, False])
@pytest.mark.parametrize("user", [False, True])
def test_apparmor_in_exec(
    user: bool,
    no_new_privs: bool,
    profile: str,
    ocirt: Any,
    secret: Any,
    tmp_path: Path,
) -> None:
    """The container's profile, unless another one is asked for."""
    document = secret.document
    document["process"].update(apparmorProfile=profile, noNewPrivileges=no_new_privs)
    if user:
        mappings = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
        document["linux"].update(uidMappings=mappings, gidMappings=mappings)
        document["linux"]["namespaces"].append({"type": "user"})
        for path in (secret.path / "rootfs", *(secret.path / "rootfs").rglob("*")):
            os.lchown(path, 100_000, 100_000)
    secret.shell("exec sleep 60").run(ocirt, "--detach")
    pid = ocirt.state(secret.id)["pid"]
    assert Path(f"/proc/{pid}/attr/apparmor/current").read_text() == f"{profile} (enforce)\n"

    assert confined(profile, ocirt("exec", secret.id, "sh", "-c", SHOW))
    free = ocirt("exec", "--apparmor", "unconfined", secret.id, "sh", "-c", SHOW)
    assert free.stdout.split() == ["unconfined", "secret"], free.stderr

    process = dict(document["process"], args=["sh", "-c", SHOW])
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process))
    assert confined(profile, ocirt("exec", "--process", str(file), secret.id))
    file.write_text(json.dumps({**process, "apparmorProfile": "unconfined"}))
    free = ocirt("exec", "--process", str(file), secret.id)
    assert free.stdout.split() == ["unconfined", "secret"], free.stderr
    # A process that says nothing of it is confined as its container is.
    del process["apparmorProfile"]
    file.write_text(json.dumps(process))
    assert confined(profile, ocirt("exec", "--process", str(file), secret.id))


def test_apparmor_of_exec_alone(profile: str, ocirt: Any, secret: Any) -> None:
    secret.shell("exec sleep 60").run(ocirt, "--detach")
    pid = ocirt.state(secret.id)["pid"]
    assert confined(profile, ocirt("exec", "--apparmor", profile, secret.id, "sh", "-c", SHOW))
    assert Path(f"/proc/{pid}/attr/apparmor/current").read_text() == "unconfined\n"


def test_apparmor_of_hooks(profile: str, ocirt: Any, secret: Any, tmp_path: Path) -> None:
    """Those of the host have none, those of the container its own."""
    secret.document["process"]["apparmorProfile"] = profile
    shown = tmp_path / "shown"
    show = f"cat /proc/self/attr/apparmor/current > {shown}"
    secret.document["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", show]}],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat /etc/secret"]}],
    }
    done = secret.shell("true").run(ocirt)
    assert shown.read_text() == "unconfined\n"
    assert "startContainer hook 0 /bin/sh: exit status 1" in done.stderr
    assert "Permission denied" in done.stderr


def test_apparmor_profile_that_is_not_loaded(
    profile: str, ocirt: Any, secret: Any, leftovers: Any
) -> None:
    secret.document["process"]["apparmorProfile"] = f"{profile}-2"
    done = ocirt("create", "--bundle", secret.write(), secret.id)
    assert done.returncode == 1
    assert "config.json#/process/apparmorProfile: AppArmor profile: " in done.stderr
    assert "ENOENT" in done.stderr
    assert ocirt.ids() == []
    assert leftovers(secret) == []
