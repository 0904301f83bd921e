# What cffi makes of tools/build_libseccomp.py. Only ocirt/seccomp/library.py uses it.
from typing import Any

ffi: Any
