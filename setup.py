"""The build of what is not Python: the machine, the shim and the launcher.

machine   csrc/machine*.c, freestanding and static; its bytes become machine_elf.h
shim      ocirt._shim, a cffi extension that holds those bytes (csrc/shim*.c)
systemd   ocirt.cgroup._systemd, declarations for cffi (tools/build_systemd.py)
seccomp   ocirt.seccomp._libseccomp, the same (tools/build_libseccomp.py)
launcher  csrc/launcher*.c, installed as the command ``ocirt``

Metadata is in setup.cfg. ``python setup.py build_ext --inplace`` rebuilds machine and
shim in a checkout; ``pip install -e .`` does that too and installs the launcher.
"""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

from distutils.command.build_scripts import build_scripts  # setuptools' own; isort: skip

ROOT = os.path.dirname(os.path.abspath(__file__))
os.chdir(ROOT)
sys.path.insert(0, os.path.join(ROOT, "tools"))  # a PEP 517 build does not look here

from build_machine import WARNINGS, build_machine, compile_c  # noqa: E402

LAUNCHER_FLAGS = "-std=gnu11 -O2 -g0 -s".split()
# A third of the time of state, start, kill and delete would be the dynamic linker's.
STATIC_FLAGS = "-static-pie -fPIE".split()
CC = shlex.split(os.environ.get("CC", "gcc"))


def write_machine_header(elf: str, header: str) -> None:
    """The bytes of file ``elf`` as ``static const unsigned char machine_elf[]``.

    The header is left untouched if it is right already, so that nothing is rebuilt for it.
    """
    with open(elf, "rb") as file:
        data = file.read()
    rows = (",".join(map(str, data[i : i + 24])) for i in range(0, len(data), 24))
    text = "static const unsigned char machine_elf[] = {\n" + ",\n".join(rows) + "};\n"
    if os.path.exists(header):
        with open(header) as old:
            if old.read() == text:
                return
    with open(header, "w") as new:
        new.write(text)


class BuildShim(build_ext):
    """Builds the machine first: the shim's source includes its bytes."""

    def run(self) -> None:
        machine = os.path.join(self.build_temp, "machine")
        header = os.path.join(self.build_temp, "machine_elf.h")
        build_machine(machine, CC)
        write_machine_header(machine, header)
        self.include_dirs.append(self.build_temp)
        for extension in self.extensions:
            extension.depends.append(header)
            extension.extra_compile_args += [*WARNINGS, "-std=gnu11", "-g0"]
            extension.extra_link_args.append("-s")
        super().run()


class BuildLauncher(build_scripts):
    """Compiles the command; distutils' own step would look for a ``#!`` line in it."""

    def run(self) -> None:
        flags = list(LAUNCHER_FLAGS)
        if self.get_finalized_command("build_py").editable_mode:
            # The one case in which the package is not in a folder beside the command's.
            flags.append(f'-DSOURCE_DIR="{ROOT}"')
        sources, output = (
            sorted(glob.glob("csrc/launcher*.c")),
            os.path.join(self.build_dir, "ocirt"),
        )
        try:
            compile_c(sources, output, [*flags, *STATIC_FLAGS], CC)
        except subprocess.CalledProcessError:  # a distribution may have no static libc
            compile_c(sources, output, flags, CC)


class BuildPackage(build_py):
    """Puts the specification's schemas into the package: ocirt/config/spec-schemas."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            folder = os.path.join(self.build_lib, "ocirt", "config", "spec-schemas")
            shutil.copytree("spec-schemas", folder, dirs_exist_ok=True)


setup(
    cffi_modules=[
        "tools/build_shim.py:ffi",
        "tools/build_systemd.py:ffi",
        "tools/build_libseccomp.py:ffi",
    ],
    scripts=["csrc/launcher.c"],
    cmdclass={"build_ext": BuildShim, "build_scripts": BuildLauncher, "build_py": BuildPackage},
)
