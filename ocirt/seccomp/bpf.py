"""Classic BPF, as far as ocirt writes it itself (linux/bpf_common.h, struct seccomp_data)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # code, instructions to skip if it holds, and if it does not, k
    Instruction = tuple[int, int, int, int]

LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP, IF_EQUAL, IF_GREATER, IF_NOT_LESS, IF_BITS = 0x05, 0x15, 0x25, 0x35, 0x45
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets; little-endian hosts alone

X32_BIT = 0x40000000  # of a call's number: it is made by x32, which shares x86_64's AUDIT_ARCH_*
# libseccomp's tokens; all others are the kernel's AUDIT_ARCH_*
X86_64, X32 = 0xC000003E, 0x4000003E
_64_BIT = 0x80000000  # of AUDIT_ARCH_*
TO_THE_END = -1  # as k of a JUMP


def has_64_bits(token: int) -> bool:
    """Of an argument of a call: else the upper half is nobody's (x32's is passed over)."""
    return bool(token & _64_BIT)


def by_architecture(bodies: dict[int, list[Instruction]]) -> list[Instruction]:
    """A program that goes to the body of a call's architecture, with the call's number loaded.
    Others go to the end."""
    program: list[Instruction] = [(LOAD, 0, 0, ARCHITECTURE)]
    for token in sorted({X86_64 if token == X32 else token for token in bodies}):
        body = bodies.get(token, [])
        if token == X86_64 and X32 in bodies:
            other = bodies[X32]
            body = [(IF_BITS, 1, 0, X32_BIT), (JUMP, 0, 0, len(other) + 1), *other, _END, *body]
        elif token == X86_64:
            body = [(IF_BITS, 0, 1, X32_BIT), _END, *body]
        body = [(LOAD, 0, 0, NUMBER), *body, _END]
        program += [(IF_EQUAL, 1, 0, token), (JUMP, 0, 0, len(body)), *body]
    return program


_END: Instruction = (JUMP, 0, 0, TO_THE_END)


def assemble(program: list[Instruction]) -> bytes:
    """The bytes: struct sock_filter. TO_THE_END is what follows them."""
    found = bytearray()
    for index, (code, yes, no, k) in enumerate(program):
        number = len(program) - index - 1 if k == TO_THE_END else k
        found += code.to_bytes(2, "little") + bytes((yes, no)) + number.to_bytes(4, "little")
    return bytes(found)
