"""The build of what is not Python: the machine, the shim and the launcher.

machine   csrc/machine*.c, freestanding and static; its bytes become machine_elf.h
shim      ocirt._shim, a cffi extension that holds those bytes (csrc/shim.c)
launcher  csrc/launcher.c, installed as the command ``ocirt``

Metadata is in setup.cfg. ``python setup.py build_ext --inplace`` rebuilds machine and
shim in a checkout; ``pip install -e .`` does that too and installs the launcher.
"""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import subprocess

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

from distutils.command.build_scripts import build_scripts  # setuptools' own; isort: skip

ROOT = os.path.dirname(os.path.abspath(__file__))
os.chdir(ROOT)

# tools/check-c makes errors of them; here they must not, or a newer gcc could stop a user's build.
WARNINGS = "-Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla".split()
# No libc, no start files: the machine is all there is in the process that runs it.
MACHINE_FLAGS = (
    "-std=gnu11 -Os -g0 -ffreestanding -nostdlib -static -no-pie -fno-pie -fno-stack-protector "
    "-fno-asynchronous-unwind-tables -fno-unwind-tables -fcf-protection=none -fomit-frame-pointer "
    "-ffunction-sections -Wl,--gc-sections,--build-id=none,-z,noexecstack,-z,norelro -s"
).split()
LAUNCHER_FLAGS = "-std=gnu11 -O2 -g0 -s".split()


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "gcc"))


def compile_c(sources: list[str], output: str, flags: list[str]) -> None:
    os.makedirs(os.path.dirname(output), exist_ok=True)
    command = [*compiler(), *flags, *WARNINGS, "-o", output, *sources]
    print(shlex.join(command), flush=True)
    subprocess.run(command, check=True)


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
        sources = sorted(glob.glob("csrc/machine*.c"))
        if not sources:  # until the machine lands
            os.makedirs(self.build_temp, exist_ok=True)
            sources = [os.path.join(self.build_temp, "placeholder.c")]
            with open(sources[0], "w") as file:
                file.write("void _start(void); void _start(void) { for (;;) __builtin_trap(); }")
        compile_c(sources, machine, MACHINE_FLAGS)
        write_machine_header(machine, header)
        self.include_dirs.append(self.build_temp)
        for extension in self.extensions:
            extension.depends.append(header)
            extension.extra_compile_args += [*WARNINGS, "-std=gnu11", "-g0"]
            extension.extra_link_args.append("-s")
        super().run()


class BuildLauncher(build_scripts):
    """Compiles the command; distutils' own command would look for a ``#!`` line in it."""

    def run(self) -> None:
        flags = list(LAUNCHER_FLAGS)
        editable = self.distribution.get_command_obj("build_py").editable_mode
        if editable:  # the one case in which the package is not beside the command
            flags.append(f'-DSOURCE_DIR="{ROOT}"')
        compile_c(["csrc/launcher.c"], os.path.join(self.build_dir, "ocirt"), flags)


class BuildPackage(build_py):
    """Puts the specification's schemas into the package: ocirt/config/spec-schemas."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            folder = os.path.join(self.build_lib, "ocirt", "config", "spec-schemas")
            shutil.copytree("spec-schemas", folder, dirs_exist_ok=True)


setup(
    cffi_modules=["tools/build_shim.py:ffi"],
    scripts=["csrc/launcher.c"],
    cmdclass={"build_ext": BuildShim, "build_scripts": BuildLauncher, "build_py": BuildPackage},
)
