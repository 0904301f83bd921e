"""/proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations


class Mount:
    """One line: ``root`` of the file system that is seen at ``point``, ``fs_type``, its
    ``source`` and ``options`` (of the superblock). ``words``: the ids of the mount and of the one
    below it, "major:minor" of the file system, root, point, the options of the mount, and its
    propagation."""

    __slots__ = ("fs_type", "options", "point", "root", "source", "words")

    def __init__(
        self, words: list[str], root: str, point: str, fs_type: str, source: str, options: str
    ) -> None:
        self.words = words
        self.root = root
        self.point = point
        self.fs_type = fs_type
        self.source = source
        self.options = options

    def is_slave(self) -> bool:
        """Does it get what is mounted in another one?"""
        return any(word.startswith("master:") for word in self.words[6:])


def parse(text: str) -> list[Mount]:
    """The mounts of a mountinfo file's text."""
    found = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if dash and len(before) >= 6 and len(after) >= 3:
            root, point, source = (_unescape(name) for name in (before[3], before[4], after[1]))
            found.append(Mount(before, root, point, after[0], source, after[2]))
    return found


def mounts(pid: int | str = "self") -> list[Mount]:
    """The mounts that a process sees, by default this one."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse(file.read())


def _unescape(name: str) -> str:
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    if "\\" not in name:
        return name
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        name = name.replace("\\" + code, character)
    return name
