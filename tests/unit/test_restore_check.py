"""What of a restored container is compared with its config.json, and needs no container."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocirt.errors import StateError
from ocirt.runtime.restore_check import check_maps, is_profile
from ocirt.runtime.restore_stage import reachable


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


def test_check_maps() -> None:
    rows = [(0, 1000, 10), (10, 5000, 1)]
    keys = ("containerID", "hostID", "size")
    linux = {"uidMappings": [dict(zip(keys, row)) for row in rows]}
    check_maps({"uidMappings": rows[::-1]}, linux)
    for wrong in ([], rows[:1], [(0, 0, 10), rows[1]], [*rows, (100, 0, 1)]):
        with pytest.raises(StateError, match="#/linux/uidMappings: .*other mappings"):
            check_maps({"uidMappings": wrong}, linux)
    with pytest.raises(StateError, match="#/linux/gidMappings"):
        check_maps({"gidMappings": rows}, {})


def test_reachable(tmp_path: Path) -> None:
    """The first folder that not everybody may search."""
    tmp_path.chmod(0o755)
    (tmp_path / "a/b/c").mkdir(parents=True)
    first = reachable(str(tmp_path / "a/b/c"))
    if first == str(tmp_path / "a/b/c"):
        (tmp_path / "a/b").chmod(0o750)
        assert reachable(first) == str(tmp_path / "a/b")
    else:  # pytest's own folder is such a one
        assert str(tmp_path).startswith(first) and Path(first).stat().st_mode & 0o001 == 0
