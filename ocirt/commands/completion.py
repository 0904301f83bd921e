"""``completion``: a bash script made from the table; container ids come from ``list -q``."""

from __future__ import annotations

from ocirt.commands.output import put
from ocirt.commands.table import GLOBALS, HELP, VERBS, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options

# A word after the verb is an option, a value of a|b|c, an id, or a file.
_SCRIPT = """\
# Completion of ocirt for bash: source it, or put it in a folder of bash-completion.
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


def run(options: Options) -> int:
    """Bash is the only shell yet."""
    return put(script())


def script() -> str:
    """The whole script."""
    verbs = []
    choices = [_choices("", GLOBALS)]
    for verb in VERBS.values():
        ids = " ids=1" if verb.arguments.startswith("ID") and verb.name not in _MAKERS else ""
        words = " ".join(VERBS) if verb.name == "help" else _words((*verb.options, HELP))
        verbs.append(f"    {verb.name}) options='{words}'{ids} ;;\n")
        choices.append(_choices(verb.name, verb.options))
    return _SCRIPT.format(
        global_values="        " + "|".join(f"--{o.name}" for o in GLOBALS if o.value),
        global_options=_words(GLOBALS),
        names=" ".join(VERBS),
        verbs="".join(verbs).rstrip(),
        choices="".join(choices).rstrip(),
    )


_MAKERS = ("create", "run")  # their ID is a new one


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
