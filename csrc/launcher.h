/* The command ``ocirt``, which starts an interpreter unless it can do without one. */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#include <stdbool.h>
#include <sys/types.h>

/* A command line without surprises: known options, a verb, and what follows it. */
struct command {
    const char *root; /* --root */
    const char *log;  /* --log, NULL if it is not given */
    const char *verb; /* NULL: this is no such command line */
    char **arguments; /* up to a NULL */
};

void parse_command(char **argv, struct command *command);

/* Runs the program that create compiled for this verb: its exit status, or -1 where Python
 * must do the verb. */
int run_compiled(const struct command *command);

/* Starts what the kernel waits for before it moves a process to a cgroup. */
pid_t begin_grace_period(void);

#endif
