/* The part of the command line that is worth knowing without an interpreter. Python's parser
 * (ocirt/cli.py) is the one that counts: what is not understood here is left to it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Is this the initial user namespace, whose map is all ids? Or a kernel without them. */
static bool is_initial_namespace(void)
{
    unsigned long inside = 0, outside = 0, count = 4294967295;
    FILE *file = fopen("/proc/self/uid_map", "re");

    if (file) {
        if (fscanf(file, "%lu %lu %lu", &inside, &outside, &count) != 3)
            count = 0;
        fclose(file);
    }
    return inside == 0 && outside == 0 && count == 4294967295;
}

/* As default_root() of ocirt/runtime/store.py. */
static const char *default_root(void)
{
    static char path[PATH_MAX];
    const char *folder = getenv("XDG_RUNTIME_DIR"), *user = getenv("USER");

    if (folder && *folder &&
        (geteuid() != 0 || (!is_initial_namespace() && (!user || strcmp(user, "root") != 0)))) {
        int size = snprintf(path, sizeof path, "%s/ocirt", folder);
        return size > 0 && size < (int)sizeof path ? path : "";
    }
    return "/run/ocirt";
}

void parse_command(char **argv, struct command *command)
{
    const char *format;

    *command = (struct command){0};
    for (char **word = argv; *word && *++word;) {
        if (take(&word, "--root", &command->root) || take(&word, "--log", &command->log) ||
            take(&word, "--log-format", &format) || strcmp(*word, "--systemd-cgroup") == 0)
            continue;
        if (**word == '-')
            return;
        command->verb = *word;
        command->arguments = word + 1;
        if (!command->root)
            command->root = default_root();
        return;
    }
}
