"""Which modules the verbs that engines call import: each costs milliseconds at every call.

A verb runs in an interpreter that starts as the launcher (csrc/launcher.c) starts it.
"""

from __future__ import annotations

import json
import marshal
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import _cffi_backend
import pytest

from ocirt import image
from ocirt.commands.spec import default_config
from ocirt.commands.table import VERBS
from ocirt.runtime.status import process
from ocirt.runtime.store import State, Store

ROOT = Path(__file__).parent.parent.parent
HOT = [verb.name for verb in VERBS.values() if verb.hot]

# Modules of the standard library that a hot verb may import, beside those that the interpreter
# itself has loaded. Before you add one, measure it: python3 -I -S -X importtime -c 'import X'
ALLOWED = {
    "__future__",
    "_cffi_backend",
    "_json",
    "errno",
    "fcntl",
    "pwd",
    "resource",
    "select",
    "termios",
    # os, which an interpreter that runs without site has not loaded yet
    *("_collections_abc", "_stat", "abc", "genericpath", "os", "os.path", "posixpath", "stat"),
}
# foreground alone waits for a container, whose life is longer than an import
FOREGROUND = {"_collections", "_functools", "_operator", "_signal", "collections", "enum"}
FOREGROUND |= {"functools", "itertools", "keyword", "operator", "reprlib", "signal", "types"}

CODE = """
import sys
folders, log, call = sys.argv[1].split(":"), sys.argv[2], sys.argv[3]
sys.path += folders
before = set(sys.modules)
if call == "import":
    status = __import__("ocirt.commands." + sys.argv[4]) and 0
else:
    from ocirt.cli import main
    status = main(["ocirt", *sys.argv[4:]])
with open(log, "w") as file:
    file.write("\\n".join(sorted(set(sys.modules) - before)))
sys.exit(status)
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


class Scene:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.modules = folder / "modules"

    def run(self, call: str, *words: str) -> set[str]:
        """The modules that a call imported. It must succeed."""
        folders = f"{ROOT}:{os.path.dirname(_cffi_backend.__file__)}"
        command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", CODE, folders]
        command += [str(self.modules), call, *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        return set(self.modules.read_text().split())

    def verb(self, *words: str) -> set[str]:
        return self.run("main", "--log", "/dev/null", "--root", str(self.root), *words)


def foreign(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] != "ocirt"}


def own(modules: set[str]) -> set[str]:
    return {name.removeprefix("ocirt.") for name in modules - foreign(modules)} - {"ocirt"}


@pytest.mark.parametrize("verb", HOT)
def test_what_a_verb_imports_at_once(verb: str, scene: Scene) -> None:
    assert foreign(scene.run("import", verb)) - ALLOWED == set()


# ---- state, kill and delete: the whole list

CLI = {"cli", "commands", "commands.table", "errors", "log"}
STORE = {"json_text", "runtime", "runtime.status", "runtime.store"}
FREEZER = {"cgroup", "cgroup.freezer"}
KERNEL = {"_shim", "_shim.lib", "host", "host.constants", "host.kernel", "runtime.kill"}
CGROUP = FREEZER | {"cgroup.kill", "cgroup.layout", "cgroup.limits", "cgroup.manager"}
CGROUP |= {"host.mountinfo"}
EXACTLY = {
    "state": CLI | STORE | FREEZER | {"commands.state", "commands.output", "runtime.spec_state"},
    "kill": CLI | STORE | FREEZER | KERNEL | {"commands.kill"},
    "delete": CLI | STORE | KERNEL | CGROUP | {"commands.delete", "runtime.delete"},
}


@pytest.fixture
def container(scene: Scene) -> Iterator[str]:
    """The id of a created container that is a sleep of ours."""
    running = subprocess.Popen(["sleep", "100"])
    made = Store(str(scene.root)).create("c")
    state = State("c")
    state.pid, state.pid_start = running.pid, process(running.pid)[1]
    state.created = "2026-01-01T00:00:00Z"
    os.mkfifo("start", dir_fd=made.fd)
    waiting = os.open("start", os.O_RDWR, dir_fd=made.fd)
    made.write("config.json", b"{}")
    made.write_state(state)
    made.close()
    yield "c"
    os.close(waiting)
    running.kill()
    running.wait()


@pytest.mark.parametrize("verb", EXACTLY)
def test_all_that_a_verb_imports(verb: str, scene: Scene, container: str) -> None:
    modules = scene.verb(verb, container)
    assert own(modules) == EXACTLY[verb]
    assert foreign(modules) - ALLOWED == set()


# ---- a real container


def in_image(verb: str) -> set[str]:
    """The modules that the launcher need not look for."""
    code = "import sys; sys.path += sys.argv[1].split(':'); from ocirt.image_writer import write"
    folders = f"{ROOT}:{os.path.dirname(_cffi_backend.__file__)}"
    command = [sys.executable, "-I", "-S", "-c", f"{code}; write({str(ROOT)!r}, {verb!r})", folders]
    subprocess.run(command, check=True)
    _, _, modules = marshal.loads((ROOT / image.file_name(verb)).read_bytes())
    return own({name for name, *_ in modules})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    busybox = shutil.which("busybox")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not busybox:
        pytest.skip("busybox is not installed")
    bundle = tmp_path / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, bundle / "rootfs/bin/sleep")
    write_config(bundle, "100")
    return bundle


def write_config(bundle: Path, seconds: str, **linux: object) -> None:
    document = default_config()
    document["process"].update(terminal=False, args=["/bin/sleep", seconds])
    document["linux"].update(linux)
    (bundle / "config.json").write_text(json.dumps(document))


def test_a_whole_life(scene: Scene, bundle: Path) -> None:
    """What is imported inside functions counts too."""
    here = ("--bundle", str(bundle))
    calls = [
        ("create", *here, "c"),
        ("start", "c"),
        ("state", "c"),
        ("exec", "--detach", "c", "/bin/sleep", "0"),
        ("kill", "--all", "c", "KILL"),
        ("delete", "--force", "c"),
        ("run", "--detach", *here, "c"),
        ("delete", "--force", "c"),
    ]
    try:
        for call in calls:
            found = scene.verb(*call)
            assert foreign(found) - ALLOWED == set(), call
            assert not [name for name in found if "seccomp" in name], call
            if call[0] in image.VERBS:
                assert own(found) - in_image(call[0]) - {"_shim", "_shim.lib"} == set(), call
        write_config(bundle, "0")
        assert foreign(scene.verb("run", *here, "c")) - ALLOWED - FOREGROUND == set()
    finally:
        scene.verb("delete", "--force", "c")


def test_a_filter(scene: Scene, bundle: Path) -> None:
    """One that was compiled before costs a few small modules, and no libseccomp."""
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    write_config(bundle, "0", seccomp=profile)
    call = ("run", "--bundle", str(bundle), "c")
    compiled = {"bpf", "compile", "enosys", "exact", "library", "names", "_libseccomp"}
    used = {"filter", "cache"}
    for expected in (compiled | used, used):
        modules = scene.verb(*call)
        package = {n for n in own(modules) if n.startswith("seccomp.")}
        assert package == {f"seccomp.{name}" for name in expected}
        assert foreign(modules) - ALLOWED - FOREGROUND == {"_blake2"}
