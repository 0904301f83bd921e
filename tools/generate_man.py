"""Makes man/ocirt.8 and man/ocirt-VERB.8 from the table of verbs and the text below.

    python3 tools/generate_man.py            writes them
    python3 tools/generate_man.py --check    fails if one is not what would be written

In the text, a line that starts with four spaces is an example, and ``word`` is bold.
"""

from __future__ import annotations

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from ocirt.commands.help import spelling  # noqa: E402
from ocirt.commands.table import GLOBALS, HELP, VERBS, Option, Verb  # noqa: E402

OVERVIEW = """\
``ocirt`` runs containers as the Open Container Initiative's runtime specification describes
them. A container is made from a ``bundle``: a folder with a file config.json and a root file
system. Engines (containerd, Docker, Podman, CRI-O) call it in the place of runc or crun; by
hand it serves to look closely at what they do.

A config.json is compiled into a program, a flat list of operations, which a small machine
inside the new namespaces carries out. ``ocirt plan`` prints that program, and every failure
names the place in config.json that asked for the step that failed.

By default the container's cgroup is a folder that ocirt makes, and cgroupsPath in config.json
its path. With --systemd-cgroup, or --cgroup-manager systemd, it is a scope of systemd's, and
cgroupsPath is SLICE:PREFIX:NAME; annotations org.systemd.property.NAME of config.json are then
properties of the scope, unless --systemd-annotations=false refuses them. With --cgroup-manager
disabled the container stays in the cgroup of its caller, without limits. Verbs after create
know which one it was.

Options may be written as ``--x v``, ``--x=v`` and with a single dash.
"""

STATUS = """\
0 for success, 1 for a failure. ``ocirt run`` without --detach gives the status of the
container's process, and ``ocirt exec`` that of its own: 128+n where signal n ended it.
A failure of ``ocirt exec`` itself gives 255.
"""

FILES = """\
/run/ocirt/ID is the state of a container: state.json, and config.json as it was when the
container was created. For who is not the host's root it lies in $XDG_RUNTIME_DIR/ocirt. Another place is
given by --root.
"""

ENVIRONMENT = """\
Nothing is needed; HOME is not looked at, and PATH for newuidmap and newgidmap alone.
``XDG_RUNTIME_DIR``: see FILES; not for who is root and is called so by ``USER``.
``OCIRT_NAME``: where it is runc or crun, --version begins with that word, as it does where
ocirt is called through a link of that name. ``NOTIFY_SOCKET`` and ``LISTEN_FDS``: as systemd(1)
sets them for a service; the container gets them.
"""

ANNOTATIONS = """\
Of the annotations in config.json these ask ocirt for something, as they ask crun; whoever lets
others choose annotations should leave them out (``ocirt features`` lists them).

``run.oci.keep_original_groups``: with any value but 0 the container's processes keep the
supplementary groups of ocirt's caller. ``run.oci.mount_context_type``: the mount option that
linux.mountLabel is given by: context (the default), fscontext, defcontext or rootcontext.
``run.oci.hooks.stdout``, ``run.oci.hooks.stderr``: the file, an absolute path, that what hooks
write is added to. ``org.systemd.property.NAME``: see above.
"""

PROSE = {
    "create": """\
Makes the container: its namespaces, cgroup, mounts and devices, and a process that waits for
``ocirt start``. What is edited in the bundle afterwards does not count. When it returns, the
process is in its final cgroup; its pid is in the file of --pid-file.

A config.json that asks for a terminal needs --console-socket: a unix socket, to which the
terminal's master side is sent.

Nothing is left behind by a create that fails. One that was killed is removed by
``ocirt delete``.

    ocirt create --bundle /containers/web --pid-file /run/web.pid web
""",
    "start": """\
Runs the process that the config.json names. The container must be created and not started.
If the program can't be executed, the error says why; delete the container then.
""",
    "state": """\
Prints the state that runtime.md of the specification describes, and with it rootfs, created
(RFC 3339) and owner. The status is creating, created, running or stopped; a stopped
container has the pid 0.
""",
    "kill": """\
SIGNAL is a number or a name with or without SIG, in any case: 15, TERM, SIGTERM, RTMIN+3.
It is an error if the container does not run.

--all reaches every process of the container's cgroup, those too that outlived the first one,
so it is no error for a stopped container.

    ocirt kill web KILL
""",
    "delete": """\
Removes the processes that are left, the cgroup and the state, then runs the poststop hooks,
whose failure is a warning. A container that runs is refused without --force; one that was
created and never started is not. What a create that was killed has left is removed as well.

A process that somebody else has put in the cgroup is an error that says which; --force kills it.
""",
    "run": """\
Signals are handed on to the container's process, and its exit status is that of this
command. With a terminal, config.json's process.terminal, the caller's is connected to it.

    ocirt run --bundle /containers/web web
""",
    "exec": """\
The process is COMMAND with its arguments, with the environment, user, working directory and
privileges that config.json gives the container's own process; or, with --process, exactly
what FILE holds: a process object of the specification. The container must run.

Options end at ID: what follows is the command's.

    ocirt exec --tty web /bin/sh -l
""",
    "update": """\
Changes limits of a container while it runs. Only what is named changes. With --resources all
others are ignored; the object's members are those of linux.resources in config.json.

    ocirt update --memory 512m --pids-limit 100 web
    echo '{"cpu": {"quota": 50000, "period": 100000}}' | ocirt update --resources - web
""",
    "checkpoint": """\
criu(8), which has to be installed, writes the processes to the files of --image-path: their
memory, descriptors, namespaces, and the content of tmpfs mounts. The root file system and bind
mounts are not in them. Then the container is deleted, unless --leave-running or --pre-dump is
given. If anything can't be saved the container goes on running, and the error is CRIU's reason;
its whole log is dump.log in --work-path. A user namespace is saved if it is the container's own, and
then so must all others be; id-mapped mounts are refused.

With --pre-dump the memory is written while the container runs; a checkpoint with --parent-path, a
path relative to --image-path, then writes only what has changed since.

Standard input, output and error of the container are those of whoever restores it, where they are
pipes, devices, or files that are as long as they were. A network namespace that config.json names
by its path is left as it is; one of the container's own is empty after restore but for loopback.

The annotation org.criu.config of config.json names a file with settings of CRIU, which come before
all options; without it that is /etc/criu/ocirt.conf. Settings can name programs, which CRIU runs as
root: whoever lets others write annotations has to refuse this one. If checkpoint and CRIU are both
killed the container may stay frozen: ``ocirt resume``.

    ocirt checkpoint --image-path /var/tmp/web web
""",
    "restore": """\
The config.json of the bundle is for the restored container what it is for a new one: bind
mounts, devices, limits and the paths of namespaces come from it, and the root file system
must be as it was. Before the processes run again they are compared with it: capabilities,
no_new_privs, seccomp filters, AppArmor profiles, SELinux labels, ids and their maps, rlimits,
namespaces, cgroups and mounts. A checkpoint that has more than the config allows is refused, and so are
links in its folder, and images of mounts and cgroups that name files of the host. All the same, CRIU
reads the files as root: restore none from where you would run no program. The error of CRIU's restore
has its reason; its whole log is restore.log in --work-path.

Without --detach signals are handed on and the exit status is that of the container, as with
``ocirt run``. A container with a terminal needs --console-socket, or a caller in the foreground.

    ocirt restore --detach --image-path /var/tmp/web --bundle /containers/web web
""",
    "pause": """\
Stops every process of the container by the freezer of its cgroup, and returns when the last one
has stopped. ``ocirt exec`` refuses a paused container unless --ignore-paused is given; SIGKILL
ends one.
""",
    "resume": """\
Lets the processes of a paused container go on.
""",
    "mounts": """\
FILE is an array of mounts as in config.json. They are made in the container in that order, or what is
at their destinations is unmounted, up to the first that fails; the place in its error starts at the
array. What can be added are bind mounts of what is outside the container, and tmpfs; the root can't be
mounted over. Paths stay inside the container's root, whatever its processes do to their files meanwhile;
to remove a mount its path must have no symbolic links. The container needs a mount namespace of its own,
and no user namespace. What is added is not kept in the container's config.json: checkpoint does not know
it.

    echo '[{"destination": "/data", "source": "/srv/web", "options": ["bind", "ro"]}]' > more
    ocirt mounts add web more
""",
    "ps": """\
A table comes from the ps of the host, called with the options given (default: -ef): its header,
and the lines whose PID is in the container's cgroup. Options of ocirt come before ID. JSON is
an array of pids, as the host sees them.

    ocirt ps web -eo pid,user,args
""",
    "events": """\
Prints one JSON document a line until the container stops: at every interval one of the type
stats, which has the numbers of the container's cgroup, and one of the type oom when the kernel
had to kill a process because the cgroup's memory was not enough. Their shape is that of
runc events. Times are in nanoseconds, sizes in bytes; what is zero is mostly left out.

    ocirt events --stats web
""",
    "list": """\
One line a container; JSON has the same members as ``ocirt state``.
""",
    "check": """\
Reports every problem at once, each with its place as a JSON pointer, and a hint where one is
known. Unknown members are warnings. Nothing of the host is changed, and no privileges are
needed. The exit status is 1 if create would refuse the bundle.

    ocirt check /containers/web
""",
    "plan": """\
Prints one operation a line: what is done, and which part of config.json asked for it. Nothing
of the host is touched, and no privileges are needed. Values of environment variables are
hidden, because they are often secrets. At the end are the limits that the host sets for the
container's cgroup, as this host's version of cgroups has them, and the rules for devices.
""",
    "spec": """\
Writes config.json: a shell on a terminal, with its own namespaces, a read-only root in
the folder rootfs, three capabilities and no access to devices. A config.json that exists is
left alone.
""",
    "features": """\
The document is described in features.md of the specification. It says what this runtime
can do on a kernel that allows all of it.
""",
    "version": """\
The version of ocirt, the commit it was built from, and the version of the specification.
The same as ``ocirt --version``.
""",
    "completion": """\
The script completes commands, options, their values and the ids of containers.

    source <(ocirt completion)
    ocirt completion fish > ~/.config/fish/completions/ocirt.fish
""",
    "help": """\
Without COMMAND it lists all of them. The same as ``ocirt COMMAND --help``.
""",
}


def escape(text: str) -> str:
    """For roff: what is typed must stay what can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + text if text.startswith(".") else text


def paragraphs(text: str) -> str:
    """``text`` in the notation of this file, as roff."""
    parts = []
    for block in text.strip().split("\n\n"):
        if block.startswith("    "):
            lines = [escape(line[4:]) for line in block.splitlines()]
            parts.append(".PP\n.EX\n" + "\n".join(lines) + "\n.EE\n")
        else:
            body = re.sub(r"``(.*?)``", r"\\fB\1\\fR", escape(block))
            parts.append(f".PP\n{body}\n")
    return "".join(parts)


def section(title: str, body: str) -> str:
    """A section; its first paragraph needs no macro."""
    return f".SH {title}\n" + body.removeprefix(".PP\n")


def options(table: tuple[Option, ...]) -> str:
    """A tagged list."""
    text = ""
    for option in table:
        what = option.help + ("; may be repeated" if option.many else "")
        if "|" in option.value:
            what += f" (default: {option.default()})"
        text += f".TP\n\\fB{escape(spelling(option))}\\fR\n{escape(what)[:1].upper()}{escape(what)[1:]}.\n"
    return text


def page(name: str, summary: str, synopsis: str, body: str) -> str:
    """A whole page of section 8."""
    return (
        '.\\" Made by tools/generate_man.py\n'
        f'.TH {name.upper()} 8 "" "ocirt" "System Administration"\n'
        + section("NAME", f"{escape(name)} \\- {escape(summary)}\n")
        + section("SYNOPSIS", f"\\fB{escape(synopsis)}\\fR\n")
        + body
    )


def verb_page(verb: Verb) -> str:
    """ocirt-VERB.8"""
    body = section("DESCRIPTION", paragraphs(PROSE[verb.name]))
    body += section("OPTIONS", options((*verb.options, HELP)))
    body += section("SEE ALSO", "\\fBocirt\\fR(8)\n")
    return page(f"ocirt-{verb.name}", verb.summary, verb.usage(), body)


def overview_page() -> str:
    """ocirt.8"""
    commands = "".join(
        f".TP\n\\fBocirt\\-{verb.name}\\fR(8)\n{escape(verb.summary[:1].upper() + verb.summary[1:])}.\n"
        for verb in VERBS.values()
    )
    body = section("DESCRIPTION", paragraphs(OVERVIEW))
    body += section("COMMANDS", commands)
    body += section("GLOBAL OPTIONS", options(GLOBALS))
    body += section("EXIT STATUS", paragraphs(STATUS))
    body += section("ANNOTATIONS", paragraphs(ANNOTATIONS))
    body += section("FILES", paragraphs(FILES))
    body += section("ENVIRONMENT", paragraphs(ENVIRONMENT))
    synopsis = "ocirt [GLOBAL OPTION...] COMMAND [OPTION...] [ARGUMENT...]"
    return page("ocirt", "runs OCI containers", synopsis, body)


def pages() -> dict[str, str]:
    """The text of every page, by its file name."""
    found = {"ocirt.8": overview_page()}
    found.update((f"ocirt-{verb.name}.8", verb_page(verb)) for verb in VERBS.values())
    return found


def main(arguments: list[str]) -> int:
    """The exit status."""
    folder = os.path.join(ROOT, "man")
    os.makedirs(folder, exist_ok=True)
    status = 0
    for name, text in pages().items():
        path = os.path.join(folder, name)
        if "--check" not in arguments:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        elif not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
            print(f"{path} is not current: run tools/generate_man.py", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
