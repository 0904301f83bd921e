"""A test that stops running must be noticed.

In CI (CI=true) the session fails if a test is skipped that tests/expected_skips.txt does not
expect in this environment, or if that file names a test that no longer exists. Elsewhere the
same is only reported.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: the time of an example says nothing here.
settings.register_profile("ocirt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ocirt")

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "expected_skips.txt"


def holds(condition: str) -> bool:
    """Is this such an environment? The conditions are explained in expected_skips.txt."""
    name, _, value = condition.partition(":")
    if name == "any":
        return True
    if name == "without":
        return not (ROOT / value).exists() if "/" in value else shutil.which(value) is None
    if name == "user":
        return os.geteuid() != 0
    if name == "cgroup":
        unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        return value == ("v2" if unified else "v1")
    if name == "kernel-before":
        release = platform.release().split("-")[0].split(".")
        return [int(n) for n in release[:2]] < [int(n) for n in value.split(".")]
    if name == "lacks-cgroup-file":
        return os.geteuid() == 0 and not any(
            file in _files_of_a_cgroup() for file in value.split(",")
        )
    if name == "lacks-device":
        return os.geteuid() == 0 and not _has_device(value)
    if name == "lacks-criu":
        return os.geteuid() == 0 and not _criu_works(value)
    if name == "lacks":
        from ocirt.host.constants import CAPABILITIES

        with open("/proc/self/status") as file:
            held = next(line for line in file if line.startswith("CapEff:")).split()[1]
        return not int(held, 16) >> CAPABILITIES[value] & 1
    raise ValueError(f"{LIST.name}: unknown condition {condition!r}")


@functools.cache
def _criu_works(feature: str) -> bool:
    """Is there a CRIU that works on this kernel, with a feature of its ("": any)?"""
    if shutil.which("criu") is None:
        return False
    command = ["criu", "check", *(["--feature", feature] if feature else [])]
    return (
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        == 0
    )


@pytest.fixture(scope="session")
def needs_criu() -> Callable[..., None]:
    """Skips a test where it does not work."""

    def check(feature: str = "") -> None:
        if os.geteuid() != 0 or not _criu_works(feature):
            pytest.skip(f"no criu that works on this kernel {feature}")

    return check


@functools.cache
def _has_device(kind: str) -> bool:
    """Does this kernel make virtual network devices of that kind? Needs root."""
    command = ["unshare", "--net", "busybox", "ip", "link", "add", "name0", "type", kind]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture(scope="session")
def needs_device() -> Callable[[str], None]:
    """Skips a test where there are none."""

    def check(kind: str) -> None:
        if not _has_device(kind):
            pytest.skip(f"this kernel makes no network devices of type {kind}")

    return check


@functools.cache
def _files_of_a_cgroup() -> frozenset[str]:
    """The names of the files that a cgroup of ours has, in all hierarchies. Needs root."""
    from ocirt.cgroup.layout import detect
    from ocirt.cgroup.manager import plan_paths

    name = f"ocirt-tests-{os.getpid()}"
    manager = plan_paths(detect(), f"/{name}", name)
    try:
        manager.create()
        return frozenset(file for folder in manager.folders.values() for file in os.listdir(folder))
    finally:
        manager.destroy()


@pytest.fixture(scope="session")
def files_of_a_cgroup() -> frozenset[str]:
    """See above."""
    return _files_of_a_cgroup()


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """Skips a test where a cgroup has none of these files."""

    def check(*files: str) -> None:
        if not any(file in _files_of_a_cgroup() for file in files):
            pytest.skip(f"this host has no cgroup file {' or '.join(dict.fromkeys(files))}")

    return check


def read_list() -> list[tuple[str, str]]:
    """The (condition, test) of every line."""
    rows = []
    for line in LIST.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            condition, test, _reason = line.split(maxsplit=2)
            rows.append((condition, test))
    return rows


def matches(pattern: str, test: str) -> bool:
    """``file``, ``file::name`` (all its parameters) or ``file::name[parameter]``."""
    return test == pattern or test.startswith((pattern + "::", pattern + "["))


class SkipCheck:
    """Collects what was skipped and compares it with the list when the session ends."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.skipped: dict[str, str] = {}
        self.collected: set[str] = set()
        self.problems: list[str] = []

    def write_skipped(self) -> None:
        """To the file of --list-skipped, one a line: a kernel that has more reads it as @FILE."""
        file = self.config.option.list_skipped
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{test}\n" for test in sorted(self.skipped)))

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            where = report.longrepr
            self.skipped[report.nodeid] = str(where[2] if isinstance(where, tuple) else where)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.note(report)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self.collected.add(item.nodeid)

    def whole_suite(self) -> bool:
        option = self.config.option
        last_failed = getattr(option, "lf", False)  # of a plugin, which may be off
        selected = option.keyword or option.markexpr or last_failed or option.collectonly
        return not selected and self.config.args == self.config.getini("testpaths")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.write_skipped()
        expected = read_list()
        here = [pattern for condition, pattern in expected if holds(condition)]
        for test, reason in sorted(self.skipped.items()):
            if not any(matches(pattern, test) for pattern in here):
                self.problems.append(f"skipped, not expected here: {test}: {reason}")
        if self.whole_suite():
            known = self.collected | set(self.skipped)
            for pattern in sorted({pattern for _, pattern in expected}):
                if not any(matches(pattern, test) for test in known):
                    self.problems.append(f"listed, but there is no such test: {pattern}")
        if self.problems and os.environ.get("CI") == "true" and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.problems:
            terminalreporter.section(f"{LIST.name} and this session disagree")
            for problem in self.problems:
                terminalreporter.line(problem)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--list-skipped", type=Path, metavar="FILE", help="write what was skipped to FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipCheck(config), "expected-skips")
