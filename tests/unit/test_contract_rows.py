"""Every row of the callers' contract has a test that is named after its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROWS = 40


def rows_with_a_test() -> set[int]:
    found = set()
    for file in (ROOT / "tests/integration").glob("test_*.py"):
        for name in re.findall(r"def test_(row_\w+)\(", file.read_text()):
            first, _, last = name.partition("_to_")
            numbers = [int(number) for number in re.findall(r"\d+", first)]
            found.update(numbers)
            if last:
                found.update(range(numbers[-1], int(last.split("_")[0]) + 1))
    return found


def test_every_row_has_one() -> None:
    assert set(range(1, ROWS + 1)) <= rows_with_a_test()


def test_there_are_no_more_rows() -> None:
    contract = ROOT.parent / "shared/CONTRACT.md"
    if not contract.exists():
        pytest.skip("nothing to compare with")
    numbers = re.findall(r"^\| (\d+) \|", contract.read_text(), re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, ROWS + 1))
