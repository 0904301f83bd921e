"""Images of modules: what is in them, and when they are not used."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
from pathlib import Path

import _cffi_backend
import pytest

from ocirt.image import VERBS, file_name

ROOT = Path(__file__).parent.parent.parent
COMMAND = Path(sys.executable).parent / "ocirt"
CFFI = os.path.dirname(_cffi_backend.__file__)

# As the launcher calls it, in an interpreter that has nothing else.
WRITE = """
import sys
folder, verb = sys.argv[1:]
sys.path += [folder, {cffi!r}]
from ocirt.image_writer import write
write(folder, verb)
"""
LOAD = """
import marshal, sys
folder, image = sys.argv[1:]
sys.path += [folder, {cffi!r}]
with open(image, "rb") as file:
    code, sources, modules = marshal.load(file)
names = {{"__name__": "ocirt.image"}}
exec(code, names)
loaded = names["load"](folder, sources, modules)
print(loaded, *(name for name in sys.modules if name.startswith("ocirt")))
"""


def python(code: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-I", "-S", "-c", code.format(cffi=CFFI), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of a copy of the package, which has been used."""
    shutil.copytree(ROOT / "ocirt", tmp_path / "ocirt", ignore=shutil.ignore_patterns("*.image"))
    (tmp_path / "ocirt/__pycache__").mkdir(exist_ok=True)
    return tmp_path


def image(package: Path, verb: str) -> Path:
    return package / file_name(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_an_image_has_all_that_the_verb_imports(verb: str, package: Path) -> None:
    python(WRITE, package, verb)
    loaded, *names = python(LOAD, package, image(package, verb)).split()
    assert loaded == "True"
    code = "import sys; sys.path += [sys.argv[1], {cffi!r}]; import ocirt.__main__, "
    code += f"ocirt.commands.{verb}; print(*(n for n in sys.modules if n.startswith('ocirt')))"
    assert set(names) >= set(python(code, package).split())
    assert {f"ocirt.{name}" for name in VERBS[verb]} <= set(names)
    # To load it takes longer than any module, and update has no use for it.
    assert ("ocirt._shim" in names) is ("ocirt.host.kernel" in names) is (verb != "update")


def test_nobody_else_may_write_it(package: Path) -> None:
    before = os.umask(0)
    try:
        python(WRITE, package, "update")
    finally:
        os.umask(before)
    assert image(package, "update").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (package / "ocirt/__pycache__").glob("*.image*")] == [
        image(package, "update").name
    ]


@pytest.mark.parametrize("change", ["touch", "longer", "gone"])
def test_a_source_that_has_changed(change: str, package: Path) -> None:
    python(WRITE, package, "update")
    source = package / "ocirt/cli.py"
    found = source.stat()
    if change == "gone":
        source.unlink()
    elif change == "longer":
        source.write_text(source.read_text() + "\n")
        os.utime(source, ns=(found.st_atime_ns, found.st_mtime_ns))
    else:
        os.utime(source)
    assert python(LOAD, package, image(package, "update")) == "False\n"


def test_another_release_has_been_installed_meanwhile(package: Path) -> None:
    """What was to be imported again is gone, or not whole yet."""
    (package / "ocirt/config/load.py").write_text("def")
    python(WRITE, package, "update")
    assert not image(package, "update").exists()


def test_a_place_that_can_not_be_written(package: Path) -> None:
    """The import system goes on without."""
    shutil.rmtree(package / "ocirt/__pycache__")
    (package / "ocirt/__pycache__").touch()
    python(WRITE, package, "update")
    (package / "ocirt/__pycache__").unlink()
    image(package, "update").mkdir(parents=True)  # found when it is put in its place
    python(WRITE, package, "update")
    assert list((package / "ocirt/__pycache__").glob("*.image*")) == [image(package, "update")]


def call(*words: str) -> tuple[int, str]:
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.skipif(not COMMAND.exists(), reason="ocirt is not installed beside this Python")
@pytest.mark.parametrize("damage", [b"", b"\xe3", b"not marshal's", marshal.dumps((1, 2))])
def test_the_command_makes_a_bad_one_anew(damage: bytes) -> None:
    said = call("update")
    file = image(ROOT, "update")
    good = file.read_bytes()
    file.write_bytes(damage)
    assert call("update") == said
    assert said == (
        1,
        "ocirt: update: ID is missing\nocirt:   hint: usage: ocirt update [OPTION...] ID\n",
    )
    assert len(file.read_bytes()) == len(good)
    assert call("update") == said


def test_what_only_readers_need_is_left_out(package: Path) -> None:
    python(WRITE, package, "update")
    code = "import marshal, sys; data = marshal.load(open(sys.argv[1], 'rb'))\n"
    code += "codes = [code for *_, code in data[2] if code]\n"
    code += "for code in codes:\n"
    code += "    codes += [each for each in code.co_consts if hasattr(each, 'co_code')]\n"
    code += "    print(*(ascii(each) for each in code.co_consts if isinstance(each, str)))\n"
    texts = python(code, image(package, "update"))
    assert "is missing" in texts
    assert "Raises OcirtError" not in texts  # of docstrings
    assert "Sequence[Write]" not in texts  # of annotations


@pytest.mark.parametrize("verb", VERBS)
def test_no_folder_is_searched(verb: str, package: Path) -> None:
    """Neither for modules nor for shared objects."""
    python(WRITE, package, verb)
    looked_into = LOAD + "print([p for p in sys.path if p in sys.path_importer_cache])"
    before = python("import sys\nprint([p for p in sys.path if p in sys.path_importer_cache])")
    assert python(looked_into, package, image(package, verb)).split("\n")[1:] == before.split("\n")
