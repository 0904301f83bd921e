"""How the machine is compiled: one place for setup.py, the tests and tools/check-c.

``python3 tools/build_machine.py OUTPUT [CC...]`` compiles it by hand;
``python3 tools/build_machine.py --hosted OUTPUT [CC...]`` with libc and the sanitizers.
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
# The same sources as an ordinary program, started the same way: the tests' second machine.
HOSTED_FLAGS = (
    "-std=gnu11 -O1 -g -fno-omit-frame-pointer -DMACHINE_HOSTED "
    "-fsanitize=address,undefined -fno-sanitize-recover=all"
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


def build_hosted(output: str, cc: list[str]) -> None:
    """Makes the machine at ``output`` with libc, AddressSanitizer and UBSan, for tests: what
    they find goes to stderr, and the exit status is 99."""
    compile_c(sources(), output, HOSTED_FLAGS, cc)


if __name__ == "__main__":
    if sys.argv[1] == "--hosted":
        build_hosted(sys.argv[2], sys.argv[3:] or ["gcc"])
    else:
        build_machine(sys.argv[1], sys.argv[2:] or ["gcc"])
