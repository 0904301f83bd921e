/* The part of the command line that is worth knowing without an interpreter. Python's parser
 * (ocirt/cli.py) is the one that counts: what is not understood here is left to it. */
#include <stddef.h>
#include <string.h>

#include "launcher.h"

/* Is *word ``--NAME=VALUE``, or ``--NAME`` with a VALUE after it? Then *word becomes the last
 * word of the two. */
static bool take(char ***word, const char *name, const char **value)
{
    size_t size = strlen(name);

    if (strncmp(**word, name, size) != 0)
        return false;
    if ((**word)[size] == '=') {
        *value = **word + size + 1;
        return true;
    }
    if ((**word)[size] || !(*word)[1])
        return false;
    *value = *++*word;
    return true;
}

void parse_command(char **argv, struct command *command)
{
    const char *format;

    *command = (struct command){.root = "/run/ocirt"};
    for (char **word = argv; *word && *++word;) {
        if (take(&word, "--root", &command->root) || take(&word, "--log", &command->log) ||
            take(&word, "--log-format", &format) || strcmp(*word, "--systemd-cgroup") == 0)
            continue;
        if (**word == '-')
            return;
        command->verb = *word;
        command->arguments = word + 1;
        return;
    }
}
