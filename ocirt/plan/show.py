"""A plan for people: each operation as a line, and each failure as a sentence."""

from __future__ import annotations

import os
import stat

from ocirt.errors import KernelError, errno_name
from ocirt.host.constants import (
    CAPABILITIES,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    NAMESPACE_FLAGS,
)
from ocirt.plan.hints import hint
from ocirt.plan.mounts import INSIDE_PROC
from ocirt.plan.ops import (
    FILTER_STEP,
    KIND_DIR,
    KIND_FILE,
    NO_SLOT,
    SLOT,
    SLOT_OPT,
    SLOT_OUT,
    STR,
    TARGET_NO_PROC,
    TARGET_NO_SYS,
    TARGET_ORDINARY,
)
from ocirt.plan.program import SYNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Instruction, Pin, Plan, Value

_ATTRIBUTES = (
    (0x1, "rdonly"),
    (0x2, "nosuid"),
    (0x4, "nodev"),
    (0x8, "noexec"),
    (0x80, "nodiratime"),
    (0x200000, "nosymfollow"),
)
_ATIMES = {0x10: "noatime", 0x20: "strictatime", 0x70: "atime"}
_PROPAGATION = {
    MS_SHARED: "shared",
    MS_SLAVE: "slave",
    MS_PRIVATE: "private",
    MS_UNBINDABLE: "unbindable",
}
_PRCTL = {28: "PR_SET_SECUREBITS", 38: "PR_SET_NO_NEW_PRIVS"}
_FILTER_FLAGS = ((2, "LOG"), (4, "SPEC_ALLOW"), (8, "NEW_LISTENER"), (32, "WAIT_KILLABLE_RECV"))
_BINARY = ("GROUPS", "MEMORY_POLICY", "SECCOMP")  # their data is no text
_ALL_CAPABILITIES = (1 << len(CAPABILITIES)) - 1


def attributes(value: int) -> str:
    """``rdonly,nosuid`` for MOUNT_ATTR_* bits, "nothing" for none."""
    names = [name for bit, name in _ATTRIBUTES if value & bit]
    if value & 0x70:
        names.append(_ATIMES.get(value & 0x70, hex(value & 0x70)))
    return ",".join(names) or "nothing"


def capabilities(mask: int) -> str:
    """Names without CAP_, "all" or "none"."""
    if mask & _ALL_CAPABILITIES == _ALL_CAPABILITIES:
        return "all"
    names = [name[4:].lower() for name, bit in CAPABILITIES.items() if mask >> bit & 1]
    return " ".join(names) or "none"


def memory_policy(value: int) -> str:
    """``MPOL_BIND|MPOL_F_STATIC_NODES``."""
    flags = [name for name, bit in MEMORY_POLICY_FLAGS.items() if value & bit]
    modes = {number: name for name, number in MEMORY_POLICIES.items()}
    return "|".join([modes[value & 0xFF], *flags])


def _flags(op: str, name: str, value: int) -> str | None:
    """Numbers whose meaning depends on the operation; None: print the number."""
    if name == "attributes" or (op == "SETATTR" and name in ("set", "clear")):
        return attributes(value)
    if name == "propagation":
        return _PROPAGATION.get(value, "")
    if op in ("SETNS", "UNSHARE"):
        return "+".join(kind for kind, flag in NAMESPACE_FLAGS.items() if value & flag)
    if op == "SETATTR":
        return "and all below it" if value else ""
    if name == "policy":
        return memory_policy(value)
    if name == "option":
        return _PRCTL.get(value)
    if op in ("BOUNDING", "CAPSET", "AMBIENT"):
        return capabilities(value)
    if op == "MKNOD" and name == "device":
        return f"{os.major(value)}:{os.minor(value)}"
    if name in ("mode", "mask"):
        return f"{stat.S_IMODE(value):04o}"
    if op == "SECCOMP" and name == "flags":
        return " ".join(word for bit, word in _FILTER_FLAGS if value & bit)
    if name == "magic":
        return hex(value)
    if op == "TARGET" and name == "kind":
        return {KIND_DIR: "folder", KIND_FILE: "file"}.get(value, "folder or file")
    return None


def _operand(plan: Plan, instruction: Instruction, name: str, kind: int, value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(value)
    if kind in (SLOT, SLOT_OPT, SLOT_OUT):
        assert isinstance(value, int)
        return "" if value == NO_SLOT else f"[{plan.slot_names[value]}]"
    if isinstance(value, bytes):
        if instruction.op.name == "GROUPS":
            numbers = [value[i : i + 4] for i in range(0, len(value), 4)]
            return " ".join(str(int.from_bytes(n, "little")) for n in numbers) or "none"
        if instruction.op.name == "SECCOMP":
            return f"{instruction.note}, {len(value) // FILTER_STEP} instructions"
        if instruction.op.name == "MEMORY_POLICY":
            mask = int.from_bytes(value, "little")
            nodes = [str(node) for node in range(mask.bit_length()) if mask >> node & 1]
            return "of nodes " + ",".join(nodes) if nodes else ""
        return repr(value.decode(errors="replace"))
    text = _flags(instruction.op.name, name, value)
    return str(value) if text is None else text


def describe(plan: Plan, instruction: Instruction) -> str:
    """What one operation does, in a line."""
    if instruction.op is SYNC:
        return f"the host: {instruction.note}"
    words = {
        name: _operand(plan, instruction, name, kind, value)
        for (name, kind), value in zip(instruction.op.operands, instruction.values)
    }
    return " ".join(instruction.op.text.format(**words).split())


def failure(plan: Plan, index: int, step: int, errno: int, text: str) -> KernelError:
    """The error of an operation that failed: what, where it was asked for, why."""
    instruction = plan.instructions[index]
    op = instruction.op
    name = op.steps[step] if step < len(op.steps) else op.name.lower()
    parts = [instruction.note] if instruction.note else []
    special = _special(instruction, errno)
    parts.append(special or f"{name} {_subject(instruction)}".rstrip())
    reason = os.strerror(errno)
    if op.name in ("FIND_EXEC", "EXEC"):
        reason = reason.lower()  # engines look for the words of Go (CONTRACT.md row 36)
    words = f"{errno_name(errno)} ({reason})"
    if op.name == "EXEC":  # as ocirt.runtime.start has it of a program that start can't execute
        args = instruction.value("argv")
        assert isinstance(args, list)
        parts, words = parts[:1], f"exec {args[0]}: {reason}"
    said = "" if special else text.strip()
    if said and said not in " ".join(parts):
        # A kernel's log line starts with its level: "e tmpfs: Bad value for 'size'".
        said = "; ".join(line.removeprefix("e ") for line in said.splitlines())
        words += f": {said}"
    text = ": ".join([*parts, words])
    return KernelError(text, at=instruction.at, errno=errno, hint=hint(plan, instruction, errno))


def _subject(instruction: Instruction) -> str:
    """What the operation was about: key=value of an fsconfig, else its first string."""
    if instruction.op.name == "FSCONFIG":
        key, value = instruction.values[1:]
        return f"{key!s}={value!s}"
    for (_name, kind), value in zip(instruction.op.operands, instruction.values):
        if kind == STR:
            return str(value)
    return ""


def _special(instruction: Instruction, errno: int) -> str:
    """Texts that engines and people know from the peers."""
    name = errno_name(errno)
    op = instruction.op.name
    if op == "TARGET":
        flags = int(instruction.value("flags"))  # type: ignore[arg-type]
        if name == "EXDEV" and flags & TARGET_NO_SYS:
            return "it is, or a link leads, inside /proc or /sys"
        if name == "EXDEV" and flags & TARGET_NO_PROC:
            return INSIDE_PROC
        if name in ("ELOOP", "ENOTDIR") and flags & TARGET_ORDINARY:
            return "must be mounted on ordinary directory"
    if op == "CHECK_FS" and name == "EXDEV":
        return INSIDE_PROC
    if op == "FIND_EXEC" and name == "ENOENT":
        paths = instruction.value("paths")
        assert isinstance(paths, list)
        if len(paths) > 1 or "/" not in instruction.note:
            return "executable file not found in $PATH"
    if op == "FIND_EXEC" and name == "EISDIR":
        return "permission denied"  # what execve(2) would say; Podman's 126 goes by it
    if op == "CHDIR" and name == "EXDEV":
        return "the current working directory is outside of the container"
    return ""


def to_text(plan: Plan, show_env: bool) -> str:
    """The program as ``ocirt plan`` prints it: number, operation, place."""
    lines = [f"start the machine in new namespaces: {_new(plan)}" + _at(plan.born)]
    lines += [
        f"pin  [{plan.slot_names[pin.slot]}] {pin.kind} {pin.path}".rstrip()
        + _id_map(plan, pin)
        + _at(pin.at)
        for pin in (*plan.pins, *plan.inside)
    ]
    for index, instruction in enumerate(plan.instructions):
        lines.append(
            f"{index:4} {describe(plan, instruction)}" + _skip(instruction) + _at(instruction.at)
        )
        if instruction.op.name == "EXEC":
            lines += [f"       env {entry}" for entry in environment(instruction, show_env)]
    return "\n".join(lines) + "\n"


def _id_map(plan: Plan, pin: Pin) -> str:
    if not pin.id_map:
        return ""
    found = pin.id_map
    words = ["; id-mapped, and all below it" if found.recursive else "; id-mapped"]
    if not found.uids:
        words.append(f"as [{plan.slot_names[found.namespace]}]")
    for name, rows in (("uids", found.uids), ("gids", found.gids)):
        words += [name, *(f"{a}:{b}:{size}" for a, b, size in rows)] if rows else []
    return " ".join(words)


def _new(plan: Plan) -> str:
    return " ".join(_kinds(plan)) or "none"


def _kinds(plan: Plan) -> list[str]:
    kinds = [kind for kind, flag in NAMESPACE_FLAGS.items() if plan.clone_flags & flag]
    return ["user", *kinds] if plan.born else kinds


def _at(at: str) -> str:
    return f"    # {at}" if at else ""


def _skip(instruction: Instruction) -> str:
    if not instruction.skip:
        return ""
    names = " or ".join(errno_name(number) for number in instruction.skip)
    return f"; on {names}: skip it" + (f" and {instruction.over} more" if instruction.over else "")


def environment(instruction: Instruction, show: bool) -> list[str]:
    """The entries of an EXEC; values are secrets unless they are asked for."""
    value = instruction.value("env")
    assert isinstance(value, list)
    return [entry if show else entry.split("=", 1)[0] + "=..." for entry in value]


def to_document(plan: Plan, show_env: bool) -> dict[str, Any]:
    """The program as JSON: what a test or a tool reads."""
    operations = []
    for index, instruction in enumerate(plan.instructions):
        row: dict[str, Any] = {"index": index, "op": instruction.op.name}
        for (name, kind), value in zip(instruction.op.operands, instruction.values):
            if name == "env":
                row[name] = environment(instruction, show_env)
            elif kind in (SLOT, SLOT_OPT, SLOT_OUT):
                row[name] = None if value == NO_SLOT else plan.slot_names[int(value)]  # type: ignore[arg-type]
            elif isinstance(value, bytes):
                row[name] = value.hex() if instruction.op.name in _BINARY else value.decode()
            else:
                row[name] = value
        if instruction.skip:
            row["skip"] = [errno_name(number) for number in instruction.skip]
            row["over"] = instruction.over
        row.update(at=instruction.at, note=instruction.note, text=describe(plan, instruction))
        operations.append(row)
    return {
        "namespaces": _kinds(plan),
        "pins": [
            {"slot": plan.slot_names[p.slot], "kind": p.kind, "path": p.path, "at": p.at}
            | ({"idMap": _id_map(plan, p).lstrip("; ")} if p.id_map else {})
            for p in (*plan.pins, *plan.inside)
        ],
        "operations": operations,
        "warnings": [{"at": w.at, "text": w.message} for w in plan.warnings],
    }
