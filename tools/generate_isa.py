"""Writes the C copies of the two instruction sets: csrc/isa.h, the machine's, from
ocirt/plan/ops.py, and csrc/verbs.h, the launcher's, from ocirt/runtime/verbs.py.

``python3 tools/generate_isa.py`` writes them; with ``--check`` it fails if a file differs.
"""

from __future__ import annotations

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from ocirt.plan import ops  # noqa: E402
from ocirt.runtime import verbs  # noqa: E402

CONSTANTS = (
    "OPERANDS SLOTS NO_SLOT SEGMENT_MAX CHUNK_MAX FDS_MAX MAGIC MSG_FDS MSG_SEGMENT FLAG_TRACE "
    "REPORT_DONE REPORT_FAILED REPORT_FORKED REPORT_FD REPORT_PARKED REPORT_TRACE REPORT_EXEC "
    "REPORT_LISTENER REPORT_HEADER REPORT_TEXT_MAX KIND_DIR KIND_FILE KIND_LIKE "
    "TARGET_NO_PROC TARGET_ORDINARY TARGET_NO_CREATE TARGET_NO_SYS"
).split()


def header() -> str:
    """The text of isa.h."""
    lines = ["/* Made by tools/generate_isa.py from ocirt/plan/ops.py. Do not edit. */", ""]
    lines += ["#ifndef ISA_H", "#define ISA_H", ""]
    lines += [f"#define ISA_{name} {getattr(ops, name):#x}U" for name in CONSTANTS]
    lines += ["", "enum operand_kind {"]
    lines += [f"    ISA_{name} = {number}," for number, name in enumerate(ops.KIND_NAMES)]
    lines += ["    ISA_NONE,", "};", "", "enum opcode {"]
    lines += [f"    OP_{op.name} = {op.code}," for op in ops.OPS.values()]
    lines += ["    OP_COUNT,", "};", ""]
    lines += [
        "/* X(NAME, its operands' kinds, ISA_NONE where it has none) */",
        "#define ISA_OPS(X) \\",
    ]
    for op in ops.OPS.values():
        kinds = [f"ISA_{ops.KIND_NAMES[kind]}" for _name, kind in op.operands]
        kinds += ["ISA_NONE"] * (ops.OPERANDS - len(kinds))
        lines.append(f"    X({op.name}, {', '.join(kinds)}) \\")
    lines += ["", "#endif", ""]
    return "\n".join(lines)


def verbs_header() -> str:
    """The text of verbs.h."""
    lines = ["/* Made by tools/generate_isa.py from ocirt/runtime/verbs.py. Do not edit. */", ""]
    lines += ["#ifndef VERBS_H", "#define VERBS_H", ""]
    lines += [f"#define VERBS_{name} {getattr(verbs, name):#x}U" for name in ("MAGIC", "SIZE_MAX")]
    lines += ["", "enum verbs_opcode {"]
    lines += [f"    VERBS_{name} = {code}," for code, name in enumerate(verbs.OPS, 1)]
    lines += ["};", "", "#endif", ""]
    return "\n".join(lines)


def main() -> int:
    """Writes or compares the headers; returns the exit status."""
    status = 0
    for name, text in (("isa.h", header()), ("verbs.h", verbs_header())):
        path = os.path.join(ROOT, "csrc", name)
        if "--check" in sys.argv[1:]:
            with open(path) as file:
                status |= file.read() != text
        else:
            with open(path, "w") as file:
                file.write(text)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
