"""``ps [--format table|json] ID [PS_OPTION...]`` (CONTRACT.md row 22)."""

from __future__ import annotations

import subprocess

from ocirt.cgroup.manager import from_state
from ocirt.commands.output import put
from ocirt.errors import OcirtError
from ocirt.json_text import dumps
from ocirt.runtime.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cli import Options
    from ocirt.runtime.store import Container, State


def run(options: Options) -> int:
    """The processes of the container, as the host sees them."""
    container = Store(options.globals.root).open(options.id)
    state = container.read_state()
    pids = _processes(container, state) if state else []
    if options.format == "json":
        return put(dumps(pids) + "\n")
    return put(select(host_ps(options.arguments[1:] or ["-ef"]), pids))


def _processes(container: Container, state: State) -> list[int]:
    """Those of its cgroup and of the cgroups below it, where it has one."""
    if state.cgroup.get("folders"):
        return from_state(state.cgroup).processes()
    from ocirt.runtime.members import members

    return members(state, container.read_config())


def host_ps(arguments: list[str]) -> str:
    """What the host's ps prints. Raises OcirtError."""
    command = ["ps", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace")
    except OSError as error:
        hint = "--format json does without it"
        raise OcirtError(f"ps: {error.strerror}", errno=error.errno or 0, hint=hint) from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise OcirtError(f"{' '.join(command)}: exit status {done.returncode}: {said}")
    return done.stdout


def select(text: str, pids: list[int]) -> str:
    """The header, and the lines whose column PID is one of ``pids``. Raises OcirtError."""
    # Not splitlines: a command line may hold what Unicode takes for the end of one.
    header, *rows = text.split("\n")
    titles = header.split()
    if "PID" not in titles:
        raise OcirtError("couldn't find PID field in ps output", hint="ask ps for the column PID")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    found = [row for row in rows if wanted.intersection(row.split()[column : column + 1])]
    return "".join(f"{row}\n" for row in [header, *found])
