# What cffi makes of csrc/shim.h. Only ocirt/host/kernel.py uses it, and gives it types.
from typing import Any

ffi: Any
lib: Any
