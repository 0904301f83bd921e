"""Did you mean ...? Imported only when something is wrong: no verb waits for it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest of the known words, or "" if none is close."""
    found = closest(word, known)
    return f"did you mean {found}?" if found else ""


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that needs the fewest edits, "" if that is over a third of its letters.

    Only case apart is no edit: the parsers of Go's callers do not tell it either.
    """
    if len(word) > 64:
        return ""
    best, least = "", 1000
    for candidate in sorted(known):  # sets have no order of their own
        edits = _distance(word.lower(), candidate.lower())
        if edits < least and edits * 3 <= len(candidate):
            best, least = candidate, edits
    return best


def _distance(a: str, b: str) -> int:
    """Letters to insert, delete, replace or swap with the next (optimal string alignment)."""
    before: list[int] = []
    above = list(range(len(b) + 1))
    for i, letter in enumerate(a):
        row = [i + 1]
        for j, other in enumerate(b):
            edits = min(row[j] + 1, above[j + 1] + 1, above[j] + (letter != other))
            if i and j and letter == b[j - 1] and a[i - 1] == other:
                edits = min(edits, before[j - 1] + 1)
            row.append(edits)
        before, above = above, row
    return above[-1]
