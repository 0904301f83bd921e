"""Every verb and option of the command line: what it is called, what it takes, what it does.

``ocirt.cli`` parses by this table and prints ``--help`` from it.
"""

from __future__ import annotations


class Option:
    """``name`` without dashes; ``value``: what it takes ("" for a switch);
    ``many``: may be given again, values are collected; ``short``: a letter or ""."""

    __slots__ = ("help", "many", "name", "short", "value")

    def __init__(
        self, name: str, help: str, value: str = "", short: str = "", many: bool = False
    ) -> None:
        self.name = name
        self.help = help
        self.value = value
        self.short = short
        self.many = many


class Verb:
    """``operands``: (name, ...) of what comes after the options; the last may end in "..." (any
    number) and names in brackets may be missing. ``failure``: exit status of an error."""

    __slots__ = ("failure", "help", "name", "operands", "options")

    def __init__(
        self,
        name: str,
        operands: tuple[str, ...],
        help: str,
        options: tuple[Option, ...] = (),
        failure: int = 1,
    ) -> None:
        self.name = name
        self.operands = operands
        self.help = help
        self.options = options
        self.failure = failure


GLOBAL = (
    Option("root", "folder of the containers' state (default /run/ocirt)", "FOLDER"),
    Option("debug", "show the program as it runs"),
    Option("log", "append warnings and errors to FILE", "FILE"),
    Option("log-format", "format of the log: text or json", "FORMAT"),
    Option("systemd-cgroup", "refused for now: the systemd cgroup driver"),
    Option("rootless", "true, false or auto: accepted for callers of runc", "WHEN"),
    Option("cgroup-manager", "cgroupfs (systemd and disabled are refused for now)", "NAME"),
    Option("version", "print the version", short="v"),
    Option("help", "print this help", short="h"),
)
HELP = GLOBAL[-1]

_BUNDLE = Option("bundle", "folder of config.json (default .)", "FOLDER", "b")
_CREATE = (
    _BUNDLE,
    Option("pid-file", "write the process id to FILE", "FILE"),
    Option("console-socket", "unix socket that gets the terminal's master", "PATH"),
    Option("pidfd-socket", "unix socket that gets a pidfd of the process", "PATH"),
    Option("no-pivot", "change the root without pivot_root (root on a ramfs)"),
    Option("no-new-keyring", "keep the caller's session keyring"),
    Option("preserve-fds", "hand N descriptors on, from number 3", "N"),
)
_RUN = (
    Option("detach", "do not wait for the container", short="d"),
    Option("keep", "do not delete the container when it ends"),
    Option("no-subreaper", "accepted for callers of runc: ocirt never is a subreaper"),
)
_FORMAT = Option("format", "text or json", "FORMAT", "f")

VERBS = {
    verb.name: verb
    for verb in (
        Verb("create", ("ID",), "make a container from a bundle; its program waits", _CREATE),
        Verb("start", ("ID",), "run the program of a created container"),
        Verb("state", ("ID",), "print a container's state as JSON"),
        Verb(
            "kill",
            ("ID", "[SIGNAL]"),
            "send a signal (default TERM)",
            (Option("all", "to every process of the container", short="a"),),
        ),
        Verb(
            "delete",
            ("ID",),
            "remove a stopped container",
            (Option("force", "end it first; no error if there is none", short="f"),),
        ),
        Verb("run", ("ID",), "create, start and wait for a container", (*_CREATE, *_RUN)),
        Verb(
            "list",
            (),
            "list containers",
            (
                Option("format", "table or json", "FORMAT", "f"),
                Option("quiet", "ids alone", short="q"),
            ),
        ),
        Verb("spec", (), "write a config.json to start from", (_BUNDLE,)),
        Verb("features", (), "print what this ocirt can do, as JSON"),
        Verb(
            "plan",
            ("[BUNDLE]",),
            "print the program that create would run",
            (_FORMAT, Option("show-env", "with the values of environment variables")),
        ),
        Verb("check", ("[BUNDLE]",), "report everything that is wrong with a bundle", (_FORMAT,)),
        Verb(
            "exec",
            ("ID", "[COMMAND...]"),
            "run another process in a container",
            (
                Option("process", "process object to run (JSON)", "FILE", "p"),
                Option("detach", "do not wait for the process", short="d"),
                Option("tty", "give it a terminal", short="t"),
                Option("pid-file", "write the process id to FILE", "FILE"),
                Option("console-socket", "unix socket that gets the terminal's master", "PATH"),
                Option("pidfd-socket", "unix socket that gets a pidfd of the process", "PATH"),
                Option("preserve-fds", "hand N descriptors on, from number 3", "N"),
                Option("cwd", "working directory", "FOLDER"),
                Option("env", "environment variable NAME=VALUE", "ENTRY", "e", many=True),
                Option("user", "UID or UID:GID", "USER", "u"),
                Option("additional-gids", "supplementary group", "GID", "g", many=True),
                Option("process-label", "SELinux label", "LABEL"),
                Option("apparmor", "AppArmor profile", "PROFILE"),
                Option("no-new-privs", "set no_new_privs"),
                Option("cap", "one more capability", "CAP", "c", many=True),
                Option("cgroup", "cgroup below the container's", "PATH"),
                Option("ignore-paused", "accepted for callers of runc"),
            ),
            failure=255,
        ),
    )
}
