/* Made by tools/generate_isa.py from ocirt/runtime/verbs.py. Do not edit. */

#ifndef VERBS_H
#define VERBS_H

#define VERBS_MAGIC 0xedf29d11U
#define VERBS_SIZE_MAX 0x10000U

enum verbs_opcode {
    VERBS_VERB = 1,
    VERBS_ALIVE = 2,
    VERBS_GONE = 3,
    VERBS_WAITS = 4,
    VERBS_LEFT = 5,
    VERBS_LOCK = 6,
    VERBS_PRINT = 7,
    VERBS_SIGNAL = 8,
    VERBS_WAKE = 9,
    VERBS_HOLDS = 10,
    VERBS_RMDIR = 11,
    VERBS_CLEAR = 12,
};

#endif
