"""Every verb and option of the command line: what the parser (``ocirt.cli``), ``help``, the bash
completion and the manual pages are made from.

Each verb NAME has a module ``ocirt.commands.NAME`` with ``run(options: Options) -> int``, which
is imported only when that verb runs.
"""

from __future__ import annotations


class Option:
    """``value``: what help calls the value, "" for a switch. ``N`` is a number from 0 on (the
    default is 0); ``a|b|c`` are the only words allowed, the first is the default; any other
    is text, "" by default. ``many``: may be repeated, the values are a list."""

    __slots__ = ("help", "many", "name", "short", "value")

    def __init__(self, name: str, short: str, value: str, help: str, *, many: bool = False) -> None:
        self.name = name
        self.short = short
        self.value = value
        self.help = help
        self.many = many

    @property
    def attribute(self) -> str:
        """Its name in ``Options``."""
        return self.name.replace("-", "_")

    def default(self) -> str | int | bool | list[str]:
        """The value where the option is not given."""
        if self.many:
            return []
        if not self.value:
            return False
        if self.value == "N":
            return 0
        return self.value.partition("|")[0] if "|" in self.value else ""


class Verb:
    """``arguments``: as in a usage line, ``ID [SIGNAL]``; brackets are what may be left out,
    ``...`` any number. ``command``: options end at the first argument, because what follows it
    is somebody else's command line. ``failure``: the exit status of a failure. ``hot``: its
    start-up time counts (tests/unit/test_hot_path_imports.py)."""

    __slots__ = ("arguments", "command", "failure", "hot", "name", "options", "summary")

    def __init__(
        self,
        name: str,
        summary: str,
        arguments: str,
        options: tuple[Option, ...] = (),
        *,
        hot: bool = False,
        command: bool = False,
        failure: int = 1,
    ) -> None:
        self.name = name
        self.summary = summary
        self.arguments = arguments
        self.options = options
        self.hot = hot
        self.command = command
        self.failure = failure

    def usage(self) -> str:
        """``ocirt kill [OPTION...] ID [SIGNAL]``"""
        words = ["ocirt", self.name, "[OPTION...]", self.arguments]
        return " ".join(word for word in words if word)


HELP = Option("help", "h", "", "show this text")

GLOBALS = (
    Option("root", "", "FOLDER", "where the state of containers is kept"),
    Option("debug", "", "", "say what is being done"),
    Option("log", "", "FILE", "append errors and warnings to FILE as well"),
    Option("log-format", "", "text|json", "format of the lines of --log"),
    Option("systemd-cgroup", "", "", "ask systemd for the container's cgroup"),
    Option("rootless", "", "auto|true|false", "use only cgroups that the host has delegated"),
    Option("cgroup-manager", "", "cgroupfs|systemd|disabled", "who makes the container's cgroup"),
    Option(
        "systemd-annotations",
        "",
        "true|false",
        "let annotations set properties of systemd's unit",
    ),
    Option("version", "v", "", "show the version"),
    HELP,
)

_BUNDLE = Option("bundle", "b", "FOLDER", "the bundle's folder (default: the current one)")
_PID_FILE = Option("pid-file", "", "FILE", "write the pid of the process to FILE")
_SOCKETS = (
    Option("console-socket", "", "SOCKET", "send the terminal's master side to a unix socket"),
    Option("pidfd-socket", "", "SOCKET", "send a pidfd of the process to a unix socket"),
)
_PRESERVE = Option(
    "preserve-fds", "", "N", "hand N more open descriptors on, from 3 (LISTEN_FDS come first)"
)
_CREATE = (
    _BUNDLE,
    Option("config", "f", "FILE", "read FILE instead of the bundle's config.json"),
    _PID_FILE,
    *_SOCKETS,
    Option("no-pivot", "", "", "change the root without pivot_root (root on a ramdisk)"),
    Option("no-new-keyring", "", "", "keep the caller's session keyring"),
    _PRESERVE,
)
_DETACH = Option("detach", "d", "", "don't wait for the process")
_FORMAT = Option("format", "f", "text|json", "output format")

_CRIU = (
    Option("image-path", "", "FOLDER", "of the checkpoint's files (default: checkpoint)"),
    Option("work-path", "", "FOLDER", "of CRIU's log (default: that of the files)"),
    Option("tcp-established", "", "", "TCP connections too"),
    Option("ext-unix-sk", "", "", "unix sockets with a peer outside too"),
    Option("shell-job", "", "", "a container that shares its caller's terminal too"),
    Option("file-locks", "", "", "file locks too"),
    Option("manage-cgroups-mode", "", "soft|full|strict|ignore", "cgroups that it has made"),
    Option("empty-ns", "", "network", "an empty network namespace, as always", many=True),
    Option("lazy-pages", "", "", "memory is fetched from a page server when it is needed"),
    Option("auto-dedup", "", "", "give up the parents' copies of pages"),
)

_ALL = (
    Verb("create", "make a container from a bundle; start runs it", "ID", _CREATE, hot=True),
    Verb("start", "run the process of a created container", "ID", hot=True),
    Verb("state", "print the state of a container as JSON", "ID", hot=True),
    Verb(
        "kill",
        "send a signal to a container's first process (default: TERM)",
        "ID [SIGNAL]",
        (Option("all", "a", "", "send it to every process of the container"),),
        hot=True,
    ),
    Verb(
        "delete",
        "remove containers that have stopped, or were never started",
        "ID...",
        (Option("force", "f", "", "kill what still runs; a missing container is no error"),),
        hot=True,
    ),
    Verb(
        "run",
        "create and start a container, wait for its end and delete it",
        "ID",
        (
            *_CREATE,
            _DETACH,
            Option("keep", "", "", "don't delete it when it ends"),
            Option("no-subreaper", "", "", "let init adopt what the container leaves behind"),
        ),
        hot=True,
    ),
    Verb(
        "exec",
        "run one more process in a container",
        "ID [COMMAND ARGUMENT...]",
        (
            Option("process", "p", "FILE", "the process, as JSON, instead of COMMAND"),
            _DETACH,
            Option("tty", "t", "", "give it a terminal"),
            _PID_FILE,
            *_SOCKETS,
            _PRESERVE,
            Option("cwd", "", "FOLDER", "its working directory, in the container"),
            Option("env", "e", "NAME=VALUE", "set an environment variable", many=True),
            Option("user", "u", "UID[:GID]", "its user and group"),
            Option("additional-gids", "g", "GID", "one more group", many=True),
            Option("process-label", "", "LABEL", "its SELinux label"),
            Option("apparmor", "", "PROFILE", "its AppArmor profile"),
            Option("no-new-privs", "", "", "it can't gain privileges"),
            Option("cap", "c", "NAME", "one more capability", many=True),
            Option("cgroup", "", "[CONTROLLER,...:]PATH", "a cgroup below its own", many=True),
            Option("ignore-paused", "", "", "in a paused container too"),
        ),
        hot=True,
        command=True,
        failure=255,
    ),
    Verb(
        "update",
        "change the limits of a container",
        "ID",
        (
            Option("resources", "r", "FILE", "a LinuxResources object as JSON; - is the input"),
            Option("memory", "m", "BYTES", "memory limit, with k, m or g; -1: none"),
            Option("memory-reservation", "", "BYTES", "what it keeps when memory is short"),
            Option("memory-swap", "", "BYTES", "limit of memory and swap; -1: none"),
            Option("cpu-period", "", "USECS", "the period that --cpu-quota is for"),
            Option("cpu-quota", "", "USECS", "processor time in a period; -1: no limit"),
            Option("cpu-burst", "", "USECS", "what may be saved up in idle periods"),
            Option("cpu-share", "c", "SHARES", "its weight beside other cgroups, from 2 on"),
            Option("cpu-rt-period", "", "USECS", "the period that --cpu-rt-runtime is for"),
            Option("cpu-rt-runtime", "", "USECS", "real-time processor time in a period"),
            Option("cpu-idle", "", "IDLE", "1: only when nothing else wants to run"),
            Option("cpuset-cpus", "", "LIST", "the processors it may use: 0-2,4"),
            Option("cpuset-mems", "", "LIST", "the memory nodes it may use"),
            Option("blkio-weight", "", "WEIGHT", "weight of its block I/O, 10 to 1000"),
            Option("pids-limit", "", "NUMBER", "how many processes; -1: no limit"),
            Option(
                "kernel-memory",
                "",
                "BYTES",
                "limit of kernel memory (cgroup v1; newer kernels refuse it)",
            ),
            Option("kernel-memory-tcp", "", "BYTES", "limit of TCP buffers (cgroup v1)"),
            Option("l3-cache-schema", "", "LINE", "its share of the cache (Intel RDT): L3:0=f"),
            Option("mem-bw-schema", "", "LINE", "its memory bandwidth (Intel RDT): MB:0=20"),
        ),
    ),
    Verb(
        "checkpoint",
        "save the processes of a container in files",
        "ID",
        (
            *_CRIU,
            Option("parent-path", "", "FOLDER", "of an earlier --pre-dump, below --image-path"),
            Option("leave-running", "", "", "let the container run on"),
            Option("pre-dump", "", "", "the memory alone, and let the container run on"),
            Option("page-server", "", "HOST:PORT", "send the memory there"),
            Option("status-fd", "", "FD", "gets a zero byte when --lazy-pages can be fetched"),
            Option("tcp-skip-in-flight", "", "", "leave out connections that are not complete"),
            Option("link-remap", "", "", "link files that were removed to a name again"),
        ),
    ),
    Verb(
        "restore",
        "make a container of the files of a checkpoint",
        "ID",
        (
            *_CRIU,
            _BUNDLE,
            _DETACH,
            _PID_FILE,
            Option(
                "console-socket", "", "SOCKET", "send the terminal's master side to a unix socket"
            ),
            Option("no-pivot", "", "", "CRIU knows itself how to change the root"),
            Option("no-subreaper", "", "", "let init adopt what the container leaves behind"),
            Option("tcp-close", "", "", "close the TCP connections of the checkpoint"),
            Option("lsm-profile", "", "TYPE:NAME", "another profile: apparmor:NAME, selinux:NAME"),
            Option("lsm-mount-context", "", "LABEL", "another SELinux label for mounts"),
        ),
    ),
    Verb("pause", "stop every process of a container where it is", "ID"),
    Verb("resume", "let the processes of a paused container go on", "ID"),
    Verb("mounts", "give a container more mounts, or take some away", "add|remove ID FILE"),
    Verb(
        "ps",
        "show the processes of a container",
        "ID [PS_OPTION...]",
        (Option("format", "f", "table|json", "output format"),),
        command=True,
    ),
    Verb(
        "events",
        "print what a container uses, and when it ran out of memory, as JSON",
        "ID",
        (
            Option("interval", "", "DURATION", "how often, for instance 500ms or 1m (default: 5s)"),
            Option("stats", "", "", "once, and at once"),
        ),
    ),
    Verb(
        "list",
        "list the containers",
        "",
        (
            Option("format", "f", "table|json", "output format"),
            Option("quiet", "q", "", "ids only"),
        ),
    ),
    Verb(
        "check",
        "report everything that is wrong with a bundle",
        "[BUNDLE]",
        (_FORMAT,),
    ),
    Verb(
        "plan",
        "print what create would ask of the kernel, without doing any of it",
        "[BUNDLE]",
        (_FORMAT, Option("show-env", "", "", "show the values of environment variables")),
    ),
    Verb(
        "spec",
        "write a config.json to start from",
        "",
        (_BUNDLE, Option("rootless", "", "", "one that needs no privileges")),
    ),
    Verb("features", "print what this runtime can do as JSON", ""),
    Verb("version", "print the version", ""),
    Verb("completion", "print a completion script for a shell", "[bash|fish|zsh]"),
    Verb("help", "explain a command", "[COMMAND]"),
)

VERBS = {verb.name: verb for verb in _ALL}
