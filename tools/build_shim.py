"""Tells cffi how to make ``ocirt._shim`` (setup.py: ``cffi_modules``).

The declarations are read from csrc/shim.h; there is no second list of them.
"""

from __future__ import annotations

import glob
import os

import cffi

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def declarations() -> str:
    """The part of csrc/shim.h between the marks ``cdef: begin`` and ``cdef: end``."""
    with open(os.path.join(ROOT, "csrc", "shim.h"), encoding="utf-8") as file:
        text = file.read()
    return text.split("/* cdef: begin */", 1)[1].split("/* cdef: end */", 1)[0]


ffi = cffi.FFI()
ffi.cdef(declarations())
# setup.py adds the folder of the generated machine_elf.h and the warning flags.
ffi.set_source(
    "ocirt._shim",
    '#include "shim.h"',
    sources=sorted(glob.glob("csrc/shim*.c")),
    include_dirs=["csrc"],
    depends=sorted(glob.glob("csrc/*.h")),
)
