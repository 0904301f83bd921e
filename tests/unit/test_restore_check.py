"""What of a restored container is compared with its config.json, and needs no container."""

from __future__ import annotations

import pytest

from ocirt.runtime.restore_check import is_profile


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ("web (enforce)", True),
        ("web (complain)", True),
        ("web//child (enforce)", True),
        ("web//&more (enforce)", True),
        ("unconfined", False),
        ("webmail (enforce)", False),
        ("lax (enforce)", False),
        ("lax//web (enforce)", False),
    ],
)
def test_is_profile(found: str, right: bool) -> None:
    assert is_profile(found, "web") == right
