"""conformance/vm: commands on kernels of their own, with cgroup version 2."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
VM = ROOT / "conformance/vm"


@pytest.fixture(scope="module", autouse=True)
def testbed() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    if subprocess.run([ROOT / "conformance/testbed", "check", "--guest"]).returncode:
        pytest.skip("no testbed with kernels (conformance/testbed path --guest)")


def vm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Also asserts that nothing is left in the folder for temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [VM, *arguments],
            env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert os.listdir(folder) == []
    return done


# What CI needs: where a controller is missing, tests are skipped.
CONTROLLERS = {
    "uml": {"cpu", "io", "memory", "pids"},
    "qemu": {"cpu", "cpuset", "hugetlb", "io", "memory", "pids"},
}
SCRIPT = """
test ! -t 1 && echo output > /dev/stdout; echo error >&2; pwd
echo from the guest > /shared/file; echo lost > /etc/ocirt-lost
grep SigIgn /proc/self/status
stat -f -c %T /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.controllers
cat /sys/module/apparmor/parameters/enabled /proc/1/comm
su tester -c 'id -u'
sleep 300 & # nobody waits for it
exit 7
"""


@pytest.mark.parametrize("kind", ["uml", "qemu"])
def test_guest(tmp_path: Path, kind: str) -> None:
    done = vm("--kind", kind, "--share", f"{tmp_path}:/shared", "--", "sh", "-c", SCRIPT)
    assert (done.returncode, done.stderr) == (7, "error\n")
    output, folder, ignored, system, controllers, apparmor, init, user = done.stdout.splitlines()
    assert (output, folder, system, apparmor, user) == ("output", "/", "cgroup2fs", "Y", "1000")
    assert int(ignored.split()[1], 16) == 0
    assert CONTROLLERS[kind] <= set(controllers.split())
    assert init == {"uml": "init", "qemu": "systemd"}[kind]
    assert (tmp_path / "file").read_text() == "from the guest\n"
    rootfs = subprocess.run(
        [ROOT / "conformance/testbed", "path"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert not Path(rootfs.stdout.strip(), "etc/ocirt-lost").exists()


def test_statuses_that_are_not_the_commands() -> None:
    assert vm("--timeout", "3", "--", "sleep", "60").returncode == 124
    assert vm("--share", "/nonexistent", "--", "true").returncode == 125
    done = vm("--", "sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60")
    assert done.returncode == 125
    assert "sysrq triggered crash" in done.stderr
    assert vm("--", "sh", "-c", "kill -TERM $$").returncode == 128 + 15
