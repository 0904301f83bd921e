"""A profile to a program, as runc and crun compile it: what they and libseccomp do is what the
profiles of engines are written for."""

from __future__ import annotations

from ocirt.errors import OcirtError
from ocirt.host.kernel import seccomp_has_action
from ocirt.seccomp.bpf import assemble, by_architecture, has_64_bits
from ocirt.seccomp.enosys import newer_than
from ocirt.seccomp.enosys import wanted as enosys_wanted
from ocirt.seccomp.exact import decide, is_simple
from ocirt.seccomp.library import UNKNOWN, Context, Library, LibraryError
from ocirt.seccomp.names import (
    ACTIONS,
    INSTRUCTION,
    INSTRUCTIONS_MAX,
    OPERATORS,
    action_number,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.seccomp.bpf import Instruction
    from ocirt.seccomp.exact import Rule

_AT = "/linux/seccomp"
_TREE_FROM = 32  # rules, from which runc on has calls looked for in a tree
_EEXIST = 17


def compile_profile(profile: dict[str, Any], library: Library) -> bytes:
    """The program of linux.seccomp, a valid one. Raises OcirtError at the place of what this
    kernel or this libseccomp can't do."""
    default = action_number(profile["defaultAction"], profile.get("defaultErrnoRet"))
    _check_actions(profile)
    tokens = _architectures(profile, library)
    try:
        context = library.context(default)
    except LibraryError as error:
        text = f"libseccomp {library.version} has no {profile['defaultAction']}: {error}"
        raise OcirtError(text, at=f"{_AT}/defaultAction") from None
    with context:
        for token, at in tokens.items():
            try:
                context.add_architecture(token)
            except LibraryError as error:
                text = f"can't be in one filter with this host's architecture: {error}"
                raise OcirtError(text, at=at) from None
        _add_rules(context, profile, default, library)
        program = _export(context)
    program = _first(profile, default, {*tokens, library.native}, library) + program
    if len(program) > INSTRUCTION * INSTRUCTIONS_MAX:
        size = len(program) // INSTRUCTION
        text = f"the filter has {size} instructions, the kernel takes {INSTRUCTIONS_MAX}"
        raise OcirtError(text, at=_AT)
    return program


def unknown_names(profile: dict[str, Any], library: Library) -> list[str]:
    """The names of system calls that no kernel has, as far as libseccomp knows: rules for them
    are passed over."""
    names = {name for rule in profile.get("syscalls") or [] for name in rule["names"]}
    return sorted(name for name in names if library.call(name, library.native) == UNKNOWN)


def _check_actions(profile: dict[str, Any]) -> None:
    places = {profile["defaultAction"]: f"{_AT}/defaultAction"}
    for index, rule in enumerate(profile.get("syscalls") or []):
        places.setdefault(rule["action"], f"{_AT}/syscalls/{index}/action")
    for action, at in places.items():
        if not seccomp_has_action(ACTIONS[action]):
            raise OcirtError(f"this kernel has no {action}", at=at)


def _architectures(profile: dict[str, Any], library: Library) -> dict[int, str]:
    """{token: its place}"""
    found: dict[int, str] = {}
    for index, name in enumerate(profile.get("architectures") or []):
        at = f"{_AT}/architectures/{index}"
        token = library.architecture(name)
        if not token:
            raise OcirtError(f"libseccomp {library.version} does not know {name}", at=at)
        found.setdefault(token, at)
    return found


def _add_rules(context: Context, profile: dict[str, Any], default: int, library: Library) -> None:
    rules = profile.get("syscalls") or []
    if sum(len(rule["names"]) for rule in rules) > _TREE_FROM:
        context.use_binary_tree()
    for index, rule in enumerate(rules):
        action = action_number(rule["action"], rule.get("errnoRet"))
        if action == default:  # libseccomp takes no rule that changes nothing
            continue
        alternatives = _conditions(rule)
        for position, name in enumerate(rule["names"]):
            call = library.call(name, library.native)
            if call == UNKNOWN:
                continue
            at = f"{_AT}/syscalls/{index}/names/{position}"
            for conditions in alternatives:
                try:
                    context.add_rule(action, call, conditions)
                except LibraryError as error:
                    raise _refused(name, error, at) from None


def _refused(name: str, error: LibraryError, at: str) -> OcirtError:
    if error.errno == _EEXIST:
        return OcirtError(f"{name}: an earlier rule has another action for the same calls", at=at)
    return OcirtError(f"{name}: libseccomp refuses the rule: {error}", at=at)


def _conditions(rule: dict[str, Any]) -> list[list[tuple[int, int, int, int]]]:
    """Lists of conditions: the rule holds where all of one list do. Several conditions on one
    argument are alternatives, and so are all of their rule: what the peers made of it before
    they knew of "and", and have kept."""
    found = [
        (each["index"], OPERATORS[each["op"]], each["value"], each.get("valueTwo") or 0)
        for each in rule.get("args") or []
    ]
    if len({index for index, *_ in found}) < len(found):
        return [[condition] for condition in found]
    return [found]


def _export(context: Context) -> bytes:
    try:
        return context.export()
    except LibraryError as error:
        raise OcirtError(f"libseccomp can't make the filter: {error}", at=_AT) from None


def _first(profile: dict[str, Any], default: int, tokens: set[int], library: Library) -> bytes:
    """What is decided before libseccomp's filter: for each architecture the calls that are newer
    than the profile, and those whose rules need exactness."""
    bodies: dict[int, list[Instruction]] = {}
    for token in tokens:
        calls = _rules_of_calls(profile, token, library)
        body: list[Instruction] = []
        if enosys_wanted(default) and max(calls, default=0) > 0:
            body += newer_than(max(calls))
        for call, rules in calls.items():
            # libseccomp takes no rule that changes nothing, and one without conditions for all.
            rules = [rule for rule in rules if rule[1] != default]
            if all(conditions for conditions, _ in rules) and not is_simple(rules):
                body += decide(call, rules, default, has_64_bits(token))
        if body:
            bodies[token] = body
    return assemble(by_architecture(bodies)) if bodies else b""


def _rules_of_calls(profile: dict[str, Any], token: int, library: Library) -> dict[int, list[Rule]]:
    """{number of a call: its rules, in their order}, for an architecture. A call may have two
    names."""
    found: dict[int, list[Rule]] = {}
    for rule in profile.get("syscalls") or []:
        action = action_number(rule["action"], rule.get("errnoRet"))
        alternatives: list[Rule] = [(conditions, action) for conditions in _conditions(rule)]
        for name in rule["names"]:
            call = library.call(name, token)
            if call >= 0:
                found.setdefault(call, []).extend(alternatives)
    return found
