/* The wait before a process can be moved to a cgroup of version 1, begun early.
 *
 * The kernel then waits for an RCU grace period, 5 to 15 ms, unless another process was moved
 * a moment ago (percpu_down_write of cgroup_threadgroup_rwsem). That is half of the time of a
 * create, and can pass while the interpreter starts: a process on the side moves itself to the
 * cgroup that it is in. The kernel sees that there is nothing to do, but only after the wait. It
 * does so again, at no cost, until ocirt has moved its own process and ends it.
 * clone3(2) into a cgroup of version 2 does not wait.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher.h"

/* The kernel remembers a move for as long as a grace period takes. ocirt ends this process before
 * it has done all, unless it was itself killed. */
enum { PAUSE = 3000 /* µs */, TIMES_MAX = 40 };

/* Is this process in the cgroup? Where cgroup namespaces or bind mounts are in play, another
 * one can lie at the path that /proc/self/cgroup says. */
static bool is_member(FILE *procs)
{
    char line[32];
    pid_t self = getpid();

    while (fgets(line, sizeof line, procs))
        if (strtol(line, NULL, 10) == self)
            return true;
    return false;
}

/* The line N:CONTROLLERS:PATH of /proc/self/cgroup (cgroups(7)). */
static bool move_to_same(char *line)
{
    char path[2 * PATH_MAX];
    char *save = NULL;

    strtok_r(line, ":", &save);
    const char *controllers = strtok_r(NULL, ":", &save);
    const char *cgroup = strtok_r(NULL, "\n", &save);
    if (!controllers || !cgroup || *controllers == '/')
        return false; /* version 2 names no controllers */
    if (strncmp(controllers, "name=", 5) == 0)
        controllers += 5;
    int size = snprintf(path, sizeof path, "/sys/fs/cgroup/%s%s/cgroup.procs", controllers, cgroup);
    if (size < 0 || size >= (int)sizeof path)
        return false;
    FILE *procs = fopen(path, "r+e");
    if (!procs)
        return false;
    bool moved = is_member(procs) && write(fileno(procs), "0", 1) == 1;
    for (int times = 0; moved && times < TIMES_MAX; times++) {
        usleep(PAUSE);
        moved = write(fileno(procs), "0", 1) == 1;
    }
    fclose(procs);
    return moved;
}

static void move(void)
{
    char line[2 * PATH_MAX];
    FILE *file = fopen("/proc/self/cgroup", "re");

    while (file && fgets(line, sizeof line, file))
        if (move_to_same(line))
            break;
}

pid_t begin_grace_period(void)
{
    if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0)
        return 0; /* version 2 alone */
    pid_t child = fork();
    if (child == 0) {
        close_range(0, ~0U, 0); /* our caller may wait for the end of our output */
        move();
        _exit(0);
    }
    return child > 0 ? child : 0;
}
