"""Bundles and a way to call the installed command, for tests on the real kernel."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ocirt.cgroup.manager import from_state
from ocirt.image import VERBS

COMMAND = Path(sys.executable).parent / "ocirt"
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
APPLETS = "sh ls cat id mount ps sleep echo hostname env stat tty pwd head grep true ip kill ulimit"


class Runtime:
    """Calls ocirt with a state folder of its own; ``prefix``: a command that runs it."""

    def __init__(self, root: Path, prefix: Sequence[str] = ()) -> None:
        self.root = root
        self.prefix = prefix

    def __call__(
        self, *arguments: str, check: bool = False, input: str = "", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        command = [*self.prefix, str(COMMAND), "--root", str(self.root), *arguments]
        # Files, not pipes: a detached container keeps its stdout open.
        file = tempfile.TemporaryFile
        with file("w+") as out, file("w+") as err, file("w+") as given:
            given.write(input)
            given.seek(0)
            stdin = given if input else subprocess.DEVNULL
            process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err, **options)
            status = process.wait(60)
            out.seek(0)
            err.seek(0)
            done = subprocess.CompletedProcess(command, status, out.read(), err.read())
        assert "Traceback" not in done.stderr, done.stderr
        assert not check or done.returncode == 0, done.stderr
        return done

    def state(self, id: str) -> dict[str, Any]:
        document = json.loads(self("state", id, check=True).stdout)
        assert isinstance(document, dict)
        return document

    def ids(self) -> list[str]:
        return self("list", "-q", check=True).stdout.split()


@pytest.fixture(scope="session", autouse=True)
def images() -> None:
    """They are made by the first call of a verb (ocirt.image), even one that fails: then no test
    sees a call that does so."""
    for verb in VERBS:
        subprocess.run([COMMAND, verb], stderr=subprocess.DEVNULL, timeout=60, check=False)


@pytest.fixture
def ocirt(tmp_path: Path) -> Iterator[Runtime]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    runtime = Runtime(tmp_path / "state")
    yield runtime
    for id in runtime.ids():
        runtime("delete", "--force", id)


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("needs busybox (Debian package busybox-static)")
    root = tmp_path_factory.mktemp("busybox") / "rootfs"
    for folder in ("bin", "etc", "root", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(program, root / "bin" / "busybox")
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc" / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n"
    )
    return root


class Bundle:
    """A folder with a rootfs and a config.json that a test changes; every one has an id."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self.path = path
        self.document = document
        self.id = f"test-{uuid.uuid4().hex[:12]}"

    def shell(self, script: str) -> Bundle:
        self.document["process"]["args"] = ["/bin/sh", "-c", script]
        return self

    def write(self) -> str:
        """Writes config.json; the arguments --bundle want this path."""
        (self.path / "config.json").write_text(json.dumps(self.document))
        return str(self.path)

    def run(self, runtime: Runtime, *flags: str) -> subprocess.CompletedProcess[str]:
        return runtime("run", "--bundle", self.write(), *flags, self.id)


@pytest.fixture(scope="session")
def default_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("spec")
    subprocess.run([str(COMMAND), "spec", "--bundle", str(folder)], check=True)
    document = json.loads((folder / "config.json").read_text())
    document["process"].update(terminal=False, args=["/bin/true"])
    del document["linux"]["resources"]
    assert isinstance(document, dict)
    return document


@pytest.fixture
def make_bundle(
    tmp_path: Path, busybox_rootfs: Path, default_config: dict[str, Any]
) -> Callable[[], Bundle]:
    """A new bundle of busybox at each call."""
    count = 0

    def make() -> Bundle:
        nonlocal count
        count += 1
        path = tmp_path / f"bundle{count}"
        shutil.copytree(busybox_rootfs, path / "rootfs", symlinks=True)
        return Bundle(path, copy.deepcopy(default_config))

    return make


@pytest.fixture
def bundle(make_bundle: Callable[[], Bundle]) -> Bundle:
    return make_bundle()


class Limited:
    """A container that sleeps, with limits."""

    def __init__(self, ocirt: Any, bundle: Any) -> None:
        self.ocirt = ocirt
        self.bundle = bundle
        self.id = bundle.id
        bundle.shell("exec sleep 1000")

    def create(self, resources: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        self.bundle.document["linux"]["resources"] = resources
        done = self.ocirt("create", "--bundle", self.bundle.write(), self.id)
        assert isinstance(done, subprocess.CompletedProcess)
        return done

    def run(self, resources: dict[str, Any]) -> None:
        created = self.create(resources)
        assert created.returncode == 0, created.stderr
        assert "warning" not in created.stderr
        self.ocirt("start", self.id, check=True)

    def update(self, resources: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        text = json.dumps(resources)
        done = self.ocirt("update", "--resources", "-", self.id, input=text)
        assert isinstance(done, subprocess.CompletedProcess)
        return done

    def folders(self) -> list[Path]:
        saved = json.loads((self.ocirt.root / self.id / "state.json").read_text())["cgroup"]
        return [Path(folder) for folder in from_state(saved).folders.values()]

    def expect(self, v1: dict[str, str] | None, v2: dict[str, str] | None) -> None:
        """The files of one version; a hybrid host has some controllers of each. None: that
        version has no such files."""
        found = v1 if not V2 and any(self.read(file) for file in v1 or ()) else v2
        assert found is not None
        assert {file: self.read(file) for file in found} == found

    def read(self, file: str) -> str:
        """The text of a file, whatever hierarchy it is in; "" if there is none."""
        for folder in self.folders():
            if (folder / file).exists():
                return (folder / file).read_text().strip()
        return ""


@pytest.fixture
def limited(ocirt: Runtime, bundle: Bundle) -> Limited:
    return Limited(ocirt, bundle)


def cgroups_of(id: str) -> list[str]:
    """The cgroup folders that have the container's name."""
    found = []
    for folder, names, _files in os.walk("/sys/fs/cgroup"):
        if id in names:
            found.append(os.path.join(folder, id))
    return found


@pytest.fixture
def leftovers() -> Callable[[Bundle], list[str]]:
    """What is left of a container on the host: cgroups, which a machine is in as well, mounts,
    processes."""

    def find(bundle: Bundle) -> list[str]:
        found = cgroups_of(bundle.id)
        mounts = Path("/proc/self/mountinfo").read_text()
        found += [line for line in mounts.splitlines() if str(bundle.path) in line]
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                root = os.readlink(folder / "root")
                name = (folder / "comm").read_text().strip()
            except OSError:
                continue
            if str(bundle.path) in root:
                found.append(f"process {folder.name} {name} {root}")
        return found

    return find


@pytest.fixture(scope="session")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from .faults import compile_tracer

    return compile_tracer(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def faulty(ocirt: Runtime, tracer: Path) -> Any:
    """``faults.Faults``: calls whose steps are counted, and can be made to fail."""
    from .faults import Faults

    return Faults(tracer, ocirt.root)


@pytest.fixture
def saved(
    needs_criu: Callable[..., None], ocirt: Runtime, bundle: Bundle, tmp_path: Path
) -> Iterator[Any]:
    """A ``Saved`` of checkpoints.py."""
    from .checkpoints import Saved

    needs_criu()
    it = Saved(ocirt, bundle, tmp_path)
    yield it
    it.close()
