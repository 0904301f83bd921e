/* The machine's life: start, messages from the host, one operation after another. */
#include "machine.h"

#define PAGE_MAX 65536 /* the largest page of aarch64 */
enum { DROP_OVER = 32 << 10 };

static struct machine machine;
/* Only the pages that a segment fills are ever there. */
static u8 segment[ISA_SEGMENT_MAX] __attribute__((aligned(PAGE_MAX)));

#define ENTRY(name, ...) [OP_##name] = op_##name,
static operation *const operations[OP_COUNT] = {ISA_OPS(ENTRY)};

struct message {
    u32 magic;
    u16 type, flags;
    u32 a, b;
};

struct header {
    u32 kind, op, step;
    int error;
    s64 value;
};
_Static_assert(sizeof(struct header) == ISA_REPORT_HEADER, "ocirt/plan/ops.py says so");
_Static_assert(sizeof(struct record) == 56, "ocirt/plan/ops.py says so");

void leave(int status)
{
    sys(exit_group, status);
    __builtin_trap(); /* a filter forbids even that */
}

/* In one piece: a message of the connection, fewer than PIPE_BUF bytes of a pipe. With write, which
 * a filter forbids last of all. */
static long report_plainly(int to, const struct header *head, const struct iovec *text)
{
    u8 message[sizeof *head + ISA_REPORT_TEXT_MAX];

    if (to < 0)
        return -ENOTCONN;
    __builtin_memcpy(message, head, sizeof *head);
    if (text->size)
        __builtin_memcpy(message + sizeof *head, text->base, text->size);
    size_t size = sizeof *head + text->size;
    long sent = sys(write, to, message, size);
    return sent == (long)size || sent < 0 ? sent : -EIO; /* a filter can say that it was written */
}

/* fd: goes along with the report, -1 for none. */
long report(struct machine *m, u32 kind, int error, s64 value, int fd)
{
    size_t size = m->detail ? text_length(m->detail) : 0;
    struct header head = {kind, m->op, m->step, error, value};
    struct iovec parts[] = {
        {&head, sizeof head},
        {(void *)(uintptr_t)m->detail, size < ISA_REPORT_TEXT_MAX ? size : ISA_REPORT_TEXT_MAX},
    };
    struct {
        struct cmsghdr head;
        int fd, padding;
    } control = {{sizeof(struct cmsghdr) + sizeof(int), SOL_SOCKET, SCM_RIGHTS}, fd, 0};
    struct msghdr message = {.parts = parts, .part_count = 2};
    long sent;

    if (m->report != ISA_NO_SLOT)
        return fd >= 0 ? -ENOTCONN : report_plainly(m->slot[m->report], &head, parts + 1);
    if (m->filtered && fd < 0)
        return report_plainly(m->control, &head, parts + 1);
    if (fd >= 0) {
        message.control = &control;
        message.control_size = sizeof control;
    }
    do
        sent = sys(sendmsg, m->control, &message, MSG_NOSIGNAL);
    while (sent == -EINTR);
    return sent;
}

/* Reports what is wrong with a message, and ends. */
__attribute__((noreturn)) static void refuse(struct machine *m, const char *what)
{
    m->step = 0;
    m->detail = what;
    report(m, ISA_REPORT_FAILED, EINVAL, 0, -1);
    leave(1);
}

/* Receives one message; its descriptors go to control. Ends at the end of the connection. */
static size_t receive(struct machine *m, void *data, size_t size, void *control, size_t *room)
{
    struct iovec part = {data, size};
    struct msghdr message = {
        .parts = &part, .part_count = 1, .control = control, .control_size = *room};
    long count;

    do
        count = sys(recvmsg, m->control, &message, MSG_CMSG_CLOEXEC);
    while (count == -EINTR);
    if (count <= 0) /* the host is gone: so is this container */
        leave(1);
    if (message.flags & (MSG_TRUNC | MSG_CTRUNC))
        refuse(m, "a message is too long");
    *room = message.control_size;
    return (size_t)count;
}

static void fill_slots(struct machine *m, const struct message *message, const u8 *control,
                       size_t size)
{
    struct cmsghdr head = {0};

    if (size >= sizeof head)
        __builtin_memcpy(&head, control, sizeof head);
    if (message->b > ISA_FDS_MAX || message->a > ISA_SLOTS || message->b > ISA_SLOTS - message->a ||
        head.level != SOL_SOCKET || head.type != SCM_RIGHTS ||
        head.size != sizeof head + message->b * sizeof(int) || head.size > size)
        refuse(m, "descriptors do not fit the message");
    for (u32 i = 0; i < message->b; i++) {
        int fd;
        __builtin_memcpy(&fd, control + sizeof head + i * sizeof fd, sizeof fd);
        define(m, message->a + i, fd);
    }
}

static void receive_segment(struct machine *m, u32 size)
{
    static u32 last;

    if (size > sizeof segment)
        refuse(m, "a segment is too long");
    if (last > DROP_OVER) /* a parked container keeps what it needs to start, and no more */
        sys(madvise, segment, sizeof segment, MADV_DONTNEED);
    last = size;
    for (u32 done = 0; done < size;) {
        u32 left = size - done;
        size_t none = 0;
        done += (u32)receive(m, segment + done, left < ISA_CHUNK_MAX ? left : ISA_CHUNK_MAX, NULL,
                             &none);
    }
}

static bool slots_defined(struct machine *m, const struct record *record)
{
    for (u32 i = 0; i < ISA_OPERANDS; i++) {
        u8 kind = operand_kinds[record->code][i];
        u64 value = record->operand[i];
        if ((kind == ISA_SLOT || (kind == ISA_SLOT_OPT && value != ISA_NO_SLOT)) &&
            m->slot[value] < 0)
            return false;
    }
    return true;
}

/* Runs one operation: 0, or -errno. */
static long run_operation(struct machine *m, const struct record *record, bool trace)
{
    m->step = 0;
    m->detail = NULL;
    if (trace && m->report == ISA_NO_SLOT)
        report(m, ISA_REPORT_TRACE, 0, 0, -1);
    if (!slots_defined(m, record))
        return -EBADF;
    return operations[record->code](m, record->operand);
}

static void run_segment(struct machine *m, u32 first, u32 size, bool trace)
{
    u32 count;

    m->op = first;
    if (!verify_segment(segment, size, &count))
        refuse(m, "the segment is malformed");
    const struct record *records = (const struct record *)(void *)(segment + 8);
    m->text = (const char *)(records + count);
    m->program = NULL;
    for (u32 i = 0; i < count; i++) {
        const struct record *record = records + i;
        m->op = first + i;
        long error = run_operation(m, record, trace);
        if (error >= 0)
            continue;
        if (-error != record->skip[0] && -error != record->skip[1]) {
            report(m, ISA_REPORT_FAILED, (int)-error, 0, -1);
            leave(1);
        }
        i += record->over;
    }
    m->op = first + count;
    m->step = 0;
    m->detail = NULL;
    report(m, ISA_REPORT_DONE, 0, 0, -1);
}

static void serve(struct machine *m)
{
    u8 control[sizeof(struct cmsghdr) + 256 * sizeof(int)] __attribute__((aligned(8)));
    struct message message;

    for (;;) {
        size_t room = sizeof control;
        if (receive(m, &message, sizeof message, control, &room) != sizeof message ||
            message.magic != ISA_MAGIC)
            refuse(m, "this is no message");
        if (message.type == ISA_MSG_FDS) {
            fill_slots(m, &message, control, room);
        } else if (room) {
            refuse(m, "descriptors do not fit the message");
        } else if (message.type == ISA_MSG_SEGMENT) {
            receive_segment(m, message.b);
            run_segment(m, message.a, message.b, message.flags & ISA_FLAG_TRACE);
        } else {
            refuse(m, "this message is unknown");
        }
    }
}

/* Numbers below the connection's are the container's. Where the caller left one of them closed,
 * none of the machine's own may take its place; this one is gone after execve. */
static void occupy_low_numbers(int control)
{
    enum { AF_UNIX = 1, SOCK_DGRAM = 2 };
    long fd;

    do
        fd = sys(socket, AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0);
    while (fd >= 0 && fd < control);
    sys(close, fd);
}

/* argv[1]: the number of the connection to the host. */
static int start(long argc, char **argv)
{
    struct machine *m = &machine;
    int control = 0;

    if (argc != 2)
        leave(2);
    for (const char *digit = argv[1]; *digit; digit++) {
        if (*digit < '0' || *digit > '9' || control > 1 << 20)
            leave(2);
        control = control * 10 + *digit - '0';
    }
    for (int i = 0; i < (int)ISA_SLOTS; i++)
        m->slot[i] = -1;
    m->report = ISA_NO_SLOT;
    m->control = control;
    /* Nobody in the container may trace this or read its descriptors (CVE-2016-9962). */
    sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    sys(fcntl, control, F_SETFD, 1 /* FD_CLOEXEC: its end is the sign of a successful exec */);
    sys(umask, 0); /* modes are those of the plan */
    occupy_low_numbers(control);
    serve(m);
    return 0;
}

#ifdef MACHINE_HOSTED
/* With libc, for the sanitizers: what they find goes to stderr, and the status is 99. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:exitcode=99";
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return "exitcode=99:print_stacktrace=1";
}

int main(int argc, char **argv)
{
    return start(argc, argv);
}
#else
__attribute__((noreturn, used)) void machine_start(const long *stack);
void machine_start(const long *stack)
{
    leave(start(stack[0], (char **)(uintptr_t)(stack + 1)));
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\t"
        "call machine_start\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl machine_start\n");
#endif

/* gcc calls these for initialisers and copies, libc or not. */
void *memcpy(void *to, const void *from, size_t size);
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memcpy(void *to, const void *from,
                                                                           size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

void *memset(void *to, int value, size_t size);
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memset(void *to, int value,
                                                                           size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((u8 *)to)[i] = (u8)value;
    return to;
}
#endif
