/* The command ``ocirt``. A verb that was compiled at create is done at once
 * (launcher_verbs.c); for any other it finds its package and interpreter, and executes
 *
 *     python3 -I -S -X utf8 -X helper=PID -c BOOTSTRAP FOLDERS VERB argv...
 *
 * A binary and not a script with a #! line, so that the interpreter starts isolated and
 * without the site module, and pip has no line to rewrite. Of the environment only
 * $XDG_RUNTIME_DIR and $USER are read: engines call with an empty one.
 *
 * The package lies where installers put it, relative to this file: for instance
 * ../lib/python3.N/site-packages; N names the interpreter too. An editable install is
 * compiled with SOURCE_DIR, the checkout that holds the package instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher.h"

/* ocirt needs Python 3.10; the newest is a guess, and a wrong one costs a microsecond. */
enum { OLDEST_MINOR = 10, NEWEST_MINOR = 30, ARGUMENTS_BEFORE = 11 };

#ifdef SOURCE_DIR
#define MARK "" /* any folder for packages: it has cffi and jsonschema */
#else
#define MARK "/ocirt/__main__.py"
#endif

static const char *const layouts[] = {
    "%s/lib/python%s/site-packages%s",
    "%s/lib64/python%s/site-packages%s",
    "%s/lib/python%s/dist-packages%s", /* Debian's name for it */
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* The folders come last in sys.path: nothing in them can stand in for a module of the
 * standard library, and those are found without looking there. A process that lives for
 * milliseconds needs no garbage collector: it would take one of them. The verb is one that has
 * an image (ocirt/image.py), or empty; run makes one where there is none that can be used. */
static const char bootstrap[] =
    "import gc, marshal, sys\n"
    "gc.disable()\n"
    "folders, verb = sys.argv[1].split('\\n'), sys.argv[2]\n"
    "sys.path += folders\n"
    "del sys.argv[:3]\n"
    "if verb:\n"
    "    try:\n"
    "        with open(f'{folders[0]}/ocirt/__pycache__/{verb}.{sys.implementation.cache_tag}-'\n"
    "                  f'{sys.hexversion:x}.image', 'rb') as file:\n"
    "            code, sources, modules = marshal.loads(file.read())\n"
    "    except (OSError, EOFError, TypeError, ValueError):\n"
    "        pass\n"
    "    else:\n"
    "        image = {'__name__': 'ocirt.image'}\n"
    "        exec(code, image)\n"
    "        if image['load'](folders[0], sources, modules):\n"
    "            verb = ''\n"
    "from ocirt.__main__ import run\n"
    "run(folders[0], verb)\n";

static char folders[8 * PATH_MAX];

static int fail(const char *text, const char *detail)
{
    fprintf(stderr, "ocirt: %s: %s\n", text, detail);
    return 1;
}

static bool __attribute__((format(printf, 2, 3))) format(char path[PATH_MAX], const char *text, ...)
{
    va_list list;

    va_start(list, text);
    int size = vsnprintf(path, PATH_MAX, text, list);
    va_end(list);
    return size > 0 && size < PATH_MAX;
}

static bool layout_exists(char path[PATH_MAX], int layout, const char *prefix, const char *version,
                          const char *mark)
{
    int size = snprintf(path, PATH_MAX, layouts[layout], prefix, version, mark);

    return size < PATH_MAX && access(path, F_OK) == 0;
}

static void add_folder(const char *path)
{
    size_t size = strlen(folders);

    if (size + strlen(path) + 2 <= sizeof folders)
        sprintf(folders + size, "%s%s", size ? "\n" : "", path);
}

/* Those of all layouts; first: which one comes first. */
static void add_folders(const char *prefix, const char *version, int first)
{
    char path[PATH_MAX];

    for (int i = 0; i < LAYOUTS; i++)
        if (layout_exists(path, (first + i) % LAYOUTS, prefix, version, ""))
            add_folder(path);
}

/* The suffix of the folder python3.N, and so of the interpreter: "3.N", or "3" for a package
 * of the distribution's own. Returns the layout, -1 where there is no package. */
static int find_version(const char *prefix, char version[8])
{
    char path[PATH_MAX];

    for (int minor = NEWEST_MINOR; minor >= OLDEST_MINOR - 1; minor--) {
        snprintf(version, 8, minor < OLDEST_MINOR ? "3" : "3.%d", minor);
        for (int layout = 0; layout < LAYOUTS; layout++)
            if (layout_exists(path, layout, prefix, version, MARK))
                return layout;
    }
    return -1;
}

/* Reads pyvenv.cfg: is this a virtual environment, and does it let the system's packages in?
 * base is the prefix of the interpreter that it was made with. */
static bool system_visible(const char *prefix, char base[PATH_MAX], bool *is_venv)
{
    char path[PATH_MAX], line[PATH_MAX + 16], value[PATH_MAX];
    bool visible = false;

    strcpy(base, "/usr");
    FILE *file = format(path, "%s/pyvenv.cfg", prefix) ? fopen(path, "re") : NULL;
    *is_venv = file != NULL;
    if (!file)
        return true;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "home = %4095[^\n]", value) == 1) {
            char *slash = strrchr(value, '/');
            if (slash)
                *slash = 0;
            strcpy(base, value);
        } else if (sscanf(line, "include-system-site-packages = %5s", value) == 1) {
            visible = strcmp(value, "true") == 0;
        }
    }
    fclose(file);
    return visible;
}

/* Tries PREFIX/bin/pythonVERSION; comes back only if there is none. */
static void execute(const char *prefix, const char *version, char **arguments)
{
    char path[PATH_MAX];

    if (format(path, "%s/bin/python%s", prefix, version)) {
        arguments[0] = path;
        execv(path, arguments);
    }
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

/* What can be done without Python, or while it starts: the pid of a child that does so, or 0.
 * image is the verb, if it has one. */
static pid_t prepare(char **argv, const char **image)
{
    static const char *const moving[] = {"create", "run", "exec", NULL};
    static const char *const imaged[] = {"create", "run", "exec", "update", NULL};
    struct command command;

    *image = "";
    parse_command(argv, &command);
    if (!command.verb)
        return 0;
    int status = run_compiled(&command);
    if (status >= 0)
        exit(status);
    if (is_one_of(command.verb, imaged))
        *image = command.verb;
    return is_one_of(command.verb, moving) ? begin_grace_period() : 0;
}

int main(int argc, char **argv)
{
    char prefix[PATH_MAX], base[PATH_MAX], version[8];
    char **arguments = calloc(ARGUMENTS_BEFORE + (size_t)argc + 1, sizeof *arguments);
    const char *image;
    char helper[32];
    bool is_venv;

    /* Where our caller ignores it, the kernel would reap what we wait for. */
    signal(SIGCHLD, SIG_DFL);
    /* Python reaps it (ocirt/__main__.py): our caller may be its own children's subreaper. */
    sprintf(helper, "helper=%d", (int)prepare(argv, &image));
    if (!arguments)
        return fail("memory", strerror(errno));
    ssize_t size = readlink("/proc/self/exe", prefix, sizeof prefix - 1);
    if (size < 0)
        return fail("/proc/self/exe", strerror(errno));
    prefix[size] = 0;
    for (int i = 0; i < 2; i++) { /* PREFIX/bin/ocirt */
        char *slash = strrchr(prefix, '/');
        if (slash)
            *slash = 0;
    }
    int layout = find_version(prefix, version);
    if (layout < 0)
        return fail("no package ocirt in lib/python3.*/{site,dist}-packages of", prefix);
#ifdef SOURCE_DIR
    add_folder(SOURCE_DIR);
#endif
    add_folders(prefix, version, layout);
    if (system_visible(prefix, base, &is_venv)) {
        add_folders(base, version, 0);
        if (strcmp(base, "/usr") == 0) {
            add_folders("/usr/local", version, 0);
            add_folders("/usr", "3", 0); /* Debian's packages, python3-cffi for one */
        }
    }

    int count = 1;
    for (const char *const *option = (const char *const[]){"-I", "-S", "-X", "utf8", "-X", helper,
                                                           "-c", bootstrap, folders, image,
                                                           NULL};
         *option; option++)
        arguments[count++] = (char *)(size_t)*option;
    for (int i = 0; i <= argc; i++)
        arguments[count++] = argv[i];

    execute(prefix, version, arguments);
    if (is_venv)
        execute(prefix, "3", arguments);
    execute(base, version, arguments);
    execute("/usr/local", version, arguments);
    execute("/usr", version, arguments);
    return fail("no interpreter that the package was installed for: python", version);
}
