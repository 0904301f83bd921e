"""The wheel, and the launcher in every kind of place where an installer puts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]

# Stands in for the package: tells how it was started.
STUB = """
import json, os, sys
def run(*_):
    print(json.dumps({
        "argv": sys.argv, "path": sys.path, "executable": sys.executable,
        "isolated": sys.flags.isolated, "no_site": sys.flags.no_site, "utf8": sys.flags.utf8_mode,
        "environ": dict(os.environ), "site": "site" in sys.modules,
    }))
    sys.exit(3)
"""


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("launcher") / "ocirt"
    sources = sorted(ROOT.glob("csrc/launcher*.c"))
    subprocess.run(["gcc", *WARNINGS, "-o", output, *sources], check=True)
    return output


def install(launcher: Path, prefix: Path, folder: str) -> Path:
    """Puts the launcher and the stub under ``prefix``; returns the command."""
    package = prefix / "lib" / f"python{VERSION}" / folder / "ocirt"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STUB)
    (prefix / "bin").mkdir(exist_ok=True)
    shutil.copy(launcher, prefix / "bin" / "ocirt")
    return prefix / "bin" / "ocirt"


def make_venv(prefix: Path) -> None:
    command = [sys.executable, "-m", "venv", "--without-pip", str(prefix)]
    subprocess.run(command, check=True)


def start(command: Path, *arguments: str, argv0: str | None = None) -> dict[str, object]:
    """What the stub tells when it is started with no environment at all."""
    done = subprocess.run(
        [argv0 or str(command), *arguments],
        executable=command,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def added(report: dict[str, object]) -> list[str]:
    """The folders of sys.path that the launcher added: those after the standard library's."""
    path = report["path"]
    assert isinstance(path, list)
    last = max(i for i, folder in enumerate(path) if folder.endswith("lib-dynload"))
    return path[last + 1 :]


def test_in_a_virtual_environment(launcher: Path, tmp_path: Path) -> None:
    make_venv(tmp_path)
    command = install(launcher, tmp_path, "site-packages")
    report = start(command, "state", "a b", "--x=\n")
    assert report["argv"] == [str(command), "state", "a b", "--x=\n"]
    assert (report["isolated"], report["no_site"], report["utf8"]) == (1, 1, 1)
    assert report["site"] is False
    environ = report["environ"]
    assert isinstance(environ, dict)
    assert set(environ) <= {"LC_CTYPE"}  # Python's own, in a C locale (PEP 538)
    site = tmp_path / "lib" / f"python{VERSION}" / "site-packages"
    assert added(report)[0] == str(site)
    assert {os.path.realpath(folder) for folder in added(report)} == {str(site)}


def test_name_that_it_was_called_by(launcher: Path, tmp_path: Path) -> None:
    make_venv(tmp_path / "venv")
    command = install(launcher, tmp_path / "venv", "site-packages")
    link = tmp_path / "runc"
    link.symlink_to(command)
    assert start(link, "--version")["argv"] == [str(link), "--version"]
    assert start(link, argv0="crun")["argv"] == ["crun"]


def test_arguments_that_are_not_utf8(launcher: Path, tmp_path: Path) -> None:
    make_venv(tmp_path)
    command = install(launcher, tmp_path, "site-packages")
    for locale in ({}, {"LC_ALL": "C"}, {"LC_ALL": "en_US.ISO-8859-1"}):
        done = subprocess.run([command, b"\xff\xc3\xa9"], env=locale, stdout=-1, check=False)
        assert json.loads(done.stdout)["argv"][1] == "\udcff\u00e9"


def test_virtual_environment_with_the_systems_packages(launcher: Path, tmp_path: Path) -> None:
    """python3-cffi of the distribution serves there, so its folder must be in sys.path."""
    make_venv(tmp_path)
    command = install(launcher, tmp_path, "site-packages")
    config = tmp_path / "pyvenv.cfg"
    home = Path(sys.base_prefix)
    text = f"home = {home}/bin\ninclude-system-site-packages = %s\n"
    system = [
        str(folder)
        for folder in (
            home / "lib" / f"python{VERSION}" / "site-packages",
            home / "lib" / f"python{VERSION}" / "dist-packages",
            Path("/usr/lib/python3/dist-packages"),
        )
        if folder.is_dir() and (folder.is_relative_to(home))
    ]
    assert system
    config.write_text(text % "true")
    assert set(system) <= set(added(start(command)))
    config.write_text(text % "false")
    assert not set(system) & set(added(start(command)))


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_in_a_prefix_without_interpreter(launcher: Path, tmp_path: Path, folder: str) -> None:
    """pip install --prefix, and Debian's /usr/local."""
    if not os.path.exists(f"/usr/bin/python{VERSION}"):
        pytest.skip(f"the system's python is not {VERSION}")
    report = start(install(launcher, tmp_path, folder))
    assert report["executable"] == f"/usr/bin/python{VERSION}"
    assert added(report)[0] == f"{tmp_path}/lib/python{VERSION}/{folder}"


def test_folder_cannot_hide_the_standard_library(launcher: Path, tmp_path: Path) -> None:
    make_venv(tmp_path)
    command = install(launcher, tmp_path, "site-packages")
    site = tmp_path / "lib" / f"python{VERSION}" / "site-packages"
    (site / "json.py").write_text("raise SystemExit('the wrong json')")
    start(command)


def test_error_without_a_package(launcher: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(launcher, tmp_path / "bin" / "ocirt")
    done = subprocess.run([tmp_path / "bin" / "ocirt"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ocirt: no package ocirt in ")
    assert done.stderr.rstrip().endswith(str(tmp_path))


@pytest.mark.parametrize("static", [True, False])
def test_built_with_and_without_a_static_libc(static: bool, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    refusal = "" if static else 'case "$*" in *-static*) echo "no such library" >&2; exit 1; esac\n'
    compiler.write_text(f'#!/bin/sh\n{refusal}exec gcc "$@"\n')
    compiler.chmod(0o755)
    command = [sys.executable, "setup.py", "-q", "build_scripts", f"--build-dir={tmp_path}/build"]
    env = {**os.environ, "CC": str(compiler)}
    subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=2)
    program = tmp_path / "build/ocirt"
    headers = subprocess.run(["readelf", "-l", program], stdout=subprocess.PIPE, check=True).stdout
    assert (b"INTERP" in headers) is not static
    done = subprocess.run([program, "list"], capture_output=True, text=True, check=False)
    assert "no package ocirt" in done.stderr


# ---- the wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves its own files in the source folder."""
    source, output = tmp_path_factory.mktemp("source") / "ocirt", tmp_path_factory.mktemp("wheel")
    names = ("ocirt", "csrc", "spec-schemas", "tools")
    for name in names:
        unwanted = shutil.ignore_patterns("__pycache__", "*.so", "_shim.c")
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", output, source], check=True, stdout=2)
    (built,) = output.glob("*.whl")
    return built


def test_wheel_holds_everything(wheel: Path) -> None:
    machine = os.uname().machine
    assert wheel.name.endswith(f"-cp310-abi3-linux_{machine}.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (script,) = (name for name in names if name.endswith(".data/scripts/ocirt"))
        assert archive.read(script)[:4] == b"\x7fELF"
        assert archive.getinfo(script).external_attr >> 16 & 0o111
        assert b"python3" not in archive.read(script)[:100]
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "ocirt").rglob("*.py")}
    assert modules <= names
    schemas = {path.relative_to(ROOT) for path in (ROOT / "spec-schemas").rglob("*.json")}
    assert schemas
    assert {f"ocirt/config/{path}" for path in schemas} <= names
    assert "ocirt/_shim.abi3.so" in names
    assert not [name for name in names if name.startswith(("tests/", "csrc/", "tools/"))]


def test_wheel_runs_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    import _cffi_backend

    make_venv(tmp_path)
    python = str(tmp_path / "bin" / "python3")
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    site = tmp_path / "lib" / f"python{VERSION}" / "site-packages"
    shutil.copy(_cffi_backend.__file__, site)
    for command in ([tmp_path / "bin" / "ocirt"], [python, "-m", "ocirt"]):
        done = subprocess.run(
            [*command, "--version"], env={}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("ocirt version ")
        assert done.stderr == ""
    code = "from ocirt.host import kernel; print(len(kernel.machine_bytes()))"
    done = subprocess.run([python, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100
