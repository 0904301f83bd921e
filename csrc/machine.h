/* The machine: carries out a list of operations inside the new namespaces, and reports.
 *
 * It allocates nothing, parses no text and chooses nothing: all of that is done in Python
 * (ocirt/plan). Every operation is described in ocirt/plan/ops.py.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "isa.h"
#include "machine_sys.h"

struct record {
    u16 code, over, skip[2];
    u64 operand[ISA_OPERANDS];
};

struct machine {
    int control;          /* the connection to the host; -1 once parked */
    u64 report;           /* the slot that a parked machine reports to, ISA_NO_SLOT before */
    u32 op;               /* the operation that runs: its index in the plan */
    u32 step;             /* what it is doing: an index into its steps */
    const char *detail;   /* text of the report if it fails: a path, a log of the kernel */
    const char *program;  /* what FIND_EXEC found */
    const char *text;     /* of the segment */
    int slot[ISA_SLOTS];  /* descriptors, -1 where undefined */
    bool filtered;        /* a filter is in force: it may not allow sendmsg */
    bool used[ISA_SLOTS]; /* mounts that were attached once: the next time a clone is */
    char log[ISA_REPORT_TEXT_MAX];
};

/* An operation: 0, or -errno with m->step and m->detail set. */
typedef long operation(struct machine *m, const u64 *v);

#define DECLARE_OPERATION(name, ...) operation op_##name;
ISA_OPS(DECLARE_OPERATION)

/* machine.c */
long report(struct machine *m, u32 kind, int error, s64 value, int fd);
__attribute__((noreturn)) void leave(int status);

/* machine_verify.c: false if the segment is not well formed. Turns lists into pointers. */
extern const u8 operand_kinds[OP_COUNT][ISA_OPERANDS];
bool verify_segment(u8 *segment, size_t size, u32 *count);

/* machine_files.c */
long open_beneath(int dir, const char *path, u64 flags, u64 mode, u64 resolve);
long file_status(int fd, struct statx *status);
long fs_type(int fd, u64 *type);
bool is_one_name(const char *name);

/* Types of a file in its mode. */
#define S_TYPE 0170000U
#define S_DIR 0040000U
#define S_CHR 0020000U
#define S_BLK 0060000U
#define S_REG 0100000U
#define S_LNK 0120000U

static inline size_t text_length(const char *text)
{
    size_t size = 0;

    while (text[size])
        size++;
    return size;
}

static inline const char *string(struct machine *m, u64 operand)
{
    return m->text + operand;
}

static inline long define(struct machine *m, u64 slot, long fd)
{
    if (fd < 0)
        return fd;
    if (m->slot[slot] >= 0)
        sys(close, m->slot[slot]);
    m->slot[slot] = (int)fd;
    m->used[slot] = false;
    return 0;
}

static inline void undefine(struct machine *m, u64 slot)
{
    sys(close, m->slot[slot]);
    m->slot[slot] = -1;
}

#endif
