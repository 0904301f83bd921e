"""argv to a verb's call and an exit status. No argparse: it costs more than most verbs."""

from __future__ import annotations

import os

from ocirt import log
from ocirt.commands.table import GLOBAL, HELP, VERBS, Option, Verb
from ocirt.errors import OcirtError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Options:
    """Options by name (with _ for -), operands in ``operands``; ``glob``: the global ones."""

    def __init__(self, options: tuple[Option, ...]) -> None:
        self.operands: list[str] = []
        self.glob: Options = self
        for option in options:
            value: Any = [] if option.many else "" if option.value else False
            setattr(self, option.name.replace("-", "_"), value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def main(argv: list[str]) -> int:
    """Runs ``argv``; returns the exit status. Prints errors; never raises."""
    failure = 1
    try:
        options, rest = parse(argv[1:], GLOBAL, stop_at_operand=True)
        log.configure(options.log, _is_json(options.log_format), options.debug)
        if options.version:
            return _version(argv[0])
        if options.help or not rest:
            print(_overview(), end="")
            return 0 if options.help else 1
        verb = VERBS.get(rest[0])
        if rest[0] in ("help", "h"):
            print(
                _overview() if len(rest) < 2 or rest[1] not in VERBS else usage(VERBS[rest[1]]),
                end="",
            )
            return 0
        if verb is None:
            raise UsageError(f"unknown command {rest[0]!r}", hint=_similar(rest[0], list(VERBS)))
        failure = verb.failure
        return _run(verb, rest[1:], options)
    except OcirtError as error:
        log.error(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except (OSError, MemoryError, RecursionError) as error:
        log.error(OcirtError(f"{type(error).__name__}: {error}"))
    except Exception as error:  # a fault of ours: still one line, never a traceback
        log.error(OcirtError(f"internal error: {type(error).__name__}: {error}{_where(error)}"))
    return failure


def _run(verb: Verb, arguments: list[str], glob: Options) -> int:
    options, operands = parse(arguments, (*verb.options, HELP), verb.name == "exec")
    options.glob = glob
    options.operands = operands
    if options.help:
        print(usage(verb), end="")
        return 0
    least = sum(not name.startswith("[") for name in verb.operands)
    most = len(verb.operands)
    many = bool(verb.operands) and "..." in verb.operands[-1]
    if len(operands) < least or (len(operands) > most and not many):
        text = f"{verb.name} takes {' '.join(verb.operands) or 'no operands'}"
        raise UsageError(text, hint=f"ocirt {verb.name} --help")
    _check_globals(glob)
    module = __import__(f"ocirt.commands.{verb.name}", fromlist=["run"])
    status: int = module.run(options)
    return status


def _check_globals(glob: Options) -> None:
    if glob.systemd_cgroup or glob.cgroup_manager == "systemd":
        raise UsageError("the systemd cgroup driver is not supported by this release of ocirt")
    if glob.cgroup_manager not in ("", "cgroupfs"):
        raise UsageError(f"--cgroup-manager {glob.cgroup_manager}: only cgroupfs is supported")
    if glob.rootless not in ("", "true", "false", "auto"):
        raise UsageError(f"--rootless {glob.rootless}: it is true, false or auto")


def parse(
    arguments: list[str], known: tuple[Option, ...], stop_at_operand: bool
) -> tuple[Options, list[str]]:
    """(options, operands). ``--x v``, ``--x=v``, ``-x`` for a long name too (as Go's flag
    package has it), short letters together; "--" ends the options. Raises UsageError."""
    options = Options(known)
    names = {option.name: option for option in known}
    letters = {option.short: option for option in known if option.short}
    operands: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        if argument == "--":
            return options, operands + queue
        if not argument.startswith("-") or argument == "-":
            operands.append(argument)
            if stop_at_operand:
                return options, operands + queue
            continue
        name, equals, value = argument.lstrip("-").partition("=")
        option = names.get(name) or letters.get(name)
        if option is None and not argument.startswith("--") and set(name) <= letters.keys():
            queue[:0] = [f"-{letter}" for letter in name[:-1]] + [f"-{name[-1]}{equals}{value}"]
            continue
        if option is None:
            text = f"flag provided but not defined: {argument.partition('=')[0]}"
            raise UsageError(text, hint=_similar(name, list(names)))
        _set(options, option, equals, value, queue)
    return options, operands


def _set(options: Options, option: Option, equals: str, value: str, queue: list[str]) -> None:
    name = option.name.replace("-", "_")
    if not option.value:
        if equals and value not in ("true", "false", "1", "0"):
            raise UsageError(f"--{option.name}={value}: it is true or false")
        setattr(options, name, value in ("", "true", "1"))
        return
    if not equals:
        if not queue:
            raise UsageError(f"flag needs an argument: --{option.name}")
        value = queue.pop(0)
    if option.many:
        getattr(options, name).append(value)
    else:
        setattr(options, name, value)


def number(options: Options, name: str) -> int:
    """An option whose value is a number; 0 if it was not given. Raises UsageError."""
    text = getattr(options, name)
    if text and not (text.isascii() and text.isdigit() and int(text) < 1024):
        raise UsageError(f"--{name.replace('_', '-')} {text}: it is a number below 1024")
    return int(text or 0)


def _is_json(word: str) -> bool:
    if word not in ("", "text", "json"):
        raise UsageError(f"--log-format {word}: it is text or json")
    return word == "json"


def _version(argv0: str) -> int:
    from ocirt import SPEC_VERSION, __version__

    # Under a peer's name callers look for that name (CONTRACT.md row 30).
    name = os.path.basename(argv0)
    name = name if name in ("runc", "crun") else "ocirt"
    print(f"{name} version {__version__}\ncommit: unknown\nspec: {SPEC_VERSION}")
    return 0


def _overview() -> str:
    width = max(map(len, VERBS))
    rows = [f"  {name:{width}}  {verb.help}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: ocirt [OPTION...] COMMAND [ARGUMENT...]",
            "",
            "An OCI runtime: compiles a container into a program and runs it.",
            "",
            "commands:",
            *rows,
            "",
            "options:",
            *_rows(GLOBAL),
            "",
        ]
    )


def usage(verb: Verb) -> str:
    """``ocirt VERB --help``."""
    options = (*verb.options, HELP)
    head = " ".join(["usage: ocirt", verb.name, "[OPTION...]", *verb.operands])
    return "\n".join([head, "", verb.help, "", "options:", *_rows(options), ""])


def _rows(options: tuple[Option, ...]) -> list[str]:
    left = []
    for option in options:
        short = f"-{option.short}, " if option.short else "    "
        left.append(f"  {short}--{option.name}" + (f" {option.value}" if option.value else ""))
    width = max(map(len, left))
    return [f"{name:{width}}  {option.help}" for name, option in zip(left, options)]


def _similar(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, known, 1)
    return f"did you mean {found[0]}?" if found else ""


def _where(error: BaseException) -> str:
    """The innermost place in ocirt, for a report of the fault."""
    place = ""
    traceback = error.__traceback__
    while traceback:
        file = os.path.basename(traceback.tb_frame.f_code.co_filename)
        place = f" ({file} line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place
