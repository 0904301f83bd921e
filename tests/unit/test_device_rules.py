"""Device rules: what a list means, and its lines for cgroup v1."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocirt.cgroup.device_rules import AT, DEFAULTS, MKNOD, READ, RWM, WRITE, Rules, normalise
from ocirt.cgroup.device_rules import v1_lines as lines_for_v1
from ocirt.errors import OcirtError

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
BITS = {"r": READ, "w": WRITE, "m": MKNOD}


def rule(allow: bool, text: str) -> dict[str, Any]:
    """``c 1:* rw`` as an entry of the list."""
    kind, numbers, access = text.split()
    found: dict[str, Any] = {"allow": allow, "type": kind, "access": access}
    for name, number in zip(("major", "minor"), numbers.split(":")):
        if number != "*":
            found[name] = int(number)
    return found


def allow(text: str) -> dict[str, Any]:
    return rule(True, text)


def deny(text: str) -> dict[str, Any]:
    return rule(False, text)


def own(rules: Rules) -> list[str]:
    """The rules that are not the defaults."""
    return [str(r) for r in rules.rules if r.at != AT]


# ---- what a list means, a second time: entry by entry, for one device and kind of access


def matches(entry: dict[str, Any], kind: str, major: int, minor: int, bit: int) -> bool:
    return (
        (entry.get("type") or "a") in ("a", kind)
        and entry.get("major", -1) in (-1, major)
        and entry.get("minor", -1) in (-1, minor)
        and any(BITS[letter] == bit for letter in entry["access"])
    )


def decides(listed: list[dict[str, Any]], kind: str, major: int, minor: int, bit: int) -> bool:
    """Of the list alone."""
    answer = False
    for entry in listed:
        if matches(entry, kind, major, minor, bit):
            answer = entry["allow"]
    return answer


def with_defaults(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Denies the list everything that it doesn't name? Then DEFAULTS come after it."""
    whole = [e["allow"] for e in listed if matches_all(e)]
    if whole and whole[-1]:
        return listed
    return listed + [
        {
            "allow": True,
            "type": kind,
            "major": major,
            "minor": minor,
            "access": "".join(letter for letter in BITS if access & BITS[letter]),
        }
        for kind, major, minor, access in DEFAULTS
    ]


def matches_all(entry: dict[str, Any]) -> bool:
    numbers = (entry.get("major", -1), entry.get("minor", -1))
    return (
        entry.get("type", "a") == "a" and numbers == (-1, -1) and set(entry["access"]) == set("rwm")
    )


numbers = st.sampled_from((-1, 0, 1, 3, 136))
entries = st.builds(
    lambda allowed, kind, major, minor, access: {
        "allow": allowed,
        "access": access,
        **({"type": kind} if kind else {}),
        **({} if major is None else {"major": major}),
        **({} if minor is None else {"minor": minor}),
    },
    st.booleans(),
    st.sampled_from(("a", "b", "c", "c", "")),
    st.none() | numbers,
    st.none() | numbers,
    st.sampled_from(("r", "w", "m", "rw", "wm", "mr", "rwm", "rwm", "rr")),
)
lists = st.lists(entries, max_size=7)
devices = st.tuples(
    st.sampled_from(("b", "c")), st.sampled_from((0, 1, 3, 5, 136)), st.sampled_from((0, 1, 3, 5))
)


def answer(rules: Rules, kind: str, major: int, minor: int, bit: int) -> bool:
    """What the normal form says."""
    for r in reversed(rules.rules):
        numbers_match = r.major in (-1, major) and r.minor in (-1, minor)
        if r.kind in ("a", kind) and numbers_match and r.access & bit:
            return r.allow
    return rules.default_allow


@settings(max_examples=600)
@given(lists, devices, st.sampled_from((READ, WRITE, MKNOD)))
def test_the_normal_form_means_the_same(
    listed: list[dict[str, Any]], device: tuple[str, int, int], bit: int
) -> None:
    wanted = decides(with_defaults(listed), *device, bit)
    assert answer(normalise(listed), *device, bit) is wanted


# ---- examples


def test_nothing_listed_denies_all_but_the_defaults() -> None:
    rules = normalise([])
    assert not rules.default_allow
    assert [(r.kind, r.major, r.minor, r.access) for r in rules.rules] == list(DEFAULTS)
    assert all(r.allow for r in rules.rules)
    assert lines_for_v1(normalise([DENY_ALL])) == lines_for_v1(rules)


@pytest.mark.parametrize("entry", [ALLOW_ALL, {**ALLOW_ALL, "type": "a", "major": -1}])
def test_privileged(entry: dict[str, Any]) -> None:
    rules = normalise([DENY_ALL, deny("c 1:3 r"), entry])
    assert rules.allow_all
    assert lines_for_v1(rules) == [("devices.allow", "a")]


def test_absent_access_denies_all() -> None:
    assert own(normalise([ALLOW_ALL, {"allow": False, "type": "b"}])) == ["deny b *:* rwm"]
    assert not normalise([ALLOW_ALL, {"allow": False}]).default_allow


def test_type_a_with_parts_is_not_everything() -> None:
    rules = normalise([DENY_ALL, {"allow": True, "access": "r"}, allow("a 7:* w")])
    assert not rules.default_allow
    assert own(rules) == ["allow a *:* r", "allow a 7:* w"]
    written = lines_for_v1(rules)
    for line in ("b *:* rm", "c *:* rm", "b 7:* w", "c 7:* w"):
        assert ("devices.allow", line) in written


def test_a_denial_of_a_default_device_counts_where_all_is_allowed() -> None:
    rules = normalise([ALLOW_ALL, deny("c 1:7 rwm")])
    assert own(rules) == ["deny c 1:7 rwm"]
    assert len(rules.rules) == 1


def test_rules_without_effect_are_left_out() -> None:
    listed = [DENY_ALL, deny("b 8:0 rwm"), allow("b 8:* rw"), deny("b *:* rw"), allow("c 9:1 r")]
    assert own(normalise(listed)) == ["allow c 9:1 r"]
    assert own(normalise([DENY_ALL, allow("c 9:1 rw"), deny("c 9:1 w")])) == ["allow c 9:1 r"]


@pytest.mark.parametrize(
    ("entry", "at", "text"),
    [
        ({"type": "u", "access": "r"}, "type", "'u' is none of a, b, c"),
        ({"type": "p", "access": "r"}, "type", "'p' is none of"),
        ({"type": "c", "access": "x"}, "access", "'x' has letters other than r, w, m"),
        ({"type": "c", "access": "RW"}, "access", "has letters other"),
        ({"type": "c"}, "access", "allows no access"),
        ({"type": "c", "access": ""}, "access", "allows no access"),
        ({"type": "c", "access": "r", "major": -2}, "major", "or -1 for any, not -2"),
        ({"type": "c", "access": "r", "major": 4096}, "major", "from 0 to 4095"),
        ({"type": "c", "access": "r", "minor": 1 << 20}, "minor", "from 0 to 1048575"),
        ({"type": "c", "access": "r", "minor": 4294967295}, "minor", "not 4294967295"),
        ({"type": "c", "access": "r", "minor": 1 << 63}, "minor", "from 0 to"),
    ],
)
def test_nonsense(entry: dict[str, Any], at: str, text: str) -> None:
    with pytest.raises(OcirtError) as caught:
        normalise([DENY_ALL, {"allow": True, **entry}])
    assert caught.value.at == f"/linux/resources/devices/1/{at}"
    assert text in caught.value.message
    with pytest.raises(OcirtError) as caught:
        normalise([{"allow": True, **entry}], at="/devices")
    assert caught.value.at == f"/devices/0/{at}"


def test_letters_that_are_none(capfd: pytest.CaptureFixture[str]) -> None:
    """runc has always passed over them."""
    assert own(normalise([ALLOW_ALL, deny("c 1:11 rwa")])) == ["deny c 1:11 rw"]
    assert capfd.readouterr().err == (
        "ocirt: warning: config.json#/linux/resources/devices/1/access: 'rwa' has letters other than"
        " r, w, m, which are ignored\n"
    )


# ---- cgroup v1


class Kernel:
    """devices.allow and devices.deny as security/device_cgroup.c has them."""

    def __init__(self) -> None:
        self.allow = True
        self.exceptions: dict[tuple[str, str], set[str]] = {}

    def write(self, file: str, line: str) -> None:
        allowed = file == "devices.allow"
        assert allowed or file == "devices.deny"
        if line[0] == "a":
            self.allow = allowed
            self.exceptions.clear()
            return
        kind, found, access = line.split(" ")
        assert kind in "bc"
        assert access
        assert set(access) <= set("rwm")
        key = kind, found
        if allowed != self.allow:
            self.exceptions.setdefault(key, set()).update(access)
        elif key in self.exceptions:
            self.exceptions[key] -= set(access)

    def check(self, kind: str, major: int, minor: int, access: int) -> bool:
        wanted = {letter for letter in BITS if access & BITS[letter]}
        for (other, found), letters in self.exceptions.items():
            one, two = found.split(":")
            if other == kind and one in ("*", str(major)) and two in ("*", str(minor)):
                if self.allow and wanted & letters:
                    return False
                if not self.allow and letters and wanted <= letters:
                    return True
        return self.allow


def accessible(kernel: Kernel) -> set[tuple[str, int, int, int]]:
    return {
        (kind, major, minor, access)
        for kind in "bc"
        for major in (0, 1, 3, 5, 136)
        for minor in (0, 1, 3, 5)
        for access in (READ, WRITE, MKNOD)
        if kernel.check(kind, major, minor, access)
    }


def v1_state(rules: Rules) -> Kernel | None:
    try:
        lines = lines_for_v1(rules)
    except OcirtError as error:
        assert (error.at or "").startswith(AT)
        return None
    kernel = Kernel()
    for line in lines:
        kernel.write(*line)
    return kernel


@settings(max_examples=600)
@given(lists, devices, st.integers(1, RWM))
def test_v1_means_the_same(
    listed: list[dict[str, Any]], device: tuple[str, int, int], access: int
) -> None:
    rules = normalise(listed)
    kernel = v1_state(rules)
    if kernel is None:
        return
    each = [answer(rules, *device, bit) for bit in (READ, WRITE, MKNOD) if access & bit]
    granted = kernel.check(*device, access)
    if rules.default_allow or len(each) == 1:
        assert granted is all(each)
    else:
        assert all(each) or not granted  # one line has to allow all of it


@settings(max_examples=600)
@given(lists, lists)
def test_v1_transition_never_opens_more(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    old, new = normalise(before), normalise(after)
    kernel, wanted = v1_state(old), v1_state(new)
    if kernel is None or wanted is None:
        return
    try:
        lines = lines_for_v1(new, old)
    except OcirtError as error:
        assert "from denying to allowing" in error.message
        assert new.default_allow
        assert not old.default_allow
        return
    most = accessible(kernel) | accessible(wanted)
    for line in lines:
        kernel.write(*line)
        assert accessible(kernel) <= most
    assert kernel.allow == wanted.allow
    assert {k: v for k, v in kernel.exceptions.items() if v} == wanted.exceptions
    if old.default_allow == new.default_allow:
        assert "a" not in [line for _file, line in lines]


def test_v1_of_a_fresh_cgroup() -> None:
    lines = lines_for_v1(normalise([DENY_ALL, allow("c 10:229 rwm"), allow("b 8:20 rw")]))
    assert lines[:4] == [
        ("devices.deny", "a"),
        ("devices.allow", "c 10:229 rwm"),
        ("devices.allow", "b 8:20 rw"),
        ("devices.allow", "c *:* m"),
    ]
    assert ("devices.allow", "c 136:* rwm") in lines
    lines = lines_for_v1(normalise([ALLOW_ALL, deny("c 1:11 w")]))
    assert lines == [("devices.allow", "a"), ("devices.deny", "c 1:11 w")]


def test_v1_change() -> None:
    old = normalise([DENY_ALL, allow("c 10:229 rw"), allow("b 8:20 r")])
    new = normalise([DENY_ALL, allow("c 10:229 r"), allow("b 8:21 r")])
    assert lines_for_v1(new, new) == []
    assert lines_for_v1(new, old) == [
        ("devices.deny", "c 10:229 w"),
        ("devices.deny", "b 8:20 r"),
        ("devices.allow", "b 8:21 r"),
    ]
    old = normalise([ALLOW_ALL, deny("c 10:229 rw")])
    new = normalise([ALLOW_ALL, deny("c 10:229 w"), deny("b 8:20 r")])
    assert lines_for_v1(new, old) == [("devices.deny", "b 8:20 r"), ("devices.allow", "c 10:229 r")]


def test_v1_has_no_holes() -> None:
    listed = [DENY_ALL, allow("c *:* rwm"), deny("c 1:11 rwm")]
    with pytest.raises(OcirtError, match=r"cgroup v1 can't deny c 1:11 rw: it is a part") as caught:
        lines_for_v1(normalise(listed))
    assert caught.value.at == "/linux/resources/devices/2"
    with pytest.raises(OcirtError, match="can't go from denying to allowing"):
        lines_for_v1(normalise([ALLOW_ALL, deny("c 1:11 w")]), normalise([]))
