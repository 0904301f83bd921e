"""process.apparmorProfile, process.selinuxLabel and linux.mountLabel, as the container has them
and as the host sees them.

AppArmor is active in the guests of conformance/vm, SELinux in that of its --kind selinux
(tools/test-vm).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import COMMAND

# Of selinux.cil.
LABEL, FILES = "u:r:container_t:s0:c1,c2", "u:object_r:file_t:s0:c1,c2"
KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_GET_SECURITY = 1, 17
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
    if os.geteuid() != 0:
        pytest.skip("needs root")
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


def start(ocirt: Any, bundle: Any) -> int:
    """Runs it in the background: its pid."""
    ocirt("run", "--detach", "--bundle", bundle.write(), bundle.id, check=True)
    pid = ocirt.state(bundle.id)["pid"]
    assert isinstance(pid, int)
    return pid


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
    pid = start(ocirt, secret.shell("exec sleep 60"))
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
    pid = start(ocirt, secret.shell("exec sleep 60"))
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
    assert "config.json#/hooks/startContainer/0: " in done.stderr
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


# ---- SELinux


@pytest.fixture(scope="module")
def selinux() -> None:
    """A policy is loaded, which stays."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    load = Path("/sys/fs/selinux/load")
    if not load.exists():
        pytest.skip("SELinux is not active in this kernel")
    own = Path("/proc/self/attr/current").read_text().rstrip("\0\n ")
    if own == "kernel":  # as long as there is none
        fd = os.open(load, os.O_WRONLY)
        os.write(fd, (Path(__file__).parent / "selinux.policy").read_bytes())
        os.close(fd)
    elif not own.startswith("u:r:kernel_t:"):
        pytest.skip("this host has a policy of its own")


@pytest.fixture
def labelled(bundle: Any) -> Any:
    bundle.document["process"]["selinuxLabel"] = LABEL
    bundle.document["linux"].update(mountLabel=FILES, maskedPaths=["/proc/tty"])
    return bundle.shell("exec sleep 60")


def label_of_keyring(name: str) -> str:
    """Nobody sees it who has not joined it: so does a child."""
    read, write = os.pipe()
    if os.fork() == 0:
        text = ctypes.create_string_buffer(256)
        keyctl = ctypes.CDLL(None).syscall
        serial = keyctl(KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, name.encode())
        keyctl(KEYCTL, KEYCTL_GET_SECURITY, serial, text, len(text))
        os.write(write, text.value)
        os._exit(0)
    os.close(write)
    with open(read) as file:
        label = file.read()
    os.wait()
    return label


SHOW_LABEL = "cat /proc/self/attr/current"


def test_selinux(selinux: None, ocirt: Any, labelled: Any, tmp_path: Path) -> None:
    pid = start(ocirt, labelled)
    assert Path(f"/proc/{pid}/attr/current").read_text() == f"{LABEL}\0"
    for attribute in ("exec", "keycreate"):
        assert Path(f"/proc/{pid}/attr/{attribute}").read_text() == ""
    assert ocirt("exec", labelled.id, "sh", "-c", SHOW_LABEL).stdout == f"{LABEL}\0"

    keys = ocirt("exec", labelled.id, "cat", "/proc/keys").stdout.splitlines()
    name = next(line.split()[8] for line in keys if f"_ses.{labelled.id}" in line)
    assert label_of_keyring(name.rstrip(":")) == LABEL

    shown = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        shown[left.split()[4]] = f'context="{FILES}"' in right.split(" ", 2)[2]
    for place in ("/dev", "/dev/pts", "/dev/shm", "/proc/tty"):
        assert shown[place], place
    for place in ("/", "/proc", "/sys", "/dev/mqueue"):
        assert not shown[place], place
    queues = os.getxattr(f"/proc/{pid}/root/dev/mqueue", "security.selinux")
    assert queues.rstrip(b"\0").decode() == FILES


def test_selinux_in_exec(selinux: None, ocirt: Any, labelled: Any, tmp_path: Path) -> None:
    start(ocirt, labelled)
    other = LABEL.replace("c1,c2", "c0")
    done = ocirt("exec", "--process-label", other, labelled.id, "sh", "-c", SHOW_LABEL)
    assert done.stdout == f"{other}\0", done.stderr
    file = tmp_path / "process.json"
    process = {"args": ["/bin/sh", "-c", SHOW_LABEL], "cwd": "/", "env": ["PATH=/bin"]}
    for change, wanted in (({"selinuxLabel": other}, other), ({}, LABEL)):
        file.write_text(json.dumps(process | change))
        done = ocirt("exec", "--process", str(file), labelled.id)
        assert done.stdout == f"{wanted}\0", done.stderr
    done = ocirt("exec", "--process-label", "u:r:no_t:s0", labelled.id, "true")
    assert done.returncode == 255
    assert "config.json#/process/selinuxLabel: SELinux label: " in done.stderr
    assert "EINVAL" in done.stderr


def test_selinux_of_a_checkpoint(
    selinux: None, needs_criu: Any, ocirt: Any, labelled: Any, tmp_path: Path
) -> None:
    """Debian's criu knows no labels: what it restores has ours, and not the config's."""
    needs_criu()
    del labelled.document["linux"]["mountLabel"]
    bundle, image, log = str(labelled.write()), str(tmp_path / "image"), tmp_path / "log"

    def call(verb: str, *words: str) -> str:
        command = [COMMAND, "--root", ocirt.root, "--log", log, verb, *words, labelled.id]
        null = subprocess.DEVNULL
        subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False)
        said = log.read_text() if log.exists() else ""
        log.unlink(missing_ok=True)
        return said

    assert call("run", "-d", "--bundle", bundle) == ""
    assert call("checkpoint", "--image-path", image) == ""
    said = call("restore", "-d", "--image-path", image, "--bundle", bundle)
    if said:
        assert "config.json#/process/selinuxLabel: the checkpoint does not keep" in said
        assert ocirt.ids() == []
        del labelled.document["process"]["selinuxLabel"]
        labelled.write()
        assert call("restore", "-d", "--image-path", image, "--bundle", bundle) == ""
    else:  # another build of criu
        pid = ocirt.state(labelled.id)["pid"]
        assert Path(f"/proc/{pid}/attr/current").read_text() == f"{LABEL}\0"


def test_selinux_of_another_kind(selinux: None, ocirt: Any, labelled: Any) -> None:
    labelled.document["annotations"] = {"run.oci.mount_context_type": "rootcontext"}
    pid = start(ocirt, labelled)
    text = Path(f"/proc/{pid}/mountinfo").read_text()
    assert f'rootcontext="{FILES}"' in text or f"rootcontext={FILES}" in text, text
    label = os.getxattr(f"/proc/{pid}/root/dev/shm", "security.selinux").rstrip(b"\0").decode()
    assert label == FILES


@pytest.mark.parametrize(("section", "key"), [("process", "selinuxLabel"), ("linux", "mountLabel")])
def test_selinux_label_that_the_policy_lacks(
    section: str, key: str, selinux: None, ocirt: Any, labelled: Any, leftovers: Any
) -> None:
    labelled.document[section][key] = "u:r:no_t:s0"
    done = ocirt("create", "--bundle", labelled.write(), labelled.id)
    assert done.returncode == 1
    assert f"config.json#/{section}/{key}: " in done.stderr
    assert "EINVAL" in done.stderr
    assert ocirt.ids() == []
    assert leftovers(labelled) == []
