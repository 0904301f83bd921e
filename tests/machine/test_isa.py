"""csrc/isa.h is what tools/generate_isa.py makes of ocirt/plan/ops.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ocirt.host import kernel
from ocirt.plan import ops

ROOT = Path(__file__).parent.parent.parent
SIZE_MAX = 24 << 10


def test_header_is_current() -> None:
    command = [sys.executable, str(ROOT / "tools" / "generate_isa.py"), "--check"]
    assert subprocess.run(command).returncode == 0, "run tools/generate_isa.py"


def test_operations_are_numbered_without_gaps_and_fit_their_records() -> None:
    assert [op.code for op in ops.OPS.values()] == list(range(1, len(ops.OPS) + 1))
    for op in ops.OPS.values():
        assert len(op.operands) <= ops.OPERANDS
        assert op.steps
        op.text.format(**{name: "" for name, _kind in op.operands})


def test_machine_is_small(builds: dict[str, Path]) -> None:
    assert builds["normal"].stat().st_size < SIZE_MAX
    assert len(kernel.machine_bytes()) < SIZE_MAX
