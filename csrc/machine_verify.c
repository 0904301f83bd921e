/* Is a segment what ocirt/plan/ops.py says? Every offset, length and list, before it is used. */
#include "machine.h"

#define KINDS(name, ...) [OP_##name] = {__VA_ARGS__},
const u8 operand_kinds[OP_COUNT][ISA_OPERANDS] = {ISA_OPS(KINDS)};

struct text {
    u8 *bytes;
    u64 size;
};

/* A list becomes an array of pointers that ends with NULL, for execve. A list that is used
 * twice is refused: its second check finds pointers where offsets should be. Lists that overlap
 * otherwise may change one another's count, so nothing but the NULL says where one ends. */
static bool verify_list(struct text text, u64 offset)
{
    if (offset % 8 || offset > text.size || text.size - offset < 16)
        return false;
    u64 *list = (u64 *)(void *)(text.bytes + offset);
    u64 count = list[0], room = (text.size - offset) / 8;
    if (count > room - 2 || list[count + 1])
        return false;
    for (u64 i = 1; i <= count; i++) {
        if (list[i] >= text.size)
            return false;
        list[i] = (u64)(uintptr_t)(text.bytes + list[i]);
    }
    return true;
}

static bool verify_operand(struct text text, u8 kind, u64 value)
{
    switch (kind) {
    case ISA_NUM:
        return true;
    case ISA_STR:
        return value < text.size;
    case ISA_STRS:
        return verify_list(text, value);
    case ISA_DATA: {
        u64 offset = (u32)value, size = value >> 32;
        return offset % 8 == 0 && offset <= text.size && size <= text.size - offset;
    }
    case ISA_SLOT_OPT:
        return value < ISA_SLOTS || value == ISA_NO_SLOT;
    case ISA_SLOT:
    case ISA_SLOT_OUT:
        return value < ISA_SLOTS;
    default:
        return value == 0;
    }
}

bool verify_segment(u8 *segment, size_t size, u32 *count)
{
    u32 head[2];

    if (size < sizeof head)
        return false;
    __builtin_memcpy(head, segment, sizeof head);
    u64 records = (u64)head[0] * sizeof(struct record);
    if (records > size || sizeof head + records + head[1] != size || head[1] == 0)
        return false;
    struct text text = {segment + sizeof head + records, head[1]};
    if (text.bytes[text.size - 1])
        return false; /* every string in it ends; no list's pointer is the last word */

    const struct record *record = (const struct record *)(void *)(segment + sizeof head);
    for (u32 i = 0; i < head[0]; i++, record++) {
        if (record->code == 0 || record->code >= OP_COUNT || record->over >= head[0] - i)
            return false;
        for (u32 j = 0; j < ISA_OPERANDS; j++)
            if (!verify_operand(text, operand_kinds[record->code][j], record->operand[j]))
                return false;
    }
    *count = head[0];
    return true;
}
