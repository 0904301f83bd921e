"""The bytes of a filter decide as its profile says, for any call (tests/seccomp_model.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ocirt.errors import OcirtError
from ocirt.seccomp.compile import compile_profile
from ocirt.seccomp.library import Library
from tests.seccomp_model import ACTIONS, AUDIT, NUMBERS, X32_BIT, decide, simulate

NATIVE = {"x86_64": "X86_64", "aarch64": "AARCH64"}[os.uname().machine]
PODMANS = "/usr/share/containers/seccomp.json"
CALLS = sorted(NUMBERS["X86_64"])
OPERATORS = ["SCMP_CMP_" + name for name in "NE LT LE EQ GE GT MASKED_EQ".split()]
# Where the halves of a number, and their signs, can be mistaken for one another.
EDGES = [
    0,
    1,
    2,
    0x7FFFFFFF,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 1,
    1 << 63,
    (1 << 64) - 1,
]

words = st.sampled_from(EDGES) | st.integers(0, (1 << 64) - 1) | st.integers(0, 40)
conditions = st.fixed_dictionaries(
    {"index": st.integers(0, 5), "value": words, "op": st.sampled_from(OPERATORS)},
    optional={"valueTwo": words},
)


@st.composite
def actions(draw: st.DrawFn, key: str) -> dict[str, Any]:
    """{"action" or so: it, maybe its number}"""
    word = draw(st.sampled_from([name for name in sorted(ACTIONS) if name != "NOTIFY"]))
    found: dict[str, Any] = {key: f"SCMP_ACT_{word}"}
    if word in ("ERRNO", "TRACE") and draw(st.booleans()):
        name = "errnoRet" if key == "action" else "defaultErrnoRet"
        found[name] = draw(st.sampled_from([0, 1, 38, 4094]))
    return found


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """Every call has one action, in as many rules as you like."""
    profile = draw(actions("defaultAction"))
    names = draw(st.lists(st.sampled_from(sorted(AUDIT)), unique=True))
    profile["architectures"] = ["SCMP_ARCH_" + name for name in names]
    rules = []
    for call in draw(st.lists(st.sampled_from(CALLS), unique=True, max_size=8)):
        what = draw(actions("action"))
        for _ in range(draw(st.integers(1, 3))):
            rule = {"names": [call], **what}
            arguments = draw(st.lists(conditions, max_size=3))
            if arguments:
                rule["args"] = arguments
            rules.append(rule)
    profile["syscalls"] = draw(st.permutations(rules))
    return profile


@st.composite
def calls(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    """(architecture, number, arguments)"""
    name = draw(st.sampled_from(sorted(AUDIT)))
    known = st.sampled_from(sorted(NUMBERS[name].values()))
    number = draw(known | known.map(lambda n: n + 1) | st.integers(0, 600))
    if name == "X32":
        number |= X32_BIT
    audit = draw(st.sampled_from([AUDIT[name]] * 9 + [0x40000028]))
    return audit, number, draw(st.lists(words, min_size=6, max_size=6))


LIBRARY = Library()


@settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(profile=profiles(), made=st.lists(calls(), min_size=20, max_size=40))
@example(
    profile={"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []},
    made=[(AUDIT["X86_64"], 5000, [0] * 6), (AUDIT["X86"], 1, [0] * 6)],
)
def test_bytes_decide_as_the_profile_says(
    profile: dict[str, Any], made: list[tuple[int, int, list[int]]]
) -> None:
    program = compile_profile(profile, LIBRARY)
    aimed = [
        (AUDIT[name], NUMBERS[name][call], arguments)
        for (_, _, arguments), rule in zip(made, profile["syscalls"])
        for name in AUDIT
        for call in rule["names"]
        if call in NUMBERS[name]
    ]
    for audit, number, arguments in made + aimed:
        found = simulate(program, audit, number, arguments)
        assert found == decide(profile, audit, number, arguments, NATIVE), (
            hex(audit),
            hex(number),
            arguments,
        )


# ---- profiles such as engines have

NETLINK, AUDIT_PROTOCOL = 16, 9


def engine_profile() -> dict[str, Any]:
    """Much is allowed, some of it by arguments, the rest fails with a number of its own."""
    masks = [
        {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
    ]
    personas = [0, 8, 0x20000, 0x20008, 0xFFFFFFFF]
    rules: list[dict[str, Any]] = [
        {"names": "read write open close ioctl getpid kill fcntl mkdir no_such_call".split()},
        *(
            {"names": ["personality"], "args": [{"index": 0, "value": p, "op": "SCMP_CMP_EQ"}]}
            for p in personas
        ),
        {"names": ["clone"], "args": masks},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {
            "names": ["prctl"],  # as sockets of netlink are: all but one pair
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 22,
            "args": [
                {"index": 0, "value": NETLINK, "op": "SCMP_CMP_EQ"},
                {"index": 2, "value": AUDIT_PROTOCOL, "op": "SCMP_CMP_EQ"},
            ],
        },
        {"names": ["prctl"], "args": [{"index": 2, "value": AUDIT_PROTOCOL, "op": "SCMP_CMP_NE"}]},
        {"names": ["prctl"], "args": [{"index": 0, "value": NETLINK, "op": "SCMP_CMP_NE"}]},
        {"names": ["statx"]},
    ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": [f"SCMP_ARCH_{name}" for name in sorted(AUDIT)],
        "syscalls": [{"action": "SCMP_ACT_ALLOW", **rule} for rule in rules],
    }


def podman_profile() -> dict[str, Any]:
    """The one of this host, for a container without capabilities; of its calls those that the
    model has numbers for."""
    if not os.path.exists(PODMANS):
        pytest.skip(f"{PODMANS} is not installed")
    with open(PODMANS) as file:
        source = json.load(file)
    rules = []
    for rule in source["syscalls"]:
        names = [name for name in rule["names"] if name in CALLS]
        if names and not rule.get("includes"):
            kept = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key)}
            rules.append({**kept, "names": names})
    return {
        "defaultAction": source["defaultAction"],
        "defaultErrnoRet": source["defaultErrnoRet"],
        "architectures": [f"SCMP_ARCH_{name}" for name in sorted(AUDIT)],
        "syscalls": rules,
    }


@pytest.mark.parametrize("make", [engine_profile, podman_profile])
def test_profiles_of_engines(make: Callable[[], dict[str, Any]]) -> None:
    profile = make()
    program = compile_profile(profile, LIBRARY)
    values = {0, 5, NETLINK, AUDIT_PROTOCOL, 1 << 40}
    for rule in profile["syscalls"]:
        for argument in rule.get("args") or []:
            values |= {argument["value"], argument["value"] ^ 1}
    for name, audit in AUDIT.items():
        numbers = {*NUMBERS[name].values(), *(n + 1 for n in NUMBERS[name].values())}
        for number in sorted(numbers):
            for first in sorted(values):
                for third in (0, AUDIT_PROTOCOL):
                    arguments = [first, 0, third, 0, 0, 0]
                    expected = decide(profile, audit, number, arguments, NATIVE)
                    assert simulate(program, audit, number, arguments) == expected, (
                        name,
                        number,
                        arguments,
                    )


def test_a_filter_is_too_long_for_the_kernel() -> None:
    arguments = [{"index": i, "value": 1 << 40, "op": "SCMP_CMP_GT"} for i in range(6)]
    rules = [{"names": [call], "action": "SCMP_ACT_TRAP", "args": arguments} for call in CALLS]
    many = [
        {**rule, "args": [{**arguments[0], "value": number}, arguments[1]]}
        for number in range(20)
        for rule in rules
    ]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many}
    with pytest.raises(OcirtError, match="the kernel takes 4096") as caught:
        compile_profile(profile, LIBRARY)
    assert caught.value.at == "/linux/seccomp"
