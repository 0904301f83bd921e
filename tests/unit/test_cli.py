"""ocirt.cli: the parser, help, exit statuses, and what is made of every kind of failure."""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirt import log
from ocirt.cli import check_arguments, main, parse, program_name
from ocirt.commands.create import create_options
from ocirt.commands.table import GLOBALS, HELP, VERBS, Option
from ocirt.errors import ConfigError, OcirtError, UsageError

ROOT = Path(__file__).parent.parent.parent
TEXT = Option("pid-file", "p", "FILE", "")
SWITCH = Option("detach", "d", "", "")
OTHER = Option("tty", "t", "", "")
LIST = Option("env", "e", "NAME=VALUE", "", many=True)
NUMBER = Option("preserve-fds", "", "N", "")
CHOICE = Option("format", "f", "table|json", "")
TABLE = (TEXT, SWITCH, OTHER, LIST, NUMBER, CHOICE, HELP)


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    log.configure("", False, False)


def parsed(*words: str, command: bool = False) -> tuple[dict[str, object], list[str]]:
    """(the attributes that are not at their defaults, the other words)"""
    options, others = parse(TABLE, list(words), command=command)
    attributes = {o.attribute: getattr(options, o.attribute) for o in TABLE}
    defaults = {o.attribute: o.default() for o in TABLE}
    return {k: v for k, v in attributes.items() if v != defaults[k]}, others


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], {}),
        (["--pid-file", "f"], {"pid_file": "f"}),
        (["--pid-file=f"], {"pid_file": "f"}),
        (["--pid-file=a=b"], {"pid_file": "a=b"}),
        (["--pid-file="], {}),
        (["-pid-file", "f"], {"pid_file": "f"}),
        (["-pid-file=f"], {"pid_file": "f"}),
        (["-p", "f"], {"pid_file": "f"}),
        (["-p=f"], {"pid_file": "f"}),
        (["-pf"], {"pid_file": "f"}),
        (["--p", "f"], {"pid_file": "f"}),
        (["--pid-file", "--detach"], {"pid_file": "--detach"}),
        (["--pid-file", "a", "--pid-file", "b"], {"pid_file": "b"}),
        (["--detach"], {"detach": True}),
        (["-detach"], {"detach": True}),
        (["-d"], {"detach": True}),
        (["--detach=true"], {"detach": True}),
        (["--detach=1"], {"detach": True}),
        (["--detach=false"], {}),
        (["-d", "--detach=0"], {}),
        (["-dt"], {"detach": True, "tty": True}),
        (["-dtp", "f"], {"detach": True, "tty": True, "pid_file": "f"}),
        (["-dtpf"], {"detach": True, "tty": True, "pid_file": "f"}),
        (["-e", "A=1", "--env=B=2", "-eC=3"], {"env": ["A=1", "B=2", "C=3"]}),
        (["--preserve-fds", "3"], {"preserve_fds": 3}),
        (["--preserve-fds=0"], {}),
        (["-f", "json"], {"format": "json"}),
        (["--format=table"], {}),
    ],
)
def test_options(words: list[str], expected: dict[str, object]) -> None:
    assert parsed(*words) == (expected, [])
    assert parsed("ID", *words) == (expected, ["ID"])
    assert parsed(*words, "ID", "-") == (expected, ["ID", "-"])


def test_words_that_are_no_options() -> None:
    assert parsed("a", "-d", "b", "--", "-t", "c") == ({"detach": True}, ["a", "b", "-t", "c"])
    assert parsed("-d", "ID", "ls", "-t", command=True) == ({"detach": True}, ["ID", "ls", "-t"])
    assert parsed("ID", "--", "ls", "--", "-t", command=True) == ({}, ["ID", "ls", "--", "-t"])
    assert parsed("--", "ID", "-t", command=True) == ({}, ["ID", "-t"])


@pytest.mark.parametrize(
    "words, message, hint",
    [
        (["--detahc"], "flag provided but not defined: --detahc", "did you mean --detach?"),
        (["--zzz=1"], "flag provided but not defined: --zzz", ""),
        (["-z"], "flag provided but not defined: -z", ""),
        (["-dz"], "flag provided but not defined: -z", ""),
        (["--dt"], "flag provided but not defined: --dt", None),
        (["---"], "flag provided but not defined: ---", ""),
        (["--pid-file"], "flag needs an argument: --pid-file", ""),
        (["-p"], "flag needs an argument: --pid-file", ""),
        (["-dp"], "flag needs an argument: --pid-file", ""),
        (["--detach=maybe"], "invalid value 'maybe' for flag --detach: not true or false", ""),
        (["--preserve-fds=x"], "invalid value 'x' for flag --preserve-fds: not a number", ""),
        (["--preserve-fds=-1"], "invalid value '-1' for flag --preserve-fds: not a number", ""),
        (["--preserve-fds=²"], "invalid value '²' for flag --preserve-fds: not a number", ""),
        (["--preserve-fds", "9" * 5000], None, ""),
        (["-f", "xml"], "invalid value 'xml' for flag --format: not table or json", ""),
    ],
)
def test_refused(words: list[str], message: str | None, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*words)
    assert message is None or str(caught.value) == message
    assert hint is None or caught.value.hint == hint


WORDS = st.text(min_size=1).filter(lambda word: not word.startswith("-"))


@given(st.data())
def test_every_spelling_says_the_same(data: st.DataObject) -> None:
    """Whatever the order and the spelling of options, the values come out."""
    words: list[str] = []
    expected: dict[str, Any] = {}
    arguments: list[str] = []
    for option in data.draw(st.lists(st.sampled_from((TEXT, SWITCH, LIST, NUMBER, CHOICE, None)))):
        if option is None:
            arguments.append(data.draw(WORDS))
            words.append(arguments[-1])
            continue
        names = ["--" + option.name, "-" + option.name]
        names += ["-" + option.short, "--" + option.short] if option.short else []
        name = data.draw(st.sampled_from(names))
        if not option.value:
            on = data.draw(st.booleans())
            words.append(name if on else f"{name}=false")
            expected[option.attribute] = on
            continue
        values = {NUMBER: st.integers(0, 999).map(str), CHOICE: st.sampled_from(["table", "json"])}
        text = data.draw(values.get(option, st.text()))
        words += data.draw(st.sampled_from([[name, text], [f"{name}={text}"]]))
        if option.many:
            expected[option.attribute] = [*expected.get(option.attribute, []), text]
        else:
            expected[option.attribute] = int(text) if option is NUMBER else text
    options, others = parse(TABLE, words, command=False)
    assert others == arguments
    for name, value in expected.items():
        assert getattr(options, name) == value


@given(st.lists(st.text() | st.sampled_from(["-", "--", "-d", "--x", "-pf", "--pid-file", "-="])))
def test_no_words_break_the_parser(words: list[str]) -> None:
    try:
        parse(TABLE, words, command=False)
    except UsageError as error:
        assert str(error)


# What engines really say, from the sources that shared/CONTRACT.md was gathered from.
CALLS = [
    "--root /run/c --log /l/log.json --log-format json --systemd-cgroup create --bundle /b"
    " --pid-file /b/init.pid --console-socket /t/pty.sock ID",
    "--root=/r --log=/l --log-format=json --rootless=false create --no-pivot --no-new-keyring"
    " --preserve-fds 2 --bundle=/b ID",
    "--rootless=auto --debug --log-format=json --log /l start ID",
    "--systemd-cgroup --cgroup-manager systemd create --bundle /b --pidfd-socket /s ID",
    "--root /r state ID",
    "--root /r kill --all ID 9",
    "--root /r kill ID SIGKILL",
    "--root /r delete --force ID",
    "delete -f a b c",
    "--root /r list --format=json",
    "list -q",
    "--root /r exec --process /p.json --console-socket /s --detach --pid-file /f ID",
    "exec -d --tty --pid-file=/f ID sh -c true --not-ours",
    "exec --cwd / -e A=1 --env B=2 -u 1:2 -g 3 -g 4 --process-label l --apparmor p --no-new-privs"
    " -c CAP_KILL --cgroup x --ignore-paused ID ls",
    "run --bundle /b --detach --keep -no-subreaper ID",
    "features",
]


@pytest.mark.parametrize("call", CALLS)
def test_what_engines_say_is_understood(call: str) -> None:
    globals, words = parse(GLOBALS, call.split(), command=True)
    assert not globals.help
    verb = VERBS[words[0]]
    options, arguments = parse((*verb.options, HELP), words[1:], command=verb.command)
    check_arguments(verb, arguments)
    assert not verb.arguments.startswith("ID") or arguments[0] in ("ID", "a")
    assert "--not-ours" not in call or arguments[-1] == "--not-ours"


# ---- the table


def test_names_are_unique() -> None:
    for table in (GLOBALS, *((*verb.options, HELP) for verb in VERBS.values())):
        names = [name for o in table for name in (o.name, o.short, o.attribute) if name]
        assert len(set(names)) == len({o.name for o in table} | {o.attribute for o in table}) + sum(
            bool(o.short) for o in table
        )


def test_every_verb_has_a_module() -> None:
    for name in VERBS:
        assert importlib.util.find_spec(f"ocirt.commands.{name}"), name


@pytest.fixture
def criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is such a program."""
    (tmp_path / "criu").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("criu")
@pytest.mark.parametrize("name", VERBS)
def test_help_of_every_verb(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([name, "--help"], [name, "-h", "x", "y"], ["help", name], ["--help", name]):
        assert main(["ocirt", *argv]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out.startswith(f"NAME:\n   ocirt {name} - ") and VERBS[name].usage() in out
        for option in VERBS[name].options:
            assert f"--{option.name}" in out and option.help in out


@pytest.mark.parametrize("name", ["checkpoint", "restore"])
def test_help_without_criu(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 28 of CONTRACT.md: the exit status tells whether they can work."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["ocirt", name, "--help"]) == 1
    out, err = capsys.readouterr()
    assert f"ocirt {name} - " in out and err.startswith("ocirt: criu is not installed: ")


def test_flag_needs_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """Row 28 too: Podman looks for the flag in these words."""
    assert main(["ocirt", "restore", "--lsm-mount-context"]) == 1
    assert "flag needs an argument: --lsm-mount-context" in capsys.readouterr().err


def test_overview(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["-h"], ["help"]):
        assert main(["ocirt", *argv]) == 0
        out, err = capsys.readouterr()
        assert err == "" and all(f"\n  {name} " in out for name in VERBS)
        assert max(map(len, out.splitlines())) < 100


def test_help_is_by_the_name_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """What runc's own tests read in its place."""
    assert main(["/usr/sbin/runc", "-h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NAME:" and lines[1].startswith(
        "   runc - Open Container Initiative runtime"
    )
    assert main(["/usr/sbin/runc", "kill", "-h"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("   runc kill - ")


# ---- version


@pytest.mark.parametrize(
    "program, word",
    [("ocirt", "ocirt"), ("/usr/bin/runc", "runc"), ("crun", "crun"), ("/x/other", "ocirt")],
)
def test_version(program: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    from ocirt import SPEC_VERSION, __version__

    for argv in (["--version"], ["-v"], ["--version", "ignored", "words"], ["version"]):
        assert main([program, *argv]) == 0
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert err == "" and lines[0] == f"{word} version {__version__}"
        assert lines[1].startswith("commit: ") and lines[2] == f"spec: {SPEC_VERSION}"
        assert out.count("version") == 1


def test_program_name_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIRT_NAME", "crun")
    assert program_name("/bin/ocirt") == "crun" and program_name("/bin/runc") == "runc"
    monkeypatch.setenv("OCIRT_NAME", "anything")
    assert program_name("/bin/ocirt") == "ocirt"


# ---- failures


@pytest.mark.parametrize(
    "argv, text",
    [
        ([], "no command is given"),
        (["kil", "x"], "unknown command 'kil'\nocirt:   hint: did you mean kill?"),
        (["--rot", "x", "list"], "flag provided but not defined: --rot"),
        (["--log-format", "xml", "list"], "invalid value 'xml'"),
        (["kill"], "kill: ID is missing"),
        (["delete"], "delete: ID is missing"),
        (["exec"], "exec: ID is missing"),
        (["kill", "a", "9", "b", "c"], "kill: too many arguments: b c"),
        (["features", "x"], "features: too many arguments: x"),
        (["exec", "--preserve-fds"], "flag needs an argument: --preserve-fds"),
        (["help", "nothing"], "No help topic for 'nothing'"),
        (["nothing", "-h"], "No help topic for 'nothing'"),
        (["--log", "/nonexistent/folder/log", "list"], "open the log file /nonexistent/folder/"),
    ],
)
def test_usage_errors(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ocirt", *argv]) == (255 if argv[:1] == ["exec"] else 1)
    out, err = capsys.readouterr()
    assert out == "" and f"ocirt: {text}" in err


@pytest.mark.parametrize(
    "words, driver, annotations",
    [
        ("", "cgroupfs", True),
        ("--cgroup-manager=cgroupfs", "cgroupfs", True),
        ("--systemd-cgroup", "systemd", True),
        ("--cgroup-manager systemd", "systemd", True),
        ("--systemd-cgroup=false --cgroup-manager systemd", "systemd", True),
        ("--systemd-cgroup --cgroup-manager cgroupfs", "systemd", True),
        ("--cgroup-manager disabled", "disabled", True),
        ("--systemd-cgroup --systemd-annotations=false", "systemd", False),
        ("--systemd-annotations true", "cgroupfs", True),
    ],
)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_cgroup_drivers(verb: str, words: str, driver: str, annotations: bool) -> None:
    globals, rest = parse(GLOBALS, [*words.split(), verb, "x"], command=True)
    options, _ = parse(VERBS[verb].options, rest[1:], command=False)
    options.globals = globals
    wanted = create_options(options)
    assert (wanted.cgroup_driver, wanted.systemd_annotations) == (driver, annotations)


@pytest.mark.parametrize(
    "error, text",
    [
        (OcirtError("it failed", at="/a/0"), "config.json#/a/0: it failed\n"),
        (ConfigError([OcirtError("a", at=""), OcirtError("b", at="/b", hint="h")]), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), "/x: No such file\n"),
        (OSError("odd"), "odd\n"),
        (MemoryError(), "out of memory\n"),
        (RecursionError("x"), "nested too deeply\n"),
        (SystemExit(3), "internal error: SystemExit: 3"),
        (KeyError("x\ny"), "internal error: KeyError: 'x\\ny' (test_cli.py:"),
    ],
)
@pytest.mark.parametrize("verb, status", [("list", 1), ("exec", 255)])
def test_failures_of_a_verb(
    verb: str,
    status: int,
    error: BaseException,
    text: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(options: object) -> int:
        raise error

    module = ModuleType(verb)
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"ocirt.commands.{verb}", module)
    assert main(["ocirt", verb] + ["x"] * (verb == "exec")) == status
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    if text is None:
        assert err == "ocirt: config.json#: a\nocirt: config.json#/b: b\nocirt:   hint: h\n"
    else:
        assert err.startswith(f"ocirt: {text}")


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: object) -> int:
        raise KeyboardInterrupt

    module = ModuleType("list")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ocirt.commands.list", module)
    assert main(["ocirt", "list"]) == 130
    assert capsys.readouterr() == ("", "")


def ocirt(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocirt", *argv]
    return subprocess.run(command, text=True, cwd=ROOT, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("closed", [[0], [1], [2], [1, 2], [0, 1, 2]])
def test_closed_streams(closed: list[int], tmp_path: Path) -> None:
    """Nothing crashes, and no file that is opened gets the number of a closed stream."""
    file = tmp_path / "log"

    def close() -> None:
        for fd in closed:
            os.close(fd)

    pipes = {1: "stdout", 2: "stderr"}
    streams = {name: subprocess.PIPE for fd, name in pipes.items() if fd not in closed}
    log_to = ("--log", str(file), "--root", str(tmp_path / "root"))
    done = ocirt(*log_to, "list", preexec_fn=close, **streams)
    assert done.returncode == 0 and not done.stderr
    assert not streams.get("stdout") or done.stdout.startswith("ID ")
    done = ocirt(*log_to, "state", "x", preexec_fn=close, **streams)
    assert done.returncode == 1 and not done.stdout
    assert file.read_text().count("\n") == 1


def test_reader_that_goes_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = ocirt("features", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_full_disk() -> None:
    with open("/dev/full", "w") as full:
        done = ocirt("features", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "ocirt: write to the standard output: No space left on device\n"


def test_an_empty_environment(tmp_path: Path) -> None:
    """CONTRACT.md row 6."""
    done = ocirt("--root", str(tmp_path), "list", "-q", env={}, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
