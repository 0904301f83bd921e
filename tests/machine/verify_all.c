/* Verifies segments from stdin (u32 size, bytes), each in memory of exactly its size, so that
 * AddressSanitizer sees one byte too many. Uses what was found good as the machine would, and
 * answers one byte each: '1' for good, '0' for malformed. */
#include "machine.h"

#include <stdlib.h>

static volatile u64 seen;

static void use_string(const char *text)
{
    seen += text_length(text);
}

static void use_operand(const char *text, u8 kind, u64 value)
{
    static int slots[ISA_SLOTS];

    if (kind == ISA_STR) {
        use_string(text + value);
    } else if (kind == ISA_STRS) {
        const u64 *list = (const u64 *)(const void *)(text + value + 8);
        for (; *list; list++)
            use_string((const char *)(uintptr_t)*list);
    } else if (kind == ISA_DATA) {
        for (u64 i = 0; i < value >> 32; i++)
            seen += (u8)text[(u32)value + i];
    } else if (kind == ISA_SLOT || kind == ISA_SLOT_OUT ||
               (kind == ISA_SLOT_OPT && value != ISA_NO_SLOT)) {
        slots[value]++;
    }
}

static void use(const u8 *segment, u32 count)
{
    const struct record *records = (const struct record *)(const void *)(segment + 8);

    for (u32 i = 0; i < count; i++) {
        if (i + 1 + records[i].over > count)
            abort();
        for (u32 j = 0; j < ISA_OPERANDS; j++)
            use_operand((const char *)(records + count), operand_kinds[records[i].code][j],
                        records[i].operand[j]);
    }
}

static bool fill(void *buffer, size_t size)
{
    long count = 0;

    for (size_t done = 0; done < size; done += (size_t)count)
        if ((count = sys(read, 0, (char *)buffer + done, size - done)) <= 0)
            return false;
    return true;
}

int main(void)
{
    u32 size, count;

    while (fill(&size, sizeof size)) {
        u8 *segment = malloc(size);
        if (!segment || !fill(segment, size))
            return 2;
        bool good = verify_segment(segment, size, &count);
        if (good)
            use(segment, count);
        free(segment);
        if (sys(write, 1, good ? "1" : "0", 1) != 1)
            return 2;
    }
    return 0;
}
