/* Runs what ocirt/runtime/verbs.py compiled when the container was created. Whatever is not as
 * usual ends a program, and in the end Python does the verb: no error is worded here. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"
#include "verbs.h"

static const char id_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-";

struct operation {
    uint32_t code, size;
    const char *operand;
};

/* One verb at work. */
struct work {
    char folder[PATH_MAX];
    int fd; /* of the folder */
    int number; /* of the signal */
    int pidfd;
};

/* ---- operands */

static bool is_word(const struct operation *op, const char *word)
{
    return op->size == strlen(word) && memcmp(op->operand, word, op->size) == 0;
}

/* The operand as a C string; false if it is none, or too long. */
static bool to_path(const struct operation *op, char path[PATH_MAX])
{
    if (op->size == 0 || op->size >= PATH_MAX || memchr(op->operand, 0, op->size))
        return false;
    memcpy(path, op->operand, op->size);
    path[op->size] = 0;
    return true;
}

static bool to_process(const struct operation *op, uint32_t *pid, uint64_t *start)
{
    if (op->size != sizeof *pid + sizeof *start)
        return false;
    memcpy(pid, op->operand, sizeof *pid);
    memcpy(start, op->operand + sizeof *pid, sizeof *start);
    return *pid > 0 && *pid <= INT_MAX;
}

/* ---- operations */

enum life { UNKNOWN, DEAD, RUNS };

/* Does that very process run? A zombie does not. proc_pid_stat(5): field 3 is its state, 22 its
 * start time; the name of the program, field 2, may hold anything, so they are counted from its
 * last ')'. */
static enum life look(uint32_t pid, uint64_t start)
{
    char path[32], data[4096];
    char letter;
    unsigned long long started;

    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? DEAD : UNKNOWN;
    ssize_t size = read(fd, data, sizeof data - 1);
    bool ended = size < 0 && errno == ESRCH;
    close(fd);
    if (size <= 0)
        return ended ? DEAD : UNKNOWN;
    data[size] = 0;
    const char *after = strrchr(data, ')');
    if (!after || sscanf(after,
                         ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                         "%*s %*s %llu",
                         &letter, &started) != 2)
        return UNKNOWN;
    return started == start && !strchr("ZXx", letter) ? RUNS : DEAD;
}

static bool do_alive(struct work *work, const struct operation *op)
{
    uint32_t pid;
    uint64_t start;

    if (!to_process(op, &pid, &start))
        return false;
    if (work->pidfd >= 0)
        close(work->pidfd);
    /* First the descriptor, then the look: what it means can't change any more. */
    work->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    return work->pidfd >= 0 && look(pid, start) == RUNS;
}

static bool do_gone(const struct operation *op)
{
    uint32_t pid;
    uint64_t start;

    return to_process(op, &pid, &start) && look(pid, start) == DEAD;
}

/* Only where somebody reads a FIFO can it be opened to write (fifo(7)). */
static bool is_read(const struct work *work, const struct operation *op, bool *read)
{
    char name[PATH_MAX];

    if (!to_path(op, name))
        return false;
    int fd = openat(work->fd, name, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    *read = fd >= 0;
    if (fd >= 0)
        close(fd);
    return *read || errno == ENOENT || errno == ENXIO;
}

static bool do_lock(const struct work *work)
{
    struct stat now, ours;

    return flock(work->fd, LOCK_EX | LOCK_NB) == 0 && lstat(work->folder, &now) == 0 &&
           fstat(work->fd, &ours) == 0 && now.st_dev == ours.st_dev && now.st_ino == ours.st_ino;
}

static bool do_print(const struct operation *op)
{
    for (uint32_t done = 0; done < op->size;) {
        ssize_t size = write(STDOUT_FILENO, op->operand + done, op->size - done);
        if (size <= 0 && done)
            _exit(1); /* half of it was written: nobody can do better now */
        if (size <= 0)
            return false;
        done += (uint32_t)size;
    }
    return true;
}

static bool do_signal(const struct work *work)
{
    return work->pidfd >= 0 &&
           syscall(SYS_pidfd_send_signal, work->pidfd, work->number, NULL, 0) == 0;
}

/* Keeps what the machine said for Python: a FIFO can be read once. */
static void keep_failure(const struct work *work, const char *data, size_t size)
{
    int fd = openat(work->fd, "failure", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);

    if (fd < 0)
        return;
    ssize_t written = write(fd, data, size);
    (void)written; /* a full disk: then the error is a shorter one */
    close(fd);
}

static bool do_wake(const struct work *work)
{
    enum { FLAGS = O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC };
    char data[4096];
    int report = openat(work->fd, "report", O_RDONLY | FLAGS);
    int wake = openat(work->fd, "start", O_WRONLY | FLAGS);

    if (report < 0 || wake < 0 || fcntl(report, F_SETFL, 0) < 0 || write(wake, "1", 1) != 1)
        return false;
    unlinkat(work->fd, "start", 0);
    ssize_t size = read(report, data, sizeof data);
    if (size != 0) {
        if (size > 0)
            keep_failure(work, data, (size_t)size);
        return false;
    }
    unlinkat(work->fd, "report", 0);
    return true;
}

/* A cgroup's file of one line. */
static bool do_holds(const struct operation *op)
{
    char data[256];
    const char *end = op->size ? memchr(op->operand, 0, op->size) : NULL;
    size_t expected = end ? op->size - (size_t)(end - op->operand) - 1 : 0;

    if (!end || expected >= sizeof data)
        return false;
    int fd = open(op->operand, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, data, sizeof data);
    if (fd >= 0)
        close(fd);
    return size == (ssize_t)expected + 1 && data[expected] == '\n' &&
           memcmp(data, end + 1, expected) == 0;
}

static bool do_rmdir(const struct operation *op)
{
    char path[PATH_MAX];

    return to_path(op, path) && *path == '/' && (rmdir(path) == 0 || errno == ENOENT);
}

/* state.json goes last, so that what is cut short can be done again. */
static bool do_clear(const struct work *work)
{
    DIR *folder = opendir(work->folder);
    const struct dirent *entry;
    bool done = folder != NULL;

    while (done && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "state.json") != 0)
            done = unlinkat(work->fd, entry->d_name, 0) == 0;
    if (folder)
        closedir(folder);
    return done && (unlinkat(work->fd, "state.json", 0) == 0 || errno == ENOENT) &&
           rmdir(work->folder) == 0;
}

static bool execute(struct work *work, const struct operation *op)
{
    bool waits = false;

    switch (op->code) {
    case VERBS_ALIVE:
        return do_alive(work, op);
    case VERBS_GONE:
        return do_gone(op);
    case VERBS_WAITS:
        return is_read(work, op, &waits) && waits;
    case VERBS_LEFT:
        return is_read(work, op, &waits) && !waits;
    case VERBS_LOCK:
        return do_lock(work);
    case VERBS_PRINT:
        return do_print(op);
    case VERBS_SIGNAL:
        return do_signal(work);
    case VERBS_WAKE:
        return do_wake(work);
    case VERBS_HOLDS:
        return do_holds(op);
    case VERBS_RMDIR:
        return do_rmdir(op);
    case VERBS_CLEAR:
        return do_clear(work);
    default:
        return false;
    }
}

/* ---- programs */

/* Reads the operation at *place and goes on to the next; false at the end. */
static bool next(const char **place, const char *end, struct operation *op)
{
    if (end - *place < 8)
        return false;
    memcpy(&op->code, *place, 4);
    memcpy(&op->size, *place + 4, 4);
    op->operand = *place + 8;
    if (op->size > (size_t)(end - op->operand))
        return false;
    *place = op->operand + op->size;
    return true;
}

/* Runs the programs for ``verb`` until one gets to its end. */
static bool run_programs(struct work *work, const char *verb, const char *place, const char *end)
{
    struct operation op;
    bool chosen = false, going = false;

    while (next(&place, end, &op)) {
        if (op.code == VERBS_VERB) {
            if (going)
                return true;
            chosen = going = is_word(&op, verb);
        } else if (going) {
            going = execute(work, &op);
        }
    }
    return chosen && going && place == end;
}

static int run_file(struct work *work, const char *verb)
{
    static char data[VERBS_SIZE_MAX];
    uint32_t header[2] = {0};
    int fd = openat(work->fd, "verbs", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, data, sizeof data);

    if (fd >= 0)
        close(fd);
    if (size < (ssize_t)sizeof header)
        return -1;
    memcpy(header, data, sizeof header);
    if (header[0] != VERBS_MAGIC || header[1] != (uint32_t)size)
        return -1;
    return run_programs(work, verb, data + sizeof header, data + size) ? 0 : -1;
}

/* ---- the command line */

/* A number, or one of the two names that callers use. */
static bool parse_signal(const char *text, int *number)
{
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    size_t digits = strspn(text, "0123456789");
    if (strcmp(text, "TERM") == 0)
        *number = 15;
    else if (strcmp(text, "KILL") == 0)
        *number = 9;
    else if (digits == 0 || digits > 2 || text[digits])
        return false;
    else
        *number = atoi(text);
    return *number <= 64;
}

/* ID, and for kill the signal. delete --force is the same as delete where it gets done. */
static bool parse_arguments(const struct command *command, const char **id, int *number)
{
    char **word = command->arguments;

    if (strcmp(command->verb, "delete") == 0 && *word && strcmp(*word, "--force") == 0)
        word++;
    *id = *word;
    if (!*word || strspn(*word, id_characters) != strlen(*word) || **word == '-' ||
        strcmp(*word, ".") == 0 || strcmp(*word, "..") == 0)
        return false;
    word++;
    *number = 15;
    if (strcmp(command->verb, "kill") == 0 && *word && !parse_signal(*word++, number))
        return false;
    return *word == NULL;
}

static bool is_compiled(const char *verb)
{
    return strcmp(verb, "state") == 0 || strcmp(verb, "start") == 0 ||
           strcmp(verb, "kill") == 0 || strcmp(verb, "delete") == 0;
}

/* Python makes the log file even if there is nothing to say. */
static bool make_log(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* A descriptor that the caller left closed must not become one of ours. */
static bool standard_streams_open(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            return false;
    return true;
}

int run_compiled(const struct command *command)
{
    struct work work = {.pidfd = -1};
    struct stat status;
    const char *id;

    if (!*command->root || !is_compiled(command->verb) ||
        !parse_arguments(command, &id, &work.number) || !standard_streams_open())
        return -1;
    int size = snprintf(work.folder, sizeof work.folder, "%s/%s", command->root, id);
    if (size < 0 || size >= (int)sizeof work.folder)
        return -1;
    work.fd = open(work.folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (work.fd < 0)
        return -1;
    int result = -1;
    /* A reader who has gone is a failed write, here as in Python. */
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    if (fstat(work.fd, &status) == 0 && status.st_uid == geteuid() &&
        (!command->log || make_log(command->log)))
        result = run_file(&work, command->verb);
    signal(SIGPIPE, before);
    if (work.pidfd >= 0)
        close(work.pidfd);
    close(work.fd); /* and with it the lock, which Python would wait for */
    return result;
}
