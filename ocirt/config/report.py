"""Where rules put what they find, and which parts of a document they may look at."""

from __future__ import annotations

from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    # A rule reads some members of the object at a pointer; it is given both and the report.
    Rule = Callable[[dict[str, Any], str, "Report"], None]


class Report:
    """``problems``: the document is refused for these; ``warnings``: these are passed over.

    ``broken``: pointers at which the schema has found something wrong. Rules trust the shape
    of what they read, so a rule does not run if that is not intact.
    """

    __slots__ = ("broken", "problems", "warnings")

    def __init__(self, problems: list[OcirtError], warnings: list[OcirtError]) -> None:
        self.problems = problems
        self.warnings = warnings
        self.broken = [problem.at or "" for problem in problems]

    def wrong(self, at: str, text: str, hint: str = "") -> None:
        """The document is refused."""
        self.problems.append(OcirtError(text, at=at, hint=hint))

    def warn(self, at: str, text: str, hint: str = "") -> None:
        """It is accepted, and this is said."""
        self.warnings.append(OcirtError(text, at=at, hint=hint))

    def intact(self, at: str) -> bool:
        """Is nothing wrong at a pointer, below it, or in what holds it?"""
        return not any(f"{at}/".startswith(f"{b}/") or b.startswith(f"{at}/") for b in self.broken)

    def apply(
        self, rules: Iterable[tuple[tuple[str, ...], Rule]], value: dict[str, Any], base: str
    ) -> None:
        """Runs each rule whose members of ``value``, the object at ``base``, are intact."""
        for members, rule in rules:
            if not self.broken or all(self.intact(f"{base}/{member}") for member in members):
                rule(value, base, self)


def absolute(report: Report, at: str, path: str) -> None:
    """A path that must be absolute, is it?"""
    if not path.startswith("/"):
        from ocirt.config.schema import shown

        report.wrong(at, f"must be an absolute path, not {shown(path)}")


def check_texts(value: Any, at: str, report: Report) -> None:
    """Strings that can't be handed to the kernel: it would stop reading at a NUL byte."""
    if isinstance(value, str):
        if "\0" in value:
            report.wrong(at, "must not contain a NUL byte")
        elif not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            report.wrong(at, "must not contain half a surrogate pair")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_texts(item, at + pointer(key), report)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_texts(item, f"{at}/{index}", report)
