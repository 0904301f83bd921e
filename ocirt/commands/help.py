"""``help``, ``--help``: generated from the table."""

from __future__ import annotations

from ocirt.commands.output import put
from ocirt.commands.table import GLOBALS, HELP, VERBS, Option, Verb
from ocirt.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options


def run(options: Options) -> int:
    """Without an argument, everything in short."""
    program = options.globals.program
    if not options.arguments:
        return put(overview(program))
    verb = VERBS.get(options.arguments[0])
    if verb is None:
        raise UsageError(f"No help topic for {options.arguments[0]!r}")
    status = put(explanation(verb, program))
    if verb.name in ("checkpoint", "restore"):
        from ocirt.criu.process import find

        find()  # the exit status tells engines whether there is CRIU (CONTRACT.md row 28)
    return status


def overview(program: str) -> str:
    """Of ``ocirt --help``. The heading and the first words after the name are runc's: its callers
    may know it by them."""
    width = max(map(len, VERBS))
    verbs = "".join(f"  {verb.name:{width}}  {verb.summary}\n" for verb in VERBS.values())
    return (
        f"NAME:\n   {program} - Open Container Initiative runtime that compiles a container into a "
        "program and runs it\n\n"
        f"Usage: ocirt [GLOBAL OPTION...] COMMAND [OPTION...] [ARGUMENT...]\n\nCommands:\n{verbs}\n"
        f"Global options:\n{_list(GLOBALS)}\n"
        "ocirt COMMAND --help explains a command.\n"
    )


def explanation(verb: Verb, program: str) -> str:
    """Of ``ocirt VERB --help``."""
    return (
        f"NAME:\n   {program} {verb.name} - {verb.summary}\n\n"
        f"Usage: {verb.usage()}\n\nOptions:\n{_list((*verb.options, HELP))}"
    )


def spelling(option: Option) -> str:
    """``-e, --env NAME=VALUE``"""
    short = f"-{option.short}, " if option.short else ""
    return f"{short}--{option.name}" + (f" {option.value}" if option.value else "")


def _list(options: tuple[Option, ...]) -> str:
    left = [spelling(o) if o.short else "    " + spelling(o) for o in options]
    width = max(map(len, left))
    return "".join(
        f"  {text:{width}}  {option.help}{' (may be repeated)' if option.many else ''}\n"
        for text, option in zip(left, options)
    )
