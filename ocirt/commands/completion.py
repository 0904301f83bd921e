"""``completion``: scripts for shells, made from the table; container ids come from ``list -q``."""

from __future__ import annotations

from ocirt.commands.output import put
from ocirt.commands.table import GLOBALS, HELP, VERBS, Option, Verb
from ocirt.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options

# A word after the verb is an option, a value of a|b|c, an id, or a file.
_BASH = """\
# Completion of ocirt: source it, or put it where the shell looks for completions.
_ocirt() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} last=${{COMP_WORDS[COMP_CWORD-1]}} verb= index
    local options= ids= root=()
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
{global_values}) [[ ${{COMP_WORDS[index]}} != --root ]] || root=(--root "${{COMP_WORDS[index+1]}}")
            ((index++)) ;;
        -*) ;;
        *) verb=${{COMP_WORDS[index]}}; break ;;
        esac
    done
    case $verb in
{verbs}
    *) options='{global_options} {names}' ;;
    esac
    case "$verb $last" in
{choices}
    *) [[ $word == -* || -z $verb || $verb == help ]] || {{
            [[ -z $ids ]] || options=$(ocirt "${{root[@]}}" list -q 2> /dev/null)
        }}
        COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    esac
}}
complete -o default -F _ocirt ocirt
"""


# zsh can do what bash does.
_ZSH = """\
autoload -U +X compinit bashcompinit
whence compdef > /dev/null || compinit
bashcompinit
"""


def run(options: Options) -> int:
    """For bash, unless another one is named. Raises UsageError."""
    shell = (options.arguments or ["bash"])[0]
    if shell not in SHELLS:
        raise UsageError(f"completion: no script for {shell}", hint=f"for {', '.join(SHELLS)}")
    return put(SHELLS[shell]())


def bash() -> str:
    """The whole script."""
    verbs = []
    choices = [_choices("", GLOBALS)]
    for verb in VERBS.values():
        ids = " ids=1" if _takes_ids(verb) else ""
        words = " ".join(VERBS) if verb.name == "help" else _words((*verb.options, HELP))
        verbs.append(f"    {verb.name}) options='{words}'{ids} ;;\n")
        choices.append(_choices(verb.name, verb.options))
    return _BASH.format(
        global_values="        " + "|".join(f"--{o.name}" for o in GLOBALS if o.value),
        global_options=_words(GLOBALS),
        names=" ".join(VERBS),
        verbs="".join(verbs).rstrip(),
        choices="".join(choices).rstrip(),
    )


def zsh() -> str:
    """The whole script."""
    return _ZSH + bash()


def fish() -> str:
    """The whole script: a line for each verb and option."""
    top = "-n __fish_use_subcommand"
    lines = ["# Completion of ocirt: source it, or put it in ~/.config/fish/completions."]
    lines += [f"complete -c ocirt {top} {_fish_option(option)}" for option in GLOBALS]
    for verb in VERBS.values():
        inside = f"-n '__fish_seen_subcommand_from {verb.name}'"
        lines.append(f"complete -c ocirt {top} -f -a {verb.name} -d {_fish_text(verb.summary)}")
        if _takes_ids(verb):
            lines.append(f"complete -c ocirt {inside} -f -a '(ocirt list -q 2> /dev/null)'")
        if verb.name == "help":
            lines.append(f"complete -c ocirt {inside} -f -a '{' '.join(VERBS)}'")
        lines += [f"complete -c ocirt {inside} {_fish_option(o)}" for o in (*verb.options, HELP)]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    words = [f"-l {option.name}"]
    if option.short:
        words.append(f"-s {option.short}")
    if "|" in option.value:
        words.append(f"-x -a '{option.value.replace('|', ' ')}'")
    elif option.value:
        words.append("-r")
    return " ".join([*words, f"-d {_fish_text(option.help)}"])


def _fish_text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"


def _takes_ids(verb: Verb) -> bool:
    """Of containers that are there."""
    return verb.arguments.startswith("ID") and verb.name not in ("create", "run", "restore")


def _words(options: tuple[Option, ...]) -> str:
    return " ".join(f"--{option.name}" for option in options)


def _choices(verb: str, options: tuple[Option, ...]) -> str:
    text = ""
    for option in options:
        if "|" in option.value:
            patterns = [f'"{verb} --{option.name}"']
            if option.short:
                patterns.append(f'"{verb} -{option.short}"')
            words = option.value.replace("|", " ")
            text += (
                f"    {'|'.join(patterns)}) COMPREPLY=($(compgen -W '{words}' -- \"$word\")) ;;\n"
            )
    return text


SHELLS = {"bash": bash, "fish": fish, "zsh": zsh}
