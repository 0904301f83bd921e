"""What each mount option means: one table, read left to right, the last word wins.

The names are those of runc's and crun's option tables (runtime-spec, "Mounts"; mount(8)).
An option that is not here belongs to the file system and is passed to it by fsconfig(2).
"""

from __future__ import annotations

from ocirt.host.constants import MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
ATIME, NOATIME, STRICTATIME = 0x70, 0x10, 0x20  # ATIME is the mask; 0 in it is relatime
NODIRATIME, NOSYMFOLLOW = 0x80, 0x200000

# name: (attributes to set, attributes to clear). mount_setattr(2): to change the atime mode
# the whole mask must be cleared.
ATTRIBUTES = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "noatime": (NOATIME, ATIME),
    "atime": (0, ATIME),
    "relatime": (0, ATIME),
    "norelatime": (0, ATIME),
    "strictatime": (STRICTATIME, ATIME),
    "nostrictatime": (0, ATIME),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
}
# They choose no atime mode, as with mount(8): a bind mount keeps its source's.
WITHOUT_CHOICE = ("atime", "norelatime", "nostrictatime", "diratime")
# The names of ATTRIBUTES with an r in front, for the mount and all below it.
RECURSIVE = {"r" + name: value for name, value in ATTRIBUTES.items()}

# name: (propagation type, recursive)
PROPAGATION = {
    "private": (MS_PRIVATE, False),
    "rprivate": (MS_PRIVATE, True),
    "shared": (MS_SHARED, False),
    "rshared": (MS_SHARED, True),
    "slave": (MS_SLAVE, False),
    "rslave": (MS_SLAVE, True),
    "unbindable": (MS_UNBINDABLE, False),
    "runbindable": (MS_UNBINDABLE, True),
}

# Flags of the file system itself that fsconfig(2) takes by name.
SUPERBLOCK = ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand")
# Accepted by the peers, without any effect on a kernel of today (MS_SILENT only hushes the
# kernel's log; MS_POSIXACL and MS_I_VERSION are set by the file systems themselves).
# "": Podman's --systemd writes it.
WITHOUT_EFFECT = ("", "defaults", "silent", "loud", "acl", "noacl", "iversion", "noiversion")
BIND = ("bind", "rbind")
ID_MAP = ("idmap", "ridmap")
SPECIAL = ("remount", "tmpcopyup", *ID_MAP)

NAMES = sorted(
    (*ATTRIBUTES, *RECURSIVE, *PROPAGATION, *SUPERBLOCK, *WITHOUT_EFFECT[1:], *BIND, *SPECIAL)
)


class MountOptions:
    """The options of one mount, sorted by who handles them.

    ``set``/``clear`` and ``all_set``/``all_clear``: mount attributes of the mount and of
    everything below it; ``propagation``: [(type, recursive)] in order; ``bind``/``recursive``;
    ``id_map``: (index in the list, idmap or ridmap, its value or ""), None where there is none;
    ``filesystem``: [(index in the list, key, value or None)] for fsconfig(2).
    """

    __slots__ = (
        "all_clear",
        "all_set",
        "bind",
        "clear",
        "filesystem",
        "id_map",
        "propagation",
        "recursive",
        "remount",
        "set",
        "tmpcopyup",
    )

    def __init__(self) -> None:
        self.set = 0
        self.clear = 0
        self.all_set = 0
        self.all_clear = 0
        self.propagation: list[tuple[int, bool]] = []
        self.bind = False
        self.recursive = False
        self.remount = False
        self.tmpcopyup = False
        self.id_map: tuple[int, str, str] | None = None
        self.filesystem: list[tuple[int, str, str | None]] = []


def parse(options: list[str]) -> MountOptions:
    """Sort the options of one mount. Never fails: what is unknown is the file system's."""
    found = MountOptions()
    for index, option in enumerate(options):
        if option in ATTRIBUTES:
            change, clear = ATTRIBUTES[option]
            found.set = found.set & ~clear | change
            if option not in WITHOUT_CHOICE:
                found.clear |= clear
        elif option in RECURSIVE:
            change, clear = RECURSIVE[option]
            found.all_set = found.all_set & ~clear | change
            found.all_clear |= clear
        elif option in PROPAGATION:
            found.propagation.append(PROPAGATION[option])
        elif option in BIND:
            found.bind = True
            found.recursive = option == "rbind"
        elif option == "remount":
            found.remount = True
        elif option == "tmpcopyup":
            found.tmpcopyup = True
        elif option in SUPERBLOCK:
            found.filesystem.append((index, option, None))
        elif option not in WITHOUT_EFFECT:
            key, equals, value = option.partition("=")
            if key in ID_MAP:
                found.id_map = (index, key, value)
            else:
                found.filesystem.append((index, key, value if equals else None))
    # An attribute both set and cleared is set: the later word was taken above.
    found.clear &= ~found.set | ATIME
    found.all_clear &= ~found.all_set | ATIME
    return found
