"""How the machine is compiled: one place for setup.py, the tests and tools/check-c.

``python3 tools/build_machine.py OUTPUT [CC...]`` compiles it by hand.
"""

from __future__ import annotations

import glob
import os
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

WARNINGS = "-Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla".split()
# No libc and no start files: the machine is all there is in the process that runs it.
FLAGS = (
    "-std=gnu11 -Os -g0 -ffreestanding -nostdlib -static -fno-pie -no-pie -fno-stack-protector "
    "-fno-asynchronous-unwind-tables -fno-unwind-tables -fomit-frame-pointer -ffunction-sections "
    "-Wl,--gc-sections,--build-id=none,-z,noexecstack -s"
).split()


def sources() -> list[str]:
    """The machine's C files."""
    return sorted(glob.glob(os.path.join(ROOT, "csrc", "machine*.c")))


def compile_c(files: list[str], output: str, flags: list[str], cc: list[str]) -> None:
    """Compiles and links ``files``; a failure is CalledProcessError, after gcc's own words."""
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    command = [*cc, *flags, *WARNINGS, "-o", output, *files]
    print(shlex.join(command), flush=True)
    subprocess.run(command, check=True)


def build_machine(output: str, cc: list[str], extra: list[str] | None = None) -> None:
    """Makes the machine, a static ELF, at ``output``."""
    compile_c(sources(), output, [*FLAGS, *(extra or [])], cc)


if __name__ == "__main__":
    build_machine(sys.argv[1], sys.argv[2:] or ["gcc"])
