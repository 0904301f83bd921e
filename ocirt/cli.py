"""The command line: argv to a call of one verb's module, and its failure to an exit status.

``main`` never raises, and nothing here prints a traceback. The verbs and options themselves
are in ``ocirt.commands.table``.
"""

from __future__ import annotations

import os

from ocirt import log
from ocirt.commands.table import GLOBALS, HELP, VERBS, Option, Verb
from ocirt.errors import OcirtError, UsageError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_TRUE, _FALSE = ("true", "1", "t", "True", "TRUE", "T"), ("false", "0", "f", "False", "FALSE", "F")
_SMALL = 1 << 20  # a number of descriptors is far below


class Options:
    """What a command line says. An option ``--pid-file`` is the attribute ``pid_file`` (its
    type: see ``Option``), and beside those there are

    ``arguments``: the positional ones; ``id``: the first of them, where the verb has an ID;
    ``globals``: the Options before the verb; ``program``: the name we were called by.
    """

    arguments: list[str]
    globals: Options
    id: str
    program: str

    def __init__(self, options: Iterable[Option]) -> None:
        self.arguments = []
        for option in options:
            setattr(self, option.attribute, option.default())

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def main(argv: list[str]) -> int:
    """Does what ``argv`` says; the exit status."""
    failure, name = 1, ""
    program = program_name(argv[0] if argv else "")
    try:
        _open_standard_streams()
        globals, rest = parse(GLOBALS, argv[1:], command=True)
        globals.program = program
        if not globals.help and not globals.version:
            log.configure(globals.log, globals.log_format == "json", globals.debug)
        verb = _choose(globals, rest)
        failure, name = verb.failure, verb.name
        status = _run(verb, globals, rest[1:])
        log.flush()
        return status
    except OcirtError as error:
        if program == "runc":
            from ocirt.runc_words import reword

            reword(name, error)
        log.error(error)
        return failure
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        log.error(_unexpected(error))
        return failure


def _choose(globals: Options, words: list[str]) -> Verb:
    if globals.version:
        return VERBS["version"]
    if globals.help:
        words[:] = ["help", *words[:1]]
    if not words:
        raise UsageError("no command is given", hint="ocirt --help lists them")
    verb = VERBS.get(words[0])
    if verb is None and ("-h" in words or "--help" in words):
        words[:] = ["help", words[0]]  # which says that there is none
        return VERBS["help"]
    if verb is None:
        text = f"unknown command {words[0]!r}"
        raise UsageError(text, hint=_nearest(words[0], VERBS) or "ocirt --help lists them")
    return verb


def _run(verb: Verb, globals: Options, words: list[str]) -> int:
    if globals.version:
        words = []
    options, arguments = parse((*verb.options, HELP), words, command=verb.command)
    options.arguments = arguments
    options.globals = globals
    if options.help:
        options.arguments = [verb.name]
        verb = VERBS["help"]
    check_arguments(verb, options.arguments)
    if verb.arguments.startswith("ID"):
        options.id = options.arguments[0]
    module = __import__(f"ocirt.commands.{verb.name}", fromlist=("run",))
    status: int = module.run(options)
    return status


# ---- the parser


def parse(
    table: tuple[Option, ...], words: list[str], *, command: bool
) -> tuple[Options, list[str]]:
    """(the options, the other words). Raises UsageError.

    Accepted are what Go's flag package and getopt accept: ``--x v``, ``--x=v``, ``-x v``,
    ``-x=v`` for long and short names, short names in one word (``-dt``, ``-uroot``), and
    ``--`` as the end of the options. ``command``: the first other word ends them too.
    """
    options = Options(table)
    known = {option.name: option for option in table}
    known.update((option.short, option) for option in table if option.short)
    others: list[str] = []
    queue = words[::-1]
    while queue:
        word = queue.pop()
        if word == "--":
            break
        if len(word) < 2 or word[0] != "-":
            others.append(word)
            if not command:
                continue
            if queue and queue[-1] == "--":
                queue.pop()
            break
        _parse_option(known, word, queue, options)
        if getattr(options, "help", False):
            break
    return options, others + queue[::-1]


def _parse_option(known: dict[str, Option], word: str, queue: list[str], options: Options) -> None:
    name, equals, text = word.lstrip("-").partition("=")
    option = known.get(name)
    if option is None and word[1] != "-":
        option = known.get(word[1])  # short ones in one word
        if option is not None:
            name, equals = word[1], ""
            if option.value:
                equals, text = "=", word[2:].removeprefix("=")
            else:
                queue.append("-" + word[2:])
    if option is None:
        shown = word.partition("=")[0]
        hint = _nearest(name, (n for n in known if len(n) > 1), "--")
        raise UsageError(f"flag provided but not defined: {shown}", hint=hint)
    if option.value and not equals:
        if not queue:
            raise UsageError(f"flag needs an argument: --{option.name}")
        text = queue.pop()
    _set(options, option, text if equals or option.value else "true")


def _set(options: Options, option: Option, text: str) -> None:
    value: Any = text
    problem = ""
    if not option.value:
        value = text in _TRUE
        if text not in _TRUE + _FALSE:
            problem = "true or false"
    elif option.value == "N":
        if text.isascii() and text.isdigit() and int(text[:8]) < _SMALL:
            value = int(text)
        else:
            problem = "a number"
    elif "|" in option.value and text not in option.value.split("|"):
        problem = " or ".join(option.value.split("|"))
    if problem:
        raise UsageError(f"invalid value {text!r} for flag --{option.name}: not {problem}")
    if option.many:
        getattr(options, option.attribute).append(value)
    else:
        setattr(options, option.attribute, value)


def check_arguments(verb: Verb, arguments: list[str]) -> None:
    """Raises UsageError where there are too few or too many."""
    words = verb.arguments.split()
    least = [word for word in words if "[" not in word and "]" not in word]
    problem = ""
    if len(arguments) < len(least):
        problem = f"{least[len(arguments)].removesuffix('...')} is missing"
    elif "..." not in verb.arguments and len(arguments) > len(words):
        problem = f"too many arguments: {' '.join(arguments[len(words) :])}"
    if problem:
        raise UsageError(f"{verb.name}: {problem}", hint=f"usage: {verb.usage()}")


def _nearest(word: str, names: Iterable[str], prefix: str = "") -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, list(names), 1)
    return f"did you mean {prefix}{close[0]}?" if close else ""


# ---- the process


def program_name(arg0: str) -> str:
    """``runc`` or ``crun`` where we stand in for them (CONTRACT.md row 30), else ``ocirt``."""
    for name in (os.path.basename(arg0), os.environ.get("OCIRT_NAME")):
        if name in ("runc", "crun"):
            return name
    return "ocirt"


def _open_standard_streams() -> None:
    """A descriptor that the caller left closed becomes /dev/null: else the next file that is
    opened would take its number, and go to the container as its stdin, stdout or stderr."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)


def _unexpected(error: BaseException) -> OcirtError:
    """Any other exception, in one line."""
    if isinstance(error, OSError):
        return from_os_error(error)
    if isinstance(error, MemoryError):
        return OcirtError("out of memory")
    if isinstance(error, RecursionError):
        return OcirtError("nested too deeply")
    frame, place = error.__traceback__, ""
    while frame is not None:
        code = frame.tb_frame.f_code
        place = f"{os.path.basename(code.co_filename)}:{frame.tb_lineno}"
        log.debug(f"at {place} in {code.co_name}")
        frame = frame.tb_next
    text = f"internal error: {type(error).__name__}: {error} ({place})"
    return OcirtError(text, hint="this is a mistake in ocirt: please report it")
