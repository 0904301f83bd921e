# What cffi makes of tools/build_systemd.py. Only ocirt/cgroup/systemd_bus.py uses it.
from typing import Any

ffi: Any
