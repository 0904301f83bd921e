"""A Plan: instructions, the pins (host objects) they start from, and named slots.

The compilers in this folder fill a Plan; ``encode`` turns it into the machine's
bytes, ``show`` prints it, ``verify`` checks it. None of them calls the kernel.
"""

from __future__ import annotations

from ocirt.plan.ops import OPS, SLOTS, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from ocirt.errors import OcirtError

    Value = Union[int, str, bytes, list[str]]

# Not an instruction of the machine: the end of a segment, where the host does its part.
SYNC = Op(0, "SYNC", (), (), "the host: {name}")


class Instruction:
    """One operation of a plan.

    ``values``: the operands, in the order of ``op.operands``.
    ``at``: JSON pointer of the config that asked for it.
    ``note``: what it is part of, for people ("tmpfs on /run").
    ``skip``: up to two errno values that skip it and the next ``over`` operations.
    """

    __slots__ = ("at", "note", "op", "over", "skip", "values")

    def __init__(
        self,
        op: Op,
        values: tuple[Value, ...],
        at: str,
        note: str = "",
        skip: tuple[int, ...] = (),
        over: int = 0,
    ) -> None:
        self.op = op
        self.values = values
        self.at = at
        self.note = note
        self.skip = skip
        self.over = over

    def value(self, name: str) -> Value:
        """The operand called ``name``."""
        for (operand, _kind), value in zip(self.op.operands, self.values):
            if operand == name:
                return value
        raise KeyError(name)


class IdMap:
    """How the owners of a mount's files are seen (mount_setattr(2), "ID-mapped mounts").

    ``uids``, ``gids``: [(first id in the file system, first id outside, how many)], the map of
    a user namespace; none of them: of the one in slot ``namespace``. ``recursive``: of all that is
    mounted below too. ``at``: JSON pointer of what asks for it.
    """

    __slots__ = ("at", "gids", "namespace", "recursive", "uids")

    def __init__(
        self,
        uids: list[tuple[int, int, int]],
        gids: list[tuple[int, int, int]],
        recursive: bool,
        at: str,
        namespace: int = -1,
    ) -> None:
        self.uids = uids
        self.gids = gids
        self.recursive = recursive
        self.at = at
        self.namespace = namespace


class Pin:
    """A host object opened, verified and put in ``slot`` before the machine needs it.

    ``kind``: what ``ocirt.host.pins`` opens:
    "rootfs" and "tree" (a detached copy of the mounts at ``path``; ``recursive``),
    "namespace" (``detail`` is its type), "null" (a detached /dev/null),
    "device" (a detached device node; ``detail`` is its type and number),
    "fifo" (made by the create session). ``id_map``: of a "tree". "inside": see Plan.
    """

    __slots__ = ("at", "detail", "id_map", "kind", "path", "recursive", "slot")

    def __init__(
        self, slot: int, kind: str, path: str, at: str, detail: str = "", recursive: bool = False
    ) -> None:
        self.slot = slot
        self.kind = kind
        self.path = path
        self.at = at
        self.detail = detail
        self.recursive = recursive
        self.id_map: IdMap | None = None


class Plan:
    """The program of one create or exec.

    ``clone_flags``: CLONE_NEW* flags that the machine is born with.
    ``instructions``: the operations, SYNCs among them; ``pins``: see Pin;
    ``slot_names[slot]``: what a slot holds, for people;
    ``inside``: what wants an id map and is not the host's, but in the container by then: no
    pins, though they are described as such (ocirt.plan.host_work, TAG_INSIDE);
    ``mapped``: the process is in a user namespace; ``born``: the pointer of a new one that the
    host makes first, and the machine is born in, or "".
    ``warnings``: what was passed over on purpose.
    """

    __slots__ = (
        "born",
        "clone_flags",
        "inside",
        "instructions",
        "mapped",
        "pins",
        "slot_names",
        "warnings",
    )

    def __init__(self) -> None:
        self.clone_flags = 0
        self.instructions: list[Instruction] = []
        self.pins: list[Pin] = []
        self.inside: list[Pin] = []
        self.slot_names: list[str] = []
        self.mapped = False
        self.born = ""
        self.warnings: list[OcirtError] = []

    def slot(self, name: str) -> int:
        """A new slot, or the one that already has this name."""
        if name in self.slot_names:
            return self.slot_names.index(name)
        if len(self.slot_names) >= SLOTS:
            raise OverflowError(f"a plan has at most {SLOTS} slots")
        self.slot_names.append(name)
        return len(self.slot_names) - 1

    def pin(
        self, name: str, kind: str, path: str, at: str, detail: str = "", recursive: bool = False
    ) -> int:
        """The slot of a host object; the host opens it before the start."""
        if name not in self.slot_names:
            self.pins.append(Pin(self.slot(name), kind, path, at, detail, recursive))
        return self.slot(name)

    def add(
        self,
        name: str,
        *values: Value,
        at: str,
        note: str = "",
        skip: tuple[int, ...] = (),
        over: int = 0,
    ) -> None:
        """Append one operation."""
        op = OPS[name]
        assert len(values) == len(op.operands), name
        self.instructions.append(Instruction(op, values, at, note, skip, over))

    def sync(self, name: str, at: str = "") -> None:
        """End the segment: the host does ``name`` before the machine goes on."""
        self.instructions.append(Instruction(SYNC, (), at, name))

    def segments(self) -> list[tuple[int, list[Instruction], str]]:
        """(index of the first operation, operations, name of the SYNC that ends it or "")."""
        found: list[tuple[int, list[Instruction], str]] = []
        first = 0
        for index, instruction in enumerate(self.instructions):
            if instruction.op is SYNC:
                found.append((first, self.instructions[first:index], instruction.note))
                first = index + 1
        found.append((first, self.instructions[first:], ""))
        return found
